"""Rounding to another format. Spec: pipeline §6.1."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model_verify.merge.kernel import Call
from model_verify.merge.known_answers import MethodAnswer
from model_verify.merge.torch_kernel import TORCH_DTYPES, TorchKernel


def _answer(name: str, source: str, dtype: str, given: str, expected: str) -> MethodAnswer:
    data = bytes.fromhex(given)
    shape = (len(data) // (4 if source == "F32" else 2) * 16,)
    return MethodAnswer(
        name, Call("cast/v1", "cast", dtype), shape, ((source, data * 16),), bytes.fromhex(expected) * 16
    )


class Cast(TorchKernel):
    """The nearest value of the output's format, ties to even."""

    known_answers = (
        _answer("a tie to even", "F32", "BF16", "0080803f" + "0080813f", "803f" + "823f"),
        _answer("just above a tie", "F32", "BF16", "0180803f", "813f"),
        _answer("subnormals of F32", "F32", "BF16", "01000000" + "00800000" + "01800000", "0000" + "0000" + "0100"),
        _answer("minus zero", "F32", "F16", "00000080", "0080"),
        _answer("a subnormal of F16", "F32", "F16", "00008033", "0100"),
        _answer("subnormals widen", "BF16", "F32", "0100" + "0180", "00000100" + "00000180"),
        _answer("a subnormal of F16 widens", "F16", "F32", "0100", "00008033"),
        _answer("F16 to BF16", "F16", "BF16", "ff3b", "803f"),
    )

    def compute(self, operands: Sequence[torch.Tensor]) -> torch.Tensor:
        (source,) = operands
        # Through float32, which holds every value of all three formats.
        return source.to(torch.float32).to(TORCH_DTYPES[self.call.dtype])
