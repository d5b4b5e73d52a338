"""Find the blend that a checkpoint could be: fit coefficients to samples, propose round numbers near them, replay.

A fit is only ever a proposal. Whether the checkpoint is that blend is decided by replaying all of it to the bit, which
the caller does. Spec: pipeline §4.2, §4.7.

    fit       least squares over the samples of all tensors, each element's error measured in its own ULP
    propose   coefficients as people write them, as near the fit as the rounding of the weights leaves open
    replay    the first proposal that gives every sample to the bit, by linear/f64-v1 and as mergekit computes

Where no single proposal does, tensors are explained one by one: a recipe may give the norms other coefficients. Where
none does at all, coefficients with which nearly every element lies in the blend's rounding cell are all that is left.
"""

# Shape suffixes: P parents, E elements of one tensor's sample.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_verify.errors import BackendUnavailable, OperationRefused
from model_verify.lineage.cell import CellCount, count_cell
from model_verify.lineage.fit import Fit, fit_blend, fit_most, refine, shares_that_round_so
from model_verify.lineage.formulas import (
    ROUNDS_EACH_STEP,
    Arithmetic,
    Formula,
    arithmetics,
    only_first,
    proposals,
    rounded_coefficients,
)
from model_verify.lineage.samples import Sample, thinned
from model_verify.merge.backend import Backend
from model_verify.merge.formats import as_bits
from model_verify.merge.kernel import Block
from model_verify.merge.methods import load
from model_verify.merge.methods.linear_f64 import LINEAR_F64_V1

_LEAST_SPEAKING = 16
_SPEAKING_FOR_A_DIGIT = 7
"""A formula that was looked for must explain more than it says: an element counts as one bit, and two bits are asked
for each bit of a digit, beyond a margin. Any one number lies on the line through two others, and coefficients of seven
digits can be chosen so that several do. Spec: pipeline §4.2."""
_DIGITS_OF_AN_ESTIMATE = 9

_FIRST_LOOK_ELEMENTS = 1 << 11
_NEAR_ENOUGH = 0.3
"""The right coefficients in the wrong arithmetic give this share of elements at least: mergekit 0.1.4 in BF16 and a sum
in float64 agree in 0.6. Below it, no arithmetic is tried."""
_NEAR_THE_BEST = 0.05
_MOST_TRIED = 64
"""Coefficients that are tried in every arithmetic."""
_SAMPLE_SHARE = 980
"""Of a thousand elements of the sample, so many must lie in the rounding cell for all elements to be counted."""
_FINEST_FIRST = ("F32", "F16", "BF16")
_AT_LEAST = {"BF16": {"BF16", "F16", "F32"}, "F16": {"F16", "F32"}, "F32": {"F32"}}
"""The dtypes that round no more than one does."""
_WORTH_REFINING = 0.7
_SHORT_DECIMALS = 4
"""Coefficients that were written with so many decimals are to be found as they were written."""
_FEW_ELEMENTS = 1 << 19
_FEWER_ELEMENTS = 1 << 17
"""For what is done several times over, and for what mostly comes to nothing."""
_REFITS = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """What blend the samples point to.

    `fitted` are coefficients by least squares. `exact` has the formula that gives a tensor's whole sample, if all have
    one. `within` has decimal coefficients for each tensor, where nearly all elements lie in the rounding cell.
    """

    fitted: tuple[float, ...]
    exact: Mapping[str, Formula] | None
    within: Mapping[str, tuple[str, ...]] | None = None
    unavailable: str | None = None
    """Why mergekit's arithmetic could not be tried, where it was worth a try."""

    @property
    def alternatives(self) -> tuple[Formula, ...]:
        """The formulas of any tensor, those of most tensors first."""
        return tuple(formula for formula, _ in Counter((self.exact or {}).values()).most_common())


def estimate_blend(samples: Sequence[Sample], backend: Backend) -> Estimate | None:
    """Return the blend of the parents that `samples` point to; None where nothing can be fitted."""
    fit = fit_blend(samples)
    if fit is None:
        return None
    speaking = {sample.name: _speaking(sample) for sample in samples}
    most_digits = (sum(speaking.values()) - _LEAST_SPEAKING) // _SPEAKING_FOR_A_DIGIT
    samples = sorted(samples, key=lambda sample: -speaking[sample.name])
    exact: Mapping[str, Formula] | None = None
    unavailable: str | None = None
    for search in _searches(samples, most_digits, backend) if most_digits > 0 else ():
        explained = search.explain()
        unavailable = unavailable or search.unavailable
        if _is_supported(explained, speaking):
            exact = explained
            break
    within = _within(samples, fit, speaking)
    few = thinned(samples, _FEW_ELEMENTS)
    for _ in range(0 if exact else _REFITS):
        fit = fit_blend(few, fit) or fit
    return Estimate(tuple(float(value) for value in fit.solution_P), exact, within, unavailable)


