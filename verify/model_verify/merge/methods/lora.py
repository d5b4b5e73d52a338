"""Low-rank adapters added to a matrix: `lora/f64-v1`, and `peft` as peft computes it. Spec: forms §2.

Operands are the matrix W of the base, then A and B of the adapter.
"""

# Shape suffixes: M rows and N columns of W, m some of the rows, R the rank, E some elements.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from model_verify.merge.kernel import Block, Opinion, Standing
from model_verify.merge.methods.bounded import is_narrow, typical_size
from model_verify.merge.methods.fused import multiply_add
from model_verify.merge.methods.lora_answers import F64_ANSWERS, PEFT_ANSWERS
from model_verify.merge.torch_kernel import TORCH_DTYPES, TorchKernel, load_block

_CPU_PIECE = 1 << 16
_CUDA_PIECE = 1 << 24
"""Elements of W that are worked on together: what a processor's cache holds, what keeps a device busy."""
_UNIT_ROUNDOFF = 2.0**-24
_SMALLEST = 2.0**-149
_BLAS_BLOCK = 192
_FEW = 2
"""Where more than one in so many elements is to be added up, it costs less to add up all of them."""


class _Factors(NamedTuple):
    """A product of two matrices in float64: `left_MR` @ `right_RN` has the shape of W."""

    left_MR: torch.Tensor
    right_RN: torch.Tensor


class _LoraKernel(TorchKernel):
    whole = True

    @property
    def scale(self) -> float:
        return float(self.call.shared["scale"])

    def compute(self, operands: Sequence[torch.Tensor]) -> torch.Tensor:
        base_MN, factors = self._operands(operands)
        out_MN = torch.empty(base_MN.shape, dtype=TORCH_DTYPES[self.call.dtype], device=base_MN.device)
        for rows in _pieces(base_MN):
            out_MN[rows] = self._rows(base_MN[rows], _Factors(factors.left_MR[rows], factors.right_RN))
        return out_MN

    def _operands(self, operands: Sequence[torch.Tensor]) -> tuple[torch.Tensor, _Factors]:
        """Return W in the output's dtype and the factors as they stand to it. Spec: forms §2.2."""
        base_MN, a, b = operands
        left, right = (a.T, b.T) if self.call.shared["transposed"] else (b, a)
        factors = _Factors(left.to(torch.float64).contiguous(), right.to(torch.float64).contiguous())
        return base_MN.to(TORCH_DTYPES[self.call.dtype]), factors

    def _rows(self, base_mN: torch.Tensor, factors: _Factors) -> torch.Tensor:
        """Return some rows of the output in its dtype."""
        raise NotImplementedError


class LoraFloat64(_LoraKernel):
    """`lora/f64-v1`. Spec: forms §2.3."""

    known_answers = F64_ANSWERS

    def _rows(self, base_mN: torch.Tensor, factors: _Factors) -> torch.Tensor:
        sum_mN = _sum_of_products(factors)
        return (sum_mN * self.scale + base_mN.to(torch.float64)).to(torch.float32).to(base_mN.dtype)


