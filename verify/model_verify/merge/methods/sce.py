"""`sce` of the mergekit profiles. Spec: merge §5.15."""

# Shape suffixes: E elements, N inputs but for the base.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model_verify.errors import OperationRefused
from model_verify.merge.kernel import Call
from model_verify.merge.methods.bounded import ordinals
from model_verify.merge.methods.bounded_answers import SCE, SCE_SELECTED, answers
from model_verify.merge.methods.choices import Usual
from model_verify.merge.methods.chosen import ChosenKernel, Other, Result
from model_verify.merge.methods.sums import in_lanes, in_order

_SMALLEST_MEANS = 1e-6
_SMALLEST_DIVISOR = 1e-6
_DOUBT = 2.0**-38
"""How far off the sum of the mean squares may be in float32, near the limit that decides about them."""
_NEAR_CUT = {torch.float32: 4, torch.bfloat16: 1, torch.float16: 1}
"""Steps that a variance may be off on CUDA, which does not compute it in float64."""


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which elements are selected, and those at the cut for which this is open."""

    kept_E: torch.Tensor
    open_E: torch.Tensor


class Sce(ChosenKernel):
    """The base and a mean of the differences from it that agree in sign, weighted by their mean squares."""

    known_answers = (
        *answers("sce", {"select_topk": 1.0}, ({}, {}, {}), SCE),
        *answers("sce", {"select_topk": 0.7}, ({}, {}, {}), SCE_SELECTED),
    )

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        assert call.base is not None
        self._base = call.base
        self._density = float(call.shared["select_topk"])

    def result(self, values: Sequence[torch.Tensor], numbers: Usual) -> Result:
        base_E = values[self._base].reshape(-1)
        others_NE = [value.reshape(-1) for place, value in enumerate(values) if place != self._base]
        deltas_NE = [others_NE[place] - base_E for place in self.order(len(others_NE), numbers)]
        selection = self._select(deltas_NE) if self._density < 1 else None
        kept_NE = deltas_NE if selection is None else [delta_E * selection.kept_E for delta_E in deltas_NE]
        weights, slack = self._weights(deltas_NE, kept_NE, selection, numbers)
        merged_E = self._blend(base_E, kept_NE, weights)
        other = None
        if selection is not None:
            at_F = selection.open_E.nonzero().squeeze(1)
            turned_NF = [delta_E[at_F] * (1 - selection.kept_E[at_F]) for delta_E in deltas_NE]
            other = Other(at_F, self._blend(base_E[at_F], turned_NF, weights), selection.kept_E[at_F] > 0)
        largest_E = torch.stack([delta_E.abs() for delta_E in deltas_NE]).amax(dim=0)
        return Result(merged_E, base_E.abs() + largest_E, slack, other)

    def _select(self, deltas_NE: Sequence[torch.Tensor]) -> _Selection:
        """Return the elements with the largest variance over the inputs, as torch selects them on the CPU."""
        variance_E = torch.stack(list(deltas_NE)).to(torch.float64).var(dim=0, unbiased=False)
        variance_E = variance_E.to(torch.float32).to(self.dtype)
        nonzero = int(torch.count_nonzero(variance_E))
        count = max(0, int(np.float32(nonzero) * np.float32(self._density))) if self._density > 0 else 0
        kept_E = torch.zeros_like(variance_E)
        if count:
            kept_E[torch.topk(variance_E, k=count).indices] = 1
        elif self.call.profile == "mergekit-0.1.4":
            raise OperationRefused("OPERAND_INVALID", "it selects none of the elements, where mergekit 0.1.4 fails")
        numbers_E = ordinals(variance_E)
        if not 0 < count < len(numbers_E):
            return _Selection(kept_E, torch.zeros_like(kept_E, dtype=torch.bool))
        cut = int(numbers_E[kept_E > 0].min())
        return _Selection(kept_E, (numbers_E - cut).abs() <= _NEAR_CUT[self.dtype])

    def _weights(
        self,
        deltas_NE: Sequence[torch.Tensor],
        kept_NE: Sequence[torch.Tensor],
        selection: _Selection | None,
        numbers: Usual,
    ) -> tuple[list[torch.Tensor], float]:
        """Return the weights of the inputs, and by how much of them they are open beyond roundings."""
        means, slack = [], 0.0
        for delta_E, kept_E in zip(deltas_NE, kept_NE, strict=True):
            less, more = _reach(delta_E.square(), selection)
            means.append(numbers.mean(kept_E.square(), less, more))
            slack = max(slack, (less + more) / max(float(means[-1]) * len(kept_E), less + more, 1e-300))
        both = in_lanes(means).to(self.dtype)
        doubt = _DOUBT * (1 + slack / 2.0**-24) if self.dtype == torch.float32 else 0.0
        if numbers.is_below(both, _SMALLEST_MEANS, doubt):
            return [torch.ones_like(both) / len(means) for _ in means], 0.0
        return [mean / both for mean in means], 2 * slack

    def _blend(
        self, base_E: torch.Tensor, deltas_NE: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        positive_E = in_order(deltas_NE).to(self.dtype) >= 0
        shares_NE = [
            weight * torch.where(positive_E, delta_E > 0, delta_E < 0)
            for delta_E, weight in zip(deltas_NE, weights, strict=True)
        ]
        terms_NE = [delta_E * share_E for delta_E, share_E in zip(deltas_NE, shares_NE, strict=True)]
        divisor_E = in_order(shares_NE).to(self.dtype).clamp(min=_SMALLEST_DIVISOR)
        return base_E + in_order(terms_NE).to(self.dtype) / divisor_E


def _reach(squares_E: torch.Tensor, selection: _Selection | None) -> tuple[float, float]:
    """Return how much smaller and larger the sum of the squares that are selected can come out at the cut."""
    if selection is None:
        return 0.0, 0.0
    free_F = squares_E[selection.open_E].to(torch.float64).sort().values
    kept = int(selection.kept_E[selection.open_E].sum())
    usual = float(squares_E[selection.open_E & (selection.kept_E > 0)].to(torch.float64).sum())
    lowest, highest = float(free_F[:kept].sum()), float(free_F[len(free_F) - kept :].sum())
    return max(0.0, usual - lowest), max(0.0, highest - usual)
