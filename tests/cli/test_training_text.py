"""What a report says of a training, as lines."""

from __future__ import annotations

from model_attest.commands.training_text import training_lines
from model_verify.digest import CheckpointRoot
from model_verify.report import ReportCell, ReportMovement, ReportRank, ReportStep, ReportTrial

ROOT = CheckpointRoot.parse("sha256:" + 64 * "0")


def lines(
    movement: list[ReportMovement] | None = None,
    rank: ReportRank | None = None,
    trials: list[ReportTrial] | None = None,
) -> list[str]:
    step = ReportStep(
        id="train",
        type="train",
        profile=None,
        inputs=["a"],
        output_root=ROOT,
        verdict="attested",
        movement=movement or [],
        rank=rank,
        trials=trials or [],
    )
    return list(training_lines(step))


def moved(moved: int, *ulp: int | None, still: int = 0) -> ReportMovement:
    median, most, largest = ulp or (None, None, None)
    return ReportMovement(
        component="attention",
        dtype="BF16",
        tensors=4,
        tensors_moved=4 - still,
        elements=100_000,
        moved=moved,
        ulp_median=median,
        ulp_99=most,
        ulp_largest=largest,
    )


def trial(*coefficients: str, equal: bool = False, cell: ReportCell | None = None, **how: object) -> ReportTrial:
    members = {"profile": "linear/f64-v1", "compute_dtype": None, "normalize": False, **how}
    return ReportTrial.model_validate(
        {
            "parents": ["a", "candidate 1"],
            "estimated": ["0.599998", "0.400001"],
            "coefficients": list(coefficients) or None,
            "equal": equal,
            "cell": cell,
            **members,
        }
    )


def test_a_component_has_a_line_with_its_distances() -> None:
    assert lines([moved(1234, 1, 8, 40)]) == ["attention BF16: 1.23 % moved, by 1 ULP (median), 8 (99 %), 40 (largest)"]


def test_tensors_that_stood_still_are_counted_and_components_that_did_have_no_line() -> None:
    assert lines([moved(100_000, 3, 8, 8, still=1), moved(0, still=4)]) == [
        "attention BF16: 100.00 % moved, by 3 ULP (median), 8 (99 %), 8 (largest); 1 of 4 tensors not at all"
    ]


def test_little_is_not_nothing_and_integers_have_no_distance() -> None:
    assert lines([moved(9)]) == ["attention BF16: less than 0.01 % moved"]


def test_a_rank_is_told_with_how_much_could_be_said() -> None:
    rank = ReportRank(declared=8, tensors=12, conclusive=10, exceeded=2)
    assert lines(rank=rank) == [
        "rank 8 declared: of 12 weights that were looked at, 10 moved enough to say, and 2 exceed it"
    ]


def test_a_blend_is_told_with_the_arithmetic_that_gave_it() -> None:
    assert lines(trials=[trial("0.6", "0.4", equal=True)]) == ["replayed as 0.6·a + 0.4·candidate 1: equal to the bit"]
    how = {"profile": "mergekit-0.1.4", "compute_dtype": "BF16", "normalize": True}
    assert lines(trials=[trial("1", "2", **how)]) == [
        "replayed as 1·a + 2·candidate 1, normalized, mergekit-0.1.4 in BF16: not equal to the bit"
    ]


def test_a_rounding_cell_is_told_with_its_control() -> None:
    cell = ReportCell(
        coefficients=["0.6", "0.4"], elements=1000, inside=999, moved=500, moved_inside=499, moved_inside_mirrored=1
    )
    assert lines(trials=[trial(cell=cell, profile=None, normalize=None)]) == [
        "nearest to 0.599998·a + 0.400001·candidate 1, "
        "and no round coefficients near these give the weights to the bit",
        "within rounding of 0.6·a + 0.4·candidate 1: 99.90 % of all elements",
        "and 99.80 % of those that moved; had they moved the other way, 0.20 %",
    ]
