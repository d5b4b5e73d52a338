"""Tensors in the formats of ggml, in integers. Spec: forms §4."""

# Shape suffixes: E elements of one block.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor, prod

from adapters import Matrix, decimal
from dyadic import F16, F32, F64, FORMATS, Infinite, Number, add, divide, encode, fraction, multiply, round_number
from linear import Refused
from merkle import BLOCKS

ZERO = Number(False, 0, F32.lowest)
ONE = Number(False, 1, 0)
CODES = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


@dataclass(frozen=True, slots=True)
class Quantizer:
    """Output format, profile and transformation of one target."""

    dtype: str
    profile: str = "ggml/nofma"
    heads: int | None = None
    added: str | None = None

    def apply(self, *sources: Matrix) -> bytes:
        """Return the data of the output. Raises `Refused`."""
        numbers = [one for source in sources for one in self._arranged(source)]
        if self.dtype in FORMATS:
            size = FORMATS[self.dtype].size_bits // 8
            return b"".join(rounded(one, self.dtype).to_bytes(size, "little") for one in numbers)
        elements, _ = BLOCKS[self.dtype]
        fused = self.profile == "ggml/fma"
        blocks = (numbers[at : at + elements] for at in range(0, len(numbers), elements))
        return b"".join(block(values_E, self.dtype, fused) for values_E in blocks)

    def _arranged(self, source: Matrix) -> list[Number]:
        """Return the values after the transformation. Spec: forms §4.2."""
        values = source.numbers()
        if self.heads is not None:
            rows, width = source.shape[0], prod(source.shape[1:])
            half = rows // self.heads // 2
            order = [
                head * 2 * half + k * half + j for head in range(self.heads) for j in range(half) for k in range(2)
            ]
            return [values[row * width + column] for row in order for column in range(width)]
        if self.added is not None:
            term = round_number(decimal(self.added, F64), F32)
            sums = [add(value, term, F32) for value in values]
            return [round_number(one, F16) for one in sums] if source.dtype == "F16" else sums
        return values


def rounded(value: Number, dtype: str) -> int:
    """Return the bits of the nearest value. Raises `Refused`."""
    try:
        return encode(round_number(value, FORMATS[dtype]), FORMATS[dtype])
    except Infinite as error:
        raise Refused("NONFINITE_OUTPUT") from error


def block(values_E: Sequence[Number], dtype: str, fused: bool) -> bytes:
    """Return one block. Raises `Refused` with OPERAND_INVALID where there is none."""
    try:
        match dtype.removeprefix("GGML_"):
            case "Q8_0":
                scale = divide(largest(values_E), whole(127), F32)
                codes = [half_away(times(value, inverse(scale))) for value in values_E]
                return half(scale) + bytes(code & 255 for code in codes)
            case "Q4_0":
                scale, codes = symmetric(values_E, 16, fused)
                return half(scale) + nibbles(codes)
            case "Q5_0":
                scale, codes = symmetric(values_E, 32, fused)
                return half(scale) + fifth_bits(codes) + nibbles(codes)
            case "Q4_1":
                scale, least, codes = asymmetric(values_E, 16, fused)
                return half(scale) + half(least) + nibbles(codes)
            case "Q5_1":
                scale, least, codes = asymmetric(values_E, 32, fused)
                return half(scale) + half(least) + fifth_bits(codes) + nibbles(codes)
            case "MXFP4":
                return mxfp4(values_E)
            case "TQ1_0":
                scale, codes = ternary(values_E)
                return packed_threes(codes) + half(scale)
            case "TQ2_0":
                scale, codes = ternary(values_E)
                return packed_pairs(codes) + half(scale)
            case _:
                raise AssertionError(dtype)
    except Infinite as error:
        raise Refused("OPERAND_INVALID") from error


def whole(value: int) -> Number:
    return Number(value < 0, abs(value), 0)


def minus(value: Number) -> Number:
    return Number(not value.negative, value.significand, value.exponent)


def times(a: Number, b: Number) -> Number:
    return round_number(multiply(a, b), F32)


def size(value: Number) -> Fraction:
    return abs(fraction(value))


def largest(values_E: Sequence[Number]) -> Number:
    """Return the greatest magnitude."""
    most = max(values_E, key=size)
    return Number(False, most.significand, most.exponent)


def inverse(scale: Number) -> Number:
    return ZERO if scale.significand == 0 else divide(ONE, scale, F32)


def half(value: Number) -> bytes:
    """Return a scale as stored. Raises `Infinite`."""
    return encode(round_number(value, F16), F16).to_bytes(2, "little")


def half_away(value: Number) -> int:
    """Return the nearest integer, ties away from zero."""
    magnitude = floor(size(value) + Fraction(1, 2))
    return -magnitude if value.negative else magnitude


