"""Read safetensors as the standard reads it: strictly, and without ever loading a tensor. Spec: tensor-tree §5."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from model_verify.canonical import MAX_INTEGER, Json, loads
from model_verify.digest import FileDigest
from model_verify.errors import MalformedJson, MalformedWeights
from model_verify.sources.source import File
from model_verify.tensors import DTYPE_BITS, MAX_DATA_BITS, MAX_DIMENSIONS, TensorInfo

MAX_HEADER_BYTES = 100_000_000
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor and where its data lie: `offset` bytes into the file at `path`."""

    info: TensorInfo
    path: str
    offset: int


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file: its tensors in the order of their data, and the digest of everything before the data."""

    path: str
    size_bytes: int
    header_digest: FileDigest
    tensors: tuple[StoredTensor, ...]


def read_safetensors(file: File) -> WeightFile:
    """Return the tensors of a safetensors file, reading only its header.

    Raises `MalformedWeights`, citing the rule, for whatever tensor-tree §5 refuses.
    """
    if file.size_bytes < _LENGTH_BYTES:
        raise _malformed(file.path, 1, f"{file.size_bytes} bytes are too few for a header length")
    length_field = file.read(0, _LENGTH_BYTES)
    header_bytes = int.from_bytes(length_field, "little")
    if not 2 <= header_bytes <= MAX_HEADER_BYTES:
        raise _malformed(file.path, 1, f"header length {header_bytes} is not between 2 and {MAX_HEADER_BYTES}")
    if _LENGTH_BYTES + header_bytes > file.size_bytes:
        raise _malformed(file.path, 1, f"header of {header_bytes} bytes in a file of {file.size_bytes}")
    header = file.read(_LENGTH_BYTES, header_bytes)
    data_start = _LENGTH_BYTES + header_bytes
    digest = FileDigest(hashlib.sha256(length_field + header).digest())
    tensors = parse_header(header, path=file.path, data_start=data_start, data_bytes=file.size_bytes - data_start)
    return WeightFile(path=file.path, size_bytes=file.size_bytes, header_digest=digest, tensors=tensors)


def parse_header(header: bytes, *, path: str, data_start: int, data_bytes: int) -> tuple[StoredTensor, ...]:
    """Return the tensors that the JSON `header` describes, ordered by offset. Spec: tensor-tree §5, rules 2 to 8.

    Raises `MalformedWeights`.
    """
    if not header.startswith(b"{"):
        raise _malformed(path, 2, "the header does not start with `{`")
    text = header.rstrip(b" ")
    if not text.endswith(b"}"):
        raise _malformed(path, 2, "the header does not end with `}` and spaces")
    try:
        members = loads(text, max_bytes=MAX_HEADER_BYTES)
    except MalformedJson as error:
        raise _malformed(path, 3, error.reason) from error
    assert isinstance(members, dict)
    if "__metadata__" in members:
        _check_metadata(members.pop("__metadata__"), path)
    spans: list[tuple[int, int, TensorInfo]] = []
    for name, described in members.items():
        info, begin, end = _tensor(name, described, path)
        spans.append((begin, end, info))
    spans.sort(key=lambda span: span[:2])
    _check_contiguous(spans, data_bytes, path)
    if twins := first_twin(info.name for _, _, info in spans):
        raise _malformed(path, 8, f"tensor names {json.dumps(twins[0])} and {json.dumps(twins[1])} are equal in NFC")
    return tuple(StoredTensor(info, path, data_start + begin) for begin, _, info in spans)


def _check_metadata(metadata: Json, path: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _malformed(path, 4, "`__metadata__` is not an object of strings")


def _tensor(name: str, described: Json, path: str) -> tuple[TensorInfo, int, int]:
    where = f"tensor {json.dumps(name)}"
    if not isinstance(described, dict) or described.keys() != {"dtype", "shape", "data_offsets"}:
        raise _malformed(path, 5, f"{where} is not an object of exactly dtype, shape, data_offsets")
    dtype, shape, offsets = described["dtype"], described["shape"], described["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _malformed(path, 5, f"{where} has the unknown dtype {json.dumps(dtype)[:40]}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_size, shape)):
        raise _malformed(path, 5, f"{where} has a shape that is not up to {MAX_DIMENSIONS} integers from 0 to 2^53-1")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise _malformed(path, 5, f"{where} has offsets that are not two integers from 0 to 2^53-1")
    info = TensorInfo(name, dtype, tuple(size for size in shape if isinstance(size, int)))
    begin, end = (offset for offset in offsets if isinstance(offset, int))
    if begin > end:
        raise _malformed(path, 5, f"{where} ends at {end}, before it begins at {begin}")
    bits = info.size_bits
    if bits % 8 or bits >= MAX_DATA_BITS:
        raise _malformed(path, 6, f"{where} has {bits} bits of data, not whole bytes below 2^56 bits")
    if bits != 8 * (end - begin):
        raise _malformed(path, 6, f"{where} has {end - begin} bytes where dtype and shape need {bits // 8}")
    return info, begin, end


def _is_size(value: Json) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _check_contiguous(spans: list[tuple[int, int, TensorInfo]], data_bytes: int, path: str) -> None:
    position = 0
    for begin, end, info in spans:
        if begin != position:
            kind = "a hole" if begin > position else "an overlap"
            raise _malformed(path, 7, f"{kind} before tensor {json.dumps(info.name)}, at byte {position} of the data")
        position = end
    if position != data_bytes:
        raise _malformed(path, 7, f"{data_bytes} bytes of data where the tensors have {position}")


def first_twin(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two names that are equal after normalisation to NFC, or None."""
    seen: dict[str, str] = {}
    for name in names:
        normal = unicodedata.normalize("NFC", name)
        if normal in seen:
            return seen[normal], name
        seen[normal] = name
    return None


def _malformed(path: str, rule: int, message: str) -> MalformedWeights:
    return MalformedWeights(message, where=path, rule=f"tensor-tree §5.{rule}")
