"""Whether weights lie in the rounding cell of a blend: where any tool that adds up in float32 can have put them.

Spec: pipeline §4.13. The merges that verifiers can replay are not all that there are. Which tool it was leaves no trace
beyond a rounding: its output lies within half a step of the exact blend, and what float32 sums add to that.
"""

# Shape suffixes: P parents, E elements of one block.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_verify.merge.formats import as_bits, half_step, widen
from model_verify.merge.kernel import Block

_ESTIMATED = 1 + 2.0**-5
"""A thirty-second more than half a step, since coefficients are estimated."""
_FLOAT32_ROUNDING = 2.0**-24
_FURTHER_ROUNDINGS = 2
"""Of the coefficients and of the quotient, beside one rounding for each term of the sum."""
_BLOCK_ELEMENTS = 1 << 15
SHARE = 995
"""Of a thousand elements, how many must lie in the cell."""


def reach_of(parents_PE: NDArray[np.float64], weights_P: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """Return how far from the exact blend its rounding to `dtype` can lie."""
    blend_E = weights_P @ parents_PE
    size_E = np.abs(weights_P) @ np.abs(parents_PE)
    roundings = len(weights_P) + _FURTHER_ROUNDINGS
    reach_E: NDArray[np.float64] = _ESTIMATED * half_step(blend_E, dtype) + roundings * _FLOAT32_ROUNDING * size_E
    return reach_E


@dataclass(slots=True)
class CellCount:
    """Elements, and how many of them lie in the cell; the same of those that are not what they were before.

    `mirrored` is a control: how many of these would lie there if they had moved as far the other way.
    """

    elements: int = 0
    inside: int = 0
    moved: int = 0
    moved_inside: int = 0
    mirrored_inside: int = 0

    def __iadd__(self, other: CellCount) -> CellCount:
        self.elements += other.elements
        self.inside += other.inside
        self.moved += other.moved
        self.moved_inside += other.moved_inside
        self.mirrored_inside += other.mirrored_inside
        return self

    @property
    def explains(self) -> bool:
        """Return whether nearly all elements, and nearly all of those that moved, lie in the cell."""
        return 1000 * self.inside >= SHARE * self.elements and 1000 * self.moved_inside >= SHARE * self.moved


def count_cell(parents: Sequence[Block], weights_P: NDArray[np.float64], before: Block, after: Block) -> CellCount:
    """Return how many elements of `after` lie in the rounding cell of the blend of `parents`."""
    count = CellCount()
    parts = [as_bits(parent.data, parent.dtype) for parent in parents]
    before_E, after_E = as_bits(before.data, before.dtype), as_bits(after.data, after.dtype)
    for start in range(0, len(after_E), _BLOCK_ELEMENTS):
        stop = start + _BLOCK_ELEMENTS
        parents_PE = np.stack([widen(p[start:stop], b.dtype) for p, b in zip(parts, parents, strict=True)])
        was_E = widen(before_E[start:stop], before.dtype)
        now_E = widen(after_E[start:stop], after.dtype)
        blend_E = weights_P @ parents_PE
        reach_E = reach_of(parents_PE, weights_P, after.dtype)
        inside_E = np.abs(now_E - blend_E) <= reach_E
        in_bits = before.dtype == after.dtype
        moved_E = before_E[start:stop] != after_E[start:stop] if in_bits else was_E != now_E
        mirrored_E = np.abs(2 * was_E - now_E - blend_E) <= reach_E
        count += CellCount(
            len(now_E),
            int(inside_E.sum()),
            int(moved_E.sum()),
            int((inside_E & moved_E).sum()),
            int((mirrored_E & moved_E).sum()),
        )
    return count
