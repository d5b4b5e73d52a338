"""What the weights say of a declared training. Spec: pipeline §4.

Nothing here shows that training happened. It shows, to the bit, when the weights are what went in or a blend of models
that the verifier was given, and otherwise how far they moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from model_verify.checkpoints import JobBoard, OpenCheckpoint
from model_verify.digest import CheckpointRoot
from model_verify.findings import Finding, Severity
from model_verify.merge.backend import Backend
from model_verify.merge.methods import load
from model_verify.merge.methods.linear_f64 import linear_call
from model_verify.models import TrainStep
from model_verify.operations import BLENDABLE_DTYPES
from model_verify.replay import Hypothesis, Movement, ReplayResult, Stored
from model_verify.report import ReportCandidate, ReportTrial, StepVerdict
from model_verify.tensors import TensorInfo, described

if TYPE_CHECKING:
    from model_verify.lineage.blend import Formula, Reader

_MOST_PARENTS_TOGETHER = 4


@dataclass(slots=True)
class _Tried:
    """Parents that were tried together, and the formulas that each tensor could have; none without a proposal."""

    parents: list[str]
    estimated: tuple[float, ...]
    proposed: Mapping[str, Sequence[tuple[Formula, Hypothesis]]]

    def surviving(self, disproved: Set[str]) -> dict[str, Formula] | None:
        """Return a formula for every tensor that gives all of it to the bit; None if one tensor has none."""
        found: dict[str, Formula] = {}
        for name, proposals in self.proposed.items():
            formula = next((f for f, hypothesis in proposals if hypothesis.name not in disproved), None)
            if formula is None:
                return None
            found[name] = formula
        return found or None


@dataclass(slots=True)
class TrainingTrial:
    """What was planned for one train step, to be judged when the pass is done."""

    step: TrainStep
    findings: list[Finding] = field(default_factory=list)
    shared: dict[str, TensorInfo] = field(default_factory=dict)
    trainable: set[str] = field(default_factory=set)
    tried: list[_Tried] = field(default_factory=list)
    not_tried: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Parents that no blend could be looked for with, and why."""
    had_others: bool = False


@dataclass(frozen=True, slots=True)
class TrainingJudgement:
    verdict: StepVerdict
    moved: int | None
    elements: int | None
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

    `before` is None where the input is a computed checkpoint, whose operations are on `board` already.
    """
    trial = TrainingTrial(step, had_others=bool(others))
    after_infos = after.infos
    if step.trainable == "adapter":
        for name in sorted(before_infos.keys() & after_infos.keys()):
            where = f"{step.id}: {name}"
            trial.findings.append(
                Finding("TRAINING_CHANGED_OTHER", where, "not in an adapter", "a tensor of the input")
            )
        return trial
    trial.trainable = set(after_infos) if step.trainable == "all" else set(step.trainable)
    for name in sorted(before_infos.keys() | after_infos.keys() | trial.trainable):
        was, now = before_infos.get(name), after_infos.get(name)
        if was is None and now is None:
            where = f"{step.id}: {name}"
            trial.findings.append(Finding("TRAINING_CHANGED_OTHER", where, "a tensor", "trainable, but not there"))
        elif was is not None and was == now:
            trial.shared[name] = was
            board.add_movement(Movement(step.id, (before_node, name), (after.node, name)))
        else:
            trial.findings.append(
                Finding("TRAINING_CHANGED_OTHER", f"{step.id}: {name}", described(was), described(now))
            )
    if others:
        start = _computed(board, before_node, before_infos, backend) if before is None else _stored(before)
        known = {step.inputs[0]: start, **{name: _stored(checkpoint) for name, checkpoint in others.items()}}
        for group in _groups(list(known)):
            _plan_blend(trial, {name: known[name] for name in group}, after, board, backend)
    return trial


@dataclass(frozen=True, slots=True)
class _Parent:
    """A checkpoint that could have gone into a blend, and how to read the beginnings of its tensors."""

    node: str
    infos: Mapping[str, TensorInfo]
    read: Reader


def _stored(checkpoint: OpenCheckpoint) -> _Parent:
    from model_verify.lineage.blend import read_stored

    return _Parent(
        checkpoint.node, checkpoint.infos, lambda name, stretches: read_stored(checkpoint.stored[name], stretches)
    )


def _computed(board: JobBoard, node: str, infos: Mapping[str, TensorInfo], backend: Backend) -> _Parent:
    from model_verify.lineage.blend import compute_sample

    jobs = {c.info.name: job for job in board.jobs() for c in job.computed if c.node == node}
    return _Parent(node, infos, lambda name, stretches: compute_sample(jobs[name], (node, name), stretches, backend))


def _plan_blend(
    trial: TrainingTrial, parents: Mapping[str, _Parent], after: OpenCheckpoint, board: JobBoard, backend: Backend
) -> None:
    """Estimate the blend of `parents` that `after` could be, and put what would prove it on `board`."""
    from model_verify.lineage.blend import estimate_blend, read_samples

    chosen = list(parents.values())
    names = [
        name
        for name in sorted(trial.trainable)
        if name in after.stored and after.stored[name].info.dtype in BLENDABLE_DTYPES
    ]
    obstacle = next((name for name in names if not _can_blend(name, chosen, after.stored[name])), None)
    if not names or obstacle is not None:
        trial.not_tried[tuple(parents)] = f"not in a form to be blended: {obstacle}" if names else "nothing to blend"
        return
    samples = read_samples([parent.read for parent in chosen], after.stored, names)
    estimate = estimate_blend(samples, backend, first_is_input=trial.step.inputs[0] in parents)
    if estimate is None:
        trial.not_tried[tuple(parents)] = "no coefficients can be estimated"
        return
    label = f"{trial.step.id}: {' + '.join(parents)}"
    proposed: dict[str, list[tuple[Formula, Hypothesis]]] = {}
    for name, likeliest in (estimate.exact or {}).items():
        # A sample in which nothing moved speaks for no formula: the whole tensor decides among all of them.
        for formula in dict.fromkeys((likeliest, *estimate.alternatives)):
            number = len(proposed.setdefault(name, []))
            weights = [weight.value for weight in formula.weights]
            call = linear_call(weights, after.stored[name].info.dtype, normalize=formula.normalize)
            operands = tuple((parent.node, name) for parent in chosen)
            hypothesis = Hypothesis(f"{label}: {number}: {name}", after.stored[name].key, operands, load(call))
            board.add_hypothesis(hypothesis)
            proposed[name].append((formula, hypothesis))
    trial.tried.append(_Tried(list(parents), estimate.fitted, proposed))


def _groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return which parents are tried together: the input with each of the others, then more of them at once."""
    pairs = [(names[0], other) for other in names[1:]]
    if len(names) > _MOST_PARENTS_TOGETHER:
        return list(pairs)
    whole = [tuple(names)] if len(names) > 2 else []
    return [*pairs, *combinations(names[1:], 2), *whole]


