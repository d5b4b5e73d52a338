"""Read GGUF as the standard reads it: strictly, and without ever loading a tensor. Spec: tensor-tree §6."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from itertools import pairwise

from model_verify.canonical import MAX_INTEGER
from model_verify.digest import FileDigest
from model_verify.errors import MalformedWeights
from model_verify.sources.source import File
from model_verify.tensors import MAX_DATA_BITS, TensorInfo, packing
from model_verify.weights import MAX_HEADER_BYTES, StoredTensor, WeightFile, first_twin

GGML_DTYPES = {
    0: "F32", 1: "F16", 2: "GGML_Q4_0", 3: "GGML_Q4_1", 6: "GGML_Q5_0", 7: "GGML_Q5_1", 8: "GGML_Q8_0",
    9: "GGML_Q8_1", 10: "GGML_Q2_K", 11: "GGML_Q3_K", 12: "GGML_Q4_K", 13: "GGML_Q5_K", 14: "GGML_Q6_K",
    15: "GGML_Q8_K", 16: "GGML_IQ2_XXS", 17: "GGML_IQ2_XS", 18: "GGML_IQ3_XXS", 19: "GGML_IQ1_S", 20: "GGML_IQ4_NL",
    21: "GGML_IQ3_S", 22: "GGML_IQ2_S", 23: "GGML_IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "GGML_IQ1_M", 30: "BF16", 34: "GGML_TQ1_0", 35: "GGML_TQ2_0", 39: "GGML_MXFP4", 40: "GGML_NVFP4",
    41: "GGML_Q1_0",
}  # fmt: skip
"""Types of ggml by number. Those that safetensors has too keep their name there."""
GGUF_DTYPES = frozenset(GGML_DTYPES.values())

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 1 << 16
_MAX_AXES = 4
_ALIGNMENT_KEY = "general.alignment"
_READ_BYTES = 1 << 20
_BOOL, _STRING, _ARRAY = 7, 8, 9
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, _BOOL: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by its type."""
_U32 = 4
_FEWEST_TENSOR_BYTES = 8 + 4 + 4 + 8
_FEWEST_PAIR_BYTES = 8 + 4 + 1


def read_gguf(file: File) -> WeightFile:
    """Return the tensors of a GGUF file, reading its header and the padding between its tensors.

    Raises `MalformedWeights`, citing the rule, for whatever tensor-tree §6 refuses.
    """
    header = _Header(file)
    if header.take(4, 1) != _MAGIC:
        raise header.malformed(1, "the file does not start with `GGUF`")
    version = header.u32(1)
    if version not in _VERSIONS:
        raise header.malformed(1, f"version {version}, not 2 or 3 in little-endian order")
    tensor_count, pair_count = header.u64(1), header.u64(1)
    alignment = _read_pairs(header, pair_count)
    described = _read_tensors(header, tensor_count)
    head_end = header.position
    data_start = _aligned(head_end, alignment) if described else file.size_bytes
    tensors = _place(header, file.path, described, data_start, alignment)
    end = tensors[-1].offset + tensors[-1].info.size_bytes if tensors else head_end
    if file.size_bytes not in (end, _aligned(end, alignment)):
        raise header.malformed(6, f"a file of {file.size_bytes} bytes, whose data end at {end}")
    spans = [(head_end, head_end), *((t.offset, t.offset + t.info.size_bytes) for t in tensors), (file.size_bytes,) * 2]
    for (_, start), (stop, _) in pairwise(spans):
        if any(file.read(start, stop - start)):
            raise header.malformed(6, f"the padding at byte {start} is not zero")
    if twins := first_twin(stored.info.name for stored in tensors):
        raise header.malformed(7, f"tensor names {json.dumps(twins[0])} and {json.dumps(twins[1])} are equal in NFC")
    digest = FileDigest(hashlib.sha256(header.all_until(data_start)).digest())
    return WeightFile(path=file.path, size_bytes=file.size_bytes, header_digest=digest, tensors=tensors)


class _Header:
    """The bytes before the data, fetched as they are asked for; `position` is the next one."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._bytes = bytearray()
        self.position = 0

    def malformed(self, rule: int, message: str) -> MalformedWeights:
        return MalformedWeights(message, where=self._file.path, rule=f"tensor-tree §6.{rule}")

    def take(self, count: int, rule: int) -> bytes:
        """Return the next bytes. Raises `MalformedWeights` where the file or the header may not have so many."""
        end = self.position + count
        if end > MAX_HEADER_BYTES:
            raise self.malformed(1, f"a header of more than {MAX_HEADER_BYTES} bytes")
        if end > self._file.size_bytes:
            raise self.malformed(rule, f"the file ends at byte {self._file.size_bytes}, within its header")
        self._fetch(end)
        taken = bytes(self._bytes[self.position : end])
        self.position = end
        return taken

    def _fetch(self, end: int) -> None:
        missing = end - len(self._bytes)
        if missing > 0:
            most = min(max(missing, _READ_BYTES), self._file.size_bytes - len(self._bytes))
            self._bytes += self._file.read(len(self._bytes), most)

    def all_until(self, end: int) -> bytes:
        """Return the file's bytes before `end`."""
        self._fetch(end)
        return bytes(self._bytes[:end])

    def u32(self, rule: int) -> int:
        return int.from_bytes(self.take(4, rule), "little")

    def u64(self, rule: int) -> int:
        return int.from_bytes(self.take(8, rule), "little")

    def string(self, rule: int) -> bytes:
        return self.take(self.u64(rule), rule)

    def text(self, rule: int, what: str) -> str:
        """Return a string that must be UTF-8."""
        try:
            return self.string(rule).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.malformed(rule, f"{what} is not UTF-8") from error

    def check_room(self, count: int, fewest_bytes: int, rule: int) -> None:
        """Raise `MalformedWeights` where `count` things cannot be there, before anybody counts to it."""
        if count * fewest_bytes > min(self._file.size_bytes, MAX_HEADER_BYTES) - self.position:
            raise self.malformed(rule, f"{count} entries do not fit into the header")


