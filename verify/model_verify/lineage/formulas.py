"""Blends as people write them: which ones a fit leaves open, in the order in which they are worth a replay.

Coefficients have few decimals, or they are shares that were normalized. A merging tool rounds in its own way on top of
that: an arithmetic is one of the profiles of the `linear` method, with all that changes its bits.
"""

# Shape suffixes: P parents, N proposals.

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product

import numpy as np
from numpy.typing import NDArray

from model_verify.errors import RecipeInvalid
from model_verify.lineage.fit import Fit
from model_verify.merge.coefficient import parse_weight
from model_verify.merge.formats import half_step, narrow, widen
from model_verify.merge.kernel import Call
from model_verify.merge.methods.linear_f64 import LINEAR_F64_V1, linear_call

ROUNDS_EACH_STEP = "mergekit-0.1.4"
MERGEKIT_PROFILES = ("mergekit-0.1.5/fma", "mergekit-0.1.5/nofma", ROUNDS_EACH_STEP)

_DECIMALS = range(1, 8)
_FEW_DECIMALS = 3
_MOST_PROPOSALS = 512
"""For one number of decimals, the nearest of so many that are looked at. With more decimals than the spec asks for,
only where the fit leaves few open."""
_MOST_CONSIDERED = 4096
_MOST_LONG_PROPOSALS = 32
_LONG_DECIMALS = 5
_STANDARD_ERRORS = 5.0
_BIAS = 1e-4
"""By which coefficients can be off beyond their standard error: where parents are a few ULP apart, the errors of
rounding are not independent of them."""
_TOTALS = ((0, 12), (1, 30), (2, 300))
"""Decimals of coefficients that are to be normalized, and the largest sum that is tried, in units of the last one."""
_ROUNDED_PARTS = {2: ((0, 12), (1, 30), (2, 200)), 3: ((0, 12), (1, 20))}
"""The same of each coefficient, by the number of parents, for a tool that rounds the coefficients and their sum."""
_MOST_ROUNDED_PARTS = 128
_SEVERAL_ROUNDINGS = 4.0
"""Where products, sum and quotient are rounded too, a fit is off by more than its standard error says."""
_DIGITS_OF_A_PROFILE = 2
"""Which of some twenty arithmetics it is says as much as two digits do."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a linear merge computes: by which profile, in which dtype (mergekit's `dtype`), and whether normalized."""

    profile: str
    normalize: bool
    compute_dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Formula:
    """A blend as it is written: coefficients as decimal text, and how they are applied."""

    texts: tuple[str, ...]
    arithmetic: Arithmetic

    @property
    def digits(self) -> int:
        """How much it says: the digits of its coefficients from the first to the last one that is not zero."""
        further = 0 if self.arithmetic.profile == LINEAR_F64_V1 else _DIGITS_OF_A_PROFILE
        return further + _digits(self.texts)

    def call(self, dtype: str) -> Call:
        """Return the call that gives the blend in `dtype`."""
        profile, normalize, compute_dtype = (
            self.arithmetic.profile,
            self.arithmetic.normalize,
            self.arithmetic.compute_dtype,
        )
        if profile == LINEAR_F64_V1:
            return linear_call([parse_weight(text).value for text in self.texts], dtype, normalize=normalize)
        own = tuple({"weight": float(text)} for text in self.texts)
        return Call(profile, "linear", dtype, compute_dtype, shared={"normalize": normalize}, own=own)


def _digits(texts: Sequence[str]) -> int:
    return sum(len(re.sub(r"[^0-9]", "", text).strip("0")) for text in texts)


def only_first(count: int, arithmetic: Arithmetic | None = None) -> Formula:
    """Return the blend that is the first of so many parents."""
    texts = tuple("1" if p == 0 else "0" for p in range(count))
    return Formula(texts, arithmetic or Arithmetic(LINEAR_F64_V1, False))


def proposals(fit: Fit, most_digits: int, shares: tuple[float, float] | None = None) -> Iterator[Formula]:
    """Yield formulas of linear/f64-v1: few decimals, then such as need normalizing, then many.

    They lie near `fit`, or leave the second of two parents a share between `shares`.
    """
    seen: set[tuple[str, ...]] = set()
    plain = [((texts, True) for texts in chain(_between(shares, digits), _near(fit, digits))) for digits in _DECIMALS]
    parts = ((_parts(fit, digits, total), False) for digits, most in _TOTALS for total in range(1, most + 1))
    for texts, is_plain in chain(*plain[:_FEW_DECIMALS], parts, *plain[_FEW_DECIMALS:]):
        if texts is not None and texts not in seen and _digits(texts) <= most_digits:
            seen.add(texts)
            yield from _formulas(texts, plain=is_plain)


def _formulas(texts: tuple[str, ...], *, plain: bool) -> Iterator[Formula]:
    """Yield the formulas of these coefficients; a sum that is not 1 to the last bit makes normalizing another one."""
    try:
        total = sum(parse_weight(text).value for text in texts)
    except RecipeInvalid:
        return
    if plain:
        yield Formula(texts, Arithmetic(LINEAR_F64_V1, False))
    if total not in (0.0, 1.0) and (not plain or abs(total - 1.0) < 1e-6):
        yield Formula(texts, Arithmetic(LINEAR_F64_V1, True))


def arithmetics(compute_dtypes: Iterable[str]) -> list[Arithmetic]:
    """Return the ways in which mergekit computes a linear merge in any of some dtypes."""
    return [Arithmetic(*chosen) for chosen in product(MERGEKIT_PROFILES, (False, True), compute_dtypes)]


