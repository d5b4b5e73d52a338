"""The fused multiply-add of float32, from operations that round alike everywhere. Spec: merge §5.3.

A processor's own instruction is not called: whether torch's operations use it differs between builds and devices.
"""

# Shape suffixes: E elements of one piece.

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch

_TIE_BITS = 0x1000_0000
_DROPPED_BITS = 0x1FFF_FFFF
"""Of float64, the mantissa bits that float32 does not have, and the pattern of them that is half a step."""
_SMALLEST_NORMAL = 2.0**-126

_add_compiled: Callable[[object, object, object], None] | None = None
with suppress(ImportError, RuntimeError):  # numba is missing, or may write its cache nowhere
    from model_verify.merge.methods.fused_compiled import add_product as _add_compiled


def add_product(sum_E: torch.Tensor, x_E: torch.Tensor, weight: float) -> torch.Tensor:
    """Return x·weight + sum, rounded once to float32. All are float32 values; `sum_E` may be overwritten."""
    if _add_compiled is not None and sum_E.device.type == "cpu":
        _add_compiled(sum_E.numpy(), x_E.numpy(), np.float32(weight))
        return sum_E
    return rounded_to_odd(x_E.to(torch.float64) * weight, sum_E.to(torch.float64)).to(torch.float32)


def rounded_to_odd(product_E: torch.Tensor, sum_E: torch.Tensor) -> torch.Tensor:
    """Return product + sum in float64; an inexact result is the neighbour of the two whose last bit is 1.

    A float64 that is rounded so gives the float32 that the exact result gives.
    """
    total_E = product_E + sum_E
    back_E = total_E - product_E
    error_E = (product_E - (total_E - back_E)) + (sum_E - back_E)
    bits_E = total_E.view(torch.int64)
    even_E = (error_E.abs() > 0) & ((bits_E & 1) == 0)
    away_E = torch.where((error_E > 0) == (total_E > 0), 1, -1)
    return (bits_E + torch.where(even_E, away_E, 0)).view(torch.float64)


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
        odd_E = rounded_to_odd(product_E.reshape(-1)[at_E], c_E.expand_as(sum_E).reshape(-1)[at_E])
        sum_E = sum_E.reshape(-1).index_put((at_E,), odd_E).reshape(sum_E.shape)
    return sum_E.to(torch.float32).to(torch.float64)
