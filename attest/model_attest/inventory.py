"""From a model folder to its manifest, reading every byte once. Spec: manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from model_attest.hashing import HashedFile, Progress, hash_files
from model_verify import files, merkle
from model_verify.digest import CheckpointRoot, FileDigest, TensorRoot
from model_verify.errors import MalformedInput, SourceChanged, SourceUnreadable
from model_verify.models import (
    ATTESTATION_FOLDER,
    BUNDLE_PATH,
    LEAVES_PATH,
    MANIFEST_PATH,
    Manifest,
    ManifestFile,
    ManifestLeaves,
    ManifestTensor,
    ManifestWeightSet,
)
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import Entry, EntryKind, Source, read_whole
from model_verify.weight_sets import FolderWeights, WeightSet, read_weight_sets

_OWN_PATHS = (MANIFEST_PATH, LEAVES_PATH, BUNDLE_PATH)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything in a model folder. `leaves` is the content of the leaf file, `checkpoint_root` the primary set's."""

    manifest: Manifest
    leaves: bytes
    checkpoint_root: CheckpointRoot


def take_inventory(source: Source, *, progress: Progress | None = None) -> Inventory:
    """Return the manifest of a model and the leaves of its weights; `progress` is told the bytes hashed so far.

    Raises `MalformedInput` for a folder that manifest §2 to §5 says cannot be signed (`MalformedWeights` and
    `AmbiguousWeights` among them), `SourceUnreadable` for what is not a regular file, and `SourceChanged` where the
    folder did not hold still.

    Spec: manifest §2 to §6.
    """
    before = _identities(source)
    paths = covered_paths(source)
    weights = read_weight_sets(source)
    weights.require()
    hashed = hash_files(source, paths, weights.files, progress=progress)
    _check_held_still(before, _identities(source))
    weight_sets = [_manifest_set(weight_set, hashed) for weight_set in weights.sets]
    leaves = _leaf_file(weights, hashed)
    manifest = Manifest(
        document_schema="https://model-attest.github.io/manifest/v1",
        files=[_manifest_file(path, hashed[path], weights) for path in paths],
        leaves=ManifestLeaves(
            count=len(leaves) // merkle.LEAF_BYTES, file_digest=FileDigest(hashlib.sha256(leaves).digest())
        ),
        weight_sets=weight_sets,
    )
    root = next(weight_set.checkpoint_root for weight_set in weight_sets if weight_set.primary)
    assert root is not None
    return Inventory(manifest, leaves, root)


def total_bytes(source: Source) -> int:
    """Return about how many bytes an inventory of `source` will read, for whoever shows progress."""
    return sum(entry.size_bytes for entry in source.entries() if not files.is_exempt(entry.path))


def covered_paths(source: Source) -> list[str]:
    """Return the paths that a manifest of this folder lists, in its order. Spec: manifest §2 to §4.

    Raises `MalformedInput` or `SourceUnreadable` where one of them cannot be signed.
    """
    entries = source.entries()
    for entry in entries:
        _check_entry(entry)
    for one, other in files.colliding_paths(dict.fromkeys((*_OWN_PATHS, *(entry.path for entry in entries)))):
        raise MalformedInput(
            f"and {_quoted(other)} are one name where case or Unicode form does not count",
            where=_quoted(one),
            rule="manifest §2",
            hint="rename one of them",
        )
    paths = [entry.path for entry in entries if not files.is_exempt(entry.path)]
    return [path for path in paths if path != files.GITATTRIBUTES_PATH or not _is_lfs_only(source)]


def _check_entry(entry: Entry) -> None:
    """Raise if an entry cannot be in a signed folder."""
    where = _quoted(entry.path)
    if problem := files.path_problem(entry.path):
        raise MalformedInput(f"the path {problem}", where=where, rule="manifest §2", hint="rename it")
    if entry.kind is EntryKind.IRREGULAR:
        raise SourceUnreadable(
            f"{where}: {entry.detail or 'not a regular file'}, which cannot be signed",
            hint="put the file itself there, or remove it",
        )
    if entry.path.split("/")[0].casefold() == ATTESTATION_FOLDER and not files.is_exempt(entry.path):
        raise MalformedInput(
            "no file of an attestation, and nothing else may be in that folder",
            where=where,
            rule="manifest §4.1",
            hint="move it to another folder",
        )


def _is_lfs_only(source: Source) -> bool:
    """Return whether `.gitattributes` holds LFS attributes alone. Spec: manifest §4.3."""
    with source.open(files.GITATTRIBUTES_PATH) as file:
        if file.size_bytes > files.MAX_GITATTRIBUTES_BYTES:
            return False
    return files.has_only_lfs_attributes(
        read_whole(source, files.GITATTRIBUTES_PATH, max_bytes=files.MAX_GITATTRIBUTES_BYTES)
    )


def _identities(source: Source) -> dict[str, tuple[int, ...]]:
    """Return what tells each file from another one put in its place, by path; nothing for what cannot move.

    A commit of the Hub holds still: what is read of it is held against its list of files.
    """
    identities: dict[str, tuple[int, ...]] = {}
    if not isinstance(source, LocalFolder):
        return identities
    for entry in source.entries():
        try:
            status = (source.root / entry.path).stat()
        except OSError:
            continue  # `_check_entry` or the reading of it says what is wrong
        identities[entry.path] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return identities


def _check_held_still(before: Mapping[str, tuple[int, ...]], after: Mapping[str, tuple[int, ...]]) -> None:
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            raise SourceChanged(
                f"{_quoted(path)} changed while the folder was read", hint="run it again when nothing writes there"
            )


def _manifest_file(path: str, hashed: HashedFile, weights: FolderWeights) -> ManifestFile:
    weight_file = weights.files.get(path)
    return ManifestFile(
        path=path,
        size_bytes=hashed.size_bytes,
        file_digest=hashed.file_digest,
        file_class=files.file_class(path),
        header_digest=weight_file.header_digest if weight_file is not None else None,
    )


def _manifest_set(weight_set: WeightSet, hashed: Mapping[str, HashedFile]) -> ManifestWeightSet:
    if weight_set.format not in files.TENSOR_FORMATS:
        return ManifestWeightSet(
            prefix=weight_set.prefix,
            format=weight_set.format,
            primary=False,
            files=list(weight_set.files),
        )
    roots = {
        stored.info.name: merkle.tensor_root(merkle.split_leaves(hashed[stored.path].leaves[stored.info.name]))
        for stored in weight_set.tensors
    }
    return ManifestWeightSet(
        prefix=weight_set.prefix,
        format=weight_set.format,
        primary=weight_set.primary,
        files=list(weight_set.files),
        index=weight_set.index,
        tensors=_manifest_tensors(weight_set, roots),
        checkpoint_root=merkle.checkpoint_root((stored.info, roots[stored.info.name]) for stored in weight_set.tensors),
    )


def _manifest_tensors(weight_set: WeightSet, roots: Mapping[str, TensorRoot]) -> list[ManifestTensor]:
    return [
        ManifestTensor(
            name=stored.info.name,
            dtype=stored.info.dtype,
            shape=list(stored.info.shape),
            root=roots[stored.info.name],
            file=stored.path,
        )
        for stored in weight_set.tensors
    ]


def _leaf_file(weights: FolderWeights, hashed: Mapping[str, HashedFile]) -> bytes:
    """Return the leaves of all sets with tensors in manifest order. Spec: manifest §6."""
    return b"".join(
        hashed[stored.path].leaves[stored.info.name] for weight_set in weights.sets for stored in weight_set.tensors
    )


def _quoted(text: str) -> str:
    return json.dumps(text)[:200]
