"""`nuslerp` of the mergekit profiles. Spec: merge §5.12."""

# Shape suffixes: R rows, E elements of a row.

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch

from model_verify.merge.kernel import Call
from model_verify.merge.methods.bounded import of_ordinals, ordinals
from model_verify.merge.methods.bounded_answers import NUSLERP, answers
from model_verify.merge.methods.cosine import CosineKernel, sum_of
from model_verify.merge.methods.cosine_search import Range
from model_verify.merge.methods.reductions import norm, norms

_SMALLEST_NORM = 1e-7
_SMALLEST_WEIGHTS = 1e-6
_COLINEAR = 1e-8

_STEPS = sorted(product((-1, 0, 1), repeat=4), key=lambda steps: sum(map(abs, steps)))
"""By how many float32 steps an angle and three sines may be off, the most likely first."""


class Nuslerp(CosineKernel):
    """Two rows, or their differences from the base's, blended by sines of parts of the angle between them."""

    known_answers = answers(
        "nuslerp", {"nuslerp_flatten": True, "nuslerp_row_wise": False}, ({"weight": 0.6}, {"weight": 0.3}, {}), NUSLERP
    )

    variants = len(_STEPS)

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._base = call.base
        first, second = (float(own["weight"]) for position, own in enumerate(call.own) if position != call.base)
        both = first + second
        self._share = 0.5 if abs(both) < _SMALLEST_WEIGHTS else second / both
        self._flat = bool(call.shared["nuslerp_flatten"])
        self._strided = not self._flat and bool(call.shared["nuslerp_row_wise"])

    def rows(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._flat or tensor.dim() == 0:
            return tensor.reshape(1, -1)
        rows = tensor.transpose(0, -1) if self._strided else tensor
        return rows.reshape(-1, rows.shape[-1])

    def joined(self, rows_RE: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        if not self._strided or len(shape) == 0:
            return rows_RE.reshape(shape)
        return rows_RE.reshape(torch.empty(shape, device="meta").transpose(0, -1).shape).transpose(0, -1)

    def parts(self, rows_RE: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if self._base is None:
            return list(rows_RE)
        base_RE = rows_RE[self._base]
        return [*(row_RE - base_RE for place, row_RE in enumerate(rows_RE) if place != self._base), base_RE]

    def cosine(self, parts_RE: Sequence[torch.Tensor]) -> torch.Tensor:
        strided = self._strided and len(parts_RE[0]) > 1
        return self._cosine(
            parts_RE, [norm(part_RE, fused=self.fused, strided=strided) for part_RE in parts_RE[:2]], (0,)
        )[0]

    def cosine_ranges(self, parts_RE: Sequence[torch.Tensor]) -> list[Range]:
        ranges = []
        for norms_R in zip(*(norms(part_RE) for part_RE in parts_RE[:2]), strict=True):
            low_R, high_R = self._cosine(parts_RE, norms_R, (-1, 1))
            ranges.append((low_R, high_R))
        return ranges

    def _cosine(
        self, parts_RE: Sequence[torch.Tensor], norms_R: Sequence[torch.Tensor], spreads: Sequence[int]
    ) -> list[torch.Tensor]:
        one_RE, other_RE = (
            part_RE / norm_R.to(self.dtype).clamp(min=_SMALLEST_NORM)[:, None]
            for part_RE, norm_R in zip(parts_RE, norms_R, strict=False)
        )
        products = sum_of(one_RE * other_RE, spread=spreads != (0,))
        return [products.rounded(self.dtype, spread).clamp(-1, 1) for spread in spreads]

    def blend(self, parts: Sequence[torch.Tensor], cosine: torch.Tensor, variant: int) -> torch.Tensor:
        one, other, *base = parts
        angle_steps, *sine_steps = _STEPS[variant]
        straight = (1 - cosine.square()) <= _COLINEAR**2
        if self.call.profile == "mergekit-0.1.4":
            angle = self._rounded(torch.acos, cosine, angle_steps)
            sine = self._rounded(torch.sin, angle, sine_steps[0])
            straight = sine.abs() < _COLINEAR
        else:
            angle = self._rounded(torch.acos, torch.where(straight, 0, cosine), angle_steps)
            sine = self._rounded(torch.sin, angle, sine_steps[0])
        first = self._rounded(torch.sin, (1 - self._share) * angle, sine_steps[1])
        second = self._rounded(torch.sin, self._share * angle, sine_steps[2])
        bent = (first * one + second * other) / sine
        blended = torch.where(straight, (1 - self._share) * one + self._share * other, bent)
        return base[0] + blended if base else blended

    def _rounded(
        self, function: Callable[[torch.Tensor], torch.Tensor], value: torch.Tensor, steps: int
    ) -> torch.Tensor:
        """Return a function's value, so many float32 steps off, in D."""
        exact = function(value.to(torch.float64)).to(torch.float32)
        return (of_ordinals(ordinals(exact) + steps, torch.float32) if steps else exact).to(self.dtype)
