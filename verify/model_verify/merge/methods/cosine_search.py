"""Look for the cosine of each row that gives what is there, to the bit. Spec: merge §5.10."""

# Shape suffixes: R rows, E elements of a row, S samples of it, C candidates for a row's cosine, O rows still open.

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from model_verify.merge.kernel import Opinion, Standing
from model_verify.merge.methods.bounded import of_ordinals, ordinals
from model_verify.merge.methods.mergekit import bits_of

Range = tuple[torch.Tensor, torch.Tensor]
"""The smallest and the largest value that a number may have, one for each row."""

_NEIGHBOURS = 16
"""On either side of what was computed, that are tried for all rows at once before any row is searched alone."""
_SAMPLES = 64
"""Elements of a row that candidates are tried on, before one that fits is tried on all of it."""
_HARD_SAMPLES = 8
"""The first of them: where a candidate fits these and not the row, elements that it does not give take their place, so
that others of its kind are told at once."""
_MOST_CANDIDATES = 1 << 17
"""On either side, for one row."""
_MOST_TRIES = 64
"""Candidates for a row that fit its samples."""
_MOST_WORK = 1 << 29
"""Elements that are blended in the search for one tensor."""
_AT_ONCE = 1 << 20
_ROUNDINGS = 8
"""Roundings to D on the way to an element."""


class Blender(Protocol):
    """What a search needs of its method; `CosineKernel` has it."""

    dtype: torch.dtype
    variants: int

    def cosine(self, parts_RE: Sequence[torch.Tensor]) -> torch.Tensor: ...

    def cosine_ranges(self, parts_RE: Sequence[torch.Tensor]) -> list[Range]: ...

    def blend(self, parts: Sequence[torch.Tensor], cosine: torch.Tensor, variant: int) -> torch.Tensor: ...

    def blended(self, parts_RE: Sequence[torch.Tensor], cosine_R: torch.Tensor, variant: int) -> torch.Tensor: ...

    def narrowed(self, merged: torch.Tensor) -> torch.Tensor: ...


def search(method: Blender, parts_RE: Sequence[torch.Tensor], there_RE: torch.Tensor) -> Opinion:
    """Return WITHIN where every row of `there_RE` is, to the bit, a blend by a cosine that it may have.

    EXAMINED where there are more possibilities than can be tried, and the rows lie between the ends of the ranges.
    """
    return _Search(method, parts_RE, there_RE).opinion()


