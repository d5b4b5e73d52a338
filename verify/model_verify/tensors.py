"""What a tensor is: name, dtype, shape, and how many bytes and chunks follow from them. Spec: tensor-tree §3."""

from __future__ import annotations

import math
from dataclasses import dataclass

CHUNK_BYTES = 1 << 20

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element, for every dtype of safetensors 0.8."""

MAX_DIMENSIONS = 64
MAX_DATA_BITS = 1 << 56


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor without its data. `shape` is in C order; an empty one is a scalar."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.elements * DTYPE_BITS[self.dtype] // 8

    @property
    def chunk_count(self) -> int:
        return chunk_count(self.size_bytes)


def chunk_count(size_bytes: int) -> int:
    """Return the number of 1 MiB chunks of a tensor of `size_bytes`; none for no bytes."""
    return -(-size_bytes // CHUNK_BYTES)


def described(info: TensorInfo | None) -> str:
    """Return dtype and shape for a finding, or that there is no such tensor."""
    return "no such tensor" if info is None else f"{info.dtype} {list(info.shape)}"
