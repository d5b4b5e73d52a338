"""FP8 weights with a scale for each block of elements, as BF16, F16 or F32. Spec: forms §3.

Operands are the codes, as unsigned bytes, and the scales.
"""

# Shape suffixes: M rows and N columns of one matrix of codes, G rows and H columns of its scales, m some of the rows.

from __future__ import annotations

import itertools
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
        block = block_of(self.call, codes.ndim)
        scales = scales.to(torch.float32).reshape(grid_of(codes.shape, block))
        out = torch.empty(codes.shape, dtype=TORCH_DTYPES[self.call.dtype], device=codes.device)
        # Matrix by matrix, so that memory does not grow with the number of experts.
        for index in itertools.product(*(range(size) for size in codes.shape[:-2])):
            place = tuple(at // extent for at, extent in zip(index, block, strict=False))
            self._matrix(_matrix(codes[index]), _matrix(scales[place]), block[-2:], _matrix(out[index]))
        return out

    def _matrix(
        self, codes_MN: torch.Tensor, scales_GH: torch.Tensor, block: tuple[int, ...], out_MN: torch.Tensor
    ) -> None:
        """Write the values of one matrix to `out_MN`."""
        values = torch.tensor(_E4M3, dtype=torch.float32, device=codes_MN.device)
        high, wide = (1, *block)[-2:]
        columns = codes_MN.shape[1]
        blocks_each = max(1, _PIECE_ELEMENTS // max(1, columns) // high)
        for above in range(0, scales_GH.shape[0], blocks_each):
            rows = slice(above * high, (above + blocks_each) * high)
            codes_mN = codes_MN[rows]
            scales_mH = scales_GH[above : above + blocks_each].repeat_interleave(high, dim=0)[: len(codes_mN)]
            scales_mN = scales_mH.repeat_interleave(wide, dim=1)[:, :columns]
            out_MN[rows] = (values[codes_mN.long()] * scales_mN).to(out_MN.dtype)


def _matrix(tensor: torch.Tensor) -> torch.Tensor:
    """Return a view with two axes: one row of what has one axis."""
    return tensor if tensor.ndim == 2 else tensor.unsqueeze(0)
