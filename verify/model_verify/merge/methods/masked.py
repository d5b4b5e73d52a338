"""Methods that keep differences by chance: nothing can be computed, what is there is examined. Spec: merge §5.16."""

# Shape suffixes: E elements, N inputs but for the base.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from model_verify.merge.backend import Backend, Blended
from model_verify.merge.kernel import Block, Buffer, Call, Opinion, Standing
from model_verify.merge.methods.examination import Combination, Examination, Given, Kept, Method
from model_verify.merge.methods.mergekit import MergekitKernel
from model_verify.merge.methods.sums import Adder, in_lanes, in_order
from model_verify.merge.torch_kernel import TORCH_DTYPES, is_finite, load_block

_MOST_INPUTS = 6
"""Inputs but for the base, all combinations of which are tried."""
_SMALLEST_SUM = 1e-7
"""Differences that add up to less are not scaled."""
_SMALLEST_DIVISOR = 1e-8
_IMPOSSIBLE = 101 * math.log(2)
_UNLIKELY = math.log(2e9)
"""Chances of 2^-100 and 10^-9 that something is off in either direction."""


@dataclass(frozen=True, slots=True)
class Odds:
    """What is to be expected of one input: how many of its differences are kept, and what their magnitudes sum to.

    `share_reach` is by how much every probability may be off, since they are rounded to D.
    """

    differing: int
    kept: float
    kept_variance: float
    total: float
    kept_total: float
    kept_total_variance: float
    largest: float
    smallest: float
    share_reach: float

    def is_near(self, known: Kept, log_chance: float) -> bool:
        """Return whether a number of kept elements that is possible is as near to `kept` as that chance has it.

        By Bernstein's inequality.
        """
        reach = self.share_reach * self.differing + _deviation(self.kept_variance, 1.0, log_chance)
        return known.surely - reach <= self.kept <= known.possibly + reach

    def total_range(self) -> tuple[float, float]:
        """Return the range of sums that only one run in 2^100 leaves. Where nothing is kept, there is no scale."""
        reach = self.share_reach * self.total
        reach += _deviation(self.kept_total_variance, self.largest, _IMPOSSIBLE)
        return max(self.kept_total - reach, self.smallest), min(self.kept_total + reach, self.total)


def _deviation(variance: float, largest: float, log_chance: float) -> float:
    """Return what a sum of independent terms, each at most so far from its mean, exceeds by that chance at most."""
    third = largest * log_chance / 3
    return third + math.sqrt(third * third + 2 * variance * log_chance)


