"""Find the blend that a checkpoint could be: fit coefficients to samples, propose round numbers near them, replay.

A fit is only ever a proposal. Whether the checkpoint is that blend is decided by replaying all of it to the bit, which
the caller does. Spec: pipeline §4.2.

    fit       least squares over the samples of all tensors, each element's error measured in its own ULP
    propose   coefficients as people write them, as near the fit as the rounding of the weights leaves open
    replay    the first proposal that gives every sample to the bit

Where no single proposal does, tensors are explained one by one: a recipe may give the norms other coefficients.
"""

# Shape suffixes: P parents, E elements of one tensor's sample, N proposals, K coefficients chosen so far.

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from model_verify.errors import RecipeInvalid
from model_verify.merge.backend import Backend, Operand
from model_verify.merge.coefficient import Weight, parse_weight
from model_verify.merge.formats import FLOAT_BYTES, as_bits, widen
from model_verify.merge.kernel import Block
from model_verify.replay import Key, Stored, TensorJob

SAMPLE_ELEMENTS = 1 << 22
"""Of all tensors together: enough for coefficients of four digits where BF16 parents are 1 % apart."""

_LEAST_SPEAKING = 16
_SPEAKING_FOR_A_DIGIT = 7
"""A formula that was looked for must explain more than it says: an element counts as one bit, and two bits are asked
for each bit of a digit, beyond a margin. Any one number lies on the line through two others, and coefficients of seven
digits can be chosen so that several do. Spec: pipeline §4.2."""

_LEAST_SAMPLE = 2048
_FIRST_LOOK_ELEMENTS = 2048

_DECIMALS = range(1, 8)
_FEW_DECIMALS = 3
_MOST_PROPOSALS = 512
"""For one number of decimals, the nearest of so many that are looked at. With more decimals than the spec asks for,
only where the fit leaves few open."""
_MOST_CONSIDERED = 4096
_MOST_LONG_PROPOSALS = 32
_LONG_DECIMALS = 5
_REFITS = 3
_STANDARD_ERRORS = 5.0
_ROUNDING_VARIANCE = 1 / 12
"""Of a value rounded to the nearest, in ULP²."""
_BIAS = 1e-4
"""By which coefficients can be off beyond their standard error: where parents are a few ULP apart, the errors of
rounding are not independent of them."""
_TOTALS = ((0, 12), (1, 30), (2, 300))
"""Decimals of coefficients that are to be normalized, and the largest sum that is tried, in units of the last one."""
_LARGEST = 1e6

_MANTISSA_BITS = {"F32": 23, "BF16": 7, "F16": 10}
_SMALLEST_EXPONENT = {"F32": -126, "BF16": -126, "F16": -14}
_CANCELLED = 2.0**-8
_RANK_TOLERANCE = 1e-13


@dataclass(frozen=True, slots=True)
class Sample:
    """The same elements of one tensor in the parents (dtype and data each) and in the child."""

    name: str
    parents: tuple[tuple[str, bytes], ...]
    dtype: str
    child: bytes

    def first(self, elements: int) -> Sample:
        """Return the sample of this tensor's first `elements`."""
        parents = tuple((dtype, data[: elements * FLOAT_BYTES[dtype]]) for dtype, data in self.parents)
        return Sample(self.name, parents, self.dtype, self.child[: elements * FLOAT_BYTES[self.dtype]])


