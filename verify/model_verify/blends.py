"""What came of holding a training against blends, for the report. Spec: pipeline §4.2, §4.5, §4.13, §4.16."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from model_verify.findings import Finding
from model_verify.models import TrainStep
from model_verify.report import ReportCell, ReportTrial

if TYPE_CHECKING:
    from model_verify.lineage.cell import CellCount
    from model_verify.lineage.formulas import Formula
    from model_verify.lineage.trials import BlendTrial, Trials


def judge_blends(
    step: TrainStep, blends: Trials, itself: set[str], *, possible: bool
) -> tuple[list[ReportTrial], list[Finding]]:
    """Return what came of each blend, and what follows.

    `itself` are candidates that are the output: they say nothing. `possible` says whether the output can be a blend, as
    far as the tensors say that are not blended.
    """
    trials: list[ReportTrial] = []
    equal: list[str] = []
    within: list[tuple[CellCount, str]] = []
    circular: dict[str, CellCount] = {}
    """By candidate: how many of its elements say that it may have been made from the output."""
    for tried in blends.tried:
        if itself & set(tried.parents):
            continue
        found = tried.equals() if possible else None
        trials += _report_trials(tried, found)
        cell = tried.cell()
        if found is not None:
            origin = tried.made_from_output(equal=True)
            if origin is None:
                formulas = _by_extent(found)
                equal.append("; ".join(_written(formula, tried.parents, count) for formula, count in formulas.items()))
        elif possible and cell is not None and cell.count.explains:
            origin = tried.made_from_output(equal=False)
            if origin is None:
                texts = tried.estimated_texts if cell.coefficients is None else cell.coefficients
                within.append((cell.count, _blend(texts, tried.parents)))
        else:
            origin = None
        if origin is not None:
            circular.setdefault(*origin)
    findings: list[Finding] = []
    if equal:
        findings.append(Finding("TRAINING_EQUALS_BLEND", step.id, "trained weights", f"{equal[0]}, to the bit"))
    elif within:
        findings.append(_no_evidence(step.id, *max(within, key=lambda pair: pair[0].inside)))
    for label in sorted(itself):
        why = "it has the same weights, which does not say whose they are"
        findings.append(Finding("CANDIDATE_NOT_TRIED", step.id, f"blends with {label}", why))
    for label, count in circular.items():
        share = _share(count.inside, count.elements)
        why = f"{share} of its elements lie within rounding of a blend with the output: it may be made from that"
        findings.append(Finding("CANDIDATE_NOT_TRIED", step.id, f"blends with {label}", why))
    for parents, why in blends.not_tried.items():
        if parents[0] == step.inputs[0] and len(parents) == 2:
            findings.append(Finding("CANDIDATE_NOT_TRIED", step.id, f"blends with {parents[1]}", why))
    if blends.unavailable is not None:
        expected = "blends as mergekit computes them"
        findings.append(Finding("CANDIDATE_NOT_TRIED", step.id, expected, blends.unavailable))
    return trials, findings


def _no_evidence(step_id: str, count: CellCount, blend: str) -> Finding:
    """Return the finding that rounding alone can make the output of a blend."""
    found = (
        f"{_share(count.inside, count.elements)} of the trainable elements lie within rounding of {blend}, as do "
        f"{_share(count.moved_inside, count.moved)} of those that differ from the input; of these, "
        f"{_share(count.mirrored_inside, count.moved)} would if they had moved as far the other way"
    )
    return Finding("NO_TRAINING_EVIDENCE", step_id, "elements that the rounding of a blend does not explain", found)


def _share(part: int, whole: int) -> str:
    """Return a share in per cent, rounded down so that 100 means all."""
    return f"{part * 10_000 // max(1, whole) / 100:.2f} %"


def _report_trials(tried: BlendTrial, found: Mapping[str, Formula] | None) -> list[ReportTrial]:
    """Return one trial for each formula that some tensor could have."""
    cell = tried.cell()
    reported = None
    if cell is not None and found is None:
        count = cell.count
        reported = ReportCell(
            coefficients=None if cell.coefficients is None else list(cell.coefficients),
            elements=count.elements,
            inside=count.inside,
            moved=count.moved,
            moved_inside=count.moved_inside,
            moved_inside_mirrored=count.mirrored_inside,
        )
    return [
        ReportTrial(
            parents=tried.parents,
            estimated=list(tried.estimated_texts),
            coefficients=None if formula is None else list(formula.texts),
            profile=None if formula is None else formula.arithmetic.profile,
            compute_dtype=None if formula is None else formula.arithmetic.compute_dtype,
            normalize=None if formula is None else formula.arithmetic.normalize,
            equal=found is not None,
            cell=reported,
        )
        for formula in _by_extent(found or tried.likeliest()) or [None]
    ]


def _by_extent(formulas: Mapping[str, Formula]) -> dict[Formula, int | None]:
    """Return each distinct formula with the number of its tensors, most first; None for a formula of all tensors."""
    counts = Counter(formulas.values())
    if len(counts) == 1:
        return dict.fromkeys(counts)
    return dict(counts.most_common())


def _written(formula: Formula, parents: Sequence[str], tensors: int | None) -> str:
    normalized = ", normalized" if formula.arithmetic.normalize else ""
    extent = "" if tensors is None else f" in {tensors} tensor{'s' if tensors != 1 else ''}"
    return f"{_blend(formula.texts, parents)}{normalized}{_profile(formula)}{extent}"


def _blend(texts: Sequence[str], parents: Sequence[str]) -> str:
    return " + ".join(f"{text}·{parent}" for text, parent in zip(texts, parents, strict=True))


def _profile(formula: Formula) -> str:
    """Return how mergekit computed it; nothing for the arithmetic that this standard has itself."""
    if formula.arithmetic.compute_dtype is None:
        return ""
    return f", by {formula.arithmetic.profile} in {formula.arithmetic.compute_dtype}"
