"""Coefficients of a blend from samples of its parents and of itself: by least squares, and by what rounding allows.

A fit is only ever a proposal: replay decides, or the count of elements that lie where the blend rounds to.
"""

# Shape suffixes: P parents, E elements of one tensor's sample, K coefficients chosen so far, N sets of coefficients.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from model_verify.lineage.cell import reach_of
from model_verify.lineage.samples import Sample
from model_verify.merge.formats import as_bits, half_step, widen

_ROUNDING_VARIANCE = 1 / 3
"""Of a value rounded to the nearest, in squares of half a step."""
_LARGEST = 1e6
_CANCELLED = 2.0**-8
_RANK_TOLERANCE = 1e-13
_TRIMMINGS = 3
_REFINEMENTS = 10
_FAR_OFF = 3.0
"""Elements that lie so many times as far off as rounding allows do not belong to the blend, whatever it is."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The least-squares solution, and the covariance of its error; None where parents cannot be told apart."""

    solution_P: NDArray[np.float64]
    covariance_PP: NDArray[np.float64] | None

    def conditional(self, chosen_K: NDArray[np.float64]) -> tuple[float, float]:
        """Return mean and standard error of coefficient K, given the K before it."""
        position = len(chosen_K)
        mean = float(self.solution_P[position])
        if self.covariance_PP is None:
            return mean, 0.0
        variance = float(self.covariance_PP[position, position])
        if position:
            across_K = self.covariance_PP[position, :position]
            gain_K = np.linalg.solve(self.covariance_PP[:position, :position], across_K)
            mean += float(gain_K @ (chosen_K - self.solution_P[:position]))
            variance -= float(gain_K @ across_K)
        return mean, float(np.sqrt(max(variance, 0.0)))

    def error(self, position: int) -> float:
        """Return the standard error of one coefficient."""
        if self.covariance_PP is None:
            return 0.0
        return float(np.sqrt(max(self.covariance_PP[position, position], 0.0)))

    def distances(self, values_NP: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how unlikely N sets of coefficients are: squares of their distances in standard errors."""
        away_NP = values_NP - self.solution_P
        count = away_NP.shape[1]
        inverse_PP = np.eye(count) if self.covariance_PP is None else np.linalg.inv(self.covariance_PP)
        distances_N: NDArray[np.float64] = ((away_NP @ inverse_PP) * away_NP).sum(axis=1)
        return distances_N


def fit_blend(samples: Sequence[Sample], earlier: Fit | None = None) -> Fit | None:
    """Return least-squares coefficients with every element's error measured in its own ULP.

    Without that, rounding skews the fit towards 0.62 for a true 0.6 when parents are close. What training adds has one
    size for small and large elements alike, so it spoils the small ones: with an `earlier` fit, each tensor's errors
    are measured in what that fit leaves unexplained where this is more than rounding.
    """
    normal = _NormalEquations(len(samples[0].parents) if samples else 0)
    for dtype, parents_PE, child_E in _values(samples):
        variance_E = _ROUNDING_VARIANCE * _step_of(parents_PE, child_E, dtype) ** 2
        if earlier is not None and len(child_E):
            unexplained = float(np.mean((child_E - earlier.solution_P @ parents_PE) ** 2))
            variance_E += max(0.0, unexplained - float(np.mean(variance_E)))
        normal.add(parents_PE, child_E, 1.0 / np.sqrt(variance_E))
    return normal.solve()


def fit_most(samples: Sequence[Sample], start: Fit) -> Fit:
    """Return a fit to the half of the elements that lie nearest to one: a few that lie far off count for nothing."""
    fit = start
    for _ in range(_TRIMMINGS):
        off = [
            np.abs(child_E - fit.solution_P @ parents_PE) / _step_of(parents_PE, child_E, dtype)
            for dtype, parents_PE, child_E in _values(samples)
        ]
        limit = float(np.median(np.concatenate(off)))
        normal = _NormalEquations(len(fit.solution_P))
        for (dtype, parents_PE, child_E), off_E in zip(_values(samples), off, strict=True):
            near_E = off_E <= limit
            step_E = _step_of(parents_PE[:, near_E], child_E[near_E], dtype)
            normal.add(parents_PE[:, near_E], child_E[near_E], 1.0 / step_E)
        fit = normal.solve() or fit
    return fit


def _step_of(parents_PE: NDArray[np.float64], child_E: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """Return half a step of each element of the child.

    Where the parents cancel, the child's own would give a handful of elements all the weight.
    """
    return half_step(np.maximum(np.abs(child_E), _largest(parents_PE) * _CANCELLED), dtype)


def _largest(parents_PE: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest size of each element in any parent."""
    largest_E: NDArray[np.float64] = reduce(np.maximum, np.abs(parents_PE))
    return largest_E


class _NormalEquations:
    def __init__(self, count: int) -> None:
        self._normal_PP = np.zeros((count, count))
        self._right_P = np.zeros(count)

    def add(self, parents_PE: NDArray[np.float64], child_E: NDArray[np.float64], scale_E: NDArray[np.float64]) -> None:
        scaled_PE = parents_PE * scale_E
        self._normal_PP += scaled_PE @ scaled_PE.T
        self._right_P += scaled_PE @ (child_E * scale_E)

    def solve(self) -> Fit | None:
        """Return the solution; None where there is none, or none of a sensible size."""
        if not np.isfinite(self._normal_PP).all() or not self._normal_PP.any():
            return None
        solution_P = np.asarray(np.linalg.lstsq(self._normal_PP, self._right_P, rcond=None)[0], dtype=np.float64)
        if not (np.abs(solution_P) < _LARGEST).all():
            return None
        eigenvalues_P = np.linalg.eigvalsh(self._normal_PP)
        if eigenvalues_P[0] <= eigenvalues_P[-1] * _RANK_TOLERANCE:
            return Fit(solution_P, None)
        return Fit(solution_P, np.asarray(np.linalg.inv(self._normal_PP), dtype=np.float64))


def shares_that_round_so(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Return between which shares of the second of two parents every element rounds to what is there.

    None where there are other than two parents, or where no share does. The first parent has the rest of the share.
    """
    least, most = -np.inf, np.inf
    for dtype, parents_PE, child_E in _values(samples):
        if len(parents_PE) != 2:
            return None
        apart_E = parents_PE[1] - parents_PE[0]
        moved_E = child_E - parents_PE[0]
        # The blend may lie in the binade below the child's, never in a coarser one by more than rounding.
        reach_E = half_step(child_E, dtype) + _largest(parents_PE) * 2.0**-22
        telling_E = apart_E != 0
        if (np.abs(moved_E[~telling_E]) > reach_E[~telling_E]).any():
            return None
        middle_E = moved_E[telling_E] / apart_E[telling_E]
        reach_E = np.abs(reach_E[telling_E] / apart_E[telling_E])
        least = max(least, float((middle_E - reach_E).max(initial=-np.inf)))
        most = min(most, float((middle_E + reach_E).min(initial=np.inf)))
    return (least, most) if -_LARGEST < least <= most < _LARGEST else None


def refine(samples: Sequence[Sample], start_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return coefficients near `start_P` under which elements that lie outside the rounding cell lie less far outside.

    Least squares take the middle of all errors; what is asked for is that none is too large.
    """
    solution_P = start_P.copy()
    for _ in range(_REFINEMENTS):
        normal_PP = np.zeros((len(start_P), len(start_P)))
        right_P = np.zeros(len(start_P))
        outside = 0
        for dtype, parents_PE, child_E in _values(samples):
            scale_E = 1.0 / reach_of(parents_PE, solution_P, dtype)
            parents_PE *= scale_E
            off_E = child_E * scale_E - solution_P @ parents_PE
            normal_PP += parents_PE @ parents_PE.T * 1e-6  # the others hold the coefficients where they are
            wrong_E = (np.abs(off_E) > 1.0) & (np.abs(off_E) < _FAR_OFF)
            outside += int(wrong_E.sum())
            wrong_PE = parents_PE[:, wrong_E]
            normal_PP += wrong_PE @ wrong_PE.T
            right_P += wrong_PE @ (off_E[wrong_E] - np.sign(off_E[wrong_E]))
        if not outside or not normal_PP.any():
            break
        solution_P = solution_P + np.linalg.lstsq(normal_PP, right_P, rcond=None)[0]
    return solution_P


def _values(samples: Sequence[Sample]) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield dtype, parents and child of each sample, of the elements that are finite everywhere."""
    for sample in samples:
        child_E = widen(as_bits(sample.child, sample.dtype), sample.dtype)
        parents_PE = np.stack([widen(as_bits(data, dtype), dtype) for dtype, data in sample.parents])
        if not (np.isfinite(parents_PE).all() and np.isfinite(child_E).all()):
            usable_E = np.isfinite(parents_PE).all(axis=0) & np.isfinite(child_E)
            parents_PE, child_E = parents_PE[:, usable_E], child_E[usable_E]
        yield sample.dtype, parents_PE, child_E
