"""What the kernels of the mergekit profiles have in common. Spec: merge §5.1, §5.2."""

# Shape suffixes: E elements of one piece.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model_verify.merge.kernel import Block, Call, Opinion, Standing
from model_verify.merge.methods.sums import Adder, in_order, orders_of
from model_verify.merge.torch_kernel import TORCH_DTYPES, TorchKernel, load_block

_PIECE_ELEMENTS = 1 << 15
"""What an elementwise method takes at a time on the CPU, so that the values between stay in the cache."""

_BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


class MergekitKernel(TorchKernel):
    """A method of the mergekit profiles: a subclass has `merge`."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        assert call.compute_dtype is not None
        self.dtype = TORCH_DTYPES[call.compute_dtype]
        """D: what operands are rounded to before anything else, and what most operations round to."""

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        """Return the result in D or float32. `values` are operands in D, `add_up` adds over inputs."""
        raise NotImplementedError

    def compute(self, operands: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.merge_adding(operands, in_order)

    def merge_adding(self, operands: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        """Return the output in its dtype, sums over inputs done by `add_up`."""
        if self.whole or operands[0].device.type != "cpu":
            return self._piece(operands, add_up)
        out_E = torch.empty(operands[0].shape, dtype=TORCH_DTYPES[self.call.dtype])
        flat_E = out_E.view(-1)
        flat_operands = [operand.view(-1) for operand in operands]
        for start in range(0, len(flat_E), _PIECE_ELEMENTS):
            piece = slice(start, start + _PIECE_ELEMENTS)
            flat_E[piece] = self._piece([operand[piece] for operand in flat_operands], add_up)
        return out_E

    def _piece(self, operands: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        values = [operand.to(self.dtype) for operand in operands]
        return self.merge(values, add_up).to(self.dtype).to(TORCH_DTYPES[self.call.dtype])

    def number(self, value: object) -> float:
        """Return a parameter as the float32 that torch computes with. Spec: merge §5.1."""
        return float(np.float32(value))  # type: ignore[arg-type]

    def rounded(self, value: object) -> float:
        """Return a parameter in D, through float32."""
        return float(torch.tensor(self.number(value), dtype=torch.float32).to(self.dtype))


class SummingKernel(MergekitKernel):
    """A method that adds over `terms` inputs in an order that torch does not fix once there are many."""

    def __init__(self, call: Call, terms: int) -> None:
        super().__init__(call)
        self.orders = orders_of(terms)
        self.bounded = len(self.orders) > 1

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        """Return WITHIN where each element is one of the sums that torch may give. Spec: merge §5.2."""
        if not self.bounded:
            return Opinion(Standing.DIFFERENT)
        values = [load_block(operand, "cpu") for operand in operands]
        there_E = bits_of(load_block(there, "cpu"))
        as_computed_E = there_E == bits_of(load_block(out, "cpu"))
        possible_E = as_computed_E.clone()
        for add_up in self.orders[1:]:
            possible_E |= there_E == bits_of(self.merge_adding(values, add_up))
        if not bool(possible_E.all()):
            return Opinion(Standing.DIFFERENT)
        others = int((~as_computed_E).sum())
        return Opinion(Standing.WITHIN, f"{others} elements are sums in another order")


def bits_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return the elements as integers of their bits, so that zeros of both signs differ."""
    return tensor.view(_BITS[tensor.dtype])
