"""Whether a movement can have the rank that was declared for it. Spec: pipeline §4.15.

A LoRA of rank r, merged, adds a matrix of rank r to a weight, and rounds. Whatever is left of the movement beyond its
r largest singular values must then be rounding: by Eckart and Young, no matrix of rank r is nearer to it than that.
Every submatrix of a matrix of rank r has rank r at most, so a part of the weight is enough to say no.
"""

# Shape suffixes: R rows and C columns of a submatrix, K singular values.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_verify.merge.formats import as_bits, half_step, widen

_MOST_SIDE = 512
_LEAST_SIDE = 64
_SIDE_IN_RANKS = 4
"""A submatrix of so many times the rank leaves most singular values to rounding alone."""

_OF_MOVEMENT = 2.0**-8
"""How far off, relative to itself, an element of the product of the two low-rank matrices may be: it was rounded to
BF16, or its factors to TF32."""
_OF_FORMAT = 2.0**-25
"""How far off it may be at least: half the smallest step of F16."""
_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Submatrix:
    """Part of a matrix of `width` columns: some rows, and in each of them `columns` elements from `first_column` on."""

    rows: tuple[int, ...]
    first_column: int
    columns: int
    width: int

    @property
    def elements(self) -> int:
        return len(self.rows) * self.columns


def choose_submatrix(shape: tuple[int, ...], rank: int) -> Submatrix | None:
    """Return the part of a matrix to look at: rows from all over it. None where any matrix of the shape would pass."""
    if len(shape) != 2 or min(shape) <= rank or rank >= _MOST_SIDE:
        return None
    side = min(_MOST_SIDE, max(_LEAST_SIDE, _SIDE_IN_RANKS * rank))
    height, width = shape
    rows, columns = min(side, height), min(side, width)
    chosen = tuple(i * (height - 1) // max(1, rows - 1) for i in range(rows))
    return Submatrix(chosen, (width - columns) // 2, columns, width)


@dataclass(frozen=True, slots=True)
class Excess:
    """Squares of lengths: of the movement beyond the declared rank, and of what rounding can have added at most.

    `control` is the first of the same movement with its elements in another order. Where rounding could explain even
    that, nothing can be said.
    """

    beyond: float
    rounding: float
    control: float

    @property
    def is_conclusive(self) -> bool:
        return self.control > _MARGIN * self.rounding

    @property
    def is_exceeded(self) -> bool:
        return self.beyond > _MARGIN * self.rounding


def measure_excess(before: bytes, after: bytes, dtype: str, columns: int, rank: int) -> Excess | None:
    """Return what is left of a movement beyond `rank`; None where an element is not finite.

    `before` and `after` hold the elements of a submatrix of so many columns, row after row.
    """
    before_RC = widen(as_bits(before, dtype), dtype).reshape(-1, columns)
    after_E = widen(as_bits(after, dtype), dtype)
    after_RC = after_E.reshape(-1, columns)
    if not (np.isfinite(before_RC).all() and np.isfinite(after_RC).all()):
        return None
    moved_RC = after_RC - before_RC
    rounding_RC = half_step(after_RC, dtype) + np.abs(moved_RC) * _OF_MOVEMENT + _OF_FORMAT
    return Excess(
        beyond=_beyond(moved_RC, rank),
        rounding=float((rounding_RC**2).sum()),
        control=_beyond(_sheared(moved_RC), rank),
    )


def _beyond(moved_RC: NDArray[np.float64], rank: int) -> float:
    """Return the sum of the squares of the singular values beyond the `rank` largest."""
    values_K = np.linalg.svd(moved_RC, compute_uv=False)
    return float((values_K[rank:] ** 2).sum())


def _sheared(moved_RC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same elements, every row turned round by one more than the row above."""
    height, width = moved_RC.shape
    column_RC = (np.arange(width)[None, :] + np.arange(height)[:, None]) % width
    return np.take_along_axis(moved_RC, column_RC, axis=1)
