"""What the methods that add up differences from a base have in common. Spec: merge §5.4, §5.6."""

# Shape suffixes: E elements.

from __future__ import annotations

from collections.abc import Sequence

import torch

from model_verify.merge.kernel import Call
from model_verify.merge.methods.mergekit import SummingKernel
from model_verify.merge.methods.sums import Adder, in_lanes

_SMALLEST_DIVISOR = 1e-8


class DeltaKernel(SummingKernel):
    """b + λ·Σ w·d, where d is what `thin_out` leaves of an input's difference from the base b."""

    elect = False
    """Whether only differences count that have the sign of their sum."""

    def __init__(self, call: Call) -> None:
        assert call.base is not None
        self.base = call.base
        self.own = [own for position, own in enumerate(call.own) if position != call.base]
        super().__init__(call, terms=len(self.own))
        self._weights = [self.rounded(own["weight"]) for own in self.own]

    def thin_out(self, delta_E: torch.Tensor, position: int) -> torch.Tensor:
        """Return the difference of the input at `position`, the base not counted, with zeros for what is left out."""
        return delta_E

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        base_E, deltas = self.split(values)
        thinned = [self.thin_out(delta_E, position) for position, delta_E in enumerate(deltas)]
        return self.add_deltas(base_E, thinned, add_up)

    def split(self, values: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the base, and the differences of the others from it."""
        base_E = values[self.base]
        return base_E, [value_E - base_E for position, value_E in enumerate(values) if position != self.base]

    def add_deltas(self, base_E: torch.Tensor, deltas: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        """Return b + λ·Σ w·d in D. Every operation is rounded to D."""
        weights = [torch.tensor(weight, dtype=self.dtype, device=base_E.device) for weight in self._weights]
        weighted = [delta_E * weight for delta_E, weight in zip(deltas, weights, strict=True)]
        masks: list[torch.Tensor] = []
        if self.elect:
            positive_E = add_up(weighted).to(self.dtype) >= 0
            masks = [torch.where(positive_E, term_E > 0, term_E < 0).to(self.dtype) for term_E in weighted]
            weighted = [term_E * mask_E for term_E, mask_E in zip(weighted, masks, strict=True)]
        mixed_E = add_up(weighted).to(self.dtype)
        if self.call.shared["normalize"]:
            if self.elect:
                shares = [weight * mask_E for weight, mask_E in zip(weights, masks, strict=True)]
                divisor_E = add_up(shares).to(self.dtype)
                divisor_E[divisor_E == 0] = 1
            else:
                divisor_E = in_lanes(weights).to(self.dtype)
                divisor_E[divisor_E.abs() < self.rounded(_SMALLEST_DIVISOR)] = 1
            mixed_E = mixed_E / divisor_E
        if self.call.shared["lambda"] != 1:
            mixed_E = (mixed_E.to(torch.float32) * self.number(self.call.shared["lambda"])).to(self.dtype)
        return base_E + mixed_E
