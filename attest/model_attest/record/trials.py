"""Try what a recipe means in several profiles on an output that is there: which of them gives it, to what degree.

Everything happens in one pass over parents and output. Of large models a sample is tried first, so that the pass over
everything computes one profile alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from model_attest.parents import Parents
from model_attest.resolution import ResolvedMerge
from model_verify.binding import BoundStep
from model_verify.checkpoints import JobBoard, OpenCheckpoint, open_checkpoint
from model_verify.merge.backend import Backend
from model_verify.merge.kernel import Standing
from model_verify.models import FloatDtype
from model_verify.replay import ReplayResult, run
from model_verify.sources.local import LocalFolder
from model_verify.tensors import TensorInfo, described
from model_verify.weight_sets import FolderWeights

OUTPUT = "output"
SAMPLE_BYTES = 64 << 20
"""Of the output's tensors that are tried first, where there are several profiles."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many tensors stand how to what a profile gives; `problem` says what is first not as it gives it."""

    exact: int
    within: int
    examined: int
    different: int
    problem: str | None
    opinion: str = ""
    """A kernel's words on a tensor that it did not give to the bit."""
    warning: str = ""
    """What in a tensor is possible, and hardly comes about by chance."""

    @property
    def standing(self) -> Standing:
        if self.problem is not None:
            return Standing.DIFFERENT
        if self.examined:
            return Standing.EXAMINED
        return Standing.WITHIN if self.within else Standing.EXACT


@dataclass(frozen=True, slots=True)
class Trial:
    """A profile, what the recipe means in it for parents as they were loaded, and how that stands to the output."""

    profile: str
    parents: Parents
    loaded_as: FloatDtype | None
    """The dtype of models that adapters were merged into; None: as they are stored."""
    merge: ResolvedMerge
    outcome: Outcome

    @property
    def node(self) -> str:
        return f"trial {self.profile} {self.loaded_as}"

    @property
    def standing(self) -> Standing:
        return self.outcome.standing


UNTRIED = Outcome(0, 0, 0, 0, None)


@dataclass(frozen=True, slots=True)
class Bench:
    """An output, its weights not yet read, and who computes."""

    source: LocalFolder
    weights: FolderWeights
    backend: Backend
    threads: int | None
    progress: Callable[[int], None] | None

    @property
    def infos(self) -> dict[str, TensorInfo]:
        return {stored.info.name: stored.info for stored in self.weights.require().tensors}

    def try_all(self, trials: Sequence[Trial]) -> tuple[list[Trial], ReplayResult]:
        """Return the trials with their outcomes, the best one first, and what the last pass over everything found.

        That pass was the best trial's. All weights were hashed in it. Others may have been tried on a sample alone.
        """
        sample = self._sample(trials) if len(trials) > 1 else None
        if sample is None:
            tried, result = self._pass(trials, None)
            return sorted(tried, key=lambda trial: trial.standing), result
        sampled, _ = self._pass(trials, sample)
        sampled.sort(key=lambda trial: trial.standing)
        done, result = self._pass(sampled[:1], None)
        promising = [trial for trial in sampled[1:] if trial.standing is not Standing.DIFFERENT]
        while done[0].standing is Standing.DIFFERENT and promising:
            tried, result = self._pass([promising.pop(0)], None)
            done = [*tried, *done]
        known = {trial.node for trial in done}
        return [*done, *(trial for trial in sampled if trial.node not in known)], result

    def _sample(self, trials: Sequence[Trial]) -> set[str] | None:
        """Return the names of output tensors to try first, or None where everything is as soon done."""
        infos = self.infos
        if sum(info.size_bytes for info in infos.values()) <= 4 * SAMPLE_BYTES:
            return None
        groups: dict[int, list[TensorInfo]] = {}
        for name, operation in trials[0].merge.bound.operations.items():
            groups.setdefault(id(operation.call), []).append(infos[name])
        chosen: set[str] = set()
        for group in groups.values():
            room = SAMPLE_BYTES // len(groups)
            for info in sorted(group, key=lambda info: info.size_bytes):
                if room < info.size_bytes and chosen & {other.name for other in group}:
                    break
                chosen.add(info.name)
                room -= info.size_bytes
        return chosen

    def _pass(self, trials: Sequence[Trial], names: set[str] | None) -> tuple[list[Trial], ReplayResult]:
        """Try all output tensors, or those that are named, reading no more than they need."""
        board = JobBoard()
        with ExitStack() as stack:
            tensors = {stored.info.name: stored for stored in self.weights.require().tensors}
            output = open_checkpoint(OUTPUT, self.source, tensors, self.weights.files, stack)
            opened = trials[0].parents.open(stack)
            only: dict[str, list[set[str]]] = {}
            if names is not None:
                output = _restricted(output, names)
                only = {trial.node: _operands(trial, names) for trial in trials}
                needed = [trial.parents.needed(only[trial.node]) for trial in trials]
                opened = [
                    _restricted(checkpoint, set().union(*of_folder))
                    for checkpoint, of_folder in zip(opened, zip(*needed, strict=True), strict=True)
                ]
            for checkpoint in (*opened, output):
                board.add_checkpoint(checkpoint)
            for trial in trials:
                nodes = trial.parents.put(board, opened, trial.node, only.get(trial.node))
                bound = trial.merge.bound
                if names is not None:
                    bound = BoundStep({name: bound.operations[name] for name in names}, ())
                board.add_step(trial.node, bound, nodes, compare_with=output)
            progress = self.progress if names is None else None
            result = run(board.jobs(), backend=self.backend, threads=self.threads, progress=progress)
        return [replace(trial, outcome=_outcome(trial, output, result)) for trial in trials], result


def _operands(trial: Trial, names: set[str]) -> list[set[str]]:
    """Return the tensors of each parent that some outputs need."""
    needed: list[set[str]] = [set() for _ in trial.parents.parents]
    for name in names:
        for operand in trial.merge.bound.operations[name].operands:
            needed[operand.position].add(operand.info.name)
    return needed


def _restricted(checkpoint: OpenCheckpoint, names: set[str]) -> OpenCheckpoint:
    return replace(checkpoint, stored={name: stored for name, stored in checkpoint.stored.items() if name in names})


def _outcome(trial: Trial, output: OpenCheckpoint, result: ReplayResult) -> Outcome:
    counts = dict.fromkeys(Standing, 0)
    problem: str | None = None
    opinion = warning = ""
    bound: Mapping[str, TensorInfo] = trial.merge.bound.outputs
    for name, stored in output.stored.items():
        tensor = result.tensors[trial.node, name]
        found: str | None = None
        if bound[name] != stored.info:
            found = f"is {described(stored.info)}, and comes out as {described(bound[name])}"
        elif tensor.refused:
            found = tensor.refused
        elif not tensor.finite:
            found = "comes out with values that are not finite"
        elif tensor.standing is Standing.DIFFERENT:
            found = str(tensor.difference) if tensor.difference is not None else tensor.opinion
        counts[Standing.DIFFERENT if found else tensor.standing] += 1
        if found and problem is None:
            problem = f"{name}: {found}"
        elif not found and tensor.opinion:
            opinion = opinion or f"{name}: {tensor.opinion}"
        if not found and tensor.warning:
            warning = warning or f"{name}: {tensor.warning}"
    return Outcome(
        counts[Standing.EXACT],
        counts[Standing.WITHIN],
        counts[Standing.EXAMINED],
        counts[Standing.DIFFERENT],
        problem,
        opinion,
        warning,
    )
