"""FP8 weights with a scale for each block of elements, as BF16, F16 or F32. Spec: forms §3.

Operands are the codes, as unsigned bytes, and the scales.
"""

# Shape suffixes: L matrices of codes with M rows and N columns, m some of the rows; K matrices of scales with
# G rows and H columns.

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from model_verify.merge.kernel import Call
from model_verify.merge.known_answers import MethodAnswer
from model_verify.merge.torch_kernel import TORCH_DTYPES, TorchKernel

_PIECE_ELEMENTS = 1 << 20


def _e4m3(code: int) -> float:
    """Return the value of an F8_E4M3 code: four exponent bits, three of mantissa, no infinities. Spec: forms §3.2."""
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = (code >> 3) & 0x0F, code & 0x07
    if exponent == 0x0F and mantissa == 0x07:
        return math.nan
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return sign * (8 + mantissa) * 2.0 ** (exponent - 10)


_E4M3 = [_e4m3(code) for code in range(256)]


def block_of(call: Call, axes: int) -> tuple[int, ...]:
    """Return the extents of a block along each of so many axes."""
    return tuple(int(call.shared[f"block.{axis}"]) for axis in range(axes))


def block_parameters(block: Sequence[int]) -> dict[str, int]:
    """Return the extents of a block as parameters of a call."""
    return {f"block.{axis}": extent for axis, extent in enumerate(block)}


def grid_of(shape: Sequence[int], block: Sequence[int]) -> tuple[int, ...]:
    """Return how many blocks there are along each axis; the last one of an axis may be cut off."""
    return tuple(-(-size // extent) for size, extent in zip(shape, block, strict=True))


_ROWS = 37
"""Each known answer stands in so many rows, so that vector loops and their tails are both asked."""


def _answer(name: str, dtype: str, codes: str, scales: str, expected: str) -> MethodAnswer:
    """Return an answer about blocks of one by two elements."""
    block, shape = (1, 2), (_ROWS, len(codes) // 2)
    call = Call("dequantize/v1", "dequantize", dtype, shared=block_parameters(block))
    operands = (("F8_E4M3", bytes.fromhex(codes) * _ROWS), ("F32", bytes.fromhex(scales) * _ROWS))
    return MethodAnswer(name, call, shape, operands, bytes.fromhex(expected) * _ROWS, (shape, grid_of(shape, block)))


class Dequantize(TorchKernel):
    """The float32 product of value and scale, rounded to the output's format. Spec: forms §3.3."""

    whole = True
    known_answers = (
        _answer("values", "F32", "38b87e08", "0000803f0000803f", "0000803f000080bf0000e0430000803c"),
        _answer("subnormal codes", "F32", "01078109", "0000803f0000803f", "0000003b0000603c000000bb0000903c"),
        _answer("a scale for each block", "F32", "383838", "0000803f00000040", "0000803f0000803f00000040"),
        _answer("a product rounded to float32", "F32", "3c", "0100803f", "0200c03f"),
        # Just above a tie of BF16, which the rounding to float32 makes exact; it goes to the even neighbour below.
        _answer("two roundings", "BF16", "39", "e438e23f", "fe3f"),
        _answer("subnormal products", "F32", "38", "01000000", "01000000"),
        _answer("a subnormal scale", "BF16", "40", "00004000", "8000"),
        _answer("minus zero", "BF16", "80", "0000803f", "0080"),
    )

    def compute(self, operands: Sequence[torch.Tensor]) -> torch.Tensor:
        codes, scales = operands
        shape = (1,) * (2 - codes.ndim) + tuple(codes.shape)
        block = (1,) * (2 - codes.ndim) + block_of(self.call, codes.ndim)
        # An extent may be any number; none is needed that is larger than its axis.
        block = tuple(min(extent, max(1, size)) for extent, size in zip(block, shape, strict=True))
        codes_LMN = codes.reshape(-1, *shape[-2:])
        grid = grid_of(shape, block)
        scales_KGH = scales.to(torch.float32).reshape(-1, *grid[-2:])
        of_L = _places(shape[:-2], block[:-2], grid[:-2], codes.device)
        out_LMN = torch.empty(codes_LMN.shape, dtype=TORCH_DTYPES[self.call.dtype], device=codes.device)
        matrices_each = max(1, _PIECE_ELEMENTS // max(1, math.prod(shape[-2:])))
        for first in range(0, len(codes_LMN), matrices_each):
            some = slice(first, first + matrices_each)
            self._matrices(codes_LMN[some], scales_KGH[of_L[some]], block[-2:], out_LMN[some])
        return out_LMN.reshape(codes.shape)

    def _matrices(
        self, codes_LMN: torch.Tensor, scales_LGH: torch.Tensor, block: tuple[int, ...], out_LMN: torch.Tensor
    ) -> None:
        """Write the values of some matrices to `out_LMN`, a few rows at a time."""
        values = torch.tensor(_E4M3, dtype=torch.float32, device=codes_LMN.device)
        high, wide = block
        columns = codes_LMN.shape[2]
        blocks_each = max(1, _PIECE_ELEMENTS // max(1, len(codes_LMN) * columns) // high)
        for above in range(0, scales_LGH.shape[1], blocks_each):
            rows = slice(above * high, (above + blocks_each) * high)
            codes_LmN = codes_LMN[:, rows]
            scales_LmH = scales_LGH[:, above : above + blocks_each].repeat_interleave(high, dim=1)
            scales_LmN = scales_LmH[:, : codes_LmN.shape[1]].repeat_interleave(wide, dim=2)[:, :, :columns]
            out_LMN[:, rows] = (values[codes_LmN.long()] * scales_LmN).to(out_LMN.dtype)


def _places(
    shape: tuple[int, ...], block: tuple[int, ...], grid: tuple[int, ...], device: torch.device
) -> torch.Tensor:
    """Return, for each matrix, which matrix of scales is its own."""
    of_L = torch.zeros(1, dtype=torch.int64, device=device)
    for size, extent, count in zip(shape, block, grid, strict=True):
        along = torch.arange(size, device=device) // extent
        of_L = (of_L[:, None] * count + along[None, :]).reshape(-1)
    return of_L
