"""`slerp` of the mergekit profiles, in integers: sines and angles are computed to 200 bits. Spec: merge §5.9."""

# Shape suffixes: E elements.

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt

from dyadic import F32, F64, FORMATS, Number, add, decode, divide, encode, fraction, multiply, round_number, round_ratio
from mergekit import ONE, ZERO, Call, Input, double, number, rounded

_BITS = 200
_CHUNK = 1 << 20


def rounded_to(value: Fraction, to: object) -> Number:
    """Return the value of a format nearest to a fraction."""
    return round_ratio(value < 0, abs(value.numerator), value.denominator, to)  # type: ignore[arg-type]


def sine(x: Fraction) -> Fraction:
    """Return sin x to 200 bits, for |x| below 8."""
    return _series(x, first=1)


def cosine(x: Fraction) -> Fraction:
    """Return cos x to 200 bits, for |x| below 8."""
    return _series(x, first=0)


def _series(x: Fraction, *, first: int) -> Fraction:
    term = x if first else Fraction(1)
    total, n = Fraction(0), first
    while abs(term) > Fraction(1, 1 << _BITS):
        total += term
        term = _cut(-term * x * x / ((n + 1) * (n + 2)))
        n += 2
    return _cut(total)


def angle(d: Fraction) -> Fraction:
    """Return arccos d to 190 bits, by halving."""
    low, high = Fraction(0), Fraction(4)  # above pi
    for _ in range(192):
        middle = (low + high) / 2
        # The cosine falls from 0 to pi, and rises after it.
        low, high = (middle, high) if middle < Fraction(314, 100) and cosine(middle) > d else (low, middle)
    return (low + high) / 2


def _cut(value: Fraction) -> Fraction:
    scale = 1 << (_BITS + 8)
    return Fraction(value.numerator * scale // value.denominator, scale)


def root(value: Number) -> Number:
    """Return the float32 nearest to the square root of a float32 number."""
    exact = fraction(value)
    scale = 1 << 400
    low = isqrt(exact.numerator * scale * scale // exact.denominator)
    # One more bit, so that what was cut off cannot make a tie.
    return round_ratio(
        False, 2 * low + (low * low * exact.denominator != exact.numerator * scale * scale), 2 * scale, F32
    )


def lane_norm(vector_E: Sequence[Number], *, fused: bool) -> Number:
    """Return the norm in eight lanes. Spec: merge §5.9.1."""
    if len(vector_E) == 1:
        return vector_E[0]._replace(negative=False)
    whole = len(vector_E) // 8 * 8
    total = ZERO
    for lane in range(8):
        column = ZERO
        for x in vector_E[lane:whole:8]:
            column = add(column, round_number(multiply(x, x), F32), F32)
        total = add(total, column, F32)
    plain = whole + (len(vector_E) - whole) // 4 * 4 if fused else len(vector_E)
    for at, x in enumerate(vector_E[whole:], whole):
        square = multiply(x, x)
        total = add(total, square if at >= plain else round_number(square, F32), F32)
    return root(total)


def norm(call: Call, vector_E: Sequence[Number]) -> Number:
    """Return the norm; in 0.1.4, where it is left open, the nearest to the exact one."""
    assert len(vector_E) <= _CHUNK
    if call.profile != "mergekit-0.1.4":
        return lane_norm(vector_E, fused=call.profile.endswith("/fma"))
    exact = sum((fraction(x) ** 2 for x in vector_E), Fraction(0))
    scale = 1 << 400
    return rounded_to(Fraction(isqrt(exact.numerator * scale * scale // exact.denominator), scale), F32)


def ends(call: Call, inputs: Sequence[Input]) -> tuple[list[Number], list[Number]]:
    """Return base and other input, rounded to D."""
    assert call.base is not None
    vectors = []
    for dtype, bits_E in inputs:
        numbers = [decode(bits, FORMATS[dtype]) for bits in bits_E]
        vectors.append([rounded(x, call.d) for x in numbers if x is not None])
    return vectors[call.base], vectors[1 - call.base]


def exact_cosine(call: Call, inputs: Sequence[Input]) -> Fraction:
    """Return the exact sum of the float32 products of the unit vectors. Spec: merge §5.9.2."""
    units = []
    smallest = fraction(number("1e-8"))
    for vector_E in ends(call, inputs):
        length = norm(call, vector_E)
        long = fraction(length) > smallest
        units.append([divide(x, length, F32) if long else x for x in vector_E])
    return sum(
        (fraction(round_number(multiply(x, y), F32)) for x, y in zip(*units, strict=True)),
        Fraction(0),
    )


def line(call: Call) -> tuple[Number, Number]:
    """Return the coefficients of the line. Spec: merge §5.9.3."""
    t = double(call.text("t"))
    if call.profile == "mergekit-0.1.4":
        first = add(ONE, t._replace(negative=not t.negative), F64)
    else:
        single = round_number(t, F32)
        first = add(ONE, single._replace(negative=not single.negative), F32)
    return round_number(first, F32), round_number(t, F32)


def arc(call: Call, d: Fraction) -> tuple[Number, Number]:
    """Return coefficients of the arc for a cosine, every function rounded to float32 once. Spec: merge §5.9.4."""
    t = number(call.text("t"))
    theta = rounded_to(angle(d), F32)
    part = round_number(multiply(t, theta), F32)
    if call.profile == "mergekit-0.1.4":
        rest = add(theta, part._replace(negative=not part.negative), F32)
    else:
        left = add(ONE, t._replace(negative=not t.negative), F32)
        rest = round_number(multiply(left, theta), F32)
    sines = [rounded_to(sine(fraction(x)), F32) for x in (rest, part, theta)]
    return divide(sines[0], sines[2], F32), divide(sines[1], sines[2], F32)


def blended(call: Call, inputs: Sequence[Input], pair: tuple[Number, Number]) -> list[int]:
    """Return the bits of the output for a pair of coefficients. Spec: merge §5.9.5."""
    out = FORMATS[call.dtype]
    made = []
    for b, x in zip(*ends(call, inputs), strict=True):
        terms = [round_number(multiply(s, value), F32) for s, value in zip(pair, (b, x), strict=True)]
        made.append(encode(round_number(round_number(add(*terms, F32), call.d), out), out))
    return made


def moved(value: Number, steps: int) -> Number:
    """Return a positive float32 number so many ULP on."""
    found = decode(encode(value, F32) + steps, F32)
    assert found is not None
    return found
