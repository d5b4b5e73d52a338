"""Steps that were made with other tools: replayed against their output, and recorded where they give that.

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
from model_attest.record.steps import joined_records, main_records, read_records, record_of, replace_records
from model_verify.binding import BoundStep, bind_step
from model_verify.digest import CheckpointRoot
from model_verify.errors import AmbiguousWeights, CallerError, MalformedWeights, NotReproduced
from model_verify.merge.kernel import Standing
from model_verify.models import KnownStep, Material, MaterialDigest, ReplayedStep, StepOutput, StepRecord
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
    """A folder with weights: its identifier in the statement, and one of its weight sets.

    `records` are the steps that gave an input, by the records in its folder; none where it is a material.
    """

    id: str
    source: LocalFolder
    weights: FolderWeights
    weight_set: WeightSet
    records: tuple[StepRecord, ...] = ()

    @property
    def infos(self) -> dict[str, TensorInfo]:
        return {stored.info.name: stored.info for stored in self.weight_set.tensors}

    @property
    def stored(self) -> dict[str, StoredTensor]:
        return {stored.info.name: stored for stored in self.weight_set.tensors}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was recorded, and where; the last record is that of the output, before it are those that lead to it.

    `within` are tensors that are only in the bound of the step's profile.
    """

    records: tuple[StepRecord, ...]
    path: Path
    within: tuple[str, ...]
    no_effect: tuple[str, ...]
    """Inputs whose removal would change no bit."""
    not_computed: tuple[str, ...] = ()
    """Tensors of types that nobody can compute: with them, a verifier leaves the step unchecked."""


def read_folders(*folders: LocalFolder) -> list[ModelFolder]:
    """Return inputs and, last, the output with their primary weight sets. Raises `MalformedInput`.

    Their identifiers are made of the names of the folders; an input with step records has that of its last step.
    """
    records = [tuple(main_records(read_records(folder.root))) for folder in folders[:-1]] + [()]
    names = identifiers([folder.root.resolve().name for folder in folders])
    return [_read_folder(*each) for each in zip(names, folders, records, strict=True)]


def _read_folder(name: str, source: LocalFolder, records: tuple[StepRecord, ...]) -> ModelFolder:
    try:
        weights = read_weight_sets(source)
        return ModelFolder(records[-1].step.id if records else name, source, weights, weights.require(), records)
    except (AmbiguousWeights, MalformedWeights) as error:
        where = f"{source.label}: {error.where}".removesuffix(": ")
        raise type(error)(error.reason, where=where, rule=error.rule) from error


def standing(
    step: ReplayedStep, inputs: Sequence[ModelFolder], out: ModelFolder, names: Iterable[str], *, device: str
) -> Standing:
    """Return how some tensors of `out` stand to what `step` gives: the worst of them. Reads only what these need.

    Raises `NotReproduced` where names, dtypes or shapes are already others.
    """
    ((_, bound),) = _bind([step], inputs, out)
    chosen = BoundStep({name: bound.operations[name] for name in names}, ())
    result = _run([(step, chosen)], inputs, out, device=device, threads=None, progress=None, only=True)
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
    """Replay a step, compare it with `out`, and write its record there, behind those that lead to its inputs.

    Raises `NotReproduced`, naming tensors, where the step does not give what is in `out`.
    """
    return record_chain([step], inputs, out, device=device, threads=threads, progress=progress)


