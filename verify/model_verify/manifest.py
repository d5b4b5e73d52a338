"""Read a manifest's bytes and hold them against every rule that needs nothing else. Spec: manifest §1 to §6."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from model_verify import files, merkle
from model_verify.canonical import dumps, loads
from model_verify.digest import CheckpointRoot, TensorRoot
from model_verify.errors import MalformedDocument, MalformedJson
from model_verify.gguf import GGUF_DTYPES
from model_verify.models import Manifest, ManifestFile, ManifestTensor, ManifestWeightSet
from model_verify.tensors import BLOCK_DTYPES, DTYPE_BITS, MAX_DATA_BITS, TensorInfo
from model_verify.validation import first_problem

MAX_MANIFEST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class SetRoot:
    """A weight set's checkpoint root as written, and as it follows from the set's tensors."""

    prefix: str
    written: CheckpointRoot
    computed: CheckpointRoot


def read_manifest(data: bytes) -> Manifest:
    """Return the manifest that `data` holds.

    Raises `MalformedDocument` with `MANIFEST_MALFORMED` or `MANIFEST_NOT_CANONICAL`. Spec: verification V5.
    """
    try:
        members = loads(data, max_bytes=MAX_MANIFEST_BYTES)
        manifest = Manifest.read(members)
    except MalformedJson as error:
        raise MalformedDocument("MANIFEST_MALFORMED", error.reason, rule=error.rule) from error
    except ValidationError as error:
        raise MalformedDocument("MANIFEST_MALFORMED", first_problem(error), rule="manifest §1") from error
    for problem in _problems(manifest):
        raise MalformedDocument("MANIFEST_MALFORMED", problem, rule="manifest")
    if dumps(members) != data:
        raise MalformedDocument("MANIFEST_NOT_CANONICAL", "not the canonical JSON of its content", rule="manifest §1.1")
    return manifest


def infos(weight_set: ManifestWeightSet) -> dict[str, TensorInfo]:
    """Return the tensors of a set by name, without their roots."""
    return {tensor.name: info(tensor) for tensor in weight_set.tensors or ()}


def info(tensor: ManifestTensor) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.dtype, tuple(tensor.shape))


def primary(manifest: Manifest) -> ManifestWeightSet:
    """Return the primary weight set; `read_manifest` has made sure that there is exactly one."""
    return next(weight_set for weight_set in manifest.weight_sets if weight_set.primary)


def set_roots(manifest: Manifest) -> Iterator[SetRoot]:
    """Yield the checkpoint roots of all safetensors sets, computed from their tensors. Spec: tensor-tree §4."""
    for weight_set in manifest.weight_sets:
        if weight_set.checkpoint_root is not None:
            computed = merkle.checkpoint_root((info(tensor), tensor.root) for tensor in weight_set.tensors or ())
            yield SetRoot(weight_set.prefix, weight_set.checkpoint_root, computed)


def leaf_tensors(manifest: Manifest) -> Iterator[tuple[str, TensorInfo, TensorRoot]]:
    """Yield set prefix, tensor and root in the order of the leaf file. Spec: manifest §6."""
    for weight_set in manifest.weight_sets:
        for tensor in weight_set.tensors or ():
            yield weight_set.prefix, info(tensor), tensor.root


def _problems(manifest: Manifest) -> Iterator[str]:
    yield from _path_problems(manifest.files)
    listed = {file.path: file for file in manifest.files}
    yield from _order_problems("weight set", [weight_set.prefix for weight_set in manifest.weight_sets])
    if [weight_set.primary for weight_set in manifest.weight_sets].count(True) != 1:
        yield "not exactly one weight set is primary"
    claimed: set[str] = set()
    for weight_set in manifest.weight_sets:
        yield from _set_problems(weight_set, listed)
        if claimed & set(weight_set.files):
            yield f"{_quoted(min(claimed & set(weight_set.files)))} is in two weight sets"
        claimed |= set(weight_set.files)
    loose = sorted(path for path, file in listed.items() if file.file_class == "weights" and path not in claimed)
    if loose:
        yield f"{_quoted(loose[0])} is in no weight set"


def _path_problems(listed: Sequence[ManifestFile]) -> Iterator[str]:
    yield from _order_problems("file", [file.path for file in listed])
    for file in listed:
        if problem := files.path_problem(file.path):
            yield f"path {_quoted(file.path)} {problem}"
        elif files.is_reserved(file.path):
            yield f"path {_quoted(file.path)} is exempt and cannot be listed"
        elif file.file_class != files.file_class(file.path):
            yield f"{_quoted(file.path)} is of class {files.file_class(file.path)}, not {file.file_class}"
        elif (file.header_digest is not None) != files.has_tensors(file.path):
            yield f"{_quoted(file.path)}: a header digest is for files whose tensors are read, and for each of them"
    for one, other in files.colliding_paths(file.path for file in listed):
        yield f"paths {_quoted(one)} and {_quoted(other)} are equal after case folding"


def _set_problems(weight_set: ManifestWeightSet, listed: dict[str, ManifestFile]) -> Iterator[str]:
    where = f"weight set {_quoted(weight_set.prefix)}"
    yield from _order_problems(f"{where}, file", weight_set.files)
    if not weight_set.files:
        yield f"{where} has no files"
    for path in weight_set.files:
        if path not in listed or files.weight_format(path) != weight_set.format or listed[path].file_class != "weights":
            yield f"{where} names {_quoted(path)}, which is not listed as weights of format {weight_set.format[:40]}"
    if weight_set.index is not None and (weight_set.index not in listed or weight_set.format != files.SAFETENSORS):
        yield f"{where} names the index {_quoted(weight_set.index)}, which is not listed"
    is_tree = weight_set.format in files.TENSOR_FORMATS
    if (weight_set.tensors is None) == is_tree or (weight_set.checkpoint_root is None) == is_tree:
        yield f"{where}: tensors and checkpoint root are for safetensors and GGUF sets, and for each of them"
    if weight_set.primary and weight_set.format != files.SAFETENSORS:
        yield f"{where} is primary without being safetensors"
    tensors = weight_set.tensors or ()
    yield from _order_problems(f"{where}, tensor", [tensor.name for tensor in tensors])
    own = set(weight_set.files)
    for tensor in tensors:
        if problem := _tensor_problem(tensor, own, weight_set.format):
            yield f"{where}, tensor {_quoted(tensor.name)} {problem}"


def _tensor_problem(tensor: ManifestTensor, own_files: set[str], form: str) -> str | None:
    if tensor.dtype not in (GGUF_DTYPES if form == files.GGUF else DTYPE_BITS):
        return f"has the unknown dtype {_quoted(tensor.dtype)}"
    if tensor.file not in own_files:
        return f"lies in {_quoted(tensor.file)}, which the set does not name"
    row = tensor.shape[-1] if tensor.shape else 1
    if tensor.dtype in BLOCK_DTYPES and row % BLOCK_DTYPES[tensor.dtype][0]:
        return f"has rows that are no multiple of {BLOCK_DTYPES[tensor.dtype][0]}"
    bits = info(tensor).size_bits
    return "has a size that is not whole bytes below 2^56 bits" if bits % 8 or bits >= MAX_DATA_BITS else None


def _order_problems(what: str, names: Iterable[str]) -> Iterator[str]:
    previous: bytes | None = None
    for name in names:
        encoded = name.encode("utf-8")
        if previous is not None and encoded <= previous:
            yield f"{what} {_quoted(name)} is out of order or there twice"
            return
        previous = encoded


def _quoted(text: str) -> str:
    return json.dumps(text)[:200]
