"""Backends that are wrong on purpose, each in a way in which real ones have been: the tests must tell them apart."""

# Shape suffixes: E elements of one block.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_verify.merge.backend import Blended, Buffer, Operand
from model_verify.merge.coefficient import weight_sum
from model_verify.merge.formats import as_bits, narrow, nonfinite, widen

Floats = NDArray[np.float64]


class WrongBackend:
    """The profile in numpy, in parts that a subclass gets wrong."""

    def __init__(self) -> None:
        self.name = type(self).__name__

    def linear(
        self,
        operands: Sequence[Operand],
        out: memoryview,
        *,
        dtype: str,
        normalize: bool,
        expected: Buffer | None = None,
    ) -> Blended:
        with np.errstate(all="ignore"):
            values = [self.load(as_bits(operand.data, operand.dtype), operand.dtype) for operand in operands]
            sum_E = self.add([operand.weight * values_E for operand, values_E in zip(operands, values, strict=True)])
            if normalize:
                sum_E = self.divide(sum_E, weight_sum([operand.weight for operand in operands]))
            bits_E = self.round(sum_E, dtype)
        out[:] = bits_E.tobytes()
        return Blended(not nonfinite(bits_E, dtype).any(), expected is not None and bytes(out) == bytes(expected))

    def load(self, bits_E: NDArray[np.uint16] | NDArray[np.uint32], dtype: str) -> Floats:
        return widen(bits_E, dtype)

    def add(self, terms: Sequence[Floats]) -> Floats:
        sum_E = terms[0]
        for term_E in terms[1:]:
            sum_E = sum_E + term_E
        return sum_E

    def divide(self, sum_E: Floats, total: float) -> Floats:
        return sum_E / total

    def round(self, sum_E: Floats, dtype: str) -> NDArray[np.uint16] | NDArray[np.uint32]:
        return narrow(sum_E, dtype)


class RoundsOnce(WrongBackend):
    """Leaves out the float32 between float64 and a 16-bit format."""

    def round(self, sum_E: Floats, dtype: str) -> NDArray[np.uint16] | NDArray[np.uint32]:
        match dtype:
            case "F16":
                return sum_E.astype(np.float16).view(np.uint16)
            case "BF16":
                # Rounded to odd at float32, so that the second rounding comes out as if it were the only one.
                single_E = sum_E.astype(np.float32)
                bits_E = single_E.view(np.uint32)
                too_far_E = np.abs(single_E.astype(np.float64)) > np.abs(sum_E)
                inexact_E = (single_E.astype(np.float64) != sum_E) & np.isfinite(single_E)
                odd_E = np.where(inexact_E, (bits_E - too_far_E) | np.uint32(1), bits_E).astype(np.uint32)
                return narrow(odd_E.view(np.float32).astype(np.float64), "BF16")
            case _:
                return narrow(sum_E, dtype)


class FlushesSubnormalInputs(WrongBackend):
    """Reads subnormal values as zeros of their sign."""

    def load(self, bits_E: NDArray[np.uint16] | NDArray[np.uint32], dtype: str) -> Floats:
        smallest = {"F32": 2.0**-126, "BF16": 2.0**-126, "F16": 2.0**-14}[dtype]
        values_E = widen(bits_E, dtype)
        return np.where(np.abs(values_E) < smallest, np.copysign(0.0, values_E), values_E)


class FlushesSubnormalOutputs(WrongBackend):
    """Writes subnormal values as zeros of their sign."""

    def round(self, sum_E: Floats, dtype: str) -> NDArray[np.uint16] | NDArray[np.uint32]:
        smallest = {"F32": 2.0**-126, "BF16": 2.0**-126, "F16": 2.0**-14}[dtype]
        rounded_E = widen(narrow(sum_E, dtype), dtype)
        return narrow(np.where(np.abs(rounded_E) < smallest, np.copysign(0.0, sum_E), sum_E), dtype)


class CutsOff(WrongBackend):
    """Rounds BF16 towards zero, by dropping the lower half of a float32."""

    def round(self, sum_E: Floats, dtype: str) -> NDArray[np.uint16] | NDArray[np.uint32]:
        if dtype != "BF16":
            return narrow(sum_E, dtype)
        return (sum_E.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)


class StartsFromZero(WrongBackend):
    """Adds to a zero, which takes the sign of minus zero away."""

    def add(self, terms: Sequence[Floats]) -> Floats:
        return super().add([np.zeros_like(terms[0]), *terms])


class AddsInFloat32(WrongBackend):
    """Keeps the sum in float32."""

    def add(self, terms: Sequence[Floats]) -> Floats:
        sum_E = terms[0].astype(np.float32)
        for term_E in terms[1:]:
            sum_E = sum_E + term_E.astype(np.float32)
        return sum_E.astype(np.float64)


class TakesTheReciprocal(WrongBackend):
    """Multiplies by 1/W instead of dividing by W."""

    def divide(self, sum_E: Floats, total: float) -> Floats:
        return sum_E * (1.0 / total)


class AddsFromTheEnd(WrongBackend):
    """Adds in another order than that of the inputs; seen from three inputs on."""

    def add(self, terms: Sequence[Floats]) -> Floats:
        return super().add(list(reversed(terms)))