class _Search:
    def __init__(self, method: Blender, parts_RE: Sequence[torch.Tensor], there_RE: torch.Tensor) -> None:
        self._method = method
        self._parts_RE = parts_RE
        self._there_RE = there_RE
        rows, elements = there_RE.shape
        self._open_R = torch.ones(rows, dtype=torch.bool)
        self._samples_RS = _spread_out(elements, _SAMPLES).repeat(rows, 1)
        self._computed_R = ordinals(method.cosine(parts_RE))
        self._found_R = self._computed_R.clone()
        ranges = [(ordinals(low_R), ordinals(high_R)) for low_R, high_R in method.cosine_ranges(parts_RE)]
        self._ranges = [*ranges, (self._computed_R, self._computed_R)]
        if method.dtype != torch.float32:  # few values: also those between what the ranges were computed for
            lows, highs = zip(*self._ranges, strict=True)
            self._ranges = [(torch.stack(lows).amin(dim=0), torch.stack(highs).amax(dim=0))]
        self._work = 0
        self._gave_up = False

    def opinion(self) -> Opinion:
        """Return what comes of it."""
        if not self._is_between():
            return Opinion(Standing.DIFFERENT)
        for variant in range(self._method.variants):
            self._try_near(variant)
        for row in self._open_R.nonzero().squeeze(1).tolist():
            for variant in range(self._method.variants):
                if bool(self._open_R[row]):
                    self._try_alone(row, variant)
            if bool(self._open_R[row]) and not self._gave_up:
                return Opinion(Standing.DIFFERENT)
        if bool(self._open_R.any()):
            text = "between what the ends of the ranges of its cosines give; not all of these can be tried"
            return Opinion(Standing.EXAMINED, text)
        steps_R = (self._found_R - self._computed_R).abs()
        rows, furthest = len(steps_R), int(steps_R.max())
        if rows == 1:
            cosine = float(of_ordinals(self._found_R, self._method.dtype))
            text = f"to the bit what a cosine of {cosine:.9g} gives, {furthest} steps from the one computed here"
        else:
            others = int((steps_R > 0).sum())
            text = f"to the bit what other cosines give in {others} of {rows} rows, up to {furthest} steps away"
        return Opinion(Standing.WITHIN, text)

    def _is_between(self) -> bool:
        """Return whether all rows lie between what the ends of the ranges give.

        As much is allowed as a few roundings, and the width of the ranges (an element can turn between their ends),
        are of the magnitude of what is blended.
        """
        cosines = [of_ordinals(end_R, self._method.dtype) for pair in self._ranges for end_R in pair]
        width_R = torch.stack(cosines).amax(dim=0).double() - torch.stack(cosines).amin(dim=0).double()
        lowest_RE = highest_RE = self._method.blended(self._parts_RE, cosines[-1], 0)
        for cosine_R in cosines[:-1]:
            end_RE = self._method.blended(self._parts_RE, cosine_R, 0)
            lowest_RE, highest_RE = torch.minimum(lowest_RE, end_RE), torch.maximum(highest_RE, end_RE)
        magnitude_RE = torch.maximum(lowest_RE.abs(), highest_RE.abs()).to(torch.float32)
        for part_RE in self._parts_RE:
            magnitude_RE += part_RE.abs()
        steps = max(torch.finfo(dtype).eps for dtype in (self._method.dtype, lowest_RE.dtype))
        slack_RE = magnitude_RE * (_ROUNDINGS * steps + width_R[:, None].to(torch.float32))
        slack_RE += torch.finfo(self._method.dtype).tiny  # subnormals are rounded more coarsely
        there_RE = self._there_RE.to(torch.float32)
        return bool(((lowest_RE - slack_RE <= there_RE) & (there_RE <= highest_RE + slack_RE)).all())

    def _try_near(self, variant: int) -> None:
        """Try the nearest neighbours of what was computed, for all rows at once."""
        for step in (0, *(sign * step for step in range(1, _NEIGHBOURS + 1) for sign in (1, -1))):
            open_O = self._open_R.nonzero().squeeze(1)
            if not len(open_O):
                return
            numbers_O = self._computed_R[open_O] + step
            allowed_O = torch.zeros_like(open_O, dtype=torch.bool)
            for low_R, high_R in self._ranges:
                allowed_O |= (low_R[open_O] <= numbers_O) & (numbers_O <= high_R[open_O])
            numbers_O, rows_O = numbers_O[allowed_O], open_O[allowed_O]
            fits_O = self._fits(numbers_O[:, None], rows_O, slice(None), variant)[:, 0]
            self._confirm(numbers_O[fits_O], rows_O[fits_O], variant)

    def _try_alone(self, row: int, variant: int) -> None:
        """Try what the ranges of one row have beyond these, the nearest first."""
        middle = int(self._computed_R[row])
        ranges = [(int(low_R[row]), int(high_R[row])) for low_R, high_R in self._ranges]
        near = [(max(low, middle - _MOST_CANDIDATES), min(high, middle + _MOST_CANDIDATES)) for low, high in ranges]
        self._gave_up |= near != ranges
        numbers_C = torch.unique(torch.cat([torch.arange(low, max(low, high + 1)) for low, high in near]))
        numbers_C = numbers_C[(numbers_C - middle).abs() > _NEIGHBOURS]
        numbers_C = numbers_C[(numbers_C - middle).abs().argsort(stable=True)]
        row_O = torch.tensor([row])
        for _ in range(_MOST_TRIES):
            for samples in (slice(0, _HARD_SAMPLES), slice(_HARD_SAMPLES, None)):
                numbers_C = numbers_C[self._fits_row(numbers_C, row_O, samples, variant)]
            if not len(numbers_C):
                return
            self._confirm(numbers_C[:1], row_O, variant)
            if not bool(self._open_R[row]):
                return
            numbers_C = numbers_C[1:]
        self._gave_up = True

    def _fits_row(self, numbers_C: torch.Tensor, row_O: torch.Tensor, samples: slice, variant: int) -> torch.Tensor:
        """Return which candidates give the samples of one row, as C."""
        fits_C = torch.zeros_like(numbers_C, dtype=torch.bool)
        count = _AT_ONCE // _SAMPLES
        for start in range(0, len(numbers_C), count):
            piece = slice(start, start + count)
            fits_C[piece] = self._fits(numbers_C[None, piece], row_O, samples, variant)[0]
        return fits_C

    def _fits(self, numbers_OC: torch.Tensor, rows_O: torch.Tensor, samples: slice, variant: int) -> torch.Tensor:
        """Return which candidates give the samples of their rows, as OC."""
        samples_OS = self._samples_RS[rows_O, samples]
        self._work += numbers_OC.shape[1] * samples_OS.numel()
        if self._work > _MOST_WORK:
            self._gave_up = True
            return torch.zeros_like(numbers_OC, dtype=torch.bool)
        at = rows_O[:, None], samples_OS
        parts = [part_RE[at][:, None] for part_RE in self._parts_RE]
        cosine_OC = of_ordinals(numbers_OC, self._method.dtype)
        blended = self._method.narrowed(self._method.blend(parts, cosine_OC[:, :, None], variant))
        return (bits_of(blended) == bits_of(self._there_RE[at])[:, None]).all(dim=2)

    def _confirm(self, numbers_O: torch.Tensor, rows_O: torch.Tensor, variant: int) -> None:
        """Try one candidate for each of these rows on the whole of it; close the row, or note what it does not give."""
        if not len(rows_O):
            return
        cosine_O = of_ordinals(numbers_O, self._method.dtype)
        blended = self._method.blended([part_RE[rows_O] for part_RE in self._parts_RE], cosine_O, variant)
        wrong_OE = bits_of(blended) != bits_of(self._there_RE[rows_O])
        equal_O = ~wrong_OE.any(dim=1)
        self._found_R[rows_O[equal_O]] = numbers_O[equal_O]
        self._open_R[rows_O[equal_O]] = False
        for row, wrong_E in zip(rows_O[~equal_O].tolist(), wrong_OE[~equal_O], strict=True):
            places = wrong_E.nonzero().squeeze(1)
            hard = places[_spread_out(len(places), _HARD_SAMPLES)]
            self._samples_RS[row, : len(hard)] = hard


def _spread_out(elements: int, count: int) -> torch.Tensor:
    """Return up to so many positions among `elements`, at equal distances."""
    return torch.linspace(0, elements - 1, min(elements, count), dtype=torch.float64).long()