@dataclass(frozen=True, slots=True)
class Formula:
    """How a blend is written."""

    weights: tuple[Weight, ...]
    normalize: bool

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(weight.decimal for weight in self.weights)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Coefficients by least squares, and for each tensor the formula that gives its whole sample, if all have one."""

    fitted: tuple[float, ...]
    exact: Mapping[str, Formula] | None

    @property
    def alternatives(self) -> tuple[Formula, ...]:
        """The formulas of any tensor, those of most tensors first."""
        return tuple(formula for formula, _ in Counter((self.exact or {}).values()).most_common())


@dataclass(frozen=True, slots=True)
class _Fit:
    """The least-squares solution, and the covariance of its error; None where parents cannot be told apart."""

    solution_P: NDArray[np.float64]
    covariance_PP: NDArray[np.float64] | None


def estimate_blend(samples: Sequence[Sample], backend: Backend, *, first_is_input: bool = True) -> Estimate | None:
    """Return the blend of the parents that `samples` point to; None where nothing can be fitted.

    `first_is_input` says that the first parent is what the child is declared to come from.
    """
    fit = _fit(samples)
    if fit is None:
        return None
    speaking = {sample.name: _speaking(sample, first_is_input) for sample in samples}
    most_digits = (sum(speaking.values()) - _LEAST_SPEAKING) // _SPEAKING_FOR_A_DIGIT
    samples = sorted(samples, key=lambda sample: -speaking[sample.name])
    explained = _explain(samples, fit, most_digits, backend) if most_digits > 0 else {}
    exact = explained if _is_supported(explained, speaking) else None
    for _ in range(0 if exact else _REFITS):
        fit = _fit(samples, fit) or fit
    return Estimate(tuple(float(value) for value in fit.solution_P), exact)


def _explain(samples: Sequence[Sample], fit: _Fit, most_digits: int, backend: Backend) -> dict[str, Formula]:
    """Return a formula for every sample, one for all if possible; none at all where a sample has none.

    `samples` are ordered by what they say, most first. Formulas of more than `most_digits` are not looked for: there
    are too few elements to speak for them.
    """
    start = [samples[0].first(_FIRST_LOOK_ELEMENTS)]
    for formula in _proposals(fit, most_digits):
        if _gives(formula, start, backend) and _gives(formula, samples, backend):
            return dict.fromkeys((sample.name for sample in samples), formula)
    return _explain_each(samples, most_digits, backend)


def _explain_each(samples: Sequence[Sample], most_digits: int, backend: Backend) -> dict[str, Formula]:
    """Return formulas for samples one by one, in their order; none at all where one sample has none."""
    count = len(samples[0].parents)
    known = [Formula(tuple(parse_weight("1" if p == 0 else "0") for p in range(count)), normalize=False)]
    explained: dict[str, Formula] = {}
    for sample in samples:
        formula = next((formula for formula in known if _gives(formula, [sample], backend)), None)
        if formula is None:
            fit = _fit([sample])
            start = [sample.first(_FIRST_LOOK_ELEMENTS)]
            near = _proposals(fit, most_digits) if fit is not None else iter(())
            formula = next((f for f in near if _gives(f, start, backend) and _gives(f, [sample], backend)), None)
            if formula is None:
                return {}
            known.append(formula)
        explained[sample.name] = formula
    return explained


def _is_supported(explained: Mapping[str, Formula], speaking: Mapping[str, int]) -> bool:
    """Return whether enough elements speak for each formula; tensors in which none does need no support."""
    counts: dict[Formula, int] = {}
    for name, formula in explained.items():
        if speaking[name]:
            counts[formula] = counts.get(formula, 0) + speaking[name]
    needed = {formula: _LEAST_SPEAKING + _SPEAKING_FOR_A_DIGIT * _digits(formula.texts) for formula in counts}
    return bool(counts) and all(count >= needed[formula] for formula, count in counts.items())


def _digits(texts: Sequence[str]) -> int:
    """Return how many digits coefficients have between their first and their last that is not zero."""
    return sum(len(re.sub(r"[^0-9]", "", text).strip("0")) for text in texts)


def _speaking(sample: Sample, first_is_input: bool) -> int:
    """Return how many elements say something of the blend.

    Where the first parent is the declared input, those that are still as there say nothing; otherwise, those that are
    the same in all parents.
    """
    first_E, *others = (widen(as_bits(data, dtype), dtype) for dtype, data in sample.parents)
    if first_is_input:
        others = [widen(as_bits(sample.child, sample.dtype), sample.dtype)]
    return int(np.any([other_E != first_E for other_E in others], axis=0).sum())


# Fit.


def _fit(samples: Sequence[Sample], earlier: _Fit | None = None) -> _Fit | None:
    """Return least-squares coefficients with every element's error measured in its own ULP.

    Without that, rounding skews the fit towards 0.62 for a true 0.6 when parents are close. What training adds has one
    size for small and large elements alike, so it spoils the small ones: with an `earlier` fit, each tensor's errors
    are measured in what that fit leaves unexplained where this is more than rounding.
    """
    count = len(samples[0].parents) if samples else 0
    normal_PP = np.zeros((count, count))
    right_P = np.zeros(count)
    for sample in samples:
        child_E = widen(as_bits(sample.child, sample.dtype), sample.dtype)
        parents_PE = np.stack([widen(as_bits(data, dtype), dtype) for dtype, data in sample.parents])
        usable_E = np.isfinite(parents_PE).all(axis=0) & np.isfinite(child_E)
        parents_PE, child_E = parents_PE[:, usable_E], child_E[usable_E]
        # Where the parents cancel, the child's own ULP would give a handful of elements all the weight.
        size_E = np.maximum(np.abs(child_E), np.abs(parents_PE).max(axis=0, initial=0.0) * _CANCELLED)
        variance_E = _ROUNDING_VARIANCE * _ulp(size_E, sample.dtype) ** 2
        if earlier is not None and len(child_E):
            unexplained = float(np.mean((child_E - earlier.solution_P @ parents_PE) ** 2))
            variance_E += max(0.0, unexplained - float(np.mean(variance_E)))
        scale_E = 1.0 / np.sqrt(variance_E)
        parents_PE *= scale_E
        normal_PP += parents_PE @ parents_PE.T
        right_P += parents_PE @ (child_E * scale_E)
    if not count or not np.isfinite(normal_PP).all() or not normal_PP.any():
        return None
    solution_P = np.asarray(np.linalg.lstsq(normal_PP, right_P, rcond=None)[0], dtype=np.float64)
    if not (np.abs(solution_P) < _LARGEST).all():
        return None
    eigenvalues_P = np.linalg.eigvalsh(normal_PP)
    if eigenvalues_P[0] <= eigenvalues_P[-1] * _RANK_TOLERANCE:
        return _Fit(solution_P, None)
    return _Fit(solution_P, np.asarray(np.linalg.inv(normal_PP), dtype=np.float64))


def _ulp(values_E: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """Return the distance between neighbouring values of `dtype` at each value."""
    _, exponent_E = np.frexp(values_E)
    exponent_E = np.maximum(exponent_E - 1, _SMALLEST_EXPONENT[dtype])
    distance_E: NDArray[np.float64] = np.ldexp(1.0, exponent_E - _MANTISSA_BITS[dtype])
    return distance_E


# Proposals.


def _proposals(fit: _Fit, most_digits: int) -> Iterator[Formula]:
    """Yield formulas near the fit, as people write them: few decimals, then such as need normalizing, then many."""
    seen: set[tuple[str, ...]] = set()
    plain = [((texts, True) for texts in _near(fit, digits)) for digits in _DECIMALS]
    parts = ((_parts(fit, digits, total), False) for digits, most in _TOTALS for total in range(1, most + 1))
    for texts, is_plain in chain(*plain[:_FEW_DECIMALS], parts, *plain[_FEW_DECIMALS:]):
        if texts is not None and texts not in seen and _digits(texts) <= most_digits:
            seen.add(texts)
            yield from _formulas(texts, plain=is_plain)


def _formulas(texts: tuple[str, ...], *, plain: bool) -> Iterator[Formula]:
    """Yield the formulas of these coefficients; a sum that is not 1 to the last bit makes normalizing another one."""
    try:
        weights = tuple(parse_weight(text) for text in texts)
    except RecipeInvalid:
        return
    total = sum(weight.value for weight in weights)
    if plain:
        yield Formula(weights, False)
    if total not in (0.0, 1.0) and (not plain or abs(total - 1.0) < 1e-6):
        yield Formula(weights, True)


def _near(fit: _Fit, digits: int) -> Iterator[tuple[str, ...]]:
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
        mean, error = _conditional(fit, np.array(chosen, dtype=np.float64) * unit)
        reach = _STANDARD_ERRORS * error + (_BIAS if digits < _LONG_DECIMALS else 0.0)
        for number in _grid(mean / unit, reach / unit, most):
            yield from choose((*chosen, number))

    considered = list(islice(choose(()), _MOST_CONSIDERED))
    distances = _distances(fit, np.array(considered, dtype=np.float64) * unit)
    most_proposals = _MOST_PROPOSALS if digits < _LONG_DECIMALS else _MOST_LONG_PROPOSALS
    for position in np.argsort(distances, kind="stable")[:most_proposals]:
        yield tuple(_decimal(number, digits) for number in considered[position])


def _conditional(fit: _Fit, chosen_K: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and standard error of coefficient K, given the K before it."""
    position = len(chosen_K)
    mean = float(fit.solution_P[position])
    if fit.covariance_PP is None:
        return mean, 0.0
    variance = float(fit.covariance_PP[position, position])
    if position:
        across_K = fit.covariance_PP[position, :position]
        gain_K = np.linalg.solve(fit.covariance_PP[:position, :position], across_K)
        mean += float(gain_K @ (chosen_K - fit.solution_P[:position]))
        variance -= float(gain_K @ across_K)
    return mean, float(np.sqrt(max(variance, 0.0)))


