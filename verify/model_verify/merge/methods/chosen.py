"""Methods with several numbers that come out of sums. Spec: merge §5.10.

Where D has 16 bits, these are few values each, and an output is WITHIN where some choice of them gives it to the bit.
In float32 they are too many: there an output is WITHIN where every element is close to what was computed.
"""

# Shape suffixes: E elements.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations

import torch

from model_verify.errors import OperationRefused
from model_verify.merge.kernel import Opinion, Standing
from model_verify.merge.methods.bounded import BoundedKernel, is_narrow, typical_size
from model_verify.merge.methods.choices import Choices, Decisions, Usual
from model_verify.merge.methods.mergekit import bits_of

_MOST_CHOICES = 128
"""Outputs that are computed to find the one that is there."""
_MOST_WORK = 1 << 32
"""Elements that go into sums before no more is computed."""
_MOST_PERMUTED = 5
"""Inputs all orders of which are tried."""
_ROUNDINGS = 32
"""How many roundings to D an element may be off, and how many more for each operand."""
_ROUNDINGS_PER_OPERAND = 2
_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Other:
    """What elements at a cut come to where the selection falls the other way: places F, values in D, and which of them
    are kept in the usual selection. As many are kept in any."""

    at_F: torch.Tensor
    values_F: torch.Tensor
    kept_F: torch.Tensor


@dataclass(frozen=True, slots=True)
class Result:
    """Values in D, the magnitudes that the roundings of each element are relative to, and what is open beyond them."""

    values_E: torch.Tensor
    terms_E: torch.Tensor
    slack: float = 0.0
    other: Other | None = None


