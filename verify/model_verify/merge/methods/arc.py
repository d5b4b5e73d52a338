"""Which two coefficients could have given a tensor: those of an arc whose angle is known within bounds.

Spec: merge §5.9.
"""

# Shape suffixes: E elements, S a sample of them, D cosines, K pairs of coefficients.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_verify.merge.methods.mergekit import bits_of

Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]
Pair = tuple[float, float]
_ANGLE_ULP = 2
_SINE_ULP = 1
_SAMPLE_ELEMENTS = 2048
_CELLS = 1024
_FEW_COSINES = 64
_COSINES_AT_ONCE = 128
_PIECE_ELEMENTS = 1 << 20
_AT_ONCE = 1 << 22
"""Outputs that are held at once, pairs times elements."""
_SLACK = 2.0**-16
"""More than a pair can be off the exact arc, of the magnitudes that are added."""
_STEPS_PER_ULP = 8
_MOST_COSINES = 1 << 18
"""More than there are float32 values within the widest bounds."""
_ROUNDING = 2.0**-22
_SMALLEST = 2.0**-148
"""More than the three roundings of an element are off, of the magnitudes that are added, and beside that."""


class Arc:
    """The coefficients of the two ends, `t` of the way from the first to the second."""

    def __init__(self, t: float, *, one_step: bool) -> None:
        self._t = t
        self._one_step = one_step
        """Whether the angle of the second end is taken from the whole, and not computed with 1 − t."""

    def exact(self, cosines_D: Doubles) -> tuple[Doubles, Doubles]:
        """Return both coefficients in float64."""
        angle_D = np.arccos(cosines_D)
        return np.sin((1 - self._t) * angle_D) / np.sin(angle_D), np.sin(self._t * angle_D) / np.sin(angle_D)

    def pairs(self, cosines_D: Singles) -> Singles:
        """Return the pairs that libraries may give for these cosines, one in a row."""
        angle_D = _near(np.arccos(cosines_D.astype(np.float64)), _ANGLE_ULP)
        t = np.float32(self._t)
        second_D = angle_D * t
        first_D = angle_D - second_D if self._one_step else (np.float32(1) - t) * angle_D
        sines = [_near_rows(np.sin(values_D.astype(np.float64))) for values_D in (first_D, second_D, angle_D)]
        found = [_quotients(*sines)]
        if self._one_step:
            # Older numpy computes all but the angle and its sine in float64.
            wide_D = angle_D.astype(np.float64)
            part_D = wide_D * self._t
            found.append(_quotients(np.sin(wide_D - part_D)[None], np.sin(part_D)[None], sines[2]))
        return np.unique(np.concatenate(found), axis=0)


def _near(values_D: Doubles, ulp: int) -> Singles:
    """Return the float32 values within so many ULP of `values_D`."""
    return _near_rows(values_D, ulp).reshape(-1)


def _near_rows(values_D: Doubles, ulp: int = _SINE_ULP) -> Singles:
    bits_D = values_D.astype(np.float32).view(np.int32)
    return (bits_D + np.arange(-ulp, ulp + 1, dtype=np.int32)[:, None]).view(np.float32)


def _quotients(first: Any, second: Any, whole: Any) -> Singles:
    """Return all combinations of rows of the three, the first two divided by the last in float32."""
    one = (first[:, None, None] / whole[None, None]).astype(np.float32)
    other = (second[None, :, None] / whole[None, None]).astype(np.float32)
    return np.stack([part.reshape(-1) for part in np.broadcast_arrays(one, other)], axis=1)


