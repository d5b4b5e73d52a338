"""`passthrough` of the mergekit profiles. Spec: merge §5.5."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model_verify.merge.kernel import Call
from model_verify.merge.known_answers import method_answer
from model_verify.merge.methods.mergekit import MergekitKernel
from model_verify.merge.methods.sums import Adder


def _call(dtype: str, **scale: float) -> Call:
    return Call("mergekit-0.1.4", "passthrough", dtype, dtype, own=(scale,))


class Passthrough(MergekitKernel):
    """The one input, times `scale` where there is one."""

    known_answers = (
        method_answer("a scale", _call("F32", scale=0.3), ("3f800001 00000005",), "3e99999b 00000002"),
        # By a scale that is rounded to D the first comes out one lower, the second one higher.
        method_answer("a scale", _call("BF16", scale=0.3), ("004b 0003",), "0016 0001"),
        method_answer("a scale", _call("F16", scale=0.3), ("0073 0003",), "0022 0001"),
        method_answer("no scale", _call("BF16"), ("8000 0001",), "8000 0001"),
    )

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        (value_E,) = values
        (own,) = self.call.own
        return value_E.to(torch.float32) * self.number(own["scale"]) if "scale" in own else value_E
