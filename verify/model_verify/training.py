"""What the weights say of a declared training. Spec: pipeline §4.

Nothing here shows that training happened. It shows, to the bit, when the weights are what went in or a blend of models
that the verifier was given, how far they moved otherwise, and where that is not what was declared: no more than
rounding explains, tensors that stood still, a movement of another rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_verify.blends import judge_blends
from model_verify.checkpoints import JobBoard, OpenCheckpoint
from model_verify.digest import CheckpointRoot
from model_verify.findings import Finding, Severity, limited
from model_verify.merge.backend import Backend
from model_verify.models import FullTraining, LoraTraining, TrainStep
from model_verify.operations import BLENDABLE_DTYPES
from model_verify.report import ReportCandidate, ReportMovement, ReportRank, ReportTrial, StepVerdict
from model_verify.tensors import TensorInfo, described

if TYPE_CHECKING:
    from model_verify.lineage.components import Component
    from model_verify.lineage.probes import ExcerptProbe, MovementProbe
    from model_verify.lineage.trials import Trials

_MOST_EXCERPT_ELEMENTS = 16 << 20
"""Of all weights that are looked at together, each as it was and as it is."""
_EXPECTED_TO_MOVE = 16
"""A tensor that stood still is named where so many of its elements would have moved at the rate of the others."""
_MOST_NAMED = 5
_AGAINST = (Severity.FAIL, Severity.INCOMPLETE)


@dataclass(frozen=True, slots=True)
class AtHand:
    """A checkpoint that is at hand: the engine's node, its tensors, and where they are stored if they are.

    `declared` says whether the statement names it: a candidate is the caller's.
    """

    node: str
    infos: Mapping[str, TensorInfo]
    stored: OpenCheckpoint | None
    declared: bool = True


@dataclass(slots=True)
class TrainingTrial:
    """What was planned for one train step, to be judged when the pass is done."""

    step: TrainStep
    findings: list[Finding] = field(default_factory=list)
    trainable: set[str] = field(default_factory=set)
    movements: dict[str, MovementProbe] = field(default_factory=dict)
    """By name, of the tensors that input and output have in one dtype and shape."""
    excerpts: dict[str, ExcerptProbe] = field(default_factory=dict)
    """Of the weights that a LoRA was merged into."""
    blends: Trials | None = None
    """None where no other model was given."""

    @property
    def trained(self) -> dict[str, MovementProbe]:
        return {name: probe for name, probe in self.movements.items() if name in self.trainable}


@dataclass(frozen=True, slots=True)
class TrainingJudgement:
    verdict: StepVerdict
    moved: int | None = None
    elements: int | None = None
    movement: list[ReportMovement] = field(default_factory=list)
    rank: ReportRank | None = None
    trials: list[ReportTrial] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def plan_training(
    step: TrainStep,
    before: AtHand,
    after: OpenCheckpoint,
    others: Mapping[str, AtHand],
    board: JobBoard,
    backend: Backend,
) -> TrainingTrial:
    """Put on `board` what shows how `step` moved its input, and whether its output is a blend with any of `others`.

    The operations of what is computed are on `board` already.
    """
    trial = TrainingTrial(step)
    if step.trainable == "adapter":
        for name in sorted(before.infos.keys() & after.infos.keys()):
            where = f"{step.id}: {name}"
            trial.findings.append(
                Finding("TRAINING_CHANGED_OTHER", where, "not in an adapter", "a tensor of the input")
            )
        return trial
    from model_verify.lineage.probes import MovementProbe

    trial.trainable = set(after.infos) if step.trainable == "all" else set(step.trainable)
    for name in sorted(before.infos.keys() | after.infos.keys() | trial.trainable):
        was, now = before.infos.get(name), after.infos.get(name)
        if was is None and now is None:
            where = f"{step.id}: {name}"
            trial.findings.append(Finding("TRAINING_CHANGED_OTHER", where, "a tensor", "trainable, but not there"))
        elif was is not None and was == now:
            trial.movements[name] = MovementProbe(was, ((before.node, name), (after.node, name)))
            board.add_probe(trial.movements[name])
        else:
            trial.findings.append(
                Finding("TRAINING_CHANGED_OTHER", f"{step.id}: {name}", described(was), described(now))
            )
    _plan_rank(trial, board)
    if others:
        _plan_blends(trial, before, after, others, board, backend)
    return trial


def _plan_rank(trial: TrainingTrial, board: JobBoard) -> None:
    """Keep parts of the weights that a LoRA was merged into, of as many as there is room for."""
    from model_verify.lineage.probes import ExcerptProbe
    from model_verify.lineage.rank import choose_submatrix

    method = _method(trial.step)
    if not isinstance(method, LoraTraining):
        return
    parts = {
        name: part
        for name, probe in trial.trained.items()
        if probe.info.dtype in BLENDABLE_DTYPES and _is_target(name, method.targets)
        if (part := choose_submatrix(probe.info.shape, method.rank)) is not None
    }
    largest = max((part.elements for part in parts.values()), default=0)
    every = -(-len(parts) * largest // _MOST_EXCERPT_ELEMENTS)
    for name in list(parts)[:: max(1, every)]:
        probe = trial.movements[name]
        trial.excerpts[name] = ExcerptProbe(probe.keys, probe.info.dtype, parts[name])
        board.add_probe(trial.excerpts[name])


def _method(step: TrainStep) -> object:
    return None if step.record is None else step.record.method


def _is_target(name: str, targets: Sequence[str]) -> bool:
    """Return whether a tensor is the weight of a module that is named so, or whose name ends so after a full stop."""
    module, _, kind = name.rpartition(".")
    return kind == "weight" and any(module == target or module.endswith(f".{target}") for target in targets)


def _plan_blends(
    trial: TrainingTrial,
    before: AtHand,
    after: OpenCheckpoint,
    others: Mapping[str, AtHand],
    board: JobBoard,
    backend: Backend,
) -> None:
    from model_verify.lineage.trials import Parent, Trials, computed_parent, plan_trials, stored_parent

    def parent(source: AtHand) -> Parent:
        if source.stored is None:
            return computed_parent(board, source.node, source.infos, backend)
        return stored_parent(source.stored, declared=source.declared)

    start = trial.step.inputs[0]
    if trial.findings:
        why = "tensors of the output are not those of the input"
        trial.blends = Trials(not_tried={(start, name): why for name in others})
        return
    names = sorted(name for name, probe in trial.trained.items() if probe.info.dtype in BLENDABLE_DTYPES)
    known = {name: parent(source) for name, source in others.items()}
    trial.blends = plan_trials((start, parent(before)), known, after, names, board, backend)


def judge_training(
    trial: TrainingTrial, candidates: Sequence[ReportCandidate], output_root: CheckpointRoot
) -> TrainingJudgement:
    """Return the verdict on a train step once every byte was read. Spec: pipeline §4."""
    step = trial.step
    findings = list(trial.findings)
    if step.trainable == "adapter":  # beside the input, and not in its place: there is nothing to hold it against
        return TrainingJudgement(_verdict(findings), findings=findings)
    trained = trial.trained
    for name, probe in trial.movements.items():
        if probe.moves.moved and name not in trained:
            where = f"{step.id}: {name}"
            moved = f"{probe.moves.moved} elements differ"
            findings.append(Finding("TRAINING_CHANGED_OTHER", where, "not trainable", moved))
    elements = sum(probe.info.elements for probe in trained.values())
    changed = sum(probe.moves.moved for probe in trained.values())
    if not trial.findings and not changed:
        findings.append(Finding("TRAINING_NO_EFFECT", step.id, "trainable tensors that differ", "all are as before"))
    trials: list[ReportTrial] = []
    found: list[Finding] = []
    if trial.blends is None:
        found.append(Finding("UNDECLARED_PARENTS_NOT_TESTED", step.id, actual="no other model was given"))
    else:
        itself = {candidate.label for candidate in candidates if candidate.root == output_root}
        trials, found = judge_blends(step, trial.blends, itself, possible=_can_be_blended(trained))
        if _verdict(findings) == "contradicted":
            found = [one for one in found if one.code != "NO_TRAINING_EVIDENCE"]
    rank, exceeding = _judge_rank(trial)
    findings += [one for one in found if one.severity in _AGAINST]
    findings += limited(exceeding)
    findings += _stood_still(trial) if changed else ()
    findings.append(Finding("TRAINING_MOVED", step.id, actual=f"{changed} of {elements} trainable elements differ"))
    findings += [one for one in found if one.severity not in _AGAINST]
    return TrainingJudgement(_verdict(findings), changed, elements, _movement(trained), rank, trials, findings)


def _verdict(findings: Sequence[Finding]) -> StepVerdict:
    severities = {finding.severity for finding in findings}
    if Severity.FAIL in severities:
        return "contradicted"
    return "unsupported" if Severity.INCOMPLETE in severities else "attested"


def _can_be_blended(trained: Mapping[str, MovementProbe]) -> bool:
    """Return whether something moved, and the tensors that cannot be blended are as they were."""
    return any(probe.moves.moved for probe in trained.values()) and not any(
        probe.moves.moved for probe in trained.values() if probe.info.dtype not in BLENDABLE_DTYPES
    )


def _movement(trained: Mapping[str, MovementProbe]) -> list[ReportMovement]:
    """Return how far each component moved, by dtype, since their ULPs are not one unit. Spec: pipeline §4.12."""
    from model_verify.lineage.components import component_of
    from model_verify.merge.movement import Moves

    groups: dict[tuple[Component, str], list[MovementProbe]] = {}
    for name, probe in trained.items():
        groups.setdefault((component_of(name), probe.info.dtype), []).append(probe)
    movement: list[ReportMovement] = []
    for (component, dtype), probes in sorted(groups.items()):
        total = Moves()
        for probe in probes:
            total += probe.moves
        movement.append(
            ReportMovement(
                component=component,
                dtype=dtype,
                tensors=len(probes),
                tensors_moved=sum(probe.moves.moved > 0 for probe in probes),
                elements=sum(probe.info.elements for probe in probes),
                moved=total.moved,
                ulp_median=total.percentile(50),
                ulp_99=total.percentile(99),
                ulp_largest=total.largest or None,
            )
        )
    return movement


def _stood_still(trial: TrainingTrial) -> Iterator[Finding]:
    """Yield the finding that parts of a full training are as they were. Spec: pipeline §4.14."""
    trained = {name: probe for name, probe in trial.trained.items() if probe.info.dtype in BLENDABLE_DTYPES}
    if trial.step.trainable != "all" or not isinstance(_method(trial.step), FullTraining):
        return
    alike: dict[tuple[str, bool], list[MovementProbe]] = {}
    for probe in trained.values():
        alike.setdefault((probe.info.dtype, len(probe.info.shape) > 1), []).append(probe)
    still: list[str] = []
    for name, probe in trained.items():
        others = alike[probe.info.dtype, len(probe.info.shape) > 1]
        moved, elements = (
            sum(counts) for counts in zip(*((o.moves.moved, o.info.elements) for o in others), strict=True)
        )
        blocks = [index for index, touched in enumerate(probe.touched) if not touched]
        if probe.info.elements // len(probe.touched) * moved < _EXPECTED_TO_MOVE * elements or not blocks:
            continue
        every = len(blocks) == len(probe.touched)
        still.append(name if every else f"{name} (in blocks {_named([str(index) for index in blocks])})")
    if still:
        found = f"{len(still)} of {len(trained)} tensors are as before in every bit: {_named(still)}"
        yield Finding("TRAINING_PARTIAL", trial.step.id, "a movement of all tensors", found)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _judge_rank(trial: TrainingTrial) -> tuple[ReportRank | None, list[Finding]]:
    """Return how the movements stand to the declared rank, and those that exceed it. Spec: pipeline §4.15."""
    from model_verify.lineage.rank import measure_excess

    method = _method(trial.step)
    if not isinstance(method, LoraTraining):
        return None, []
    looked_at = conclusive = 0
    findings: list[Finding] = []
    for name, excerpt in trial.excerpts.items():
        before, after = bytes(excerpt.before), bytes(excerpt.after)
        excess = measure_excess(before, after, excerpt.dtype, excerpt.part.columns, method.rank)
        if excess is None:
            continue
        looked_at += 1
        conclusive += excess.is_conclusive
        if excess.is_exceeded:
            expected = f"a movement of rank {method.rank}, and rounding"
            times = f"{(excess.beyond / excess.rounding) ** 0.5:.2g} times what rounding adds at most"
            control = f"{(excess.control / excess.rounding) ** 0.5:.2g} times with the elements in another order"
            where = f"{trial.step.id}: {name}"
            findings.append(Finding("TRAINING_RANK_EXCEEDED", where, expected, f"{times}; {control}"))
    rank = ReportRank(declared=method.rank, tensors=looked_at, conclusive=conclusive, exceeded=len(findings))
    return rank, findings