def _read_pairs(header: _Header, count: int) -> int:
    """Skip the key-value pairs, and return the alignment that they state. Spec: tensor-tree §6, rules 2 and 3."""
    header.check_room(count, _FEWEST_PAIR_BYTES, 2)
    keys: set[str] = set()
    alignment = _DEFAULT_ALIGNMENT
    for _ in range(count):
        key = header.text(2, "a key")
        if key in keys:
            raise header.malformed(2, f"the key {json.dumps(key)[:200]} is there twice")
        keys.add(key)
        kind = header.u32(2)
        if key == _ALIGNMENT_KEY:
            alignment = _read_alignment(header, kind)
        else:
            _skip_value(header, kind)
    return alignment


def _read_alignment(header: _Header, kind: int) -> int:
    alignment = header.u32(3) if kind == _U32 else 0
    if not 1 <= alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise header.malformed(3, f"`{_ALIGNMENT_KEY}` is no power of two up to {_MAX_ALIGNMENT} as u32")
    return alignment


def _skip_value(header: _Header, kind: int) -> None:
    if kind == _ARRAY:
        kind = header.u32(2)
        count = header.u64(2)
        if kind == _STRING:
            header.check_room(count, 8, 2)
            for _ in range(count):
                header.string(2)
        else:
            _skip_scalars(header, kind, count)
    elif kind == _STRING:
        header.string(2)
    else:
        _skip_scalars(header, kind, 1)


def _skip_scalars(header: _Header, kind: int, count: int) -> None:
    if kind not in _SCALAR_BYTES:
        raise header.malformed(2, f"a value of the unknown type {kind}")
    values = header.take(count * _SCALAR_BYTES[kind], 2)
    if kind == _BOOL and values.strip(b"\x00\x01"):
        raise header.malformed(2, "a boolean is neither 0 nor 1")


def _read_tensors(header: _Header, count: int) -> list[tuple[TensorInfo, int]]:
    """Return the tensors with their offsets into the data. Spec: tensor-tree §6, rules 4 and 5."""
    header.check_room(count, _FEWEST_TENSOR_BYTES, 4)
    described: list[tuple[TensorInfo, int]] = []
    for _ in range(count):
        name = header.text(4, "the name of a tensor")
        where = f"tensor {json.dumps(name)[:200]}"
        axes = header.u32(4)
        if axes > _MAX_AXES:
            raise header.malformed(4, f"{where} has {axes} axes, more than {_MAX_AXES}")
        extents = [header.u64(4) for _ in range(axes)]
        if any(extent > MAX_INTEGER for extent in extents):
            raise header.malformed(4, f"{where} has an axis of 2^53 elements or more")
        kind = header.u32(4)
        if kind not in GGML_DTYPES:
            raise header.malformed(4, f"{where} has the unknown type {kind}")
        info = TensorInfo(name, GGML_DTYPES[kind], tuple(reversed(extents)))
        elements = packing(info.dtype).elements
        if (extents[0] if extents else 1) % elements:
            raise header.malformed(5, f"{where} has rows of {extents[0] if extents else 1}, no multiple of {elements}")
        if info.size_bits >= MAX_DATA_BITS:
            raise header.malformed(5, f"{where} has {info.size_bits} bits of data, not below 2^56")
        described.append((info, header.u64(4)))
    return described


def _place(
    header: _Header, path: str, described: Iterable[tuple[TensorInfo, int]], data_start: int, alignment: int
) -> tuple[StoredTensor, ...]:
    """Return the tensors with their places in the file. Spec: tensor-tree §6, rule 6."""
    tensors: list[StoredTensor] = []
    expected = 0
    for info, offset in described:
        if offset != expected:
            where = f"tensor {json.dumps(info.name)[:200]}"
            raise header.malformed(6, f"{where} is at byte {offset} of the data, not at {expected}")
        tensors.append(StoredTensor(info, path, data_start + offset))
        expected = _aligned(offset + info.size_bytes, alignment)
    return tuple(tensors)


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
