"""Binary floating point as integers: every value is a sign and `significand` x 2^`exponent`; every rounding is exact.

No floating-point number of the machine takes part, so neither its modes nor its libraries can leave a trace.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple


class Format(NamedTuple):
    """A binary interchange format: significant bits, exponent of the lowest bit, exponent of the largest values."""

    precision: int
    lowest: int
    largest: int
    size_bits: int


F64 = Format(53, -1074, 1023, 64)
F32 = Format(24, -149, 127, 32)
BF16 = Format(8, -133, 127, 16)
F16 = Format(11, -24, 15, 16)
FORMATS = {"F32": F32, "BF16": BF16, "F16": F16}


class Number(NamedTuple):
    """A finite number; a zero has a sign."""

    negative: bool
    significand: int
    exponent: int


class Infinite(Exception):
    """A rounding whose result is not finite."""


def round_ratio(negative: bool, numerator: int, denominator: int, to: Format) -> Number:
    """Return the value of `to` nearest to numerator / denominator, ties to even; `denominator` is positive.

    Raises `Infinite` where the nearest value, the exponent being unbounded, is beyond the largest of `to`.
    """
    if numerator == 0:
        return Number(negative, 0, to.lowest)
    top = numerator.bit_length() - denominator.bit_length()
    if (numerator << max(-top, 0)) < (denominator << max(top, 0)):
        top -= 1
    exponent = max(top - to.precision + 1, to.lowest)
    significand, rest = divmod(numerator << max(-exponent, 0), denominator << max(exponent, 0))
    twice = 2 * rest - (denominator << max(exponent, 0))
    if twice > 0 or (twice == 0 and significand & 1):
        significand += 1
    if significand.bit_length() + exponent > to.largest + 1:
        raise Infinite
    return Number(negative, significand, exponent)


def round_number(value: Number, to: Format) -> Number:
    """Return the value of `to` nearest to `value`, ties to even. Raises `Infinite`."""
    if value.significand == 0:
        return Number(value.negative, 0, to.lowest)
    exponent = max(value.significand.bit_length() + value.exponent - to.precision, to.lowest)
    dropped = exponent - value.exponent
    if dropped <= 0:
        significand = value.significand << -dropped
    else:
        significand = value.significand >> dropped
        twice_rest = 2 * (value.significand & ((1 << dropped) - 1))
        if twice_rest > 1 << dropped or (twice_rest == 1 << dropped and significand & 1):
            significand += 1
    if significand.bit_length() + exponent > to.largest + 1:
        raise Infinite
    return Number(value.negative, significand, exponent)


def multiply(a: Number, b: Number) -> Number:
    """Return the exact product."""
    return Number(a.negative != b.negative, a.significand * b.significand, a.exponent + b.exponent)


def add(a: Number, b: Number, to: Format) -> Number:
    """Return a + b rounded to `to`. Raises `Infinite`.

    Equal and opposite terms give +0; two zeros of one sign keep it.
    """
    exponent = min(a.exponent, b.exponent)
    left = a.significand << (a.exponent - exponent)
    right = b.significand << (b.exponent - exponent)
    total = (-left if a.negative else left) + (-right if b.negative else right)
    negative = (a.negative and b.negative) if total == 0 else total < 0
    return round_number(Number(negative, abs(total), exponent), to)


def divide(a: Number, b: Number, to: Format) -> Number:
    """Return a / b rounded to `to`; `b` is not zero. Raises `Infinite`."""
    shift = a.exponent - b.exponent
    negative = a.negative != b.negative
    return round_ratio(negative, a.significand << max(shift, 0), b.significand << max(-shift, 0), to)


def decode(bits: int, kind: Format) -> Number | None:
    """Return the number that these bits stand for; None for an infinity or a NaN."""
    fraction_bits = kind.precision - 1
    field = (bits & ((1 << (kind.size_bits - 1)) - 1)) >> fraction_bits
    fraction = bits & ((1 << fraction_bits) - 1)
    if field == (1 << (kind.size_bits - kind.precision)) - 1:
        return None
    negative = bool(bits >> (kind.size_bits - 1))
    if field == 0:
        return Number(negative, fraction, kind.lowest)
    return Number(negative, fraction | 1 << fraction_bits, kind.lowest + field - 1)


def encode(value: Number, kind: Format) -> int:
    """Return the bits of a number that `kind` holds exactly."""
    exact = round_number(value, kind)
    assert _equal(exact, value), (value, kind)
    significand, exponent = exact.significand, exact.exponent
    if significand.bit_length() > kind.precision:
        significand, exponent = significand >> 1, exponent + 1
    # The leading one of a normal significand carries into the exponent field, which therefore starts one lower.
    magnitude = ((exponent - kind.lowest) << (kind.precision - 1)) + significand
    return int(value.negative) << (kind.size_bits - 1) | magnitude


def _equal(a: Number, b: Number) -> bool:
    """Return whether two numbers are one; zeros of either sign are."""
    lowest = min(a.exponent, b.exponent)
    same = a.significand << (a.exponent - lowest) == b.significand << (b.exponent - lowest)
    return same and (a.negative == b.negative or a.significand == 0)


def fraction(value: Number) -> Fraction:
    """Return the value as a fraction; the sign of a zero is lost."""
    magnitude = Fraction(value.significand) * Fraction(2) ** value.exponent
    return -magnitude if value.negative else magnitude
