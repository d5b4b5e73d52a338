"""What the weights say of a declared training. Spec: pipeline §4.

Nothing here shows that training happened. It shows, to the bit, when the weights are what went in or a blend of models
that the verifier was given, and otherwise how far they moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from model_verify.checkpoints import JobBoard, OpenCheckpoint
from model_verify.findings import Finding
from model_verify.merge.backend import Backend
from model_verify.models import TrainStep
from model_verify.pipeline import BLENDABLE_DTYPES
from model_verify.replay import Hypothesis, Movement, ReplayResult, Stored, Term
from model_verify.report import ReportTrial, StepVerdict
from model_verify.tensors import TensorInfo

if TYPE_CHECKING:
    from model_verify.lineage.blend import Formula

_MOST_PARENTS_TOGETHER = 4


@dataclass(slots=True)
class _Tried:
    """Parents that were tried together, and the formula of each tensor if there is a hypothesis."""

    parents: list[str]
    estimated: tuple[float, ...]
    formulas: Mapping[str, Formula] | None
    hypothesis: str


@dataclass(slots=True)
class TrainingTrial:
    """What was planned for one train step, to be judged when the pass is done."""

    step: TrainStep
    findings: list[Finding] = field(default_factory=list)
    shared: dict[str, TensorInfo] = field(default_factory=dict)
    trainable: set[str] = field(default_factory=set)
    tried: list[_Tried] = field(default_factory=list)
    had_others: bool = False


@dataclass(frozen=True, slots=True)
class TrainingJudgement:
    verdict: StepVerdict
    moved: int
    elements: int
    trials: list[ReportTrial]
    findings: list[Finding]


def plan_training(
    step: TrainStep,
    before_node: str,
    before_infos: Mapping[str, TensorInfo],
    before: OpenCheckpoint | None,
    after: OpenCheckpoint,
    others: Mapping[str, OpenCheckpoint],
    board: JobBoard,
    backend: Backend,
) -> TrainingTrial:
    """Put on `board` what shows how `step` moved its input, and whether its output is a blend with any of `others`.

    `before` is None where the input is a computed checkpoint; no blends are estimated then.
    """
    trial = TrainingTrial(step, had_others=bool(others))
    after_infos = after.infos
    trial.trainable = set(after_infos) if step.trainable == "all" else set(step.trainable)
    for name in sorted(before_infos.keys() | after_infos.keys() | trial.trainable):
        was, now = before_infos.get(name), after_infos.get(name)
        if was is not None and was == now:
            trial.shared[name] = was
            board.add_movement(was, Movement(step.id, before_node, after.node))
        else:
            trial.findings.append(
                Finding("TRAINING_CHANGED_OTHER", f"{step.id}: {name}", _described(was), _described(now))
            )
    if before is not None and others:
        _plan_blends(trial, {step.inputs[0]: before, **others}, after, board, backend)
    return trial


def _plan_blends(
    trial: TrainingTrial,
    parents: Mapping[str, OpenCheckpoint],
    after: OpenCheckpoint,
    board: JobBoard,
    backend: Backend,
) -> None:
    from model_verify.lineage.blend import estimate_blend, read_samples

    for group in _groups(list(parents)):
        chosen = [parents[name] for name in group]
        names = [
            name
            for name in sorted(trial.trainable)
            if name in after.stored and after.stored[name].info.dtype in BLENDABLE_DTYPES
        ]
        if not names or not all(_can_blend(name, chosen, after.stored[name]) for name in names):
            continue
        samples = read_samples([parent.stored for parent in chosen], after.stored, names)
        estimate = estimate_blend(samples, backend)
        if estimate is None:
            continue
        hypothesis = f"{trial.step.id}: {' + '.join(group)}"
        for name, formula in (estimate.exact or {}).items():
            terms = tuple(Term(p.node, w.value) for p, w in zip(chosen, formula.weights, strict=True))
            board.add_hypothesis(after.stored[name].info, Hypothesis(hypothesis, after.node, terms, formula.normalize))
        trial.tried.append(_Tried(list(group), estimate.fitted, estimate.exact, hypothesis))


def _groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return which parents are tried together: the input with each of the others, then up to four at once."""
    pairs = [(names[0], other) for other in names[1:]]
    whole = [tuple(names)] if 2 < len(names) <= _MOST_PARENTS_TOGETHER else []
    rest = [pair for pair in combinations(names[1:], 2) if len(names) <= _MOST_PARENTS_TOGETHER]
    return pairs + rest + whole


