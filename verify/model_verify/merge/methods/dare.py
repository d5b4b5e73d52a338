"""`dare_linear` and `dare_ties` of the mergekit profiles. Spec: merge §5.16."""

from __future__ import annotations

import torch

from model_verify.merge.methods.masked import MaskedKernel


class DareLinear(MaskedKernel):
    """Every difference is kept with the same probability."""

    def likelihoods(self, magnitude_E: torch.Tensor, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        flat_E = magnitude_E.reshape(-1)
        density = min(max(float(self._own[position]["density"]), 0.0), 1.0)
        return flat_E, torch.full_like(flat_E, density)


class DareTies(DareLinear):
    elect = True
