"""`della_linear` and `della` of the mergekit profiles. Spec: merge §5.16."""

from __future__ import annotations

import torch

from model_verify.merge.methods.masked import MaskedKernel


class DellaLinear(MaskedKernel):
    """A difference is kept the more likely the larger it is in its row."""

    def refusal(self, position: int) -> str:
        density, reach = (float(self._own[position][name]) for name in ("density", "epsilon"))
        if 0 < density < 1 and (density + reach >= 1 or density - reach <= 0):
            return (
                f"density {density} with epsilon {reach} leaves probabilities outside of 0 to 1, which mergekit refuses"
            )
        return ""

    def likelihoods(self, magnitude_E: torch.Tensor, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        density, reach = (float(self._own[position][name]) for name in ("density", "epsilon"))
        if not 0 < density < 1:
            flat_E = magnitude_E.reshape(-1)
            return flat_E, torch.full_like(flat_E, float(density >= 1))
        rows_RE = magnitude_E.reshape(1, -1) if magnitude_E.dim() < 2 else magnitude_E.movedim(1, -1)
        ranks_E = torch.linspace(0, 1, rows_RE.shape[-1], dtype=torch.float64)
        likely_E = (density - reach) + ranks_E * 2 * reach
        return rows_RE.sort(dim=-1).values.reshape(-1), likely_E.expand(rows_RE.shape).reshape(-1)


class Della(DellaLinear):
    elect = True
