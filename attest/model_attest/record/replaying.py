"""A step that was made with other tools: replayed against its output, and recorded where it gives that.

Every byte of inputs and output is read once: hashed, computed with, compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from model_attest.hashing import Progress
from model_attest.recipes.recipe import identifiers
from model_attest.record.steps import record_of, write_record
from model_verify.binding import BoundStep, bind_step
from model_verify.digest import CheckpointRoot
from model_verify.errors import AmbiguousWeights, MalformedWeights, NotReproduced
from model_verify.merge.kernel import Standing
from model_verify.models import Material, MaterialDigest, ReplayedStep, StepOutput, StepRecord
from model_verify.sources.local import LocalFolder
from model_verify.tensors import TensorInfo, described
from model_verify.weight_sets import FolderWeights, WeightSet, read_weight_sets
from model_verify.weights import StoredTensor

if TYPE_CHECKING:
    from model_verify.checkpoints import OpenCheckpoint
    from model_verify.replay import ReplayResult

UNKNOWN_ROOT = CheckpointRoot(bytes(32))
"""In the output of a step that was not replayed yet."""
_MOST_NAMES = 5
_OUT = "out"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder with weights: its identifier in the statement, and one of its weight sets."""

    id: str
    source: LocalFolder
    weights: FolderWeights
    weight_set: WeightSet

    @property
    def infos(self) -> dict[str, TensorInfo]:
        return {stored.info.name: stored.info for stored in self.weight_set.tensors}

    @property
    def stored(self) -> dict[str, StoredTensor]:
        return {stored.info.name: stored for stored in self.weight_set.tensors}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was recorded, and where. `within` are tensors that are only in the bound of the step's profile."""

    record: StepRecord
    path: Path
    within: tuple[str, ...]
    no_effect: tuple[str, ...]
    """Inputs whose removal would change no bit."""


def read_folders(*folders: LocalFolder) -> list[ModelFolder]:
    """Return folders with their primary weight sets and identifiers made of their names. Raises `MalformedInput`."""
    names = identifiers([folder.root.resolve().name for folder in folders])
    return [_read_folder(name, folder) for name, folder in zip(names, folders, strict=True)]


def _read_folder(name: str, source: LocalFolder) -> ModelFolder:
    try:
        weights = read_weight_sets(source)
        return ModelFolder(name, source, weights, weights.require())
    except (AmbiguousWeights, MalformedWeights) as error:
        where = f"{source.label}: {error.where}".removesuffix(": ")
        raise type(error)(error.reason, where=where, rule=error.rule) from error


def standing(
    step: ReplayedStep, inputs: Sequence[ModelFolder], out: ModelFolder, names: Iterable[str], *, device: str
) -> Standing:
    """Return how some tensors of `out` stand to what `step` gives: the worst of them. Reads only what these need.

    Raises `NotReproduced` where names, dtypes or shapes are already others.
    """
    bound = bind_step(step, [folder.infos for folder in inputs])
    _check_bound(step, bound, out)
    chosen = BoundStep({name: bound.operations[name] for name in names}, ())
    result = _run(step.id, chosen, inputs, out, device=device, threads=None, progress=None, only=True)
    found = [result.tensors[step.id, name] for name in chosen.operations]
    if any(tensor.refused or not tensor.finite for tensor in found):
        return Standing.DIFFERENT
    return max((tensor.standing for tensor in found), default=Standing.EXACT)


