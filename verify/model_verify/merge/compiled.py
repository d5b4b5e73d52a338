"""`linear/f64-v1` compiled for the CPU, one block that stays in the cache at a time. Spec: merge §2.

The loops release the GIL, so threads work on different chunks. They are compiled for IEEE arithmetic (no fast-math).
The products are exact in float64, so a fused multiply-add gives the same bits as two operations.
"""

# Shape suffixes: E elements of one block.

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from model_verify.merge.backend import Blended, Buffer, Operand
from model_verify.merge.coefficient import weight_sum
from model_verify.merge.formats import as_bits

_INNER_ELEMENTS = 1 << 11
"""16 KiB of float64 sums: they stay in the first-level cache."""

_BLOCK_ELEMENTS = 1 << 15
"""Where formats are mixed, one call per operand and block; 256 KiB of sums fit the second-level cache."""

_MOST_FUSED = 8
"""Each number of operands is compiled on its own; past this, the general loops serve."""


def _generate_float_of(typing_context: Any, bits: Any) -> Any:
    """float32 of uint32 bits, a reinterpretation without an instruction."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), generate


def _generate_bits_of(typing_context: Any, value: Any) -> Any:
    """uint32 bits of a float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), generate


float_of: Any = intrinsic(_generate_float_of)
bits_of: Any = intrinsic(_generate_bits_of)


@njit(cache=True, nogil=True, inline="always")
def single_of_f32(bits):  # type: ignore[no-untyped-def]
    return float_of(np.uint32(bits))


@njit(cache=True, nogil=True, inline="always")
def single_of_bf16(bits):  # type: ignore[no-untyped-def]
    return float_of(np.uint32(bits) << np.uint32(16))


@njit(cache=True, nogil=True, inline="always")
def single_of_f16(bits):  # type: ignore[no-untyped-def]
    """The fields moved to their places in float32, and the exponent's bias made up for by an exact product."""
    wide = np.uint32(bits)
    magnitude = (wide & np.uint32(0x7FFF)) << np.uint32(13)
    value = bits_of(float_of(magnitude) * np.float32(2.0**112))
    special = magnitude | np.uint32(0x7F80_0000)
    placed = special if magnitude >= np.uint32(0x0F80_0000) else value
    return float_of(placed | ((wide & np.uint32(0x8000)) << np.uint32(16)))


@njit(cache=True, nogil=True, inline="always")
def f32_of(single_bits):  # type: ignore[no-untyped-def]
    return single_bits


@njit(cache=True, nogil=True, inline="always")
def bf16_of(single_bits):  # type: ignore[no-untyped-def]
    magnitude = single_bits & np.uint32(0x7FFF_FFFF)
    rounded = single_bits + np.uint32(0x7FFF) + ((single_bits >> np.uint32(16)) & np.uint32(1))
    kept = rounded if magnitude <= np.uint32(0x7F80_0000) else single_bits | np.uint32(0x0040_0000)
    return np.uint16(kept >> np.uint32(16))


