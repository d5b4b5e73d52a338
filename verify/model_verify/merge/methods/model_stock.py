"""`model_stock` of the mergekit profiles. Spec: merge §5.11."""

# Shape suffixes: R rows, E elements of a row, N inputs but for the base.

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import torch

from model_verify.merge.kernel import Call
from model_verify.merge.methods.bounded_answers import MODEL_STOCK, answers
from model_verify.merge.methods.cosine import CosineKernel, Sum, sum_of
from model_verify.merge.methods.cosine_search import Range
from model_verify.merge.methods.reductions import norm, norms
from model_verify.merge.methods.sums import by_fours, in_order

_SMALLEST_NORMS = 1e-6
_SINGULAR = 1e-6


class ModelStock(CosineKernel):
    """t·mean + (1 − t)·base, with t from the mean cosine between the differences from the base."""

    known_answers = answers("model_stock", {"filter_wise": False}, ({}, {}, {}), MODEL_STOCK)

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        assert call.base is not None
        self._base = call.base
        self._by_rows = bool(call.shared["filter_wise"])
        self.variants = 2 if len(call.own) > 3 else 1  # CUDA multiplies by the reciprocal of a number

    def rows(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.reshape(-1, tensor.shape[-1]) if self._by_rows and tensor.dim() else tensor.reshape(1, -1)

    def parts(self, rows_RE: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        base_RE = rows_RE[self._base]
        return [base_RE, *(row_RE for position, row_RE in enumerate(rows_RE) if position != self._base)]

    def cosine(self, parts_RE: Sequence[torch.Tensor]) -> torch.Tensor:
        offsets_RE = self._offsets(parts_RE)
        norms_NR = [norm(offset_RE, fused=self.fused).to(self.dtype) for offset_RE in offsets_RE]
        return self._mean_cosine(_products(offsets_RE, spread=False), norms_NR, 0)

    def cosine_ranges(self, parts_RE: Sequence[torch.Tensor]) -> list[Range]:
        offsets_RE = self._offsets(parts_RE)
        products = _products(offsets_RE, spread=True)
        ranges = []
        for norms_NR in zip(*(norms(offset_RE) for offset_RE in offsets_RE), strict=True):
            rounded_NR = [norm_R.to(self.dtype) for norm_R in norms_NR]
            low_R, high_R = (self._mean_cosine(products, rounded_NR, spreads) for spreads in (-1, 1))
            ranges.append((low_R, high_R))
        return ranges

    def blend(self, parts: Sequence[torch.Tensor], cosine: torch.Tensor, variant: int) -> torch.Tensor:
        base, *others = parts
        count = len(others)
        denominator = 1 + (count - 1) * cosine
        share = (count * cosine) / denominator
        if self.call.profile != "mergekit-0.1.4":
            share = torch.where(denominator.abs() < _SINGULAR, torch.zeros_like(share), share)
        summed = 0 + others[0]
        for other in others[1:]:
            summed = summed + other
        mean = summed / count if variant == 0 else summed * float(np.float32(1) / np.float32(count))
        return share * mean + (1 - share) * base

    def _offsets(self, parts_RE: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        base_RE, *others_RE = parts_RE
        return [other_RE - base_RE for other_RE in others_RE]

    def _mean_cosine(self, products: Sequence[Sum], norms_NR: Sequence[torch.Tensor], spreads: int) -> torch.Tensor:
        """Return the mean of the cosines of all pairs, each of its sums so many spreads off."""
        cosines_R = []
        for (one, other), product in zip(combinations(range(len(norms_NR)), 2), products, strict=True):
            both_R = (norms_NR[one] * norms_NR[other]).clamp(min=_SMALLEST_NORMS)
            cosines_R.append((product.rounded(self.dtype, spreads) / both_R).clamp(-1, 1))
        add_up: Callable[[Sequence[torch.Tensor]], torch.Tensor] = by_fours if len(norms_NR[0]) == 1 else in_order
        return (add_up(cosines_R) / len(cosines_R)).to(self.dtype)


def _products(offsets_RE: Sequence[torch.Tensor], *, spread: bool) -> list[Sum]:
    """Return the sums of products of all pairs, in order."""
    return [sum_of(one_RE * other_RE, spread=spread) for one_RE, other_RE in combinations(offsets_RE, 2)]