class LoraPeft(_LoraKernel):
    """`peft`: sums in float32, fused multiply-adds over the rank. Spec: forms §2.4.

    The sum in float64 bounds what any order of float32 additions gives. Where both ends of that bound round to one
    output, which is so for nearly all elements of BF16 and F16, it is the output; only the others are added up as the
    text has it.
    """

    bounded = True
    known_answers = PEFT_ANSWERS

    def _rows(self, base_mN: torch.Tensor, factors: _Factors) -> torch.Tensor:
        low_mN, high_mN = self._bounds(base_mN, factors)
        open_mN = low_mN != high_mN
        # Equal bounds are no proof for zeros, whose signs compare equal, nor for what is not finite.
        open_mN |= (low_mN == 0) | ~torch.isfinite(low_mN)
        count = int(open_mN.sum().item())
        if count > open_mN.numel() // _FEW:
            return self._added(base_mN, factors.left_MR.T[:, :, None], factors.right_RN[:, None, :])
        if count:
            at = torch.nonzero(open_mN, as_tuple=True)
            left_RE, right_RE = factors.left_MR[at[0]].T.contiguous(), factors.right_RN[:, at[1]]
            low_mN[at] = self._added(base_mN[at], left_RE, right_RE)
        return low_mN

    def _added(self, base_E: torch.Tensor, left_RE: torch.Tensor, right_RE: torch.Tensor) -> torch.Tensor:
        """Return elements of the output, added up in float32 in the order of forms §2.4.

        The factors have the shape of the elements, or one that broadcasts to it.
        """
        rank = len(left_RE)
        total_E: torch.Tensor | None = None
        for block in _rank_blocks(rank):
            sum_E = torch.zeros(base_E.shape, dtype=torch.float64, device=base_E.device)
            if rank == 1:
                sum_E = (left_RE[0] * right_RE[0]).to(torch.float32)
            else:
                for k in block:
                    sum_E = multiply_add(left_RE[k], right_RE[k], sum_E)
                sum_E = sum_E.to(torch.float32)
            total_E = sum_E if total_E is None else total_E + sum_E
        assert total_E is not None
        return self._onto(base_E, total_E * self._scale32(base_E))

    def _bounds(self, base_mN: torch.Tensor, factors: _Factors) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the least and the greatest output, in its dtype, that forms §2.5 admits."""
        delta_mN = _sum_of_products(factors) * float(self._scale32(base_mN))
        error_mN = self._errors(base_mN, factors)
        # Rounding keeps the order, so the bounds may be rounded like what they bound.
        low_mN = self._onto(base_mN, (delta_mN - error_mN).to(torch.float32))
        return low_mN, self._onto(base_mN, (delta_mN + error_mN).to(torch.float32))

    def _errors(self, base_mN: torch.Tensor, factors: _Factors) -> torch.Tensor:
        """Return how far off a product may be that was added up in another order. Spec: forms §2.5."""
        rank = factors.left_MR.shape[1]
        scale = abs(float(self._scale32(base_mN)))
        norms_mN = torch.sqrt(_squares(factors.left_MR.T))[:, None] * torch.sqrt(_squares(factors.right_RN))[None, :]
        return norms_mN * (scale * (rank + 2) * _UNIT_ROUNDOFF) + (rank + 2) * max(1.0, scale) * _SMALLEST

    def _onto(self, base: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Return base + delta, a float32, in the dtype of the base; rounded as forms §2.4 has it."""
        if "deltaDtype" in self.call.shared:
            delta = delta.to(TORCH_DTYPES[str(self.call.shared["deltaDtype"])]).to(torch.float32)
        return (base.to(torch.float32) + delta).to(base.dtype)

    def _scale32(self, like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.scale, dtype=torch.float64, device=like.device).to(torch.float32)

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        base_MN, factors = self._operands([load_block(operand, "cpu") for operand in operands])
        there_MN, out_MN = load_block(there, "cpu"), load_block(out, "cpu")
        typical, narrow = typical_size(out_MN), True
        for rows in _pieces(base_MN):
            some = _Factors(factors.left_MR[rows], factors.right_RN)
            low_mN, high_mN = self._bounds(base_MN[rows], some)
            if not bool(((low_mN <= there_MN[rows]) & (there_MN[rows] <= high_mN)).all().item()):
                return Opinion(Standing.DIFFERENT)
            narrow = narrow and is_narrow(self._errors(base_MN[rows], some), out_MN[rows], typical)
        if not narrow:
            text = "float32 sums over the rank can come out as anything: their terms cancel out"
            return Opinion(Standing.EXAMINED, text)
        return Opinion(Standing.WITHIN, "every element is a float32 sum over the rank, in another order")


def _pieces(base_MN: torch.Tensor) -> Iterator[slice]:
    rows_each = max(1, _piece_elements(base_MN) // max(1, base_MN.shape[1]))
    for first in range(0, base_MN.shape[0], rows_each):
        yield slice(first, first + rows_each)


def _piece_elements(like: torch.Tensor) -> int:
    return _CUDA_PIECE if like.is_cuda else _CPU_PIECE


def _sum_of_products(factors: _Factors) -> torch.Tensor:
    """Return the products of float32 values, exact in float64, added from left to right over the rank."""
    left_MR, right_RN = factors
    sum_MN = left_MR[:, 0:1] * right_RN[0:1]
    for k in range(1, left_MR.shape[1]):
        sum_MN = sum_MN + left_MR[:, k : k + 1] * right_RN[k : k + 1]
    return sum_MN


def _squares(factor_RE: torch.Tensor) -> torch.Tensor:
    sum_E = factor_RE[0] * factor_RE[0]
    for row_E in factor_RE[1:]:
        sum_E = sum_E + row_E * row_E
    return sum_E


def _rank_blocks(rank: int) -> list[range]:
    """Return the stretches of the rank that are added up apart. Spec: forms §2.4."""
    size = rank // 2 if _BLAS_BLOCK < rank <= 2 * _BLAS_BLOCK and rank % 2 == 0 else _BLAS_BLOCK
    return [range(first, min(first + size, rank)) for first in range(0, rank, size)]
