"""Roots, sines, cosines and arc cosines of binary floating point, rounded once. Nothing of the machine takes part."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from math import isqrt

from dyadic import F32, Format, Number, fraction, round_number, round_ratio

_DIGITS = 80
_ENOUGH = Decimal(10) ** -(_DIGITS - 10)


def root(value: Number, to: Format) -> Number:
    """Return the value of `to` nearest to the square root of a value that is not negative."""
    significand, exponent = value.significand << 160, value.exponent - 160
    if exponent % 2:
        significand, exponent = significand << 1, exponent - 1
    whole = isqrt(significand)
    # A last bit of 1 stands for what was cut off: it decides ties as the exact root would.
    return round_number(Number(False, whole << 1 | (whole * whole != significand), exponent // 2 - 1), to)


def sine(value: Number) -> Number:
    """Return the float32 nearest to the sine."""
    return _of(value, lambda x: _series(x, x, 1))


def cosine(value: Number) -> Number:
    """Return the float32 nearest to the cosine."""
    return _of(value, lambda x: _series(x, Decimal(1), 0))


def arc_cosine(value: Number) -> Number:
    """Return the float32 nearest to the arc cosine of a value from −1 to 1."""
    return _of(value, _arc_cosine)


def _of(value: Number, function: Callable[[Decimal], Decimal]) -> Number:
    exact = fraction(value)
    with localcontext() as context:
        context.prec = _DIGITS
        result = function(Decimal(exact.numerator) / Decimal(exact.denominator))
    numerator, denominator = abs(Fraction(result)).as_integer_ratio()
    return round_ratio(result < 0, numerator, denominator, F32)


def _series(x: Decimal, term: Decimal, power: int) -> Decimal:
    """Return the sum of a power series whose terms have every other power of x, and alternate."""
    total = term
    while abs(term) > _ENOUGH:
        power += 2
        term = -term * x * x / (power * (power - 1))
        total += term
    return total


def _arc_cosine(x: Decimal) -> Decimal:
    if x == 1:
        return Decimal(0)
    half = _arc_tangent(((1 - x) / (1 + x)).sqrt()) if x > 0 else _arc_tangent(((1 + x) / (1 - x)).sqrt())
    return 2 * half if x > 0 else 4 * _arc_tangent(Decimal(1)) - 2 * half


def _arc_tangent(x: Decimal) -> Decimal:
    """Return the arc tangent of a number from 0 to 1: of half the angle, until the series is quick."""
    halvings = 0
    while x > Decimal("0.01"):
        x = x / (1 + (1 + x * x).sqrt())
        halvings += 1
    total, power, sign = Decimal(0), x, 1
    for odd in range(1, 10**6, 2):
        total += sign * power / odd
        power, sign = power * x * x, -sign
        if power < _ENOUGH:
            break
    return total * 2**halvings


def check() -> None:
    """Raise `AssertionError` if the machine's own functions are not as close as they should be."""
    import math

    for n in range(-8, 9):
        value = Number(n < 0, abs(n), -3)
        x = n / 8
        for own, other in ((sine, math.sin), (cosine, math.cos), (arc_cosine, math.acos)):
            assert abs(float(fraction(own(value))) - other(x)) < 1e-6, (own, x)
        assert abs(float(fraction(root(Number(False, abs(n), -3), F32))) - math.sqrt(abs(x))) < 1e-6
