"""Which tensors of two checkpoints differ, and where: from their weights, or from manifests alone.

Roots say which tensors, leaves say which chunks of 1 MiB. Where the weights of both sides are read, each byte is read
once, and elements that differ are counted while both are at hand.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from model_verify import manifest as manifests
from model_verify import merkle
from model_verify.checkpoints import JobBoard, OpenCheckpoint, open_checkpoint
from model_verify.digest import CheckpointRoot, FileDigest, TensorRoot
from model_verify.errors import CallerError, MalformedDocument, SourceMissing
from model_verify.files import SAFETENSORS, has_tensors
from model_verify.merge.difference import Difference
from model_verify.models import LEAVES_PATH, MANIFEST_PATH, Manifest
from model_verify.replay import Computed, ReplayResult, run
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import Source, read_whole
from model_verify.tensors import CHUNK_BYTES, TensorInfo
from model_verify.weight_files import read_weight_file
from model_verify.weight_sets import FolderWeights, WeightSet, read_weight_sets
from model_verify.weights import StoredTensor, WeightFile

INDEX_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Weights:
    """One weight set that can be read. `other_sets` names those of the same folder that are left out."""

    label: str
    source: Source
    files: tuple[str, ...]
    tensors: Mapping[str, StoredTensor]
    weight_files: Mapping[str, WeightFile]
    other_sets: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        return sum(stored.info.size_bytes for stored in self.tensors.values())


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor by its root; `leaves` is None where they are not at hand."""

    info: TensorInfo
    root: TensorRoot
    leaves: Sequence[bytes] | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A set of tensors with its root. `taken_at_its_word`: from a manifest, no weight was read."""

    label: str
    tensors: Mapping[str, Tensor]
    root: CheckpointRoot
    taken_at_its_word: bool


@dataclass(frozen=True, slots=True)
class TensorChange:
    """One tensor that is not the same on both sides.

    `ranges` are the byte ranges [first, last] of chunks that differ, adjacent ones joined; None where leaves are not
    at hand. `difference` is known where both sides were read.
    """

    name: str
    before: TensorInfo | None
    after: TensorInfo | None
    ranges: tuple[tuple[int, int], ...] | None = None
    difference: Difference | None = None


def open_weights(text: str) -> Weights:
    """Return the weights at a path: a folder's primary set, the set of an index, or one safetensors or GGUF file.

    Raises `CallerError`, `SourceError`, and `MalformedInput` for what no loader would take.
    """
    if not text:
        raise CallerError("an empty path", hint="a variable in the command line may have been empty")
    path = Path(text)
    if path.is_dir():
        source = LocalFolder(path)
        found = read_weight_sets(source)
        return _of_set(text, source, found.require(), found)
    if not path.exists():
        raise SourceMissing(f"{text} does not exist")
    if has_tensors(path.name):
        target = path.resolve()  # named by the caller, so a link may lead anywhere
        source = LocalFolder(target.parent)
        with source.open(target.name) as file:
            weight_file = read_weight_file(file)
        tensors = {stored.info.name: stored for stored in weight_file.tensors}
        return Weights(text, source, (target.name,), tensors, {target.name: weight_file}, ())
    if path.name.endswith(INDEX_SUFFIX):
        source = LocalFolder(path.parent)
        found = read_weight_sets(source)
        for problem in found.problems:
            raise problem.error
        for weight_set in found.sets:
            if weight_set.index == path.name:
                return _of_set(text, source, weight_set, found)
    raise CallerError(
        f"{text} is no folder, no safetensors or GGUF file and no index of safetensors files",
        hint="name a model folder, `model.safetensors` or `model.safetensors.index.json`",
    )


def _of_set(label: str, source: Source, weight_set: WeightSet, found: FolderWeights) -> Weights:
    others = tuple(other.prefix for other in found.sets if other is not weight_set)
    tensors = {stored.info.name: stored for stored in weight_set.tensors}
    assert weight_set.format == SAFETENSORS
    return Weights(label, source, weight_set.files, tensors, found.files, others)


def read_weights(
    sides: Sequence[Weights], *, threads: int | None = None, progress: Callable[[int], None] | None = None
) -> tuple[list[Checkpoint], dict[str, Difference]]:
    """Return the checkpoints of one or two sides, and how tensors of one kind differ between two of them.

    Differences need numpy; without it there are none. Raises `SourceError`.
    """
    nodes = [f"side {position}" for position in range(len(sides))]
    with ExitStack() as stack:
        board = JobBoard()
        opened = [
            open_checkpoint(node, side.source, side.tensors, side.weight_files, stack)
            for node, side in zip(nodes, sides, strict=True)
        ]
        for checkpoint in opened:
            board.add_checkpoint(checkpoint)
        if len(opened) == 2 and importlib.util.find_spec("numpy") is not None:
            for computed in _comparisons(*opened):
                board.add_computed(computed)
        result = run(board.jobs(), backend=None, threads=threads, progress=progress)
    checkpoints = [checkpoint_of(side.label, node, result) for node, side in zip(nodes, sides, strict=True)]
    differences = {
        name: found.difference
        for (node, name), found in result.tensors.items()
        if node == _COMPARED and found.difference is not None
    }
    return checkpoints, differences


_COMPARED = "compared"


def _comparisons(one: OpenCheckpoint, other: OpenCheckpoint) -> Iterator[Computed]:
    """Yield copies of the tensors of `one`, to be compared with those of `other` where these are of one kind."""
    for name, stored in one.stored.items():
        if name in other.stored and other.stored[name].info == stored.info:
            yield Computed(_COMPARED, stored.info, (stored.key,), compare_with=other.stored[name].key)


def checkpoint_of(label: str, node: str, result: ReplayResult) -> Checkpoint:
    """Return the checkpoint that a node of the engine is, all of whose tensors were read or computed."""
    tensors: dict[str, Tensor] = {}
    for info, packed in result.roots_of(node):
        leaves = merkle.split_leaves(packed)
        tensors[info.name] = Tensor(info, merkle.tensor_root(leaves), leaves)
    root = merkle.checkpoint_root((tensor.info, tensor.root) for tensor in tensors.values())
    return Checkpoint(label, tensors, root, taken_at_its_word=False)


def read_manifest_side(text: str) -> Checkpoint:
    """Return the primary set of a manifest, or of the manifest in a folder, taken at its word.

    Leaves come from the leaf file beside it, if that is the one that the manifest names. Raises `SourceError`, and
    `MalformedDocument` where the manifest breaks the standard or contradicts itself.
    """
    if not text:
        raise CallerError("an empty path", hint="a variable in the command line may have been empty")
    path = Path(text)
    if path.is_dir():
        path = path / MANIFEST_PATH
        if not path.exists():
            raise SourceMissing(f"{text} has no {MANIFEST_PATH}", hint="`--from weights` reads the weights instead")
    if not path.exists():
        raise SourceMissing(f"{text} does not exist")
    target = path.resolve()
    source = LocalFolder(target.parent)
    data = read_whole(source, target.name, max_bytes=manifests.MAX_MANIFEST_BYTES)
    try:
        manifest = manifests.read_manifest(data)
    except MalformedDocument as error:
        raise MalformedDocument(error.code, error.reason, where=str(path), rule=error.rule) from error
    for written in manifests.set_roots(manifest):
        if written.written != written.computed:
            message = f"the checkpoint root of {written.prefix} is not that of its tensors"
            raise MalformedDocument("CHECKPOINT_ROOT_MISMATCH", message, where=str(path))
    main = manifests.primary(manifest)
    assert main.checkpoint_root is not None
    leaves = _leaves(manifest, source)
    tensors = {
        tensor.name: Tensor(manifests.info(tensor), tensor.root, leaves.get(tensor.name))
        for tensor in main.tensors or ()
    }
    return Checkpoint(text, tensors, main.checkpoint_root, taken_at_its_word=True)


def _leaves(manifest: Manifest, source: Source) -> dict[str, list[bytes]]:
    """Return the leaves of the primary set by tensor, where the leaf file is the one that the manifest names.

    Raises `MalformedDocument` where they do not give the manifest's roots.
    """
    size = merkle.LEAF_BYTES * manifest.leaves.count
    name = LEAVES_PATH.rsplit("/", 1)[-1]
    try:
        with source.open(name) as file:
            if file.size_bytes != size:
                return {}
            data = memoryview(file.read(0, size))
    except SourceMissing:
        return {}
    if FileDigest(hashlib.sha256(data).digest()) != manifest.leaves.file_digest:
        return {}
    found: dict[str, list[bytes]] = {}
    position = 0
    main = manifests.primary(manifest).prefix
    for prefix, info, root in manifests.leaf_tensors(manifest):
        end = position + merkle.LEAF_BYTES * info.chunk_count
        if prefix == main:
            found[info.name] = merkle.split_leaves(data[position:end])
            if merkle.tensor_root(found[info.name]) != root:
                raise MalformedDocument("LEAVES_MISMATCH", "its leaves give another root", where=info.name)
        position = end
    return found


def compare(
    one: Checkpoint, other: Checkpoint, differences: Mapping[str, Difference] | None = None
) -> list[TensorChange]:
    """Return the tensors that differ, ordered by the UTF-8 bytes of their names."""
    changes: list[TensorChange] = []
    for name in sorted(one.tensors.keys() | other.tensors.keys(), key=lambda name: name.encode("utf-8")):
        before, after = one.tensors.get(name), other.tensors.get(name)
        if before is None or after is None or before.info != after.info:
            changes.append(TensorChange(name, before.info if before else None, after.info if after else None))
        elif before.root != after.root:
            ranges = _ranges(before, after)
            difference = (differences or {}).get(name)
            changes.append(TensorChange(name, before.info, after.info, ranges, difference))
    return changes


def _ranges(before: Tensor, after: Tensor) -> tuple[tuple[int, int], ...] | None:
    if before.leaves is None or after.leaves is None:
        return None
    ranges: list[tuple[int, int]] = []
    for position, (leaf, other) in enumerate(zip(before.leaves, after.leaves, strict=True)):
        if leaf == other:
            continue
        first = position * CHUNK_BYTES
        last = min(first + CHUNK_BYTES, before.info.size_bytes) - 1
        if ranges and ranges[-1][1] + 1 == first:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    return tuple(ranges)