def record(
    step: ReplayedStep,
    inputs: Sequence[ModelFolder],
    out: ModelFolder,
    *,
    device: str,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Replay a step, compare it with `out`, and write its record there.

    Raises `NotReproduced`, naming tensors, where the step does not give what is in `out`.
    """
    bound = bind_step(step, [folder.infos for folder in inputs])
    _check_bound(step, bound, out)
    result = _run(step.id, bound, inputs, out, device=device, threads=threads, progress=progress)
    within = _compare(step, bound, result)
    materials = [_material(folder, result) for folder in inputs]
    output = StepOutput(checkpoint_root=result.checkpoint_root(_OUT), weight_set=step.output.weight_set)
    made = record_of(step.model_copy(update={"output": output}), materials)
    return Replayed(
        record=made,
        path=write_record(out.source.root, made),
        within=within,
        no_effect=tuple(f.id for f in inputs if (step.id, _node(f)) not in result.effective),
    )


def _check_bound(step: ReplayedStep, bound: BoundStep, out: ModelFolder) -> None:
    """Raise `NotReproduced` where operands are wrong, or names, dtypes or shapes are not those of the output."""
    for finding in bound.findings:
        raise NotReproduced(f"{finding.where.removeprefix(f'{step.id}: ')}: {finding.actual}")
    there, given = out.infos, bound.outputs
    differing = [name for name in sorted(there.keys() | given.keys()) if there.get(name) != given.get(name)]
    if differing:
        name = differing[0]
        raise NotReproduced(
            f"{name}: {out.source.label} has {described(there.get(name))}, the step gives {described(given.get(name))}"
            + _and_more(len(differing) - 1)
        )


def _compare(step: ReplayedStep, bound: BoundStep, result: ReplayResult) -> tuple[str, ...]:
    """Return the tensors that are only within their bound. Raises `NotReproduced` for any that is not."""
    differing: list[str] = []
    within: list[str] = []
    for name in bound.operations:
        tensor = result.tensors[step.id, name]
        if tensor.refused:
            raise NotReproduced(f"{name}: {tensor.refused}")
        if not tensor.finite:
            raise NotReproduced(f"{name}: not all values are finite")
        if tensor.standing is Standing.WITHIN:
            within.append(name)
        elif tensor.standing is not Standing.EXACT:
            differing.append(name)
    if differing:
        first = result.tensors[step.id, differing[0]]
        raise NotReproduced(f"{differing[0]}: {first.difference}" + _and_more(len(differing) - 1))
    return tuple(within)


def _and_more(count: int) -> str:
    return f", and {count} more tensor{'s' if count > 1 else ''}" if count else ""


def _node(folder: ModelFolder) -> str:
    return f"input {folder.id}"


def _material(folder: ModelFolder, result: ReplayResult) -> Material:
    source = folder.source
    uri = f"{source.repository}@{source.commit}" if source.repository and source.commit else None
    return Material(
        name=folder.id, digest=MaterialDigest(checkpoint_root=result.checkpoint_root(_node(folder))), uri=uri
    )


def _run(
    node: str,
    bound: BoundStep,
    inputs: Sequence[ModelFolder],
    out: ModelFolder,
    *,
    device: str,
    threads: int | None,
    progress: Progress | None,
    only: bool = False,
) -> ReplayResult:
    """Run the engine over inputs and output; with `only`, over no more tensors than the operations need."""
    from model_verify.checkpoints import JobBoard, open_checkpoint
    from model_verify.merge.selection import select_backend
    from model_verify.replay import run

    backend = select_backend(device)
    board = JobBoard()
    needed = [
        {o.info.name for op in bound.operations.values() for o in op.operands if o.position == at}
        for at in range(len(inputs))
    ]
    with ExitStack() as stack:
        nodes: list[tuple[str, Mapping[str, TensorInfo]]] = []
        for folder, names in zip(inputs, needed, strict=True):
            opened = open_checkpoint(_node(folder), folder.source, folder.stored, folder.weights.files, stack)
            board.add_checkpoint(_restricted(opened, names) if only else opened)
            nodes.append((opened.node, {name: opened.infos[name] for name in names} if only else opened.infos))
        there = open_checkpoint(_OUT, out.source, out.stored, out.weights.files, stack)
        there = _restricted(there, set(bound.operations)) if only else there
        board.add_checkpoint(there)
        board.add_step(node, bound, nodes, compare_with=there)
        return run(board.jobs(), backend=backend, threads=threads, progress=progress)


def _restricted(checkpoint: OpenCheckpoint, names: set[str]) -> OpenCheckpoint:
    stored = {name: tensor for name, tensor in checkpoint.stored.items() if name in names}
    return replace(checkpoint, stored=stored)
