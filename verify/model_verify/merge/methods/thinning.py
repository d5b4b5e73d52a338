"""Differences of which only some are kept, by their magnitude. Spec: merge §5.6.

Which of equal magnitudes are kept where a cut falls among them is what torch's sort on the CPU makes of it: it is not
a stable sort, so versions may differ. `possible.py` says whether another choice is WITHIN.
"""

# Shape suffixes: E elements.

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from model_verify.merge.kernel import Block, Call, Number, Opinion
from model_verify.merge.methods.deltas import DeltaKernel
from model_verify.merge.methods.exact_sum import exact_sum
from model_verify.merge.methods.possible import Possible, Span, Thinned, magnitude, ties_of
from model_verify.merge.torch_kernel import TORCH_DTYPES, load_block

_SMALLEST_SCALE = 1e-7


class ThinningKernel(DeltaKernel):
    """A method that keeps the differences in a span of magnitudes, of whole tensors."""

    whole = True
    descending = False
    """How torch is asked to sort."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.bounded = True

    def span(self, elements: int, own: Mapping[str, Number]) -> Span | None:
        """Return what is kept of so many elements, None for all. Raises `OperationRefused`."""
        raise NotImplementedError

    def thin_out(self, delta_E: torch.Tensor, position: int) -> torch.Tensor:
        span = self.span(delta_E.numel(), self.own[position])
        if span is None:
            return delta_E
        kept_E = delta_E * self._mask(delta_E, span).to(self.dtype)
        ratio = self._ratio(delta_E, kept_E)
        return kept_E if ratio is None else kept_E * ratio

    def _mask(self, delta_E: torch.Tensor, span: Span) -> torch.Tensor:
        """Return which elements are kept."""
        first, last = span
        order_E = torch.argsort(magnitude(delta_E), descending=self.descending)
        elements = len(order_E)
        kept = order_E[elements - last : elements - first] if self.descending else order_E[first:last]
        mask_E = torch.zeros(elements, dtype=torch.bool)
        mask_E[kept] = True
        return mask_E.reshape(delta_E.shape).to(delta_E.device)

    def _ratio(self, delta_E: torch.Tensor, kept_E: torch.Tensor) -> torch.Tensor | None:
        """Return what kept differences are multiplied by, in D; None where they are not."""
        if not self.call.shared["rescale"]:
            return None
        sums = [exact_sum(magnitude(tensor)) for tensor in (delta_E, kept_E)]
        before, after = (torch.tensor(value, dtype=torch.float32).to(self.dtype) for value in sums)
        smallest = self.rounded(_SMALLEST_SCALE)
        return None if before < smallest or after < smallest else (before / after).to(delta_E.device)

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        """Return WITHIN where every element is one that torch may give. Spec: merge §5.2, §5.6."""
        values = [load_block(operand, "cpu").reshape(-1).to(self.dtype) for operand in operands]
        base_E, deltas = self.split(values)
        inputs = []
        for position, delta_E in enumerate(deltas):
            span = self.span(len(delta_E), self.own[position])
            mask_E = torch.ones_like(delta_E, dtype=torch.bool) if span is None else self._mask(delta_E, span)
            ratio = None if span is None else self._ratio(delta_E, delta_E * mask_E.to(self.dtype))
            inputs.append(Thinned(delta_E, mask_E, ratio, ties_of(delta_E, span)))
        there_E = load_block(there, "cpu").reshape(-1)

        def merge(base_E: torch.Tensor, thinned: Sequence[torch.Tensor]) -> list[torch.Tensor]:
            """Return the output by every order in which torch may add over inputs."""
            merged = [self.add_deltas(base_E, thinned, add_up) for add_up in self.orders]
            return [result.to(TORCH_DTYPES[self.call.dtype]) for result in merged]

        return Possible(base_E, inputs, there_E, merge).opinion()