def estimate_within(samples: Sequence[Sample]) -> Mapping[str, tuple[str, ...]] | None:
    """Return decimal coefficients for each tensor with which nearly all elements lie in the rounding cell, if any."""
    fit = fit_blend(samples)
    speaking = {sample.name: _speaking(sample) for sample in samples}
    return None if fit is None else _within(sorted(samples, key=lambda s: -speaking[s.name]), fit, speaking)


def _speaking(sample: Sample) -> int:
    """Return how many elements say something of the blend: those that are not what went in."""
    return int((as_bits(sample.before, sample.dtype) != as_bits(sample.child, sample.dtype)).sum())


def needed_elements(digits: int) -> int:
    """Return how many elements must speak for a formula of so many digits. Spec: pipeline §4.2."""
    return _LEAST_SPEAKING + _SPEAKING_FOR_A_DIGIT * digits


def _is_supported(explained: Mapping[str, Formula], speaking: Mapping[str, int]) -> bool:
    """Return whether enough elements speak for each formula; tensors in which none does need no support."""
    counts: dict[Formula, int] = {}
    for name, formula in explained.items():
        if speaking[name]:
            counts[formula] = counts.get(formula, 0) + speaking[name]
    return bool(counts) and all(count >= needed_elements(formula.digits) for formula, count in counts.items())


def _searches(samples: Sequence[Sample], most_digits: int, backend: Backend) -> Iterator[_Search]:
    """Yield the searches: among all arithmetics, then where everything was rounded to fewer bits first."""
    dtypes = {sample.dtype for sample in samples}
    finer = [dtype for dtype in _FINEST_FIRST if any(dtype in _AT_LEAST[held] for held in dtypes)]
    yield _Search(samples, most_digits, backend, arithmetics(finer))
    for dtype in _FINEST_FIRST:
        if dtypes <= _AT_LEAST[dtype] - {dtype} and all(sample.has_values_of(dtype) for sample in samples):
            yield _Search(samples, most_digits, backend, arithmetics([dtype]), rounded_to=dtype)


class _Search:
    """Looks for formulas that give samples, which are ordered by what they say, most first.

    Formulas of more than `most_digits` are not looked for: there are too few elements to speak for them. Where
    everything was `rounded_to` a dtype first, only mergekit's `arithmetics` are an answer.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        most_digits: int,
        backend: Backend,
        arithmetics: Sequence[Arithmetic],
        *,
        rounded_to: str | None = None,
    ) -> None:
        self._samples = samples
        self._most_digits = most_digits
        self._backend = backend
        self._arithmetics = arithmetics
        self._rounded_to = rounded_to
        self.unavailable: str | None = None

    def explain(self) -> dict[str, Formula]:
        """Return a formula for every sample, one for all if possible; none at all where a sample has none."""
        formula = self._first(self._samples, self._arithmetics)
        if formula is not None:
            return dict.fromkeys((sample.name for sample in self._samples), formula)
        return self._explain_each()

    def _explain_each(self) -> dict[str, Formula]:
        known = [only_first(len(self._samples[0].parents), self._arithmetics[0] if self._rounded_to else None)]
        explained: dict[str, Formula] = {}
        for sample in self._samples:
            formula = next((formula for formula in known if self._gives(formula, [sample])), None)
            if formula is None:
                used = {f.arithmetic for f in known[1:] if f.arithmetic.profile != LINEAR_F64_V1}
                formula = self._first([sample], list(used) or self._arithmetics)
                if formula is None:
                    return {}
                known.append(formula)
            explained[sample.name] = formula
        return explained

    def _first(self, samples: Sequence[Sample], arithmetics: Iterable[Arithmetic]) -> Formula | None:
        """Return the first formula that gives all of `samples`, of mergekit's by one of `arithmetics`."""
        seen_as = samples if self._rounded_to is None else [sample.rounded(self._rounded_to) for sample in samples]
        fit = fit_blend(seen_as)
        if fit is None:
            return None
        start = samples[0].first(_FIRST_LOOK_ELEMENTS)
        start_as = seen_as[0].first(_FIRST_LOOK_ELEMENTS)
        seen: list[tuple[int, Formula]] = []
        for formula in proposals(fit, self._most_digits, shares_that_round_so(seen_as)):
            equal = self._equal(formula, start_as)
            if equal == start.elements and not self._rounded_to and self._gives(formula, samples):
                return formula
            seen.append((equal, formula))
        try:
            for formula in self._as_mergekit(start.elements, fit, seen, arithmetics):
                if formula.digits > self._most_digits:
                    continue
                if self._gives(formula, [start]) and self._gives(formula, samples):
                    return formula
        except BackendUnavailable as error:
            self.unavailable = error.message
        return None

    def _as_mergekit(
        self, elements: int, fit: Fit, seen: Sequence[tuple[int, Formula]], arithmetics: Iterable[Arithmetic]
    ) -> Iterator[Formula]:
        """Yield the likeliest of the proposals `seen`, which gave so many of `elements`, as mergekit computes them."""
        most = max((equal for equal, _ in seen), default=0)
        if most < _NEAR_ENOUGH * elements:
            return
        # Where a blend is often half way between two values, the right coefficients need not be the likeliest.
        likely = [formula for equal, formula in seen if equal >= most - _NEAR_THE_BEST * elements]
        best = [formula.texts for formula in sorted(likely, key=lambda formula: formula.digits)[:_MOST_TRIED]]
        for arithmetic in arithmetics:
            texts = list(best)
            if arithmetic.profile == ROUNDS_EACH_STEP and arithmetic.compute_dtype is not None:
                texts += rounded_coefficients(fit, arithmetic.compute_dtype, normalize=arithmetic.normalize)
            yield from (Formula(one, arithmetic) for one in dict.fromkeys(texts))

    def _gives(self, formula: Formula, samples: Sequence[Sample]) -> bool:
        return all(self._equal(formula, sample) == sample.elements for sample in samples)

    def _equal(self, formula: Formula, sample: Sample) -> int:
        """Return how many elements of a sample a formula gives to the bit."""
        shape = (sample.elements,)
        out = Block(sample.dtype, shape, memoryview(bytearray(len(sample.child))))
        operands = [Block(dtype, shape, data) for dtype, data in sample.parents]
        kernel = load(formula.call(sample.dtype))
        try:
            blended = kernel.run(self._backend, operands, out, expected=sample.child)
        except OperationRefused:
            return -1
        if blended.as_expected and blended.finite:
            return sample.elements
        equal_E = as_bits(out.data, sample.dtype) == as_bits(sample.child, sample.dtype)
        return min(int(equal_E.sum()), sample.elements - 1)