class ChosenKernel(BoundedKernel):
    """A method of whole tensors, computed with numbers that sums leave open."""

    def result(self, values: Sequence[torch.Tensor], numbers: Usual) -> Result:
        """Return the result for operands in D. Raises `OperationRefused` where the method has none."""
        raise NotImplementedError

    def order(self, count: int, numbers: Usual) -> tuple[int, ...]:
        """Return the order in which inputs are added: mergekit 0.1.4 has them in a set, so it is open there."""
        usual = tuple(range(count))
        if self.call.profile != "mergekit-0.1.4" or not 3 <= count <= _MOST_PERMUTED:
            return usual
        orders = [order for order in permutations(usual) if order[0] < order[1]]  # the first two commute
        return numbers.number(lambda: orders, usual)

    def merged(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.result(values, Usual(fused=self.fused)).values_E

    def opinion(self, values: Sequence[torch.Tensor], there: torch.Tensor) -> Opinion:
        """Return WITHIN where `there` is what the method may give on another machine."""
        look = self._held_against_bound if self.dtype == torch.float32 else self._looked_for
        return look(values, there.reshape(-1))

    def _looked_for(self, values: Sequence[torch.Tensor], there_E: torch.Tensor) -> Opinion:
        """Return WITHIN where some choice of the open numbers gives `there_E` to the bit."""
        fewest, exhausted, closest = len(there_E) + 1, True, None
        for on_cuda in (False, True):
            choices = Choices(fused=self.fused, on_cuda=on_cuda)
            for result in self._outcomes(values, choices):
                fit_E = self._fit(result, there_E, self._is_same)
                wrong = int((~fit_E).sum())
                if not self._is_balanced(result, there_E, self._is_same):
                    continue
                if not wrong:
                    return Opinion(Standing.WITHIN, "to the bit what it gives where its sums come out otherwise")
                if wrong < fewest:
                    fewest, closest = wrong, result
            exhausted &= not (choices.advance() or choices.left_out)
        if closest is not None and not exhausted and bool(self._fit(closest, there_E, self._is_close).all()):
            return Opinion(Standing.EXAMINED, f"all but {fewest} of {len(there_E)} elements are to the bit")
        return Opinion(Standing.DIFFERENT)

    def _held_against_bound(self, values: Sequence[torch.Tensor], there_E: torch.Tensor) -> Opinion:
        """Return WITHIN where every element is within so many roundings of what was computed."""
        exhausted = True
        for on_cuda in (False, True):
            decisions = Decisions(fused=self.fused, on_cuda=on_cuda)
            for result in self._outcomes(values, decisions):
                is_close = bool(self._fit(result, there_E, self._is_close).all())
                if is_close and self._is_balanced(result, there_E, self._is_close):
                    text = f"every element is within {self._roundings()} roundings to float32"
                    if self._is_telling(result):
                        return Opinion(Standing.WITHIN, text)
                    return Opinion(Standing.EXAMINED, f"{text}, which is as wide as the elements are large")
            exhausted &= not (decisions.advance() or decisions.left_out)
        if not exhausted:
            return Opinion(Standing.EXAMINED, "more ways of going through its branches than were tried")
        return Opinion(Standing.DIFFERENT)

    def _outcomes(self, values: Sequence[torch.Tensor], numbers: Decisions) -> Iterator[Result]:
        """Yield what the method gives for one possibility after the other, up to a limit."""
        for count in range(_MOST_CHOICES):
            if numbers.work > _MOST_WORK:
                numbers.left_out = True
                return
            if count and not numbers.advance():
                return
            with suppress(OperationRefused):
                yield self.result(values, numbers)

    def _roundings(self) -> int:
        return _ROUNDINGS + _ROUNDINGS_PER_OPERAND * len(self.call.own)

    def _fit(self, result: Result, there_E: torch.Tensor, is_fitting: _Fitting) -> torch.Tensor:
        """Return which elements fit the result, or at a cut what they come to otherwise."""
        fit_E = is_fitting(result.values_E, result, slice(None), there_E)
        if result.other is not None:
            at_F = result.other.at_F
            fit_E[at_F] |= is_fitting(result.other.values_F, result, at_F, there_E[at_F])
        return fit_E

    def _is_same(self, values: torch.Tensor, result: Result, at: _Places, there: torch.Tensor) -> torch.Tensor:
        """Return where values in D are written as what is there."""
        return bits_of(self.narrowed(values)) == bits_of(there)

    def _is_close(self, values: torch.Tensor, result: Result, at: _Places, there: torch.Tensor) -> torch.Tensor:
        """Return where what is there is what a value is written as that is within so many roundings."""
        slack = self._slack(result)
        close = torch.empty_like(there, dtype=torch.bool)
        terms = result.terms_E[at]
        for start in range(0, len(there), _AT_ONCE):
            piece = slice(start, start + _AT_ONCE)
            reach = terms[piece].to(torch.float64) * slack
            lowest, highest = (
                self.narrowed((values[piece] + sign * reach).to(torch.float32).to(self.dtype)) for sign in (-1, 1)
            )
            close[piece] = (lowest <= there[piece]) & (there[piece] <= highest)
        return close

    def _slack(self, result: Result) -> float:
        """Return by how much an element may be off, as a part of its `terms_E`."""
        return self._roundings() * torch.finfo(self.dtype).eps / 2 + result.slack

    def _is_telling(self, result: Result) -> bool:
        """Return whether the bound is narrow beside what was computed."""
        slack, typical = self._slack(result), typical_size(result.values_E)
        pieces = (slice(start, start + _AT_ONCE) for start in range(0, len(result.values_E), _AT_ONCE))
        return all(
            is_narrow(result.terms_E[piece].to(torch.float64) * slack, result.values_E[piece], typical)
            for piece in pieces
        )

    def _is_balanced(self, result: Result, there_E: torch.Tensor, is_fitting: _Fitting) -> bool:
        """Return whether as many elements at the cut can be kept as are in the usual selection."""
        if result.other is None:
            return True
        other = result.other
        there_F = there_E[other.at_F]
        usual_F = is_fitting(result.values_E[other.at_F], result, other.at_F, there_F)
        turned_F = is_fitting(other.values_F, result, other.at_F, there_F)
        in_kept, in_left = other.kept_F, ~other.kept_F
        gone, come = int((in_kept & ~usual_F).sum()), int((in_left & ~usual_F).sum())
        can_go, can_come = int((in_kept & usual_F & turned_F).sum()), int((in_left & usual_F & turned_F).sum())
        return gone <= come + can_come and come <= gone + can_go


_Places = slice | torch.Tensor
_Fitting = Callable[[torch.Tensor, Result, _Places, torch.Tensor], torch.Tensor]


def function(of: Callable[[torch.Tensor], torch.Tensor], value: torch.Tensor) -> torch.Tensor:
    """Return the value of a function, the float32 nearest to it, in the dtype of `value`."""
    return of(value.to(torch.float64)).to(torch.float32).to(value.dtype)
