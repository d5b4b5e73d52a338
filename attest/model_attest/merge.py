"""Run a recipe: one pass over the parents, each byte read once, hashed, and blended while it is at hand.

    parents     their headers give the step and the layout of the output
    engine      `model_verify.replay` hashes the parents and computes the output, chunk by chunk, on all processors
    stage       output, other files and step record grow in a folder beside OUT
    placement   the finished folder is renamed to OUT

Memory does not grow with the models. Spec: merge, pipeline §3.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_attest.hashing import Progress
from model_attest.parents import ParentFolders, Parents, read_parents
from model_attest.placement import output_errors, stage_folder, sync_folder, sync_tree
from model_attest.recipes.recipe import Recipe
from model_attest.record import write_record
from model_attest.resolution import ResolvedMerge, check_vocabularies, resolve
from model_attest.resolution.models import CONFIGURATION, with_layers
from model_attest.shards import ShardWriter, open_shards, plan_shards
from model_verify import files
from model_verify.digest import CheckpointRoot
from model_verify.errors import (
    CallerError,
    MalformedInput,
    OutputError,
    RecipeInvalid,
    SourceUnreadable,
)
from model_verify.merge.kernel import Standing
from model_verify.merge.methods.table import METHODS
from model_verify.models import ATTESTATION_FOLDER, Material, MergekitStep, MergeStep
from model_verify.sources.source import Entry, EntryKind

if TYPE_CHECKING:
    from model_verify.merge.backend import Backend
    from model_verify.replay import ReplayResult

DEFAULT_SHARD_BYTES = 5_000_000_000
_COPY_BYTES = 4 << 20
_ADAPTED = "adapted"
_WEIGHT_INDEX = re.compile(r".*\.(safetensors|bin|h5|msgpack)\.index(\.[^./]+)?\.json", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What was merged, and where it lies."""

    out: Path
    method: str
    checkpoint_root: CheckpointRoot
    step: MergeStep | MergekitStep
    materials: tuple[Material, ...]
    blended_tensors: int
    copied_tensors: int
    weight_files: tuple[str, ...]
    copied_files: tuple[str, ...]
    size_bytes: int
    """Of the weight files."""
    bytes_read: int
    no_effect: tuple[str, ...]
    """Parents whose removal would change no bit: a verifier reports PARENT_NO_EFFECT and stays below level 2."""
    record_path: Path
    backend: str


def run_merge(
    recipe: Recipe,
    out: Path,
    *,
    device: str = "auto",
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    threads: int | None = None,
    progress: Progress | None = None,
) -> MergeResult:
    """Merge as `recipe` says and write the model to `out`, which must not exist or be an empty folder.

    Writes the weights in files of up to `max_shard_bytes` of data, the other files of the parent that the recipe's
    `copy_from` names, and the step record that `attest sign` picks up. `progress` is told the bytes read so far.
    Whatever goes wrong, and with KeyboardInterrupt, nothing is left behind.

    Raises `RecipeInvalid` where recipe and parents do not fit together; `MalformedInput` and `SourceError` for parents
    that cannot be read; `OperationRefused` for weights that are not finite; `BackendUnavailable`; `OutputError`.
    """
    target = _free_target(out, recipe)
    _check_computable(recipe)
    folders = read_parents(recipe)
    parents = folders.loaded_as(None)
    check_vocabularies(recipe, parents.models, [folder.source for folder in folders.models])
    assert recipe.profile is not None
    merge = resolve(recipe, recipe.profile, parents.models)
    others = _other_files(folders)
    plan = plan_shards(merge.bound.outputs.values(), max_shard_bytes=max_shard_bytes)
    backend = _select_backend(device)
    with output_errors(target), stage_folder(target.parent, f".{target.name}.stage-") as stage:
        with open_shards(stage, plan) as writer:
            result = _compute(merge, parents, writer, backend, threads, progress)
        _copy_files(folders, others, stage)
        _count_layers(recipe, stage)
        step = merge.finished(result.checkpoint_root(merge.step.id))
        written = [write_record(stage, record) for record in parents.records(result, _ADAPTED, step)]
        record_path = written[-1].relative_to(stage)
        sync_tree(stage)
        stage.rename(target)
        sync_folder(target.parent)
    copied = sum(operation.call is None for operation in merge.bound.operations.values())
    return MergeResult(
        out=out,
        method=recipe.method,
        checkpoint_root=step.output.checkpoint_root,
        step=step,
        materials=tuple(parents.materials(result)),
        blended_tensors=len(merge.bound.operations) - copied,
        copied_tensors=copied,
        weight_files=tuple(shard.name for shard in plan.shards),
        copied_files=tuple(others),
        size_bytes=plan.size_bytes,
        bytes_read=result.bytes_read,
        no_effect=tuple(parents.without_effect(result, _ADAPTED, merge.step.id)),
        record_path=out / record_path,
        backend=backend.name,
    )


