"""Methods that blend rows by one cosine each. Spec: merge §5.10.

All but that number is fixed to the bit. It comes out of sums that torch adds in orders of its own, so there are
several values that it may have; an output is WITHIN where each row is, in every element, what one of them gives.
"""

# Shape suffixes: R rows, E elements of a row.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from model_verify.merge.kernel import Opinion
from model_verify.merge.methods.bounded import BoundedKernel
from model_verify.merge.methods.cosine_search import Range, search
from model_verify.merge.methods.reductions import SUM_ERROR, total

_THREADS = 64
"""Threads that a sum may be spread over; each rounds its part to D."""
_AT_ONCE = 1 << 20
"""Elements that are blended at a time."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Sums of rows in float64, and how far off they may come out before they are rounded to D."""

    value_R: torch.Tensor
    spread_R: torch.Tensor | None = None

    def rounded(self, dtype: torch.dtype, spreads: int = 0) -> torch.Tensor:
        """Return the sums, so many spreads off, in `dtype`."""
        off_R = self.value_R if self.spread_R is None else self.value_R + spreads * self.spread_R
        return off_R.to(torch.float32).to(dtype)


def sum_of(terms_RE: torch.Tensor, *, spread: bool) -> Sum:
    """Return the sums of rows of D, with their spread where it is asked for. Spec: merge §5.10.

    Threads may share a row where it is the only one: then each rounds its part to D.
    """
    value_R = total(terms_RE)
    if not spread:
        return Sum(value_R)
    spread_R = SUM_ERROR * total(terms_RE.abs())
    if len(terms_RE) == 1 and terms_RE.dtype != torch.float32:
        size = max(1, -(-terms_RE.shape[1] // _THREADS))
        padded = torch.nn.functional.pad(terms_RE, (0, size * _THREADS - terms_RE.shape[1]))
        parts = total(padded.reshape(_THREADS, size)).abs().sum(dim=0, keepdim=True)
        spread_R = spread_R + parts * torch.finfo(terms_RE.dtype).eps
    return Sum(value_R, spread_R)


class CosineKernel(BoundedKernel):
    """A method whose rows are blends of rows by one cosine each, which is a number in D."""

    variants = 1
    """In how many ways `blend` can round what IEEE 754 does not fix."""

    def rows(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the rows of a tensor that have a cosine each."""
        raise NotImplementedError

    def joined(self, rows_RE: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Return the tensor that has these rows, in C order."""
        return rows_RE.reshape(shape)

    def parts(self, rows_RE: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return what is blended, rows in D, made of the rows of the operands."""
        raise NotImplementedError

    def cosine(self, parts_RE: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the cosine of each row in D, as R."""
        raise NotImplementedError

    def cosine_ranges(self, parts_RE: Sequence[torch.Tensor]) -> list[Range]:
        """Return the ranges in D in which the cosines may come out."""
        raise NotImplementedError

    def blend(self, parts: Sequence[torch.Tensor], cosine: torch.Tensor, variant: int) -> torch.Tensor:
        """Return the blend of `parts` in D; the shapes of all arguments are broadcast."""
        raise NotImplementedError

    def merged(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        parts_RE = self.parts([self.rows(value) for value in values])
        return self.joined(self.blended(parts_RE, self.cosine(parts_RE), 0), values[0].shape)

    def blended(self, parts_RE: Sequence[torch.Tensor], cosine_R: torch.Tensor, variant: int) -> torch.Tensor:
        """Return the blend of whole rows, in the dtype of the output."""
        rows, elements = parts_RE[0].shape
        out_RE = self.narrowed(torch.empty((rows, elements), dtype=self.dtype))
        high, wide = max(1, _AT_ONCE // max(1, elements)), _AT_ONCE
        for top in range(0, rows, high):
            for left in range(0, elements, wide):
                cut = slice(top, top + high), slice(left, left + wide)
                piece = self.blend([part_RE[cut] for part_RE in parts_RE], cosine_R[cut[0], None], variant)
                out_RE[cut] = self.narrowed(piece)
        return out_RE

    def opinion(self, values: Sequence[torch.Tensor], there: torch.Tensor) -> Opinion:
        """Return WITHIN where every row is a blend by one of the cosines that sums in other orders give."""
        parts_RE = self.parts([self.rows(value) for value in values])
        return search(self, parts_RE, self.rows(there).contiguous())