def shifted(value: Number, factor: Number, offset: Fraction, most: int, fused: bool) -> int:
    """Return trunc(value · factor + offset), at most `most`. Spec: forms §4.5."""
    term = Number(False, int(offset * 2), -1)
    product = multiply(value, factor)
    total = add(product if fused else round_number(product, F32), term, F32)
    return min(most, int(fraction(total)))


def symmetric(values_E: Sequence[Number], levels: int, fused: bool) -> tuple[Number, list[int]]:
    """Return scale and codes of Q4_0 and Q5_0."""
    most = size(largest(values_E))
    extreme = next(value for value in values_E if size(value) == most) if most else ZERO
    scale = divide(extreme, whole(-levels // 2), F32)
    factor, offset = inverse(scale), Fraction(levels + 1, 2)
    return scale, [shifted(value, factor, offset, levels - 1, fused) for value in values_E]


def asymmetric(values_E: Sequence[Number], levels: int, fused: bool) -> tuple[Number, Number, list[int]]:
    """Return scale, minimum and codes of Q4_1 and Q5_1."""
    least, most = min(values_E, key=fraction), max(values_E, key=fraction)
    scale = divide(add(most, minus(least), F32), whole(levels - 1), F32)
    factor = inverse(scale)
    codes = [shifted(add(value, minus(least), F32), factor, Fraction(1, 2), levels - 1, fused) for value in values_E]
    return scale, least, codes


def nibbles(codes: Sequence[int]) -> bytes:
    return bytes(codes[at] & 15 | (codes[at + 16] & 15) << 4 for at in range(16))


def fifth_bits(codes: Sequence[int]) -> bytes:
    return sum((code >> 4) << place for place, code in enumerate(codes)).to_bytes(4, "little")


def mxfp4(values_E: Sequence[Number]) -> bytes:
    """Return a block of MXFP4. Spec: forms §4.6."""
    most = size(largest(values_E))
    exponent = floor_log2(most) + 125 if most else 0
    if exponent < 0:
        raise Refused("OPERAND_INVALID")
    scale = Fraction(2) ** (exponent - 128)
    codes = []
    for value in values_E:
        # The distance is a float32; products of small integers and powers of two are exact.
        errors = [distance(code * scale, fraction(value)) for code in CODES]
        codes.append(errors.index(min(errors)))
    return bytes([exponent]) + nibbles(codes)


def distance(one: Fraction, other: Fraction) -> Fraction:
    gap = abs(one - other)
    return size(round_number(dyadic(gap), F32))


def dyadic(value: Fraction) -> Number:
    shift = value.denominator.bit_length() - 1
    assert value.denominator == 1 << shift
    return Number(value < 0, abs(value.numerator), -shift)


def floor_log2(value: Fraction) -> int:
    """Return the integer part, downwards, of the float32 nearest to the logarithm of `value`."""
    below = value.numerator.bit_length() - value.denominator.bit_length()
    below -= value < Fraction(2) ** below
    above = below + 1
    if above == 0:
        return below
    # The float32 nearest to the logarithm is `above` where the logarithm lies less than half a step under it.
    # A value below a positive integer has the exponent of the integer before it; below a negative one, its own.
    step_exponent = (-above if above < 0 else above - 1).bit_length() - 1
    half_step = Fraction(2) ** (step_exponent - 23 - 1)
    # log2(1 − t) = −(t + t²/2 + t³/3 + …) / ln 2, with t so small that two terms decide.
    t = 1 - value / Fraction(2) ** above
    return above if t + t * t / 2 < half_step * LN2 else below


LN2 = Fraction(693147180559945309417232121458176568, 10**36)


def ternary(values_E: Sequence[Number]) -> tuple[Number, list[int]]:
    scale = largest(values_E)
    return scale, [half_away(times(value, inverse(scale))) + 1 for value in values_E]


def packed_pairs(codes: Sequence[int]) -> bytes:
    return bytes(sum(codes[128 * part + i + 32 * q] << 2 * q for q in range(4)) for part in range(2) for i in range(32))


def packed_threes(codes: Sequence[int]) -> bytes:
    groups = [[codes[i + 32 * k] for k in range(5)] for i in range(32)]
    groups += [[codes[160 + i + 16 * k] for k in range(5)] for i in range(16)]
    groups += [[*(codes[240 + i + 4 * k] for k in range(4)), 0] for i in range(4)]
    weights = (81, 27, 9, 3, 1)
    sums = [sum(weight * code for weight, code in zip(weights, group, strict=True)) for group in groups]
    return bytes(-(-one * 256 // 243) for one in sums)
