"""The fused multiply-add of float32, from operations that every device rounds alike.

An instruction for it exists almost everywhere, but torch calls it on some devices, in some releases, for some shapes.
"""

# Shape suffixes: E some elements.

from __future__ import annotations

import torch

_TIE_BITS = 0x1000_0000
_DROPPED_BITS = 0x1FFF_FFFF
"""Of float64, the mantissa bits that float32 does not have, and the pattern of them that is half a step."""
_SMALLEST_NORMAL = 2.0**-126


def multiply_add(a_E: torch.Tensor, b_E: torch.Tensor, c_E: torch.Tensor) -> torch.Tensor:
    """Return a·b + c rounded once to float32, ties to even. All are float64 tensors that hold float32 values.

    The product is exact in float64. The sum is rounded there, and again to float32; that differs from rounding once
    only where the first rounding moved the sum onto a tie of float32. Those elements, which are few, are rounded to
    odd instead: then the second rounding sees on which side of the tie the sum lay.
    """
    product_E = a_E * b_E
    sum_E = product_E + c_E
    bits_E = sum_E.view(torch.int64)
    # Subnormal values of float32 have their ties elsewhere.
    suspect_E = ((bits_E & _DROPPED_BITS) == _TIE_BITS) | ((sum_E.abs() < _SMALLEST_NORMAL) & (sum_E != 0))
    (at_E,) = torch.nonzero(suspect_E.reshape(-1), as_tuple=True)
    if len(at_E):
        flat_E = sum_E.reshape(-1)
        odd_E = _rounded_to_odd(product_E.reshape(-1)[at_E], c_E.expand_as(sum_E).reshape(-1)[at_E], flat_E[at_E])
        sum_E = flat_E.index_put((at_E,), odd_E).reshape(sum_E.shape)
    return sum_E.to(torch.float32).to(torch.float64)


def _rounded_to_odd(product_E: torch.Tensor, c_E: torch.Tensor, sum_E: torch.Tensor) -> torch.Tensor:
    """Return product + c in float64 where, if it is inexact, the last bit is 1. `sum_E` is the nearest float64."""
    virtual_E = sum_E - c_E
    error_E = (c_E - (sum_E - virtual_E)) + (product_E - virtual_E)
    bits_E = sum_E.view(torch.int64)
    away_E = (error_E > 0) == (sum_E > 0)
    moved_E = torch.where(away_E, bits_E + 1, bits_E - 1)
    return torch.where(((bits_E & 1) == 0) & (error_E != 0), moved_E, bits_E).view(torch.float64)
