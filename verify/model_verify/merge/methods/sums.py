"""Sums over inputs in float32, in the orders in which torch adds on the CPU. Spec: merge §5.2.

All of them begin at +0, so that a sum is never −0. Up to four terms, all orders give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Adder = Callable[[Sequence[torch.Tensor]], torch.Tensor]

_RUN = 16
"""Terms that are added one after the other before they go into the sum of all such runs."""
_LANES = 8


def in_order(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of `terms`, one after the other in runs of 16, and the runs one after the other."""
    total = _one_after_the_other(terms[:_RUN])
    for start in range(_RUN, len(terms), _RUN):
        total = total + _one_after_the_other(terms[start : start + _RUN])
    return total


def by_fours(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of the four sums of every fourth term; terms that are left over go to the first."""
    fours = len(terms) // 4 * 4
    if not fours:
        return in_order(terms)
    first, *others = (in_order(terms[k:fours:4]) for k in range(4))
    for addend in (*terms[fours:], *others):
        first = first + addend
    return first


def in_lanes(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum that eight lanes give: what is left over first, then lane after lane.

    Two terms of 16 bits go into a lane at once, added first.
    """
    width = _LANES if terms[0].dtype == torch.float32 else 2 * _LANES
    whole = len(terms) // width * width
    if not whole:
        return by_fours(terms)
    total = torch.zeros_like(terms[0], dtype=torch.float32)
    for term in terms[whole:]:
        total = total + term
    for lane in range(_LANES):
        column = terms[lane:whole:width]
        if width != _LANES:
            seconds = terms[lane + _LANES : whole : width]
            column = [one.float() + other.float() for one, other in zip(column, seconds, strict=True)]
        total = total + by_fours(column)
    return total


def orders_of(terms: int) -> tuple[Adder, ...]:
    """Return the orders in which torch may add so many terms in an element, `in_order` first.

    `by_fours` is met in elements at the end of what one thread adds, `in_lanes` in tensors of one element.
    """
    if terms < 5:
        return (in_order,)
    return (in_order, by_fours) if terms < 8 else (in_order, by_fours, in_lanes)


def _one_after_the_other(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    total = terms[0].float() + 0.0
    for term in terms[1:]:
        total = total + term
    return total