def _can_blend(name: str, parents: Sequence[OpenCheckpoint], after: Stored) -> bool:
    stored = [parent.stored.get(name) for parent in parents]
    return all(s is not None and s.info.dtype in BLENDABLE_DTYPES and s.info.shape == after.info.shape for s in stored)


def judge_training(trial: TrainingTrial, result: ReplayResult) -> TrainingJudgement:
    """Return the verdict on a train step once every byte was read. Spec: pipeline §4."""
    step = trial.step
    findings = list(trial.findings)
    moved = {name: result.moved[step.id, name].elements for name in trial.shared if (step.id, name) in result.moved}
    for name, elements in sorted(moved.items()):
        if elements and name not in trial.trainable:
            where = f"{step.id}: {name}"
            findings.append(Finding("TRAINING_CHANGED_OTHER", where, "not trainable", f"{elements} elements differ"))
    elements = sum(info.elements for name, info in trial.shared.items() if name in trial.trainable)
    changed = sum(count for name, count in moved.items() if name in trial.trainable)
    if not trial.findings and not changed:
        findings.append(Finding("TRAINING_NO_EFFECT", step.id, "trainable tensors that differ", "all are as before"))
    trials: list[ReportTrial] = []
    for tried in trial.tried:
        holds = tried.formulas is not None and tried.hypothesis not in result.disproved
        equal = holds and bool(changed) and _others_still(trial, moved)
        fitted = [f"{value:.6f}" for value in tried.estimated]
        formulas = _by_extent(tried.formulas or {})
        for formula in formulas or [None]:
            weights = None if formula is None else [weight.decimal for weight in formula.weights]
            trials.append(ReportTrial(parents=tried.parents, estimated=fitted, coefficients=weights, equal=equal))
        if equal:
            blend = "; ".join(_written(formula, tried.parents, count) for formula, count in formulas.items())
            findings.append(Finding("TRAINING_EQUALS_BLEND", step.id, "trained weights", f"{blend}, to the bit"))
    contradicted = bool(findings)
    findings.append(Finding("TRAINING_MOVED", step.id, actual=f"{changed} of {elements} trainable elements differ"))
    if not trial.had_others:
        findings.append(Finding("UNDECLARED_PARENTS_NOT_TESTED", step.id, "a candidate to hold it against"))
    verdict: StepVerdict = "contradicted" if contradicted else "attested"
    return TrainingJudgement(verdict, changed, elements, trials, findings)


def _others_still(trial: TrainingTrial, moved: Mapping[str, int]) -> bool:
    """Return whether the trainable tensors that cannot be blended are as they were."""
    return all(
        not moved.get(name, 0)
        for name, info in trial.shared.items()
        if name in trial.trainable and info.dtype not in BLENDABLE_DTYPES
    )


def _by_extent(formulas: Mapping[str, Formula]) -> dict[Formula, int | None]:
    """Return each distinct formula with the number of its tensors, most first; None for a formula of all tensors."""
    counts = Counter(formulas.values())
    if len(counts) == 1:
        return dict.fromkeys(counts)
    return dict(counts.most_common())


def _written(formula: Formula, parents: Sequence[str], tensors: int | None) -> str:
    blend = " + ".join(f"{weight.decimal}·{parent}" for weight, parent in zip(formula.weights, parents, strict=True))
    normalized = ", normalized" if formula.normalize else ""
    extent = "" if tensors is None else f" in {tensors} tensor{'s' if tensors != 1 else ''}"
    return f"{blend}{normalized}{extent}"


def _described(info: TensorInfo | None) -> str:
    return "no such tensor" if info is None else f"{info.dtype} {list(info.shape)}"