def _distances(fit: _Fit, values_NP: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how unlikely N sets of coefficients are under the fit: squares of their distances in standard errors."""
    away_NP = values_NP - fit.solution_P
    inverse_PP = np.eye(away_NP.shape[1]) if fit.covariance_PP is None else np.linalg.inv(fit.covariance_PP)
    distances_N: NDArray[np.float64] = ((away_NP @ inverse_PP) * away_NP).sum(axis=1)
    return distances_N


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


def _parts(fit: _Fit, digits: int, total: int) -> tuple[str, ...] | None:
    """Return coefficients that sum to `total` units of the last decimal and, divided by that, are near the fit."""
    numbers = [round(float(value) * total) for value in fit.solution_P]
    for number, value, position in zip(numbers, fit.solution_P, range(len(numbers)), strict=True):
        error = 0.0 if fit.covariance_PP is None else float(np.sqrt(max(fit.covariance_PP[position, position], 0.0)))
        if abs(number / total - float(value)) > _STANDARD_ERRORS * error + _BIAS:
            return None
    return tuple(_decimal(number, digits) for number in numbers) if sum(numbers) == total else None


def _decimal(number: int, digits: int) -> str:
    """Return `number` units of 10^-digits without zeros at the end."""
    if not digits:
        return str(number)
    whole, part = divmod(abs(number), 10**digits)
    text = f"{whole}.{part:0{digits}d}".rstrip("0").rstrip(".")
    return f"-{text}" if number < 0 else text


# Replay.


def _gives(formula: Formula, samples: Sequence[Sample], backend: Backend) -> bool:
    return all(_gives_one(formula, sample, backend) for sample in samples)


def _gives_one(formula: Formula, sample: Sample, backend: Backend) -> bool:
    operands = [Operand(w.value, dtype, data) for w, (dtype, data) in zip(formula.weights, sample.parents, strict=True)]
    out = memoryview(bytearray(len(sample.child)))
    blended = backend.linear(operands, out, dtype=sample.dtype, normalize=formula.normalize, expected=sample.child)
    return blended.finite and blended.as_expected


# Samples.

Stretches = Sequence[tuple[int, int]]
"""Parts of a tensor: the first element and the number of elements of each."""

Reader = Callable[[str, Stretches], tuple[str, bytes]]
"""Gives the dtype and the elements in some stretches of the tensor of a name."""

_MOST_STRETCHES = 32


def read_samples(parents: Sequence[Reader], child: Mapping[str, Stored], names: Sequence[str]) -> list[Sample]:
    """Return elements from all over the tensors `names`, which all of them have in one shape.

    `SAMPLE_ELEMENTS` are shared out evenly, except that small tensors leave to larger ones what they do not need.
    """
    samples: list[Sample] = []
    unused = SAMPLE_ELEMENTS
    for position, name in enumerate(sorted(names, key=lambda name: child[name].info.elements)):
        elements = min(child[name].info.elements, max(_LEAST_SAMPLE, unused // (len(names) - position)))
        unused -= elements
        stretches = _stretches(child[name].info.elements, elements)
        data = tuple(read(name, stretches) for read in parents)
        samples.append(Sample(name, data, *read_stored(child[name], stretches)))
    return samples


def _stretches(available: int, wanted: int) -> Stretches:
    """Return stretches of about `wanted` elements all over a tensor: the first rows of an embedding may never move."""
    count = wanted // _MOST_STRETCHES
    if wanted >= available or not count:
        return [(0, min(wanted, available))]
    return [(i * (available - count) // (_MOST_STRETCHES - 1), count) for i in range(_MOST_STRETCHES)]


def read_stored(stored: Stored, stretches: Stretches) -> tuple[str, bytes]:
    """Return the dtype and some elements of a tensor that lies in a file."""
    size = FLOAT_BYTES[stored.info.dtype]
    parts = [stored.file.read(stored.offset + start * size, count * size) for start, count in stretches]
    return stored.info.dtype, b"".join(parts)


def compute_sample(job: TensorJob, key: Key, stretches: Stretches, backend: Backend) -> tuple[str, bytes]:
    """Return the dtype and some elements of a tensor of the job, computed where it is not stored.

    What leads to it must be elementwise.
    """
    for stored in job.stored:
        if stored.key == key:
            return read_stored(stored, stretches)
    computed = next(computed for computed in job.computed if computed.key == key)
    given = [compute_sample(job, key, stretches, backend) for key in computed.operands]
    if computed.kernel is None:
        return given[0]
    elements = sum(count for _, count in stretches)
    dtype = computed.info.dtype
    out = Block(dtype, (elements,), memoryview(bytearray(elements * FLOAT_BYTES[dtype])))
    computed.kernel.run(backend, [Block(kind, (elements,), data) for kind, data in given], out)
    return dtype, bytes(out.data)
