"""Steps that are declared so that more seems to have been computed again than was."""

from __future__ import annotations

from tests.hostile.forging import Forger, codes, linear, merge
from tests.hostile.test_forms import declare, f32, step, write

WEIGHTS = {"t": f32(1.0, 2.0)}
OTHERS = {"t": f32(3.0, 5.0)}


def test_a_copy_of_what_nobody_computed_is_no_coverage(forger: Forger) -> None:
    root = write(forger, "ran", OTHERS)
    ran = {"id": "ran", "type": "run", "inputs": ["a"], "command": ["x"], "output": {"checkpointRoot": root}}
    declare(forger, OTHERS, [ran, step("reshard", "ran")], a=WEIGHTS)
    report = forger.verify("a")
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert [given.verdict for given in report.steps] == ["attested", "reproduced"]
    assert report.coverage is not None
    assert (report.coverage.tensors_reproduced, report.coverage.bytes_reproduced) == (0, 0)


def test_coverage_counts_what_was_computed_in_several_steps(forger: Forger) -> None:
    middle = {"t": f32(2.0, 3.5)}
    steps = [
        merge("m", ["a", "b"], linear("0.5", "0.5"), output={"checkpointRoot": write(forger, "m", middle)}),
        step("reshard", "m"),
    ]
    declare(forger, middle, steps, a=WEIGHTS, b=OTHERS)
    report = forger.verify("a", "b")
    assert (report.verdict, report.level) == ("VERIFIED", 3)
    assert report.coverage is not None
    assert report.coverage.tensors_reproduced == 1


def test_a_copy_beside_what_is_too_large_is_left_out_with_it(forger: Forger) -> None:
    """What it could have been copied from as well is not there to be held against it."""
    names = [f"t{number:04}" for number in range(300)]
    weights = {name: f32(float(number)) for number, name in enumerate(names)}
    parents = {"a": {**weights, "extra": f32(1.0)}, "b": weights}
    connected = {**linear("0.5", "0.5", tensors=names), "names": {"b": names[:1] * 300}}
    extra = {"op": "copy", "tensors": ["extra"], "from": "a"}
    first = merge("m", ["a", "b"], connected, extra, output={"checkpointRoot": write(forger, "m", weights)})
    declare(forger, {"extra": f32(1.0)}, [first, merge("n", ["a", "m"], extra)], **parents)
    report = forger.verify("a", "b")
    assert (report.verdict, codes(report)) == ("INCOMPLETE", {"STEP_TOO_LARGE"})
    assert [given.verdict for given in report.steps] == ["unchecked", "unchecked"]


def test_a_copy_beside_what_has_no_result_is_unchecked(forger: Forger) -> None:
    nothing = {
        "op": "ties", "tensors": "rest", "dtype": "F32", "computeDtype": "F32", "base": "a",
        "parameters": {"normalize": False, "lambda": "1", "rescale": False},
        "inputParameters": [{}, {"weight": "1", "density": "0"}],
    }  # fmt: skip
    output = {"checkpointRoot": write(forger, "m", WEIGHTS)}
    first = merge("m", ["a", "b"], nothing, profile="mergekit-0.1.4", output=output)
    copy = {"op": "copy", "tensors": "rest", "from": "a"}
    declare(forger, WEIGHTS, [first, merge("n", ["a", "m"], copy)], a=WEIGHTS, b=OTHERS)
    report = forger.verify("a", "b")
    assert (report.verdict, codes(report)) == ("REJECTED", {"OPERAND_INVALID"})
    assert [given.verdict for given in report.steps] == ["contradicted", "unchecked"]


def test_a_blend_of_one_input_is_a_copy_of_it(forger: Forger) -> None:
    """What other inputs have in every bit does not need this one, whatever the operation is called."""
    one = {**linear("1", tensors=["s"]), "inputs": ["a"]}
    parents = {"a": {**WEIGHTS, "s": f32(7.0)}, "b": {**OTHERS, "s": f32(7.0)}}
    copy = {"op": "copy", "tensors": ["t"], "from": "b"}
    declare(forger, parents["b"], [merge("m", ["a", "b"], one, copy)], **parents)
    report = forger.verify("a", "b")
    assert (report.verdict, report.level, codes(report)) == ("VERIFIED", 1, {"PARENT_NO_EFFECT"})
