"""Whether a tensor is the base plus some differences of each input, those of one input at one scale.

Spec: merge §5.16.
"""

# Shape suffixes: E elements of one piece, C combinations of inputs.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

_MARGIN = 1.0 + 2.0**-6
"""Roundings are of values that roundings have moved."""
_ROUNDS = 4
"""Times that the ranges of scales are narrowed."""
_SAMPLE_ELEMENTS = 1 << 17
_PIECE_ELEMENTS = 1 << 17
_PRECISION = {torch.float32: 24, torch.bfloat16: 8, torch.float16: 11}
_SMALLEST = {torch.float32: 2.0**-149, torch.bfloat16: 2.0**-133, torch.float16: 2.0**-24}

Combination = tuple[int, ...]
"""The inputs whose differences are in an element."""


@dataclass(slots=True)
class Given:
    """Differences of one input, in D, its weight, whether they are kept by chance, and where their scale lies."""

    delta_E: torch.Tensor
    weight: float
    always: bool
    never: bool
    lowest: float
    highest: float


@dataclass(slots=True)
class Kept:
    """Of how many elements a difference was kept for sure, and can have been, and the sums of their magnitudes."""

    surely: int = 0
    possibly: int = 0
    surely_sum: float = 0.0
    possibly_sum: float = 0.0


@dataclass(frozen=True, slots=True)
class Method:
    """What is done with the differences that are kept.

    `factor` gives what the weighted sum over a combination is multiplied by, `roundings` how often its terms were
    rounded to D before they are added to the base. With `elect`, only differences are in it that have the same sign,
    that of the sum.
    """

    dtype: torch.dtype
    out_dtype: torch.dtype
    factor: Callable[[Combination], float]
    roundings: Callable[[Combination], int]
    elect: bool

    def written(self, values_E: torch.Tensor) -> torch.Tensor:
        """Return what values in float64 are written as."""
        return values_E.to(torch.float32).to(self.dtype).to(self.out_dtype)


