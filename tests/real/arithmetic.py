"""The merge profile a second and a third time, so that what is tested is not its own witness. Spec: merge §2.

`exactly` rounds exact fractions with integers alone, one element at a time; `by_torch` lets torch do all of them.
"""

# Shape suffixes: E elements of one tensor.

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor


class Format(NamedTuple):
    """A binary format: bits of the mantissa without the implicit one, exponent of the last bit of a subnormal."""

    bits: int
    mantissa_bits: int
    smallest_exponent: int


FORMATS = {"F64": Format(64, 52, -1074), "F32": Format(32, 23, -149), "BF16": Format(16, 7, -133)}
TORCH_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}


def by_torch(parents: Sequence[Tensor], float32: Sequence[int], *, normalize: bool) -> Tensor:
    """Return the blend of two tensors of one dtype, with coefficients as float32 bits."""
    first, second = (struct.unpack("<f", struct.pack("<I", bits))[0] for bits in float32)
    sum_E = (parents[0].double() * first) + (parents[1].double() * second)
    if normalize:
        sum_E = sum_E / (first + second)
    blended_E: Tensor = sum_E.float().to(parents[0].dtype)
    return blended_E


def exactly(elements: Sequence[int], float32: Sequence[int], dtype: str, *, normalize: bool) -> int:
    """Return the bits of the blend of two finite elements of `dtype`, everything given as bits."""
    weights = [_value(bits, "F32") for bits in float32]
    terms = [weight * _value(bits, dtype) for weight, bits in zip(weights, elements, strict=True)]
    for term in terms:
        assert _rounded(term, "F64") == term, "a product that float64 does not hold"
    total = _rounded(terms[0] + terms[1], "F64")
    if normalize:
        total = _rounded(total / _rounded(weights[0] + weights[1], "F64"), "F64")
    total = _rounded(_rounded(total, "F32"), dtype)
    # The sign of zero is left out here: real weights in these tests give none, and the vectors cover it.
    assert total != 0
    return _bits(total, dtype)


def _value(bits: int, dtype: str) -> Fraction:
    form = FORMATS[dtype]
    exponent = bits >> form.mantissa_bits & ((1 << form.bits - form.mantissa_bits - 1) - 1)
    mantissa = bits & ((1 << form.mantissa_bits) - 1)
    if exponent:
        mantissa |= 1 << form.mantissa_bits
    value = mantissa * Fraction(2) ** (form.smallest_exponent + max(exponent, 1) - 1)
    return -value if bits >> form.bits - 1 else value


def _rounded(value: Fraction, dtype: str) -> Fraction:
    """Return the value of `dtype` nearest to `value`, ties to even. No real weight comes near overflow."""
    unit = _unit(value, dtype)
    return round(value / unit) * unit


def _unit(value: Fraction, dtype: str) -> Fraction:
    """Return the distance of neighbouring values of `dtype` at `value`."""
    form = FORMATS[dtype]
    exponent = form.smallest_exponent
    if value:
        log = abs(value.numerator).bit_length() - value.denominator.bit_length()
        log -= abs(value) < Fraction(2) ** log
        exponent = max(exponent, log - form.mantissa_bits)
    return Fraction(2) ** exponent


def _bits(value: Fraction, dtype: str) -> int:
    form = FORMATS[dtype]
    unit = _unit(value, dtype)
    mantissa = abs(value) / unit
    assert mantissa.denominator == 1
    above = (unit.numerator.bit_length() - unit.denominator.bit_length()) - form.smallest_exponent
    magnitude = (above << form.mantissa_bits) + int(mantissa)
    return magnitude | (1 << form.bits - 1 if value < 0 else 0)
