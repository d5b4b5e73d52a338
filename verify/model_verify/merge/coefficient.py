"""Decimal text to float32 in one rounding. Spec: merge §1. Vectors: coefficient/*."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from model_verify.errors import RecipeInvalid

MAX_CHARACTERS = 128
_GRAMMAR = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)

_MANTISSA_BITS = 24
_SMALLEST_EXPONENT = -149
"""Of the last bit: the smallest subnormal float32 is 2^-149."""
_LARGEST_EXPONENT = 104


@dataclass(frozen=True, slots=True)
class Weight:
    """A coefficient: the text as written, and the float32 that it means."""

    decimal: str
    bits: int

    @property
    def value(self) -> float:
        """The float32, widened to float64, which is exact."""
        return float(struct.unpack("<f", struct.pack("<I", self.bits))[0])

    @property
    def float32(self) -> str:
        """The bits as a statement writes them: eight hexadecimal digits."""
        return f"{self.bits:08x}"


def weight_sum(values: Sequence[float]) -> float:
    """Return the float64 sum of coefficients from left to right. Spec: merge §2.3."""
    total = values[0]
    for value in values[1:]:
        total += value
    return total


def parse_weight(text: str) -> Weight:
    """Return the float32 nearest to the decimal number `text`, ties to even.

    Raises `RecipeInvalid` for text outside the grammar and for numbers that round to infinity.
    """
    if len(text) > MAX_CHARACTERS or _GRAMMAR.fullmatch(text) is None:
        raise RecipeInvalid(f"coefficient `{text[:40]}` is not a decimal number", hint="write it like 0.6 or 0.001")
    negative = text.startswith("-")
    magnitude = _nearest_bits(abs(Fraction(text)))
    if magnitude is None:
        raise RecipeInvalid(f"coefficient `{text[:40]}` is too large for float32")
    return Weight(text, magnitude | (0x8000_0000 if negative else 0))


def parse_float64(text: str) -> float:
    """Return the float64 nearest to the decimal number `text`, ties to even. Spec: merge §5.

    Raises `RecipeInvalid` for text outside the grammar and for numbers that round to infinity.
    """
    if len(text) > MAX_CHARACTERS or _GRAMMAR.fullmatch(text) is None:
        raise RecipeInvalid(f"`{text[:40]}` is not a decimal number", hint="write it like 0.6 or 0.001")
    value = float(text)  # correctly rounded
    if math.isinf(value):
        raise RecipeInvalid(f"`{text[:40]}` is too large for float64")
    return value


def _nearest_bits(value: Fraction) -> int | None:
    """Return the bits of the float32 nearest to `value` >= 0, or None if that is infinity."""
    if value == 0:
        return 0
    # The exponent of the last mantissa bit, so that the quotient below has 24 bits, or fewer if subnormal.
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - _MANTISSA_BITS
    if value / Fraction(2) ** exponent >= 1 << _MANTISSA_BITS:
        exponent += 1
    exponent = max(exponent, _SMALLEST_EXPONENT)
    mantissa = round(value / Fraction(2) ** exponent)  # Python rounds a Fraction's ties to even
    if mantissa == 1 << _MANTISSA_BITS:
        mantissa, exponent = mantissa >> 1, exponent + 1
    if exponent > _LARGEST_EXPONENT:
        return None
    if mantissa < 1 << (_MANTISSA_BITS - 1):
        return mantissa
    return ((exponent - _SMALLEST_EXPONENT + 1) << (_MANTISSA_BITS - 1)) | (
        mantissa & ((1 << (_MANTISSA_BITS - 1)) - 1)
    )