@njit(cache=True, nogil=True, inline="always")
def f16_of(single_bits):  # type: ignore[no-untyped-def]
    """Normal values by integer rounding; subnormal ones by adding 0.5, whose last bit is F16's smallest step."""
    magnitude = single_bits & np.uint32(0x7FFF_FFFF)
    rebased = magnitude - np.uint32(0x3800_0000)
    normal = (rebased + np.uint32(0xFFF) + ((rebased >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13)
    small = bits_of(float_of(magnitude) + np.float32(0.5)) - np.uint32(0x3F00_0000)
    finite = small if magnitude < np.uint32(0x3880_0000) else normal
    special = np.uint32(0x7E00) if magnitude > np.uint32(0x7F80_0000) else np.uint32(0x7C00)
    placed = special if magnitude >= np.uint32(0x4780_0000) else finite
    return np.uint16(placed | ((single_bits >> np.uint32(16)) & np.uint32(0x8000)))


# Where rounding to the format gives infinity: the smallest float32 magnitude, as bits, from which on it does.
_INFINITE_FROM_F32 = np.uint32(0x7F80_0000)
_INFINITE_FROM_BF16 = np.uint32(0x7F7F_8000)
_INFINITE_FROM_F16 = np.uint32(0x477F_F000)

# For each format: add one operand to the sums; narrow the sums; and both together for operands and output of one
# format, in blocks that stay in the first-level cache. `narrow` and `blend` return whether all is finite and whether
# all is as expected.


@njit(cache=True, nogil=True)
def accumulate_f32(sum_E, bits_E, weight, first):  # type: ignore[no-untyped-def]
    if first:
        for i in range(len(bits_E)):
            sum_E[i] = weight * np.float64(single_of_f32(bits_E[i]))
    else:
        for i in range(len(bits_E)):
            sum_E[i] += weight * np.float64(single_of_f32(bits_E[i]))


@njit(cache=True, nogil=True)
def narrow_f32(sum_E, out_E, expected_E):  # type: ignore[no-untyped-def]
    largest = np.uint32(0)
    differing = np.uint32(0)
    for i in range(len(out_E)):
        single = bits_of(np.float32(sum_E[i]))
        narrowed = f32_of(single)
        differing |= np.uint32(narrowed ^ expected_E[i])
        out_E[i] = narrowed
        largest = max(largest, single & np.uint32(0x7FFF_FFFF))
    return largest < _INFINITE_FROM_F32, differing == np.uint32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def blend_f32(inputs_PE, weights_P, divisor, out_E, expected_E):  # type: ignore[no-untyped-def]
    sum_B = np.empty(_INNER_ELEMENTS, dtype=np.float64)
    finite = True
    equal = True
    for start in range(0, len(out_E), _INNER_ELEMENTS):
        stop = min(start + _INNER_ELEMENTS, len(out_E))
        for p in range(len(inputs_PE)):
            accumulate_f32(sum_B, inputs_PE[p][start:stop], weights_P[p], p == 0)
        if divisor != 1.0:
            for i in range(stop - start):
                sum_B[i] = sum_B[i] / divisor
        block_finite, block_equal = narrow_f32(sum_B, out_E[start:stop], expected_E[start:stop])
        finite &= block_finite
        equal &= block_equal
    return finite, equal


@njit(cache=True, nogil=True)
def accumulate_bf16(sum_E, bits_E, weight, first):  # type: ignore[no-untyped-def]
    if first:
        for i in range(len(bits_E)):
            sum_E[i] = weight * np.float64(single_of_bf16(bits_E[i]))
    else:
        for i in range(len(bits_E)):
            sum_E[i] += weight * np.float64(single_of_bf16(bits_E[i]))


@njit(cache=True, nogil=True)
def narrow_bf16(sum_E, out_E, expected_E):  # type: ignore[no-untyped-def]
    largest = np.uint32(0)
    differing = np.uint32(0)
    for i in range(len(out_E)):
        single = bits_of(np.float32(sum_E[i]))
        narrowed = bf16_of(single)
        differing |= np.uint32(narrowed ^ expected_E[i])
        out_E[i] = narrowed
        largest = max(largest, single & np.uint32(0x7FFF_FFFF))
    return largest < _INFINITE_FROM_BF16, differing == np.uint32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def blend_bf16(inputs_PE, weights_P, divisor, out_E, expected_E):  # type: ignore[no-untyped-def]
    sum_B = np.empty(_INNER_ELEMENTS, dtype=np.float64)
    finite = True
    equal = True
    for start in range(0, len(out_E), _INNER_ELEMENTS):
        stop = min(start + _INNER_ELEMENTS, len(out_E))
        for p in range(len(inputs_PE)):
            accumulate_bf16(sum_B, inputs_PE[p][start:stop], weights_P[p], p == 0)
        if divisor != 1.0:
            for i in range(stop - start):
                sum_B[i] = sum_B[i] / divisor
        block_finite, block_equal = narrow_bf16(sum_B, out_E[start:stop], expected_E[start:stop])
        finite &= block_finite
        equal &= block_equal
    return finite, equal


@njit(cache=True, nogil=True)
def accumulate_f16(sum_E, bits_E, weight, first):  # type: ignore[no-untyped-def]
    if first:
        for i in range(len(bits_E)):
            sum_E[i] = weight * np.float64(single_of_f16(bits_E[i]))
    else:
        for i in range(len(bits_E)):
            sum_E[i] += weight * np.float64(single_of_f16(bits_E[i]))


@njit(cache=True, nogil=True)
def narrow_f16(sum_E, out_E, expected_E):  # type: ignore[no-untyped-def]
    largest = np.uint32(0)
    differing = np.uint32(0)
    for i in range(len(out_E)):
        single = bits_of(np.float32(sum_E[i]))
        narrowed = f16_of(single)
        differing |= np.uint32(narrowed ^ expected_E[i])
        out_E[i] = narrowed
        largest = max(largest, single & np.uint32(0x7FFF_FFFF))
    return largest < _INFINITE_FROM_F16, differing == np.uint32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def blend_f16(inputs_PE, weights_P, divisor, out_E, expected_E):  # type: ignore[no-untyped-def]
    sum_B = np.empty(_INNER_ELEMENTS, dtype=np.float64)
    finite = True
    equal = True
    for start in range(0, len(out_E), _INNER_ELEMENTS):
        stop = min(start + _INNER_ELEMENTS, len(out_E))
        for p in range(len(inputs_PE)):
            accumulate_f16(sum_B, inputs_PE[p][start:stop], weights_P[p], p == 0)
        if divisor != 1.0:
            for i in range(stop - start):
                sum_B[i] = sum_B[i] / divisor
        block_finite, block_equal = narrow_f16(sum_B, out_E[start:stop], expected_E[start:stop])
        finite &= block_finite
        equal &= block_equal
    return finite, equal


@njit(cache=True, nogil=True, error_model="numpy")
def divide(sum_E, divisor):  # type: ignore[no-untyped-def]
    for i in range(len(sum_E)):
        sum_E[i] = sum_E[i] / divisor


_ACCUMULATE = {"F32": accumulate_f32, "BF16": accumulate_bf16, "F16": accumulate_f16}
_NARROW = {"F32": narrow_f32, "BF16": narrow_bf16, "F16": narrow_f16}
_BLEND = {"F32": blend_f32, "BF16": blend_bf16, "F16": blend_f16}


class NumbaBackend:
    """The compiled loops, with one float64 block for each thread where formats are mixed."""

    name = "numba"
    device = "cpu"

    def __init__(self) -> None:
        self._scratch = threading.local()

    def linear(
        self,
        operands: Sequence[Operand],
        out: memoryview,
        *,
        dtype: str,
        normalize: bool,
        expected: Buffer | None = None,
    ) -> Blended:
        # Dividing by 1 changes nothing, so it stands for not dividing.
        divisor = weight_sum([operand.weight for operand in operands]) if normalize else 1.0
        inputs = tuple(as_bits(operand.data, operand.dtype) for operand in operands)
        out_E = as_bits(out, dtype)
        expected_E = out_E if expected is None else as_bits(expected, dtype)
        if all(operand.dtype == dtype for operand in operands) and len(operands) <= _MOST_FUSED:
            weights = tuple(operand.weight for operand in operands)
            finite, equal = _BLEND[dtype](inputs, weights, divisor, out_E, expected_E)
        else:
            finite, equal = self._mixed(inputs, operands, divisor, out_E, expected_E, dtype)
        return Blended(bool(finite), expected is not None and bool(equal))

    def _mixed(
        self,
        inputs: Sequence[Any],
        operands: Sequence[Operand],
        divisor: float,
        out_E: Any,
        expected_E: Any,
        dtype: str,
    ) -> tuple[bool, bool]:
        sums_E = getattr(self._scratch, "sums", None)
        if sums_E is None:
            sums_E = self._scratch.sums = np.empty(_BLOCK_ELEMENTS, dtype=np.float64)
        finite = equal = True
        for start in range(0, len(out_E), _BLOCK_ELEMENTS):
            stop = min(start + _BLOCK_ELEMENTS, len(out_E))
            sum_E = sums_E[: stop - start]
            for position, (bits, operand) in enumerate(zip(inputs, operands, strict=True)):
                _ACCUMULATE[operand.dtype](sum_E, bits[start:stop], operand.weight, position == 0)
            if divisor != 1.0:
                divide(sum_E, divisor)
            block = _NARROW[dtype](sum_E, out_E[start:stop], expected_E[start:stop])
            finite, equal = finite and bool(block[0]), equal and bool(block[1])
        return finite, equal
