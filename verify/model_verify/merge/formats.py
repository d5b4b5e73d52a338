"""F32, BF16 and F16 as bit patterns in numpy. Nothing here depends on the processor's rounding or flushing modes but
numpy's own conversions, which the known-answer check covers."""

# Shape suffixes: E elements of one block.

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint16] | NDArray[np.uint32]
Floats = NDArray[np.float64]
Buffer = bytes | bytearray | memoryview

FLOAT_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
"""The dtypes that can be blended, and the bytes of one element."""

_BIT_TYPES: dict[str, Any] = {"F32": np.uint32, "BF16": np.uint16, "F16": np.uint16}


def as_bits(data: Buffer, dtype: str) -> Bits:
    """Return the little-endian elements in `data` as unsigned integers, without a copy on a little-endian machine."""
    bits: Bits = np.frombuffer(data, dtype=np.dtype(_BIT_TYPES[dtype]).newbyteorder("<"))
    return bits.astype(_BIT_TYPES[dtype], copy=False)


def widen(bits_E: Bits, dtype: str) -> Floats:
    """Return the float64 values of `bits_E`; exact for all three dtypes."""
    with np.errstate(invalid="ignore"):
        match dtype:
            case "F32":
                return bits_E.view(np.float32).astype(np.float64)
            case "BF16":
                return (bits_E.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
            case "F16":
                return bits_E.view(np.float16).astype(np.float64)
            case _:
                raise AssertionError(dtype)


def narrow(values_E: Floats, dtype: str) -> Bits:
    """Return `values_E` rounded to float32, then to `dtype`, ties to even both times. Spec: merge §2.4."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        single_E = values_E.astype(np.float32)
        match dtype:
            case "F32":
                return single_E.view(np.uint32)
            case "BF16":
                return _bfloat16(single_E.view(np.uint32))
            case "F16":
                return single_E.astype(np.float16).view(np.uint16)
            case _:
                raise AssertionError(dtype)


def _bfloat16(single_E: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Return float32 bits rounded to BF16. A NaN keeps its sign and its high bits, and stays one."""
    rounded_E = single_E + (np.uint32(0x7FFF) + ((single_E >> np.uint32(16)) & np.uint32(1)))
    nan_E = (single_E & np.uint32(0x7FFF_FFFF)) > np.uint32(0x7F80_0000)
    rounded_E[nan_E] = single_E[nan_E] | np.uint32(0x0040_0000)
    return (rounded_E >> np.uint32(16)).astype(np.uint16)


_MANTISSA_BITS = {"F32": 23, "BF16": 7, "F16": 10}
_SMALLEST_EXPONENT = {"F32": -126, "BF16": -126, "F16": -14}


def half_step(values_E: Floats, dtype: str) -> Floats:
    """Return half the distance between neighbouring values of `dtype` at each value: the error of a rounding to it."""
    smallest = _SMALLEST_EXPONENT[dtype]
    _, exponent_E = np.frexp(values_E)
    exponent_E = np.where(values_E == 0, smallest, np.maximum(exponent_E - 1, smallest))
    half_E: Floats = np.ldexp(0.5, exponent_E - _MANTISSA_BITS[dtype])
    return half_E


_EXPONENT_MASKS = {"F32": 0x7F80_0000, "BF16": 0x7F80, "F16": 0x7C00}


def nonfinite(bits_E: Bits, dtype: str) -> NDArray[np.bool_]:
    """Return where the elements are infinite or no numbers."""
    mask = bits_E.dtype.type(_EXPONENT_MASKS[dtype])
    return np.asarray((bits_E & mask) == mask)


def ulp_distances(one: Buffer, other: Buffer, dtype: str) -> NDArray[np.integer]:
    """Return how many representable values lie between elements of the same place, the end counted.

    Zeros of both signs are neighbours of distance 0 apart from their sign bit: their distance is 1.
    """
    wide = np.int32 if FLOAT_BYTES[dtype] == 2 else np.int64
    distances_E: NDArray[np.integer] = np.abs(np.subtract(_ordinal(one, dtype), _ordinal(other, dtype), dtype=wide))
    return distances_E


def _ordinal(data: Buffer, dtype: str) -> NDArray[np.int16] | NDArray[np.int32]:
    """Return integers in the order of the values: consecutive values differ by one, and −0 comes just before +0."""
    bits_E = as_bits(data, dtype)
    if FLOAT_BYTES[dtype] == 2:
        short_E = bits_E.view(np.int16)
        return short_E ^ ((short_E >> np.int16(15)) & np.int16(0x7FFF))
    long_E = bits_E.view(np.int32)
    return long_E ^ ((long_E >> np.int32(31)) & np.int32(0x7FFF_FFFF))