def _check_computable(recipe: Recipe) -> None:
    """Raise `RecipeInvalid` where nobody could compute the result again, or the recipe asks for more than weights."""
    method = METHODS.get(recipe.method)
    if method is None:
        raise RecipeInvalid(f"{recipe.path}: {recipe.method} is not computed by this version")
    if method.best is Standing.EXAMINED:
        raise RecipeInvalid(
            f"{recipe.path}: {recipe.method} draws random numbers, so that nobody could check the result",
            hint="run mergekit, and `attest record mergekit` says what can be seen of it",
        )
    if recipe.chat_template:
        hint = "the tokenizer's files are copied from the model that `attest: copy_from` names"
        raise RecipeInvalid(f"{recipe.path}: `chat_template` is not supported", hint=hint)


def _free_target(out: Path, recipe: Recipe) -> Path:
    """Return the resolved `out`, if a folder can be put there."""
    target = out.resolve()
    with output_errors(out):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise OutputError(f"{out} is already there", hint="name a new or an empty folder")
    for parent in recipe.parents:
        if target.is_relative_to(parent.folder):
            raise CallerError(f"{out} lies in the folder of the parent {parent.id}", hint="name another folder")
    return target


def _select_backend(device: str) -> Backend:
    from model_verify.merge.selection import select_backend

    return select_backend(device)


def _compute(
    merge: ResolvedMerge,
    parents: Parents,
    writer: ShardWriter,
    backend: Backend,
    threads: int | None,
    progress: Progress | None,
) -> ReplayResult:
    """Run the engine over the open parents; on return, none of them has changed meanwhile."""
    from model_verify.checkpoints import JobBoard
    from model_verify.replay import run

    board = JobBoard()
    with contextlib.ExitStack() as stack:
        opened = parents.open(stack)
        for checkpoint in opened:
            board.add_checkpoint(checkpoint)
        nodes = parents.put(board, opened, _ADAPTED)
        board.add_step(merge.step.id, merge.bound, nodes, sink=writer.write)
        return run(board.jobs(), backend=backend, threads=threads, progress=progress)


def _other_files(folders: ParentFolders) -> list[str]:
    """Return the paths that go from the parent in `copy_from` to the output: all but weights and attestations."""
    recipe = folders.recipe
    source = folders.copied_source
    if source is None:
        for folder in folders.models:
            if found := [entry for entry in folder.source.entries() if _is_other_file(entry)]:
                raise RecipeInvalid(
                    f"{recipe.path}: {folder.id} has files beside its weights, such as {found[0].path!r}",
                    hint=f"say whose go with the result: `attest: {{copy_from: {recipe.parents[0].id}}}`",
                )
        return []
    paths: list[str] = []
    for entry in source.entries():
        if not _is_other_file(entry):
            continue
        if problem := files.path_problem(entry.path):
            raise MalformedInput(f"the path {problem}", where=f"{recipe.copy_from}: {entry.path!r}", rule="manifest §2")
        if entry.kind is EntryKind.IRREGULAR:
            raise SourceUnreadable(f"{recipe.copy_from}: {entry.path!r}: {entry.detail}, which cannot be copied")
        paths.append(entry.path)
    return paths


def _is_other_file(entry: Entry) -> bool:
    return not (
        files.is_exempt(entry.path)
        or entry.path.split("/")[0].casefold() == ATTESTATION_FOLDER
        or files.file_class(entry.path) == "weights"
        or _WEIGHT_INDEX.fullmatch(entry.path.casefold())
    )


def _copy_files(folders: ParentFolders, paths: Sequence[str], stage: Path) -> None:
    source = folders.copied_source
    if source is None:
        return
    for path in paths:
        place = stage / path
        with source.open(path) as file, output_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as copy:
                for offset in range(0, file.size_bytes, _COPY_BYTES):
                    copy.write(file.read(offset, min(_COPY_BYTES, file.size_bytes - offset)))


def _count_layers(recipe: Recipe, stage: Path) -> None:
    """Let a config.json that was copied count and describe the layers that are there now, where they were stacked."""
    layers = [number for part in recipe.slices for number in part.contributions[0].layers or ()]
    place = stage / CONFIGURATION
    if layers and place.is_file():
        with output_errors(place):
            place.write_bytes(with_layers(place.read_bytes(), layers))