class MaskedKernel(MergekitKernel):
    """A method whose masks are drawn and not recorded; a subclass says how likely an element is kept."""

    whole = True
    best = Standing.EXAMINED
    elect = False
    """Whether only differences count that have the sign of their sum."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        assert call.base is not None
        self._base = call.base
        self._own = [own for position, own in enumerate(call.own) if position != call.base]
        self._weights = [self.rounded(own["weight"]) for own in self._own]

    def refusal(self, position: int) -> str:
        """Return why mergekit has no result with the parameters of an input, empty where it has."""
        return ""

    def likelihoods(self, magnitude_E: torch.Tensor, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the magnitudes of all differences, in any order, and how likely each is kept, in float64."""
        raise NotImplementedError

    def run(
        self, backend: Backend, operands: Sequence[Block], out: Block, *, expected: Buffer | None = None
    ) -> Blended:
        raise AssertionError("nothing is computed where random numbers went in")

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        raise AssertionError("nothing is computed where random numbers went in")

    def has_effect(self, backend: Backend, operands: Sequence[Block], position: int, out: Block) -> bool:
        """Return whether some element of what is there cannot be had without the operand. Spec: merge §5.16."""
        base_E, deltas_NE = self._split(operands)
        if position == self._base:
            return bool((base_E != 0).any())
        if len(deltas_NE) > _MOST_INPUTS:
            return True
        given, _ = self._given(deltas_NE)
        number = position - (position > self._base)
        there_E = load_block(out, "cpu").reshape(-1)
        return not Examination(self._method(), base_E.reshape(-1), given, there_E, but=number).explains_all()

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        """Return EXAMINED where what is there can have come from these operands, else DIFFERENT."""
        refusal = next((text for number in range(len(self._own)) if (text := self.refusal(number))), "")
        if refusal:
            return Opinion(Standing.DIFFERENT, refusal)
        base_E, deltas_NE = self._split(operands)
        if not all(is_finite(values_E) for values_E in (base_E, *deltas_NE)):
            return Opinion(Standing.DIFFERENT, "an operand, or its difference from the base, is not finite")
        there_E = load_block(there, "cpu").reshape(-1)
        untouched_E = torch.stack([delta_E.reshape(-1) == 0 for delta_E in deltas_NE]).all(dim=0)
        breach_E = untouched_E & (self._method().written(base_E.reshape(-1).to(torch.float64)) != there_E)
        if bool(breach_E.any()):
            text = f"{int(breach_E.sum())} elements differ from the base where no input does"
            return Opinion(Standing.DIFFERENT, text)
        support = f"{int(untouched_E.sum())} elements are the base's, where no input differs from it"
        if len(deltas_NE) > _MOST_INPUTS:
            return Opinion(Standing.EXAMINED, f"{support}; the others were not looked at: too many inputs")
        given, odds = self._given(deltas_NE)
        return self._explained(Examination(self._method(), base_E.reshape(-1), given, there_E), given, odds, support)

    def _explained(
        self, examination: Examination, given: Sequence[Given], odds: Sequence[Odds], support: str
    ) -> Opinion:
        """Return whether the differences that were kept explain all elements, and what is known of them."""
        examination.narrow()
        if any(one.lowest > one.highest for one in given):
            return Opinion(Standing.DIFFERENT, "the differences of an input are not all at one scale")
        unexplained, kept = examination.kept()
        if unexplained:
            text = f"{unexplained} elements are not the base and some of the differences, each input's at one scale"
            return Opinion(Standing.DIFFERENT, text)
        if not all(self._adds_up(*one) for one in zip(given, odds, kept, strict=True)):
            return Opinion(Standing.DIFFERENT, "the scale of an input is not that of the differences that were kept")
        parts, warnings = [support], []
        for number, (one, odd, known) in enumerate(zip(given, odds, kept, strict=True), 1):
            if one.always or one.never:
                parts.append(f"of input {number} all differences are kept" if one.always else f"of input {number} none")
                continue
            count = f"{_range(str(known.surely), str(known.possibly))} of {odd.differing} differences"
            expected = f"of input {number} {count} are kept, where {odd.kept:.0f} are expected"
            if not odd.is_near(known, _IMPOSSIBLE):
                return Opinion(Standing.DIFFERENT, expected)
            scale = _range(f"{one.lowest:.5g}", f"{one.highest:.5g}")
            parts.append(f"of input {number} {count} are kept, at a scale of {scale}")
            if not odd.is_near(known, _UNLIKELY):
                warnings.append(expected)
        return Opinion(Standing.EXAMINED, "; ".join(parts), "; ".join(warnings))

    def _adds_up(self, given: Given, odds: Odds, kept: Kept) -> bool:
        """Return whether the scale can be the quotient of the sums of all differences and of those kept."""
        if not self._is_scaled(given) or odds.total < 2 * _SMALLEST_SUM or kept.surely_sum < 2 * _SMALLEST_SUM:
            return True
        slack = odds.total * self._sum_error()
        return given.lowest * kept.surely_sum <= odds.total + slack and (
            given.highest * kept.possibly_sum >= odds.total - slack
        )

    def _is_scaled(self, given: Given) -> bool:
        return bool(self.call.shared["rescale"]) and not given.always and not given.never

    def _sum_error(self) -> float:
        """Return by how much a quotient of sums may be off: sums are rounded to D, also those of each thread."""
        return 16 * max(torch.finfo(self.dtype).eps / 2, 2.0**-20)

    def _split(self, operands: Sequence[Block]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the base, and the differences of the others from it, in D."""
        values = [load_block(operand, "cpu").to(self.dtype) for operand in operands]
        base_E = values[self._base]
        return base_E, [value_E - base_E for position, value_E in enumerate(values) if position != self._base]

    def _given(self, deltas_NE: Sequence[torch.Tensor]) -> tuple[list[Given], list[Odds]]:
        """Return the inputs with the ranges in which their scales lie, and what is to be expected of them."""
        given, odds = [], []
        for number, delta_E in enumerate(deltas_NE):
            density = float(self._own[number]["density"])
            one = Given(delta_E.reshape(-1), self._weights[number], density >= 1, density <= 0, 1.0, 1.0)
            odds.append(self._odds(delta_E, number))
            if self._is_scaled(one):
                one.lowest, one.highest = self._scale_range(odds[-1])
            given.append(one)
        return given, odds

    def _odds(self, delta_E: torch.Tensor, position: int) -> Odds:
        magnitude_E, likely_E = self.likelihoods(delta_E.abs().to(torch.float64), position)
        differs_E = magnitude_E != 0
        variance_E = likely_E * (1 - likely_E)
        return Odds(
            int(differs_E.sum()),
            float(likely_E[differs_E].sum()),
            float(variance_E[differs_E].sum()),
            float(magnitude_E.sum()),
            float((magnitude_E * likely_E).sum()),
            float((magnitude_E.square() * variance_E).sum()),
            float(magnitude_E.max()),
            float(magnitude_E[differs_E].min()) if bool(differs_E.any()) else 1.0,
            0.0 if self.dtype == torch.float32 else torch.finfo(self.dtype).eps,
        )

    def _scale_range(self, odds: Odds) -> tuple[float, float]:
        """Return where the quotient of the sums of all differences and of those kept lies."""
        error = self._sum_error()
        if odds.total < _SMALLEST_SUM * (1 - error):
            return 1.0, 1.0
        least, most = odds.total_range()
        lowest, highest = odds.total / most * (1 - error), odds.total / least * (1 + error)
        return (min(lowest, 1.0) if least < _SMALLEST_SUM * (1 + error) else lowest), highest

    def _method(self) -> Method:
        return Method(self.dtype, TORCH_DTYPES[self.call.dtype], self._factor, self._roundings, self.elect)

    def _roundings(self, combination: Combination) -> int:
        """Return how often terms are rounded: weighted, scaled (twice on the CPU), added up, divided, times λ."""
        shared = self.call.shared
        scaled, divided, more = bool(shared["rescale"]), bool(shared["normalize"]), shared["lambda"] != 1
        return 1 + 2 * scaled + (len(combination) > 1) + divided + more

    def _factor(self, combination: Combination) -> float:
        """Return what the weighted sum over a combination is multiplied by: λ over the sum of the weights."""
        factor = 1.0 if self.call.shared["lambda"] == 1 else self.number(self.call.shared["lambda"])
        if not self.call.shared["normalize"] or not combination:
            return factor
        chosen = combination if self.elect else range(len(self._weights))
        weights = [torch.tensor(self._weights[number], dtype=self.dtype) for number in chosen]
        divisor = float((in_order if self.elect else in_lanes)(weights).to(self.dtype))
        if self.elect:
            return factor / (divisor or 1.0)
        return factor / (1.0 if abs(divisor) < self.rounded(_SMALLEST_DIVISOR) else divisor)


def _range(lowest: str, highest: str) -> str:
    return lowest if lowest == highest else f"{lowest} to {highest}"
