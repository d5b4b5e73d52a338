"""What a tensor is: name, dtype, shape, and how many bytes and chunks follow from them. Spec: tensor-tree §3."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

CHUNK_BYTES = 1 << 20

DTYPE_BITS: dict[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element, for every dtype of safetensors 0.8."""

BLOCK_DTYPES: dict[str, tuple[int, int]] = {
    "GGML_Q4_0": (32, 18), "GGML_Q4_1": (32, 20), "GGML_Q5_0": (32, 22), "GGML_Q5_1": (32, 24),
    "GGML_Q8_0": (32, 34), "GGML_Q8_1": (32, 40),
    "GGML_Q2_K": (256, 84), "GGML_Q3_K": (256, 110), "GGML_Q4_K": (256, 144), "GGML_Q5_K": (256, 176),
    "GGML_Q6_K": (256, 210), "GGML_Q8_K": (256, 292),
    "GGML_IQ1_S": (256, 50), "GGML_IQ1_M": (256, 56), "GGML_IQ2_XXS": (256, 66), "GGML_IQ2_XS": (256, 74),
    "GGML_IQ2_S": (256, 82), "GGML_IQ3_XXS": (256, 98), "GGML_IQ3_S": (256, 110), "GGML_IQ4_NL": (32, 18),
    "GGML_IQ4_XS": (256, 136),
    "GGML_TQ1_0": (256, 54), "GGML_TQ2_0": (256, 66), "GGML_MXFP4": (32, 17), "GGML_NVFP4": (64, 36),
    "GGML_Q1_0": (128, 18),
}  # fmt: skip
"""Of the formats of ggml that store elements in blocks: the elements of a block along the last axis, and its bytes."""

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
    def size_bits(self) -> int:
        if self.dtype in BLOCK_DTYPES:
            elements, size_bytes = BLOCK_DTYPES[self.dtype]
            return self.elements // elements * size_bytes * 8
        return self.elements * DTYPE_BITS[self.dtype]

    @property
    def size_bytes(self) -> int:
        return self.size_bits // 8

    @property
    def chunk_count(self) -> int:
        return chunk_count(self.size_bytes)


class Packing(NamedTuple):
    """So many elements, next to each other, are stored in so many bytes."""

    elements: int
    size_bytes: int


def packing(dtype: str) -> Packing:
    """Return how elements of `dtype` are stored; raises `KeyError` for one that is in no format."""
    if dtype in BLOCK_DTYPES:
        return Packing(*BLOCK_DTYPES[dtype])
    common = math.gcd(DTYPE_BITS[dtype], 8)
    return Packing(8 // common, DTYPE_BITS[dtype] // common)


def chunk_count(size_bytes: int) -> int:
    """Return the number of 1 MiB chunks of a tensor of `size_bytes`; none for no bytes."""
    return -(-size_bytes // CHUNK_BYTES)


def described(info: TensorInfo | None) -> str:
    """Return dtype and shape for a finding, or that there is no such tensor."""
    return "no such tensor" if info is None else f"{info.dtype} {list(info.shape)}"