# The rounding cell.


def _within(samples: Sequence[Sample], fit: Fit, speaking: Mapping[str, int]) -> dict[str, tuple[str, ...]] | None:
    """Return coefficients for each tensor with which its sample lies in the blend's rounding cell.

    The same for all if that is enough; otherwise its own for each tensor that says enough. None where too many elements
    lie outside.
    """
    needed = needed_elements(_DIGITS_OF_AN_ESTIMATE * len(fit.solution_P))
    if sum(speaking.values()) < needed:
        return None
    shared = _refined(samples, fit)
    if shared is not None and _is_enough([_count_all(samples, shared)]):
        return dict.fromkeys(speaking, shared)
    shared = shared or _texts(fit.solution_P)
    counts = {sample.name: _count(sample, shared) for sample in samples}
    chosen = dict.fromkeys(counts, shared)
    for sample in samples:
        if _is_enough(counts.values()) or speaking[sample.name] < needed:
            break  # samples are in the order of what they say
        own = fit_blend([sample])
        texts = None if own is None else _refined([sample], own)
        if texts is None:
            return None
        count = _count(sample, texts)
        if count.inside > counts[sample.name].inside:
            counts[sample.name], chosen[sample.name] = count, texts
        if not _is_enough([counts[sample.name]]):
            return None
    return chosen if _is_enough(counts.values()) else None


def _refined(samples: Sequence[Sample], fit: Fit) -> tuple[str, ...] | None:
    """Return the coefficients with which most elements lie in the cell, the shortest of several.

    None where the fit leaves so many outside that no others would do.
    """
    few = thinned(samples, _FEW_ELEMENTS)
    start, count = fit, _count_all(few, _texts(fit.solution_P))
    if count.inside < _WORTH_REFINING * count.elements:
        start = fit_most(thinned(samples, _FEWER_ELEMENTS), fit)
        count = _count_all(few, _texts(start.solution_P))
    if count.inside < _WORTH_REFINING * count.elements or count.moved_inside < _WORTH_REFINING * count.moved:
        return None
    refined_P = refine(few, start.solution_P)
    rounded = [tuple(f"{float(round(w, digits)):g}" for w in refined_P) for digits in range(1, _SHORT_DECIMALS + 1)]
    counts = {texts: _count_all(samples, texts) for texts in (*rounded, _texts(refined_P))}
    # In this order: of coefficients that do equally well, those of the fewest digits.
    return max(counts, key=lambda texts: counts[texts].moved_inside + counts[texts].inside)


def _count_all(samples: Sequence[Sample], texts: Sequence[str]) -> CellCount:
    total = CellCount()
    for sample in samples:
        total += _count(sample, texts)
    return total


def _is_enough(counts: Iterable[CellCount]) -> bool:
    total = CellCount()
    for count in counts:
        total += count
    inside, moved_inside = 1000 * total.inside, 1000 * total.moved_inside
    return inside >= _SAMPLE_SHARE * total.elements and moved_inside >= _SAMPLE_SHARE * total.moved


def _texts(weights_P: NDArray[np.float64]) -> tuple[str, ...]:
    return tuple(f"{weight:.{_DIGITS_OF_AN_ESTIMATE}g}" for weight in weights_P)


def _count(sample: Sample, texts: Sequence[str]) -> CellCount:
    shape = (sample.elements,)
    parents = [Block(dtype, shape, data) for dtype, data in sample.parents]
    before, after = Block(sample.dtype, shape, sample.before), Block(sample.dtype, shape, sample.child)
    return count_cell(parents, np.array([float(text) for text in texts]), before, after)