def rounded_coefficients(fit: Fit, dtype: str, *, normalize: bool) -> Iterator[tuple[str, ...]]:
    """Yield coefficients for a tool that rounds them to `dtype`: of all that come out the same, the shortest.

    For each coefficient, the values of `dtype` on both sides of the fit. With `normalize`, coefficients of few decimals
    whose sum is rounded too.
    """
    if normalize:
        yield from _rounded_parts(fit, dtype)
        return
    choices = []
    for value in fit.solution_P:
        nearest = _rounded(np.array([value]), dtype)
        half = half_step(nearest, dtype)
        beside = nearest + 2 * half * np.sign(value - nearest)
        choices.append([_shortest(float(number), float(half[0])) for number in (*nearest, *beside)])
    yield from dict.fromkeys(product(*choices))


def _rounded_parts(fit: Fit, dtype: str) -> Iterator[tuple[str, ...]]:
    """Yield coefficients of few decimals that, rounded and divided by their rounded sum, are near the fit."""
    count = len(fit.solution_P)
    errors_P = np.array([_SEVERAL_ROUNDINGS * (_STANDARD_ERRORS * fit.error(p) + _BIAS) for p in range(count)])
    for digits, most in _ROUNDED_PARTS.get(count, ()):
        # N is every number up to the largest for each parent.
        numbers_NP = np.stack(np.meshgrid(*[np.arange(most + 1)] * count, indexing="ij"), axis=-1).reshape(-1, count)
        weights_NP = _rounded(numbers_NP / 10.0**digits, dtype)
        total_N = _rounded(weights_NP.sum(axis=1), dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            away_N = (np.abs(weights_NP / total_N[:, None] - fit.solution_P) / errors_P).max(axis=1)
        near_N = np.flatnonzero(away_N <= 1.0)
        for place in near_N[np.argsort(away_N[near_N], kind="stable")[:_MOST_ROUNDED_PARTS]]:
            yield tuple(_decimal(int(number), digits) for number in numbers_NP[place])


def _rounded(values: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """Return the values rounded to `dtype`, as float64."""
    return widen(narrow(values.reshape(-1), dtype), dtype).reshape(values.shape)


def _shortest(value: float, reach: float) -> str:
    """Return the shortest decimal less than `reach` from `value`."""
    for digits in range(17):
        number = round(value * 10**digits)
        if abs(number / 10**digits - value) < reach:
            return _decimal(number, digits)
    return repr(value)


def _between(shares: tuple[float, float] | None, digits: int) -> Iterator[tuple[str, ...]]:
    """Yield coefficients of `digits` decimals that sum to 1 and leave the second parent such a share, middle first."""
    if shares is None:
        return
    unit = 10**digits
    least, most = (share * unit for share in shares)
    for number in _grid((least + most) / 2, (most - least) / 2, _MOST_LONG_PROPOSALS):
        yield (_decimal(unit - number, digits), _decimal(number, digits))


def _near(fit: Fit, digits: int) -> Iterator[tuple[str, ...]]:
    """Yield coefficients of `digits` decimals that the fit leaves open, the nearest ones first.

    Parents that are close leave the sum of coefficients certain and their shares uncertain. So one coefficient is
    chosen after the other, each near its conditional mean under those chosen before.
    """
    unit = 10.0**-digits
    count = len(fit.solution_P)
    most = round(_MOST_CONSIDERED ** (1 / max(1, count - 1)))  # the last coefficient follows from the others

    def choose(chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(chosen) == count:
            yield chosen
            return
        mean, error = fit.conditional(np.array(chosen, dtype=np.float64) * unit)
        reach = _STANDARD_ERRORS * error + (_BIAS if digits < _LONG_DECIMALS else 0.0)
        for number in _grid(mean / unit, reach / unit, most):
            yield from choose((*chosen, number))

    considered = list(islice(choose(()), _MOST_CONSIDERED))
    distances_N = fit.distances(np.array(considered, dtype=np.float64) * unit)
    most_proposals = _MOST_PROPOSALS if digits < _LONG_DECIMALS else _MOST_LONG_PROPOSALS
    for position in np.argsort(distances_N, kind="stable")[:most_proposals]:
        yield tuple(_decimal(number, digits) for number in considered[position])


def _grid(middle: float, reach: float, most: int) -> Iterator[int]:
    """Yield up to `most` integers within `reach` of `middle`, the nearest first, and the nearest in any case."""
    nearest = round(middle)
    yield nearest
    side = 1 if middle >= nearest else -1
    for distance in range(1, (most + 1) // 2):
        inside = [n for n in (nearest + side * distance, nearest - side * distance) if abs(n - middle) <= reach]
        if not inside:
            return
        yield from inside


def _parts(fit: Fit, digits: int, total: int) -> tuple[str, ...] | None:
    """Return coefficients that sum to `total` units of the last decimal and, divided by that, are near the fit."""
    numbers = [round(float(value) * total) for value in fit.solution_P]
    for position, (number, value) in enumerate(zip(numbers, fit.solution_P, strict=True)):
        if abs(number / total - float(value)) > _STANDARD_ERRORS * fit.error(position) + _BIAS:
            return None
    return tuple(_decimal(number, digits) for number in numbers) if sum(numbers) == total else None


def _decimal(number: int, digits: int) -> str:
    """Return `number` units of 10^-digits without zeros at the end."""
    if not digits:
        return str(number)
    whole, part = divmod(abs(number), 10**digits)
    text = f"{whole}.{part:0{digits}d}".rstrip("0").rstrip(".")
    return f"-{text}" if number < 0 else text