@dataclass(frozen=True)
class Ends:
    """The two ends in float32, what is there, and the formats that a result is rounded to, one after the other."""

    one_E: torch.Tensor
    other_E: torch.Tensor
    there_E: torch.Tensor
    formats: tuple[torch.dtype, torch.dtype]

    def merge(self, pairs_K: Singles, at: Any) -> torch.Tensor:
        """Return the outputs of some elements, one row for each pair."""
        first, second = (torch.from_numpy(column).unsqueeze(1) for column in pairs_K.T)
        merged: torch.Tensor = first * self.one_E[at] + second * self.other_E[at]
        return self._save(merged)

    def _save(self, result_E: torch.Tensor) -> torch.Tensor:
        return result_E.to(self.formats[0]).to(self.formats[1])

    def pairs_that_fit(self, pairs_K: Singles, at: torch.Tensor) -> Singles:
        """Return those of the pairs that give all of some elements."""
        start = 0
        while start < len(at) and len(pairs_K):
            stop = start + max(1, _AT_ONCE // len(pairs_K))
            some = at[start:stop]
            there = bits_of(self.there_E[some])
            fits_K = (bits_of(self.merge(pairs_K, some)) == there).all(dim=1)
            pairs_K, start = pairs_K[fits_K.numpy()], stop
        return pairs_K

    def undecided(self, pairs_K: Singles, piece: slice) -> torch.Tensor:
        """Return the places of elements that not all pairs of the smallest box around these give."""
        one_E, other_E = (end_E[piece].to(torch.float64) for end_E in (self.one_E, self.other_E))
        lowest, highest = pairs_K.min(axis=0).astype(np.float64), pairs_K.max(axis=0).astype(np.float64)
        middle, half = (lowest + highest) / 2, (highest - lowest) / 2
        result_E = float(middle[0]) * one_E + float(middle[1]) * other_E
        size_E = float(abs(middle[0])) * one_E.abs() + float(abs(middle[1])) * other_E.abs()
        reach_E = float(half[0]) * one_E.abs() + float(half[1]) * other_E.abs() + _ROUNDING * size_E + _SMALLEST
        there = bits_of(self.there_E[piece])
        decided_E = torch.ones(len(there), dtype=torch.bool)
        for edge_E in (result_E - reach_E, result_E + reach_E):
            decided_E &= bits_of(self._save(edge_E.to(torch.float32))) == there
        places: torch.Tensor = (~decided_E).nonzero().squeeze(1) + piece.start
        return places


def find_pair(arc: Arc, bounds: tuple[float, float], ends: Ends) -> Pair | None:
    """Return a pair that gives every element, None where there is none for a cosine within `bounds`."""
    narrow = _narrowed(arc, bounds, ends)
    if narrow is None:
        return None
    cosines_D = _cosines(arc, *narrow)
    cosines_D = cosines_D[np.argsort(np.abs(cosines_D - np.mean(bounds)), kind="stable")]
    for start in range(0, len(cosines_D), _COSINES_AT_ONCE):
        pairs_K = _pairs_of_all(arc.pairs(cosines_D[start : start + _COSINES_AT_ONCE]), ends)
        if len(pairs_K):
            return float(pairs_K[0, 0]), float(pairs_K[0, 1])
    return None


def _pairs_of_all(pairs_K: Singles, ends: Ends) -> Singles:
    """Return those of the pairs that give every element."""
    elements = len(ends.there_E)
    pairs_K = ends.pairs_that_fit(pairs_K, torch.arange(min(elements, _SAMPLE_ELEMENTS)))
    for start in range(0, elements, _PIECE_ELEMENTS):
        if not len(pairs_K):
            break
        pairs_K = ends.pairs_that_fit(pairs_K, ends.undecided(pairs_K, slice(start, start + _PIECE_ELEMENTS)))
    return pairs_K


def _narrowed(arc: Arc, bounds: tuple[float, float], ends: Ends) -> tuple[float, float] | None:
    """Return closer bounds: a sample of the elements rules out what no coefficients near the arc can give."""
    step = max(1, len(ends.there_E) // _SAMPLE_ELEMENTS)
    one_S, other_S, there_S = (
        tensor_E[::step].to(torch.float64).numpy() for tensor_E in (ends.one_E, ends.other_E, ends.there_E)
    )
    tolerance_S = sum(_half_step(there_S, dtype) for dtype in ends.formats)
    lowest, highest = bounds
    while True:
        grid_D = np.linspace(lowest, highest, _CELLS + 1)
        first_D, second_D = arc.exact(grid_D)
        result_DS = np.outer(first_D, one_S) + np.outer(second_D, other_S)
        size_DS = np.outer(np.abs(first_D), np.abs(one_S)) + np.outer(np.abs(second_D), np.abs(other_S))
        room_DS = tolerance_S + _SLACK * size_DS
        below_DS, above_DS = result_DS - room_DS <= there_S, result_DS + room_DS >= there_S
        possible_D = ((below_DS[:-1] | below_DS[1:]) & (above_DS[:-1] | above_DS[1:])).all(axis=1)
        cells = np.flatnonzero(possible_D)
        if not len(cells):
            return None
        before = highest - lowest
        lowest, highest = float(grid_D[cells[0]]), float(grid_D[cells[-1] + 1])
        if highest - lowest > before / 2:
            return lowest, highest


def _half_step(values_S: Doubles, dtype: torch.dtype) -> Doubles:
    """Return half the distance between values of a format, where these are."""
    info = torch.finfo(dtype)
    exponent_S = np.frexp(np.maximum(np.abs(values_S), info.tiny))[1] - 1
    return np.asarray(np.ldexp(info.eps / 2, exponent_S))


def _cosines(arc: Arc, lowest: float, highest: float) -> Singles:
    """Return the float32 values from `lowest` to `highest`, not more of them than the coefficients tell apart."""
    edges = np.array([lowest, highest], dtype=np.float64)
    steps = [abs(float(np.diff(ends)[0])) / float(np.spacing(np.float32(abs(ends).min()))) for ends in arc.exact(edges)]
    count = min(max(_FEW_COSINES, int(_STEPS_PER_ULP * max(steps))), _MOST_COSINES)
    return np.unique(np.linspace(lowest, highest, count + 1).astype(np.float32))