def record_chain(
    steps: Sequence[ReplayedStep],
    inputs: Sequence[ModelFolder],
    out: ModelFolder,
    *,
    device: str,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Do the same for steps of which each works on `inputs` and on the outputs of those before it."""
    bound = _bind(steps, inputs, out)
    result = _run(bound, inputs, out, device=device, threads=threads, progress=progress)
    within = _compare(*bound[-1], result)
    finished: list[KnownStep] = []
    for step in steps:
        root = result.checkpoint_root(_OUT if step is steps[-1] else step.id)
        output = StepOutput(checkpoint_root=root, weight_set=step.output.weight_set)
        finished.append(step.model_copy(update={"output": output}))
    records = _records(finished, inputs, result)
    idle = [f.id for f in inputs if not any((step.id, _node(f)) in result.effective for step in steps)]
    path = replace_records(out.source.root, records)
    return Replayed(records, path, within, tuple(idle), tuple(bound[-1][1].not_computed))


def _records(steps: Sequence[KnownStep], inputs: Sequence[ModelFolder], result: ReplayResult) -> tuple[StepRecord, ...]:
    """Return the records of the inputs, each once, and those of `steps`. Raises `CallerError` where they disagree."""
    for folder in inputs:
        main = main_records(folder.records)
        if main and main[-1].step.output.checkpoint_root != result.checkpoint_root(_node(folder)):
            raise CallerError(
                f"the step records of {folder.source.label} are of other weights than those that are there",
                hint="record what changed them, or remove its folder `.attest`",
            )
    earlier = [record for folder in inputs for record in folder.records]
    first = record_of(steps[0], [_material(folder, result) for folder in inputs if not folder.records])
    return tuple(joined_records([*earlier, first, *(record_of(step, []) for step in steps[1:])]))


def _bind(
    steps: Sequence[ReplayedStep], inputs: Sequence[ModelFolder], out: ModelFolder
) -> list[tuple[ReplayedStep, BoundStep]]:
    """Return steps with their operations.

    Raises `NotReproduced` where operands are wrong, or names, dtypes or shapes are not those of the output.
    """
    known: dict[str, Mapping[str, TensorInfo]] = {folder.id: folder.infos for folder in inputs}
    found: list[tuple[ReplayedStep, BoundStep]] = []
    for step in steps:
        bound = bind_step(step, [known[name] for name in step.inputs])
        for finding in bound.findings:
            raise NotReproduced(f"{finding.where.removeprefix(f'{step.id}: ')}: {finding.actual}")
        known[step.id] = bound.outputs
        found.append((step, bound))
    there, given = out.infos, found[-1][1].outputs
    for name, dtype in found[-1][1].not_computed.items():
        if name in there and there[name].dtype == dtype:
            given[name] = there[name]  # its type is all that can be looked at
    differing = [name for name in sorted(there.keys() | given.keys()) if there.get(name) != given.get(name)]
    if differing:
        name = differing[0]
        raise NotReproduced(
            f"{name}: {out.source.label} has {described(there.get(name))}, the step gives {described(given.get(name))}"
            + _and_more(len(differing) - 1)
        )
    return found


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
    steps: Sequence[tuple[ReplayedStep, BoundStep]],
    inputs: Sequence[ModelFolder],
    out: ModelFolder,
    *,
    device: str,
    threads: int | None,
    progress: Progress | None,
    only: bool = False,
) -> ReplayResult:
    """Run the engine over inputs and output; with `only`, over no more tensors than the one step needs."""
    from model_verify.checkpoints import JobBoard, open_checkpoint
    from model_verify.merge.selection import select_backend
    from model_verify.replay import run

    backend = select_backend(device)
    board = JobBoard()
    needed = [
        {o.info.name for op in steps[0][1].operations.values() for o in op.operands if o.position == at}
        for at in range(len(inputs))
    ]
    with ExitStack() as stack:
        nodes: dict[str, tuple[str, Mapping[str, TensorInfo]]] = {}
        for folder, names in zip(inputs, needed, strict=True):
            opened = open_checkpoint(_node(folder), folder.source, folder.stored, folder.weights.files, stack)
            board.add_checkpoint(_restricted(opened, names) if only else opened)
            infos = {name: opened.infos[name] for name in names} if only else opened.infos
            nodes[folder.id] = (opened.node, infos)
        there = open_checkpoint(_OUT, out.source, out.stored, out.weights.files, stack)
        there = _restricted(there, set(steps[-1][1].operations)) if only else there
        board.add_checkpoint(there)
        for step, bound in steps:
            last = step is steps[-1][0]
            board.add_step(step.id, bound, [nodes[i] for i in step.inputs], compare_with=there if last else None)
            nodes[step.id] = (step.id, bound.outputs)
        return run(board.jobs(), backend=backend, threads=threads, progress=progress)


def _restricted(checkpoint: OpenCheckpoint, names: set[str]) -> OpenCheckpoint:
    stored = {name: tensor for name, tensor in checkpoint.stored.items() if name in names}
    return replace(checkpoint, stored=stored)
