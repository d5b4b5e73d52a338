"""`nearswap` of the mergekit profiles. Spec: merge §5.8."""

# Shape suffixes: E elements of one piece.

from __future__ import annotations

from collections.abc import Sequence

import torch

from model_verify.merge.kernel import Call
from model_verify.merge.known_answers import method_answer
from model_verify.merge.methods.mergekit import MergekitKernel
from model_verify.merge.methods.sums import Adder

_SMALLEST_DISTANCE = 1e-6


def _call(dtype: str, t: float, base: int = 0) -> Call:
    return Call("mergekit-0.1.4", "nearswap", dtype, dtype, base=base, shared={"t": t}, own=({}, {}))


class NearSwap(MergekitKernel):
    """The base, drawn to the other model where the two are near."""

    known_answers = (
        # A quotient of t and the distance comes out one beside.
        method_answer("near", _call("F32", 0.0007), ("3f2b2acf", "3f2c2cfc"), "3f2b58af"),
        method_answer("near", _call("BF16", 0.002), ("3f44", "3f27"), "3f44"),
        method_answer("near", _call("F16", 0.002), ("bb5f", "bb6c"), "bb64"),
        method_answer("subnormals", _call("F32", 1e-6), ("00000002", "00000000"), "00000000"),
        method_answer("subnormals", _call("BF16", 1e-6), ("0002", "0001"), "0001"),
        method_answer("equal", _call("F16", 0.001, base=1), ("3c01 0001", "3c01 0001"), "3c01 0001"),
    )

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        assert self.call.base is not None
        base_E, other_E = values[self.call.base], values[1 - self.call.base]
        distance_E = (base_E - other_E).abs().clamp(min=self.rounded(_SMALLEST_DISTANCE))
        # A division of a number by a tensor is a product with the reciprocal.
        one = torch.ones((), dtype=self.dtype, device=base_E.device)
        ratio_E = ((one / distance_E).to(torch.float32) * self.number(self.call.shared["t"])).to(self.dtype)
        share_E = ratio_E.clamp(min=0, max=1)
        return share_E * other_E + (one - share_E) * base_E
