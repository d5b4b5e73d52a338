"""Hold the output of a training against blends of its input and of other models. Spec: pipeline §4.2, §4.13, §4.16.

Before the weights are read, samples say which blends are worth a look; while they are read, probes look at all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations

from model_verify.checkpoints import JobBoard, OpenCheckpoint
from model_verify.lineage.blend import estimate_blend, estimate_within
from model_verify.lineage.cell import CellCount
from model_verify.lineage.formulas import Formula, only_first
from model_verify.lineage.origin import Origin, is_finer, turned_around
from model_verify.lineage.probes import CellProbe, EqualityProbe
from model_verify.lineage.samples import (
    Reader,
    Sample,
    Stretches,
    choose_stretches,
    compute_sample,
    read_stored,
)
from model_verify.merge.backend import Backend
from model_verify.merge.formats import FLOAT_BYTES
from model_verify.merge.methods import load
from model_verify.replay import Key
from model_verify.tensors import TensorInfo

_MOST_PARENTS_TOGETHER = 4


@dataclass(frozen=True, slots=True)
class Parent:
    """A checkpoint that could have gone into a blend, and how to read elements of its tensors.

    `declared` says whether the statement says that it was there first.
    """

    node: str
    infos: Mapping[str, TensorInfo]
    read: Reader
    declared: bool


def stored_parent(checkpoint: OpenCheckpoint, *, declared: bool) -> Parent:
    """Return a parent that is read from files."""

    def read(name: str, stretches: Stretches) -> tuple[str, bytes]:
        return read_stored(checkpoint.stored[name], stretches)

    return Parent(checkpoint.node, checkpoint.infos, read, declared)


def computed_parent(board: JobBoard, node: str, infos: Mapping[str, TensorInfo], backend: Backend) -> Parent:
    """Return a parent whose tensors operations give that are on `board` already."""
    jobs = {c.info.name: job for job in board.jobs() for c in job.computed if c.node == node}

    def read(name: str, stretches: Stretches) -> tuple[str, bytes]:
        return compute_sample(jobs[name], (node, name), stretches, backend)

    return Parent(node, infos, read, declared=True)


@dataclass(frozen=True, slots=True)
class Cell:
    """How many elements lie in the rounding cell of a blend; `coefficients` is None where tensors have their own."""

    coefficients: tuple[str, ...] | None
    count: CellCount


@dataclass(slots=True)
class BlendTrial:
    """Parents that were tried together, and the probes that look at what the samples proposed for each tensor."""

    parents: list[str]
    estimated: tuple[float, ...]
    proposed: dict[str, list[tuple[Formula, EqualityProbe]]] = field(default_factory=dict)
    cells: dict[str, tuple[tuple[str, ...], CellProbe]] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    """By parent, of those that nobody declared."""

    @property
    def estimated_texts(self) -> tuple[str, ...]:
        return tuple(f"{value:.6f}" for value in self.estimated)

    def equals(self) -> dict[str, Formula] | None:
        """Return a formula for every tensor that gives all of it to the bit; None if one tensor has none."""
        found: dict[str, Formula] = {}
        for name, proposals in self.proposed.items():
            formula = next((formula for formula, probe in proposals if probe.holds), None)
            if formula is None:
                return None
            found[name] = formula
        return found or None

    def likeliest(self) -> dict[str, Formula]:
        """Return for every tensor the formula that gave its sample, whatever came of it; none without a proposal."""
        return {name: proposals[0][0] for name, proposals in self.proposed.items()}

    def cell(self) -> Cell | None:
        """Return how many elements lie in the rounding cell, where that was looked at."""
        if not self.cells:
            return None
        total = CellCount()
        for _, probe in self.cells.values():
            total += probe.count
        chosen = {texts for texts, _ in self.cells.values()}
        return Cell(chosen.pop() if len(chosen) == 1 else None, total)

    def made_from_output(self, *, equal: bool) -> tuple[str, CellCount] | None:
        """Return a parent that may have been made from the output, and how many of its elements say so.

        Where the blend is `equal` to the output, a parent in the output's dtype was not: it would have been rounded,
        and that would show in some elements.
        """
        for parent, origin in self.origins.items():
            count = origin.made_from_output()
            if count is not None and (origin.finer or not equal):
                return parent, count
        return None


@dataclass(slots=True)
class Trials:
    """All blends that one training is held against.

    `not_tried` says of which parents none could be looked for; `unavailable`, why none by mergekit's arithmetic.
    """

    tried: list[BlendTrial] = field(default_factory=list)
    not_tried: dict[tuple[str, ...], str] = field(default_factory=dict)
    unavailable: str | None = None


def plan_trials(
    before: tuple[str, Parent],
    others: Mapping[str, Parent],
    after: OpenCheckpoint,
    names: Sequence[str],
    board: JobBoard,
    backend: Backend,
) -> Trials:
    """Put on `board` what shows whether the tensors `names` of `after` are a blend of what went in and of `others`.

    `before` is the input's identifier and what it is; it has these tensors in the dtypes and shapes of `after`.
    """
    known = {before[0]: before[1], **others}
    plan = _Plan(before[1], known, after, names, board, backend)
    for group in _groups(list(known)):
        plan.try_blend(group)
    for name in others:
        plan.try_copy(name)
    return plan.trials


class _Plan:
    def __init__(
        self,
        before: Parent,
        known: Mapping[str, Parent],
        after: OpenCheckpoint,
        names: Sequence[str],
        board: JobBoard,
        backend: Backend,
    ) -> None:
        self.trials = Trials()
        self._before = before
        self._known = known
        self._after = after
        self._names = names
        self._board = board
        self._backend = backend
        self._stretches: dict[str, Stretches] = {}
        self._read = lru_cache(maxsize=_MOST_PARENTS_TOGETHER + 1)(self._read_all)

    def try_blend(self, group: tuple[str, ...]) -> None:
        """Propose the blends of some parents that their samples point to."""
        obstacle = next((name for name in self._names if not self._can_blend(name, group)), None)
        if not self._names or obstacle is not None:
            why = f"not in a form to be blended: {obstacle}" if self._names else "nothing to blend"
            self.trials.not_tried[group] = why
            return
        estimate = estimate_blend(self._samples(group), self._backend)
        if estimate is None:
            self.trials.not_tried[group] = "no coefficients can be estimated"
            return
        self.trials.unavailable = self.trials.unavailable or estimate.unavailable
        trial = self._trial(group, estimate.fitted)
        for name, likeliest in (estimate.exact or {}).items():
            # A sample in which nothing moved speaks for no formula: the whole tensor decides among all of them.
            for formula in dict.fromkeys((likeliest, *estimate.alternatives)):
                self._propose(trial, name, formula)
        for name, texts in (estimate.within or {}).items():
            output, *parents = self._keys(name, group)
            keys = (output, (self._before.node, name), *parents)
            probe = CellProbe(keys, tuple(float(text) for text in texts))
            self._board.add_probe(probe)
            trial.cells[name] = (texts, probe)
        self._look_back(trial)
        self.trials.tried.append(trial)

    def try_copy(self, parent: str) -> None:
        """Propose that the output is one other model, where its samples are and no blend says so already.

        A blend in which all others have the coefficient 0 says so, but for zeros with a sign.
        """
        if not self._names or not all(self._can_blend(name, (parent,)) for name in self._names):
            return
        if any(trial.proposed and parent in trial.parents for trial in self.trials.tried):
            return
        if all(sample.parents[0] == (sample.dtype, sample.child) for sample in self._samples((parent,))):
            trial = self._trial((parent,), (1.0,))
            for name in self._names:
                self._propose(trial, name, only_first(1))
            self._look_back(trial)
            self.trials.tried.append(trial)

    def _trial(self, group: tuple[str, ...], fitted: tuple[float, ...]) -> BlendTrial:
        """Return an empty trial of some parents, each of which can be blended."""
        origins = {parent: Origin(self._is_finer(parent)) for parent in group if not self._known[parent].declared}
        return BlendTrial(list(group), fitted, origins=origins)

    def _is_finer(self, parent: str) -> bool:
        infos = self._known[parent].infos
        return any(is_finer(infos[name].dtype, self._after.stored[name].info.dtype) for name in self._names)

    def _propose(self, trial: BlendTrial, name: str, formula: Formula) -> None:
        kernel = load(formula.call(self._after.stored[name].info.dtype))
        probe = EqualityProbe(self._keys(name, trial.parents), kernel, self._backend)
        self._board.add_probe(probe)
        trial.proposed.setdefault(name, []).append((formula, probe))

    def _look_back(self, trial: BlendTrial) -> None:
        """Put on the board what shows whether a parent that nobody declared was made from the output."""
        for position, parent in enumerate(trial.parents):
            origin = trial.origins.get(parent)
            if origin is None or not (trial.cells or origin.finer):
                continue
            samples = turned_around(self._samples(tuple(trial.parents)), position)
            for name, texts in (estimate_within(samples) or {}).items():
                output, *parents = self._keys(name, trial.parents)
                itself = parents.pop(position)
                keys = (itself, (self._before.node, name), output, *parents)
                origin.probes.append(CellProbe(keys, tuple(float(text) for text in texts)))
                self._board.add_probe(origin.probes[-1])

    def _keys(self, name: str, parents: Sequence[str]) -> tuple[Key, ...]:
        """Return where a tensor of the output is, and of these parents."""
        return ((self._after.node, name), *((self._known[parent].node, name) for parent in parents))

    def _can_blend(self, name: str, group: Sequence[str]) -> bool:
        shape = self._after.stored[name].info.shape
        infos = [self._known[parent].infos.get(name) for parent in group]
        return all(info is not None and info.dtype in FLOAT_BYTES and info.shape == shape for info in infos)

    def _samples(self, group: Sequence[str]) -> list[Sample]:
        if not self._stretches:
            self._stretches = choose_stretches(self._before.read, self._after.stored, self._names)
            self._start = self._read_of(self._before)
            self._child = self._read_of(stored_parent(self._after, declared=True))
        parents = [self._read(parent) for parent in group]
        return [
            Sample(name, self._start[name][1], tuple(read[name] for read in parents), *self._child[name])
            for name in self._stretches
        ]

    def _read_all(self, parent: str) -> dict[str, tuple[str, bytes]]:
        return self._read_of(self._known[parent])

    def _read_of(self, parent: Parent) -> dict[str, tuple[str, bytes]]:
        return {name: parent.read(name, stretches) for name, stretches in self._stretches.items()}


def _groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return which parents are tried together: the input with each of the others, then more of them at once."""
    pairs = [(names[0], other) for other in names[1:]]
    if len(names) > _MOST_PARENTS_TOGETHER:
        return list(pairs)
    whole = [tuple(names)] if len(names) > 2 else []
    return [*pairs, *combinations(names[1:], 2), *whole]
