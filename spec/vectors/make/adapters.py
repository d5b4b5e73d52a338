"""Adapters merged into matrices, and FP8 codes as numbers, in integers. Spec: forms §2, §3."""

# Shape suffixes: R the rank.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from dyadic import F32, F64, FORMATS, Format, Infinite, Number, add, decode, encode, multiply, round_number, round_ratio
from linear import Refused

BLAS_BLOCK = 192


@dataclass(frozen=True, slots=True)
class Matrix:
    """Elements of one format as bits, row by row. A tensor of scales may have any number of axes."""

    dtype: str
    shape: tuple[int, ...]
    bits: tuple[int, ...]

    def numbers(self) -> list[Number]:
        """Return the values. Raises `Refused` for one that is not finite."""
        found = []
        for bits in self.bits:
            number = decode(bits, FORMATS[self.dtype])
            if number is None:
                raise Refused("NONFINITE_INPUT")
            found.append(number)
        return found

    def data(self) -> bytes:
        """Return the elements as stored."""
        size = FORMATS[self.dtype].size_bits // 8
        return b"".join(bits.to_bytes(size, "little") for bits in self.bits)


@dataclass(frozen=True, slots=True)
class Adapter:
    """Profile, output format and parameters of one target."""

    profile: str
    dtype: str
    scale: str
    transposed: bool = False
    delta_dtype: str | None = None

    def apply(self, base: Matrix, a: Matrix, b: Matrix, *, order: Callable[[int], Sequence[int]] = range) -> Matrix:
        """Return W with the product added. `order` gives the terms of a float32 sum in another order, unfused.

        Raises `Refused`.
        """
        start, a_numbers, b_numbers = base.numbers(), a.numbers(), b.numbers()
        rank, out = a.shape[0], FORMATS[self.dtype]
        made = []
        for row in range(base.shape[0]):
            for column in range(base.shape[1]):
                of_b, of_a = (column, row) if self.transposed else (row, column)
                left_R = [b_numbers[of_b * rank + k] for k in range(rank)]
                right_R = [a_numbers[k * a.shape[1] + of_a] for k in range(rank)]
                try:
                    w = round_number(start[row * base.shape[1] + column], out)
                    made.append(encode(self._element(w, left_R, right_R, out, order), out))
                except Infinite as error:
                    raise Refused("NONFINITE_OUTPUT") from error
        return Matrix(self.dtype, base.shape, tuple(made))

    def _element(
        self,
        w: Number,
        left_R: Sequence[Number],
        right_R: Sequence[Number],
        out: Format,
        order: Callable[[int], Sequence[int]],
    ) -> Number:
        scale = decimal(self.scale, F64)
        products_R = [multiply(one, other) for one, other in zip(left_R, right_R, strict=True)]
        if self.profile == "lora/f64-v1":
            s = round_number(products_R[0], F64)
            for product in products_R[1:]:
                s = add(s, product, F64)
            s = round_number(multiply(s, scale), F64)
            return round_number(round_number(add(s, w, F64), F32), out)
        s = fused_sum(products_R) if order is range else plain_sum([products_R[k] for k in order(len(products_R))])
        d = round_number(multiply(s, round_number(scale, F32)), F32)
        if self.delta_dtype is not None:
            d = round_number(d, FORMATS[self.delta_dtype])
        return round_number(add(w, d, F32), out)


def fused_sum(products_R: Sequence[Number]) -> Number:
    """Return the float32 sum of exact products, one rounding a term. Spec: forms §2.4."""
    rank = len(products_R)
    if rank == 1:
        return round_number(products_R[0], F32)
    size = rank // 2 if BLAS_BLOCK < rank <= 2 * BLAS_BLOCK and rank % 2 == 0 else BLAS_BLOCK
    total: Number | None = None
    for first in range(0, rank, size):
        s = Number(False, 0, F32.lowest)
        for product in products_R[first : first + size]:
            s = add(s, product, F32)
        total = s if total is None else add(total, s, F32)
    assert total is not None
    return total


def plain_sum(products: Sequence[Number]) -> Number:
    """Return the float32 sum of products that are rounded first."""
    s = round_number(products[0], F32)
    for product in products[1:]:
        s = add(s, round_number(product, F32), F32)
    return s


def decimal(text: str, to: Format) -> Number:
    """Return the number of a format nearest to a decimal text."""
    value = Fraction(text)
    return round_ratio(text.startswith("-"), abs(value.numerator), value.denominator, to)


def e4m3(code: int) -> Number | None:
    """Return the value of an F8_E4M3 code, None for no number. Spec: forms §3.2."""
    exponent, mantissa = code >> 3 & 15, code & 7
    if (exponent, mantissa) == (15, 7):
        return None
    if exponent == 0:
        return Number(bool(code >> 7), mantissa, -9)
    return Number(bool(code >> 7), 8 + mantissa, exponent - 10)


def dequantize(codes: bytes, shape: Sequence[int], scales: Matrix, block: Sequence[int], dtype: str) -> Matrix:
    """Return the numbers that codes with scales stand for. Raises `Refused`. Spec: forms §3.3."""
    grid = [-(-size // extent) for size, extent in zip(shape, block, strict=True)]
    assert prod(grid) == len(scales.bits)
    factors = scales.numbers()
    made = []
    for at, code in enumerate(codes):
        place, stride, rest = 0, 1, at
        for size, extent, count in zip(reversed(shape), reversed(block), reversed(grid), strict=True):
            rest, index = divmod(rest, size)
            place += stride * (index // extent)
            stride *= count
        value = e4m3(code)
        if value is None:
            raise Refused("NONFINITE_OUTPUT")
        try:
            y = round_number(multiply(value, factors[place]), F32)
            made.append(encode(round_number(y, FORMATS[dtype]), FORMATS[dtype]))
        except Infinite as error:
            raise Refused("NONFINITE_OUTPUT") from error
    return Matrix(dtype, tuple(shape), tuple(made))