class Examination:
    """What is there, held against every combination of the inputs, or of all `but` one."""

    def __init__(
        self,
        method: Method,
        base_E: torch.Tensor,
        given: Sequence[Given],
        there_E: torch.Tensor,
        but: int | None = None,
    ) -> None:
        self._method = method
        self._base_E = base_E
        self._given = given
        self._there_E = there_E
        taking_part = [number for number, one in enumerate(given) if not one.never and number != but]
        sizes = range(len(taking_part) + 1)
        self._combinations: list[Combination] = [one for size in sizes for one in combinations(taking_part, size)]

    def narrow(self) -> None:
        """Narrow the ranges of scales by elements that one combination alone explains, until they stay.

        A sample is enough: elements elsewhere that have another scale are not explained then.
        """
        step = max(1, len(self._there_E) // _SAMPLE_ELEMENTS)
        for _ in range(_ROUNDS):
            found = [[one.lowest, one.highest] for one in self._given]
            for piece in self._pieces(step):
                for number, (lowest, highest) in piece.scales().items():
                    found[number] = [max(found[number][0], lowest), min(found[number][1], highest)]
            if found == [[one.lowest, one.highest] for one in self._given]:
                return
            for one, (lowest, highest) in zip(self._given, found, strict=True):
                one.lowest, one.highest = lowest, highest

    def explains_all(self) -> bool:
        """Return whether every element is explained by a combination."""
        return all(bool(piece.fits_CE.any(dim=0).all()) for piece in self._pieces())

    def kept(self) -> tuple[int, list[Kept]]:
        """Return how many elements no combination explains, and for each input what is known of what was kept."""
        unexplained, out = 0, [Kept() for _ in self._given]
        for piece in self._pieces():
            unexplained += int((~piece.fits_CE.any(dim=0)).sum())
            for number, kept in enumerate(out):
                piece.count(number, kept)
        return unexplained, out

    def _pieces(self, step: int = 1) -> Iterator[_Piece]:
        """Yield all elements in pieces, or every so many of them."""
        for start in range(0, len(self._there_E), _PIECE_ELEMENTS * step):
            at = slice(start, start + _PIECE_ELEMENTS * step, step)
            yield _Piece(self._method, self._combinations, self._given, self._base_E[at], self._there_E[at], at)


class _Piece:
    def __init__(
        self,
        method: Method,
        combinations: Sequence[Combination],
        given: Sequence[Given],
        base_E: torch.Tensor,
        there_E: torch.Tensor,
        at: slice,
    ) -> None:
        self._method = method
        self._combinations = combinations
        self._given = given
        self._base_E = base_E.to(torch.float64)
        self._there_E = there_E
        self._terms = [one.delta_E[at].to(torch.float64) * one.weight for one in given]
        self._magnitudes = [one.delta_E[at].abs().to(torch.float64) for one in given]
        self.fits_CE = torch.stack([self._fits(combination) for combination in combinations])

    def _fits(self, combination: Combination) -> torch.Tensor:
        """Return where the base and these differences can be what is there."""
        low_E, high_E, slack_E = self._sum(combination, self._method.factor(combination))
        lowest_E = self._method.written(self._base_E + low_E - slack_E)
        highest_E = self._method.written(self._base_E + high_E + slack_E)
        fits_E = (lowest_E <= self._there_E) & (self._there_E <= highest_E)
        for number in combination:
            fits_E &= self._terms[number] != 0
        if self._method.elect:
            for number in combination[1:]:
                fits_E &= self._terms[number].sign() == self._terms[combination[0]].sign()
        for number, one in enumerate(self._given):
            if one.always and number not in combination:
                fits_E &= self._is_outvoted(number, combination) | (self._terms[number] == 0)
        return fits_E

    def _is_outvoted(self, number: int, combination: Combination) -> torch.Tensor:
        """Return where a difference can have been kept without being in the sum: it has not the sign that counts."""
        if not self._method.elect or not combination:
            return torch.zeros_like(self._terms[number], dtype=torch.bool)
        return self._terms[number].sign() == -self._terms[combination[0]].sign()

    def _sum(self, combination: Combination, factor: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the smallest and the largest sum of these differences, scaled, and how far roundings may lead off."""
        low_E, high_E, size_E = (torch.zeros_like(self._base_E) for _ in range(3))
        for number in combination:
            ends = [
                self._terms[number] * factor * end for end in (self._given[number].lowest, self._given[number].highest)
            ]
            low_E += torch.minimum(*ends)
            high_E += torch.maximum(*ends)
            size_E += torch.maximum(ends[0].abs(), ends[1].abs())
        coarsest = max([1.0, abs(factor), *(abs(factor * self._given[number].weight) for number in combination)])
        unit = 2.0 ** -_PRECISION[self._method.dtype]
        absolute = coarsest * _SMALLEST[self._method.dtype] if combination else 0.0
        return low_E, high_E, self._method.roundings(combination) * _MARGIN * (size_E * unit + absolute)

    def scales(self) -> dict[int, tuple[float, float]]:
        """Return in what range the scales lie, by the elements that one combination alone explains."""
        found: dict[int, tuple[float, float]] = {}
        alone_E = self.fits_CE.sum(dim=0) == 1
        half_E = self._half_step()
        for combination, fits_E in zip(self._combinations, self.fits_CE, strict=True):
            at = alone_E & fits_E
            if not combination or not bool(at.any()):
                continue
            factor = self._method.factor(combination)
            _, _, slack_E = self._sum(combination, factor)
            added_E = self._there_E.to(torch.float64) - self._base_E
            for number in combination:
                rest = tuple(other for other in combination if other != number)
                low_E, high_E, _ = self._sum(rest, factor)
                term_E, reach_E = (self._terms[number] * factor)[at], (half_E + slack_E)[at]
                ends = ((added_E - high_E)[at] - reach_E) / term_E, ((added_E - low_E)[at] + reach_E) / term_E
                lowest, highest = float(torch.minimum(*ends).max()), float(torch.maximum(*ends).min())
                before = found.get(number, (lowest, highest))
                found[number] = max(before[0], lowest), min(before[1], highest)
        return found

    def _half_step(self) -> torch.Tensor:
        """Return half the distance of what is there to its neighbours, in the coarser of D and what is written."""
        _, exponent_E = torch.frexp(self._there_E.to(torch.float64))
        steps = [
            torch.exp2((exponent_E - _PRECISION[dtype]).to(torch.float64)).clamp(min=_SMALLEST[dtype])
            for dtype in (self._method.dtype, self._method.out_dtype)
        ]
        return torch.maximum(*steps) * (0.5 + 2.0**-10)

    def count(self, number: int, kept: Kept) -> None:
        """Add what these elements say of the differences of one input."""
        any_E = self.fits_CE.any(dim=0) & (self._magnitudes[number] != 0)
        with_E, without_E = torch.zeros_like(any_E), torch.zeros_like(any_E)
        for combination, fits_E in zip(self._combinations, self.fits_CE, strict=True):
            if number in combination:
                with_E |= fits_E
            else:
                without_E |= fits_E
                with_E |= fits_E & self._is_outvoted(number, combination)
        surely_E, possibly_E = any_E & ~without_E, any_E & with_E
        kept.surely += int(surely_E.sum())
        kept.possibly += int(possibly_E.sum())
        kept.surely_sum += float(self._magnitudes[number][surely_E].sum())
        kept.possibly_sum += float(self._magnitudes[number][possibly_E].sum())
