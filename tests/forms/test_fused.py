"""The fused multiply-add, against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from model_verify.merge.methods.fused import multiply_add


def exact(a: float, b: float, c: float) -> float:
    """Return a·b + c rounded once to float32, ties to even, by integers alone; a zero is +0."""
    value = Fraction(a) * Fraction(b) + Fraction(c)
    if value == 0:
        return 0.0
    top = value.numerator.bit_length() - value.denominator.bit_length()
    if abs(value) < Fraction(2) ** top:
        top -= 1
    step = Fraction(2) ** max(top - 23, -149)
    rounded = round(value / step) * step
    return float("inf") if abs(rounded) >= Fraction(2) ** 128 else float(rounded)


def check(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    wide = [torch.from_numpy(values.astype(np.float32).astype(np.float64)) for values in (a, b, c)]
    given = multiply_add(*wide).tolist()
    for result, *terms in zip(given, *(values.tolist() for values in wide), strict=True):
        assert abs(result) == abs(exact(*terms)), [term.hex() for term in terms]


def test_random_terms_are_rounded_once() -> None:
    generator = np.random.default_rng(0)
    a, b, c = generator.standard_normal((3, 20_000))
    check(a, b, c)
    check(a, b, -a * b)
    check(a, b, c * 2.0**-24)
    check(a * 2.0**24, b, c)


def test_subnormal_results_are_rounded_once() -> None:
    generator = np.random.default_rng(1)
    a, b, c = generator.standard_normal((3, 5_000))
    check(a * 2.0**-70, b * 2.0**-70, c * 2.0**-140)
    check(a * 2.0**-75, b * 2.0**-75, c * 2.0**-149)


def test_sums_that_float64_rounds_onto_a_tie() -> None:
    # The product is 2^-24 − 2^-70. Added to 1 + 2^-23, it lies below a tie that goes up; float64 loses the last term.
    a = np.array([2.0**-24, -(2.0**-24)]) * (1 + 2.0**-23)
    b = np.full(2, 1 - 2.0**-23)
    terms = np.array([1 + 2.0**-23, 1 + 2.0**-22])
    check(a, b, terms)
    wide = [torch.from_numpy(values) for values in (a, b, terms)]
    once_each = (wide[0] * wide[1] + wide[2]).to(torch.float32).to(torch.float64)
    assert (multiply_add(*wide) != once_each).any()
