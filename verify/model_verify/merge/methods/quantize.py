"""Tensors in the block formats of ggml, to the bit. Spec: forms §4.

A row is cut into blocks of 32 or 256 elements; a block holds a scale and a small integer for each element.
"""

# Shape suffixes: B blocks, E elements of a block, Y bytes of a block.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from model_verify.errors import OperationRefused
from model_verify.merge.backend import Backend, Blended
from model_verify.merge.kernel import Block, Buffer
from model_verify.merge.methods.fused import multiply_add
from model_verify.merge.methods.quantize_answers import ANSWERS
from model_verify.merge.torch_kernel import TORCH_DTYPES, TorchKernel, load_block
from model_verify.tensors import BLOCK_DTYPES

_PIECE_ELEMENTS = 1 << 18
_E2M1 = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0)
"""Twice the values of the 4-bit codes of MXFP4, in order of the codes. Spec: forms §4.6."""


class Quantize(TorchKernel):
    """One tensor, or several of one shape stacked, in the format of the output."""

    whole = True
    known_answers = ANSWERS

    def _run(self, backend: Backend, operands: Sequence[Block], out: Block, expected: Buffer | None) -> Blended:
        if not all(bool(torch.isfinite(load_block(operand, "cpu")).all().item()) for operand in operands):
            return Blended(False, False)  # such elements have no block: there is nothing to compute
        return super()._run(backend, operands, out, expected)

    def compute(self, operands: Sequence[torch.Tensor]) -> torch.Tensor:
        parts = [self._arranged(operand) for operand in operands]
        values = torch.stack(parts) if len(parts) > 1 else parts[0]
        if self.call.dtype in TORCH_DTYPES:
            return values.to(torch.float32).to(TORCH_DTYPES[self.call.dtype])
        elements, size_bytes = BLOCK_DTYPES[self.call.dtype]
        blocks_BE = values.reshape(-1, elements)
        fused = self.call.profile == "ggml/fma"
        out_BY = torch.empty((len(blocks_BE), size_bytes), dtype=torch.uint8, device=blocks_BE.device)
        for start in range(0, len(blocks_BE), _PIECE_ELEMENTS // elements):
            piece = slice(start, start + _PIECE_ELEMENTS // elements)
            out_BY[piece] = _FORMATS[self.call.dtype](blocks_BE[piece].to(torch.float32), fused)
        return out_BY

    def _arranged(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values as the named transformations leave them. Spec: forms §4.3."""
        shared = self.call.shared
        if heads := int(shared.get("permuteHeads", 0)):
            rows = values.shape[0] // heads // 2
            values = values.reshape(heads, 2, rows, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        if "add" in shared:
            added = torch.tensor(float(shared["add"]), dtype=torch.float64, device=values.device).to(torch.float32)
            total = values.to(torch.float32) + added
            values = total.to(torch.float16) if values.dtype == torch.float16 else total
        return values


def _inverse(scale_B1: torch.Tensor) -> torch.Tensor:
    """Return 1/scale, 0 for a scale of 0. Raises `OperationRefused` where it is beyond float32. Spec: forms §4.4."""
    inverse_B1 = torch.where(scale_B1 == 0, torch.zeros_like(scale_B1), torch.ones_like(scale_B1) / scale_B1)
    if not bool(torch.isfinite(inverse_B1).all().item()):
        raise OperationRefused("OPERAND_INVALID", "a block is too close to zero: its scale has no inverse in float32")
    return inverse_B1


def _f16_bytes(scale_B1: torch.Tensor) -> torch.Tensor:
    half_B1 = scale_B1.to(torch.float16)
    if not bool(torch.isfinite(half_B1).all().item()):
        raise OperationRefused("OPERAND_INVALID", "the scale of a block is beyond F16")
    return half_B1.contiguous().view(torch.uint8)


def _divided(values_B1: torch.Tensor, divisor: float) -> torch.Tensor:
    # By a number, torch multiplies with the reciprocal on CUDA; by a tensor it divides.
    return values_B1 / torch.full_like(values_B1, divisor)


def _first(values_BE: torch.Tensor, chosen_BE: torch.Tensor) -> torch.Tensor:
    """Return the first chosen element of every block."""
    places_E = torch.arange(values_BE.shape[1], device=values_BE.device)
    place_B1 = torch.where(chosen_BE, places_E, values_BE.shape[1]).amin(dim=1, keepdim=True)
    return values_BE.gather(1, place_B1)


def _magnitude(values_BE: torch.Tensor) -> torch.Tensor:
    return values_BE.abs().amax(dim=1, keepdim=True)


def _rounded(values: torch.Tensor) -> torch.Tensor:
    """Return the nearest integers, ties away from zero."""
    size = values.abs()
    floor = torch.floor(size)
    return torch.sign(values) * (floor + torch.floor((size - floor) * 2))


def _shifted(values: torch.Tensor, inverse: torch.Tensor, offset: float, most: int, *, fused: bool) -> torch.Tensor:
    """Return the integer parts of values × inverse + offset, at most `most`. Spec: forms §4.5."""
    if fused:
        wide = (values.to(torch.float64), inverse.to(torch.float64))
        sum_ = multiply_add(*wide, torch.full_like(wide[0], offset)).to(torch.float32)
    else:
        sum_ = values * inverse + offset
    return torch.trunc(sum_).clamp(0, most).to(torch.uint8)


def _nibbles(codes_BE: torch.Tensor) -> torch.Tensor:
    """Return the low four bits of the first half of a block beside those of the second, in one byte each."""
    half = codes_BE.shape[1] // 2
    return (codes_BE[:, :half] & 0x0F) | ((codes_BE[:, half:] & 0x0F) << 4)


def _fifth_bits(codes_BE: torch.Tensor) -> torch.Tensor:
    """Return bit 4 of 32 codes as four bytes, the first code in the lowest bit."""
    bits = ((codes_BE >> 4) & 1).reshape(-1, 4, 8)
    return (bits << torch.arange(8, dtype=torch.uint8, device=bits.device)).sum(dim=2).to(torch.uint8)


def _symmetric(values_BE: torch.Tensor, levels: int, *, fused: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and codes of Q4_0 and Q5_0: the element of the greatest magnitude gets code 0."""
    magnitude_B1 = _magnitude(values_BE)
    extreme_B1 = _first(values_BE, values_BE.abs() == magnitude_B1)
    extreme_B1 = torch.where(magnitude_B1 == 0, torch.zeros_like(extreme_B1), extreme_B1)
    scale_B1 = _divided(extreme_B1, -levels / 2)
    codes_BE = _shifted(values_BE, _inverse(scale_B1), levels / 2 + 0.5, levels - 1, fused=fused)
    return _f16_bytes(scale_B1), codes_BE


def _asymmetric(values_BE: torch.Tensor, levels: int, *, fused: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and minimum, and codes, of Q4_1 and Q5_1."""
    least_B1 = _first(values_BE, values_BE == values_BE.amin(dim=1, keepdim=True))
    most_B1 = _first(values_BE, values_BE == values_BE.amax(dim=1, keepdim=True))
    scale_B1 = _divided(most_B1 - least_B1, levels - 1)
    codes_BE = _shifted(values_BE - least_B1, _inverse(scale_B1), 0.5, levels - 1, fused=fused)
    return torch.cat([_f16_bytes(scale_B1), _f16_bytes(least_B1)], dim=1), codes_BE


def _q4_0(values_BE: torch.Tensor, fused: bool) -> torch.Tensor:
    scales_BY, codes_BE = _symmetric(values_BE, 16, fused=fused)
    return torch.cat([scales_BY, _nibbles(codes_BE)], dim=1)


def _q4_1(values_BE: torch.Tensor, fused: bool) -> torch.Tensor:
    scales_BY, codes_BE = _asymmetric(values_BE, 16, fused=fused)
    return torch.cat([scales_BY, _nibbles(codes_BE)], dim=1)


def _q5_0(values_BE: torch.Tensor, fused: bool) -> torch.Tensor:
    scales_BY, codes_BE = _symmetric(values_BE, 32, fused=fused)
    return torch.cat([scales_BY, _fifth_bits(codes_BE), _nibbles(codes_BE)], dim=1)


def _q5_1(values_BE: torch.Tensor, fused: bool) -> torch.Tensor:
    scales_BY, codes_BE = _asymmetric(values_BE, 32, fused=fused)
    return torch.cat([scales_BY, _fifth_bits(codes_BE), _nibbles(codes_BE)], dim=1)


def _q8_0(values_BE: torch.Tensor, fused: bool) -> torch.Tensor:
    scale_B1 = _divided(_magnitude(values_BE), 127)
    codes_BE = _rounded(values_BE * _inverse(scale_B1)).to(torch.int8)
    return torch.cat([_f16_bytes(scale_B1), codes_BE.view(torch.uint8)], dim=1)


def _mxfp4(values_BE: torch.Tensor, fused: bool) -> torch.Tensor:
    exponent_B1 = _floor_log2(_magnitude(values_BE)) + 125
    if bool((exponent_B1 < 0).any().item()):
        raise OperationRefused("OPERAND_INVALID", "a block is too close to zero: MXFP4 has no exponent for it")
    # Half of 2 to the exponent: the codes stand for twice their values.
    bits_B1 = torch.where(
        exponent_B1 < 2, 0x0020_0000 << exponent_B1.clamp(max=1), (exponent_B1 - 1).clamp(min=0) << 23
    )
    half_B1 = bits_B1.to(torch.int32).view(torch.float32)
    best_BE = torch.zeros_like(values_BE, dtype=torch.uint8)
    least_BE = torch.full_like(values_BE, math.inf)
    for code, value in enumerate(_E2M1):
        error_BE = (half_B1 * value - values_BE).abs()
        closer_BE = error_BE < least_BE
        best_BE = torch.where(closer_BE, torch.full_like(best_BE, code), best_BE)
        least_BE = torch.where(closer_BE, error_BE, least_BE)
    return torch.cat([exponent_B1.to(torch.uint8), _nibbles(best_BE)], dim=1)


def _floor_log2(magnitude_B1: torch.Tensor) -> torch.Tensor:
    """Return the integer part, downwards, of the float32 nearest to log2; −125 for 0. Spec: forms §4.6.

    The logarithm of a value close below a power of two rounds to an integer. How close that is follows from the
    distance of the float32 values at that integer: fewer than that distance × ln 2 × 2^23 steps.
    """
    bits_B1 = magnitude_B1.contiguous().view(torch.int32)
    field_B1 = bits_B1 >> 23
    exponent_B1 = torch.where(field_B1 == 0, -126, field_B1 - 127)
    steps_below_B1 = 0x0080_0000 - (bits_B1 & 0x007F_FFFF)
    limits = torch.tensor(_STEPS_TO_INTEGER, dtype=torch.int32, device=bits_B1.device)
    exponent_B1 = exponent_B1 + (steps_below_B1 <= limits[(exponent_B1 + 127).long()]).to(torch.int32)
    too_small_B1 = torch.where(field_B1 == 0, -127, exponent_B1)
    return torch.where(magnitude_B1 == 0, -125, too_small_B1)


def _steps_to_integer(integer: int) -> int:
    """Return how many float32 values below 2^integer have a logarithm that rounds to it."""
    if integer == 0:
        return 0
    # Towards minus infinity, where those logarithms lie: the float32 values below a positive power of two are closer.
    below = integer - 1 if integer > 0 else -integer
    spacing = 2.0 ** (math.floor(math.log2(below)) - 23) if below > 0 else 2.0**-24
    return math.floor(spacing / 2 * 2**24 * math.log(2))


_STEPS_TO_INTEGER = [_steps_to_integer(exponent + 1) for exponent in range(-127, 128)]

_TERNARY_WEIGHTS = (81, 27, 9, 3, 1)


def _ternary(values_BE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and codes 0, 1, 2 of the ternary formats."""
    scale_B1 = _magnitude(values_BE)
    codes_BE = (_rounded(values_BE * _inverse(scale_B1)) + 1).to(torch.int32)
    return _f16_bytes(scale_B1), codes_BE


def _tq1_0(values_BE: torch.Tensor, fused: bool) -> torch.Tensor:
    scales_BY, codes_BE = _ternary(values_BE)
    weights = torch.tensor(_TERNARY_WEIGHTS, dtype=torch.int32, device=values_BE.device)[:, None]
    digits = [
        (codes_BE[:, :160].reshape(-1, 5, 32) * weights).sum(dim=1),
        (codes_BE[:, 160:240].reshape(-1, 5, 16) * weights).sum(dim=1),
        (codes_BE[:, 240:].reshape(-1, 4, 4) * weights[:4]).sum(dim=1),
    ]
    # Five digits to the base of 3, as a fraction of 3^5 in 256ths, rounded up.
    packed = torch.div(torch.cat(digits, dim=1) * 256 + 242, 243, rounding_mode="floor")
    return torch.cat([packed.to(torch.uint8), scales_BY], dim=1)


def _tq2_0(values_BE: torch.Tensor, fused: bool) -> torch.Tensor:
    scales_BY, codes_BE = _ternary(values_BE)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.int32, device=values_BE.device)[:, None]
    packed = (codes_BE.reshape(-1, 2, 4, 32) << shifts).sum(dim=2).reshape(-1, 64)
    return torch.cat([packed.to(torch.uint8), scales_BY], dim=1)


_FORMATS: dict[str, Callable[[torch.Tensor, bool], torch.Tensor]] = {
    "GGML_Q4_0": _q4_0,
    "GGML_Q4_1": _q4_1,
    "GGML_Q5_0": _q5_0,
    "GGML_Q5_1": _q5_1,
    "GGML_Q8_0": _q8_0,
    "GGML_MXFP4": _mxfp4,
    "GGML_TQ1_0": _tq1_0,
    "GGML_TQ2_0": _tq2_0,
}
