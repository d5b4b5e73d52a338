"""Numbers that come out of sums, and what they may come out as. Spec: merge §5.10.

A method that is computed with `Usual` takes what torch gives on the CPU, as far as that is fixed. `Choices` takes one
possibility after the other: compute, `advance`, compute again, until there are no more. `Decisions` does so only with
questions that are answered by yes or no.
"""

# Shape suffixes: E elements.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch

from model_verify.merge.methods.bounded import of_ordinals, ordinals
from model_verify.merge.methods.reductions import SUM_ERROR, norm, norms, total, true_norm

T = TypeVar("T")

_MOST_OPTIONS = 16
"""Of a number, on either side of the usual one."""


class Usual:
    """What torch gives on the CPU, or `on_cuda`, sums rounded once. All numbers are tensors without a shape."""

    def __init__(self, *, fused: bool, on_cuda: bool = False) -> None:
        self._fused = fused
        self.on_cuda = on_cuda
        self.left_out = False
        """Whether a number had more options than are tried."""
        self.work = 0
        """Elements that have gone into sums."""

    def number(self, options: Callable[[], Sequence[T]], usual: T) -> T:
        """Return the usual one; `options` gives all, that one first."""
        return usual

    def answer(self, options: Callable[[], Sequence[T]], usual: T) -> T:
        """Return the usual one; `options` gives all, that one first."""
        return usual

    def norm(self, values_E: torch.Tensor) -> torch.Tensor:
        """Return the norm of values that are made float32 first, in float32."""
        self.work += len(values_E)
        if self.on_cuda:
            return true_norm(values_E[None])[0]
        return norm(values_E[None], fused=self._fused, widened=True)[0]

    def rounded_norm(self, values_E: torch.Tensor, *, shared: bool = True) -> torch.Tensor:
        """Return the norm in the dtype of the values. `shared` says that threads may share the sum."""
        self.work += len(values_E)
        row = values_E[None]
        usual = (true_norm(row) if self.on_cuda else norm(row, fused=self._fused))[0].to(values_E.dtype)

        def options() -> list[torch.Tensor]:
            return _distinct(usual, [value_R[0] for value_R in norms(row, shared=shared)])

        return self.number(options, usual)

    def sum(self, terms_E: torch.Tensor) -> torch.Tensor:
        """Return the sum in the dtype of the terms."""
        return self._sum(terms_E)

    def dot(self, one_E: torch.Tensor, other_E: torch.Tensor) -> torch.Tensor:
        """Return the sum of products, which are not rounded, in the dtype of the factors."""
        return self._sum(one_E, other_E)

    def mean(self, terms_E: torch.Tensor, less: float, more: float) -> torch.Tensor:
        """Return the mean in the dtype of the terms, whose sum may be that much less or more."""
        self.work += len(terms_E)
        exact = float(total(terms_E[None])[0])
        spread = SUM_ERROR * exact

        def rounded(value: float) -> torch.Tensor:
            return torch.tensor(value / len(terms_E), dtype=torch.float64).to(torch.float32).to(terms_E.dtype)

        def options() -> list[torch.Tensor]:
            middle = int(ordinals(rounded(exact)))
            lowest, highest = (int(ordinals(rounded(end))) for end in (exact - less - spread, exact + more + spread))
            self.left_out |= lowest < middle - _MOST_OPTIONS or highest > middle + _MOST_OPTIONS
            near = torch.arange(max(lowest, middle - _MOST_OPTIONS), min(highest, middle + _MOST_OPTIONS) + 1)
            return _distinct(rounded(exact), list(of_ordinals(near, terms_E.dtype)))

        return self.number(options, rounded(exact))

    def _sum(self, *factors_E: torch.Tensor) -> torch.Tensor:
        self.work += len(factors_E[0])
        factors_RE = [factor_E[None] for factor_E in factors_E]
        exact = total(*factors_RE)[0]
        usual = exact.to(torch.float32).to(factors_E[0].dtype)

        def options() -> list[torch.Tensor]:
            spread = SUM_ERROR * total(*(factor_RE.abs() for factor_RE in factors_RE))[0]
            return _distinct(usual, [(exact + sign * spread).to(torch.float32) for sign in (-1, 1)])

        return self.number(options, usual)

    def is_below(self, value: torch.Tensor, limit: float, doubt: float) -> bool:
        """Return whether a number is below a limit, which is open where it is within `doubt` of it."""
        below = float(value) < limit
        return self.answer(lambda: [below, not below] if abs(float(value) - limit) <= doubt else [below], below)


class Decisions(Usual):
    """One way of answering the open questions after the other, the usual one first."""

    def __init__(self, *, fused: bool, on_cuda: bool = False) -> None:
        super().__init__(fused=fused, on_cuda=on_cuda)
        self._script: list[int] = []
        self._known: list[Sequence[object]] = []
        """The options of all questions up to the last that was answered as before: these are the same again."""
        self._place = 0

    def answer(self, options: Callable[[], Sequence[T]], usual: T) -> T:
        return self._next_of(options)

    def _next_of(self, options: Callable[[], Sequence[T]]) -> T:
        place, self._place = self._place, self._place + 1
        if place == len(self._script):
            self._script.append(0)
            self._known.append(options())
        return cast(T, self._known[place][self._script[place]])

    def advance(self) -> bool:
        """Go on to the next possibility, and return whether there is one."""
        while self._script and self._script[-1] + 1 == len(self._known[-1]):
            self._script.pop()
            self._known.pop()
        self._place = 0
        if not self._script:
            return False
        self._script[-1] += 1
        return True


class Choices(Decisions):
    """The same, with the open numbers too."""

    def number(self, options: Callable[[], Sequence[T]], usual: T) -> T:
        return self._next_of(options)


def _distinct(usual: torch.Tensor, others: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the different values in the dtype of the usual one, which comes first."""
    found = {float(usual): usual}
    for other in others:
        rounded = other.to(usual.dtype)
        found.setdefault(float(rounded), rounded)
    return list(found.values())