def _can_blend(name: str, parents: Sequence[_Parent], after: Stored) -> bool:
    infos = [parent.infos.get(name) for parent in parents]
    return all(i is not None and i.dtype in BLENDABLE_DTYPES and i.shape == after.info.shape for i in infos)


def judge_training(
    trial: TrainingTrial, result: ReplayResult, candidates: Sequence[ReportCandidate], subject_root: CheckpointRoot
) -> TrainingJudgement:
    """Return the verdict on a train step once every byte was read. Spec: pipeline §4."""
    step = trial.step
    if step.trainable == "adapter":  # beside the input, and not in its place: there is nothing to hold it against
        return TrainingJudgement("contradicted" if trial.findings else "attested", None, None, [], trial.findings)
    itself = {candidate.label for candidate in candidates if candidate.root == subject_root}
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
    for label in sorted(itself):
        why = "it has the same weights, which does not say whose they are"
        findings.append(Finding("CANDIDATE_NOT_TRIED", step.id, f"blends with {label}", why))
    for tried in trial.tried:
        if itself & set(tried.parents):
            continue
        found = tried.surviving(result.disproved)
        equal = found is not None and bool(changed) and _others_still(trial, moved)
        fitted = [f"{value:.6f}" for value in tried.estimated]
        formulas = _by_extent(found or {name: proposals[0][0] for name, proposals in tried.proposed.items()})
        for formula in formulas or [None]:
            weights = None if formula is None else [weight.decimal for weight in formula.weights]
            trials.append(ReportTrial(parents=tried.parents, estimated=fitted, coefficients=weights, equal=equal))
        if equal and not any(finding.code == "TRAINING_EQUALS_BLEND" for finding in findings):
            blend = "; ".join(_written(formula, tried.parents, count) for formula, count in formulas.items())
            findings.append(Finding("TRAINING_EQUALS_BLEND", step.id, "trained weights", f"{blend}, to the bit"))
    contradicted = any(finding.severity is Severity.FAIL for finding in findings)
    findings.append(Finding("TRAINING_MOVED", step.id, actual=f"{changed} of {elements} trainable elements differ"))
    for parents, why in trial.not_tried.items():
        if parents[0] == step.inputs[0] and len(parents) == 2:
            findings.append(Finding("CANDIDATE_NOT_TRIED", step.id, f"blends with {parents[1]}", why))
    if not trial.had_others:
        findings.append(Finding("UNDECLARED_PARENTS_NOT_TESTED", step.id, actual="no other model was given"))
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
