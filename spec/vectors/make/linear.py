"""The profile `linear/f64-v1`, in integers. Spec: merge §2, §3."""

# Shape suffixes: P parents, E elements.

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from decimal_text import coefficient
from dyadic import F32, F64, FORMATS, Format, Infinite, Number, add, decode, divide, encode, multiply, round_number


class Refused(Exception):
    """A merge that has no result; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Merge:
    """Coefficients as text, whether they are normalised, and the dtype of the output."""

    coefficients_P: tuple[str, ...]
    dtype: str
    normalize: bool = False

    def weights(self) -> list[Number]:
        """Return the coefficients as float32 numbers."""
        return [coefficient(text) for text in self.coefficients_P]


def merge(plan: Merge, inputs_PE: Sequence[tuple[str, Sequence[int]]]) -> list[int]:
    """Return the bits of the output, one integer an element; an input is its dtype and its bits.

    Raises `Refused` with NONFINITE_INPUT, NONFINITE_OUTPUT or OPERAND_INVALID.
    """
    weights_P = plan.weights()
    divisor = total(weights_P) if plan.normalize else None
    out = FORMATS[plan.dtype]
    columns = [[FORMATS[dtype]] * len(bits_E) for dtype, bits_E in inputs_PE]
    made = []
    for kinds_P, bits_P in zip(zip(*columns, strict=True), zip(*(b for _, b in inputs_PE), strict=True), strict=True):
        made.append(element(values(bits_P, kinds_P), weights_P, divisor, out))
    return made


def total(weights_P: Sequence[Number]) -> Number:
    """Return W, added in float64 from left to right. Raises `Refused` where it is zero. Spec: merge §2.3."""
    w = weights_P[0]
    for weight in weights_P[1:]:
        w = add(w, weight, F64)
    if w.significand == 0:
        raise Refused("OPERAND_INVALID")
    return w


def values(bits_P: Sequence[int], kinds_P: Sequence[Format]) -> list[Number]:
    """Return the numbers of one element's bits. Raises `Refused` for an infinity or a NaN. Spec: merge §2.1."""
    numbers = []
    for bits, kind in zip(bits_P, kinds_P, strict=True):
        number = decode(bits, kind)
        if number is None:
            raise Refused("NONFINITE_INPUT")
        numbers.append(number)
    return numbers


def element(x_P: Sequence[Number], w_P: Sequence[Number], divisor: Number | None, out: Format) -> int:
    """Return the bits of one output element. Raises `Refused` where it is not finite. Spec: merge §2.2 to §2.6."""
    s = multiply(w_P[0], x_P[0])
    for w, x in zip(w_P[1:], x_P[1:], strict=True):
        s = add(s, multiply(w, x), F64)
    if divisor is not None:
        s = divide(s, divisor, F64)
    try:
        y = round_number(s, F32)
        made = round_number(y, out)
    except Infinite:
        raise Refused("NONFINITE_OUTPUT") from None
    compare_with_machine(x_P, w_P, divisor, y)
    return encode(made, out)


def direct(x_P: Sequence[Number], w_P: Sequence[Number], out: Format) -> int:
    """Return what rounding s straight to the output format gives: wrong, and only shown for comparison."""
    s = multiply(w_P[0], x_P[0])
    for w, x in zip(w_P[1:], x_P[1:], strict=True):
        s = add(s, multiply(w, x), F64)
    return encode(round_number(s, out), out)


def machine(value: Number) -> float:
    """Return a number that float64 holds as the float of this machine."""
    return struct.unpack("<d", encode(value, F64).to_bytes(8, "little"))[0]  # type: ignore[no-any-return]


def compare_with_machine(x_P: Sequence[Number], w_P: Sequence[Number], divisor: Number | None, y: Number) -> None:
    """Raise `AssertionError` unless the floats of this machine give the same y."""
    terms = [machine(w) * machine(x) for w, x in zip(w_P, x_P, strict=True)]
    s = terms[0]
    for term in terms[1:]:
        s += term
    if divisor is not None:
        s /= machine(divisor)
    assert struct.pack("<f", s) == encode(y, F32).to_bytes(4, "little"), (x_P, w_P, y)


def effects(plan: Merge, inputs_PE: Sequence[tuple[str, Sequence[int]]], output_E: Sequence[int]) -> list[bool]:
    """Return for each input whether an output element changes when its term is left out. Spec: merge §3."""
    return [has_effect(plan, inputs_PE, output_E, parent) for parent in range(len(inputs_PE))]


def has_effect(
    plan: Merge, inputs_PE: Sequence[tuple[str, Sequence[int]]], output_E: Sequence[int], parent: int
) -> bool:
    """Return whether leaving out one input changes the bits of an element, or leaves nothing finite."""
    rest = [one for number, one in enumerate(inputs_PE) if number != parent]
    if not rest:
        return any(output_E)
    texts = tuple(text for number, text in enumerate(plan.coefficients_P) if number != parent)
    without = Merge(texts, plan.dtype, plan.normalize)
    try:
        for at, bits in enumerate(output_E):
            one = [(dtype, [bits_E[at]]) for dtype, bits_E in rest]
            if merge(without, one) != [bits]:
                return True
    except Refused:
        return True
    return False
