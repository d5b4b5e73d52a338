"""What the methods have in common whose sums torch does not fix, so that they have a bound. Spec: merge §5.10."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model_verify.errors import OperationRefused
from model_verify.merge.backend import Backend
from model_verify.merge.kernel import Block, Call, Opinion, Standing
from model_verify.merge.methods.mergekit import MergekitKernel
from model_verify.merge.methods.sums import Adder
from model_verify.merge.torch_kernel import TORCH_DTYPES, is_finite, load_block

_PIECE_ELEMENTS = 1 << 20
_NARROW = 2.0**-8
"""The widest bound of which one can say that an output is within, as a part of what is computed."""


class BoundedKernel(MergekitKernel):
    """A method of whole tensors that is computed on the CPU: sums, roots and angles are the same bits everywhere."""

    whole = True
    bounded = True
    on_host = True

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.fused = call.profile != "mergekit-0.1.5/nofma"

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        raise AssertionError("sums over inputs are a matter of each method here")

    def compute(self, operands: Sequence[torch.Tensor]) -> torch.Tensor:
        merged = self.merged([operand.to(self.dtype) for operand in operands])
        return self.narrowed(merged).reshape(operands[0].shape)

    def merged(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the result in D. Raises `OperationRefused` where the method has none."""
        raise NotImplementedError

    def narrowed(self, merged: torch.Tensor) -> torch.Tensor:
        """Return what is written of a result in D."""
        return merged.to(TORCH_DTYPES[self.call.dtype])

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        """Return what is to be said of `there`; nothing of operands that are not finite."""
        values = [load_block(operand, "cpu").to(self.dtype) for operand in operands]
        if not all(is_finite(value) for value in values):
            return Opinion(Standing.DIFFERENT)
        return self.opinion(values, load_block(there, "cpu"))

    def opinion(self, values: Sequence[torch.Tensor], there: torch.Tensor) -> Opinion:
        """Return whether `there` is what the method may give of operands in D."""
        raise NotImplementedError

    def has_effect(self, backend: Backend, operands: Sequence[Block], position: int, out: Block) -> bool:
        """Return whether zeros in place of one operand change the output, or leave none. Spec: merge §3."""
        try:
            return super().has_effect(backend, operands, position, out)
        except OperationRefused:
            return True


def typical_size(values: torch.Tensor) -> float:
    """Return the median of the magnitudes of the elements that are not zero; 0 where all are."""
    sizes = values.to(torch.float32).abs().reshape(-1)
    sizes = sizes[sizes != 0]
    return float(sizes.median()) if len(sizes) else 0.0


def is_narrow(reach: torch.Tensor, values: torch.Tensor, typical: float) -> bool:
    """Return whether a bound says something in every element. Spec: merge §5.10.

    `reach` is how far off each of `values` may be, in float64. A statement can make that as wide as it likes, by
    weights or operands that cancel out, until any tensor is inside.
    """
    sizes = values.to(torch.float64).abs().clamp(min=typical)
    return bool((reach <= _NARROW * sizes).all().item())


def to_dtype(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return float64 values rounded to float32, then to `dtype`."""
    return values.to(torch.float32).to(dtype)


def ordinals(values: torch.Tensor) -> torch.Tensor:
    """Return int64 in the order of the values: neighbours differ by one, zeros of both signs are one."""
    if values.dtype == torch.float32:
        bits, sign = values.view(torch.int32).to(torch.int64), 1 << 31
    else:
        bits, sign = values.view(torch.int16).to(torch.int64), 1 << 15
    return torch.where(bits < 0, -(bits + sign), bits)


def of_ordinals(numbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the values that `ordinals` numbers so."""
    kind, sign = (torch.int32, 1 << 31) if dtype == torch.float32 else (torch.int16, 1 << 15)
    return torch.where(numbers < 0, -numbers - sign, numbers).to(kind).view(dtype)
