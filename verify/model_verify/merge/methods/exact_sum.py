"""The exact sum of many values, which depends on no order. Spec: merge §5.2."""

# Shape suffixes: E elements.

from __future__ import annotations

import math

import numpy as np
import torch

_BLOCK_ELEMENTS = 1 << 20
"""So many significands of 24 bits have a sum that float64 holds."""


def exact_sum(values_E: torch.Tensor) -> float:
    """Return the float32 nearest to the sum of float32 values, none of them negative, ties to even.

    Infinity where there is one among them, or where the sum is beyond float32.
    """
    bits_E = values_E.reshape(-1).cpu().to(torch.float32).view(torch.int32).numpy()
    fields_E = bits_E >> 23
    significands_E = (bits_E & 0x7F_FFFF) | np.where(fields_E > 0, 0x80_0000, 0)
    total = 0  # in units of the smallest subnormal, 2^-149
    for start in range(0, len(bits_E), _BLOCK_ELEMENTS):
        block = slice(start, start + _BLOCK_ELEMENTS)
        for field, count in enumerate(np.bincount(fields_E[block], weights=significands_E[block])):
            if count and field == 0xFF:
                return math.inf
            total += int(count) << max(field - 1, 0)
    # Cut to 53 bits, the last of them 1 where something was cut off: then the next rounding is the only one.
    cut = max(0, total.bit_length() - 53)
    kept = total >> cut | (total & ((1 << cut) - 1) != 0)
    with np.errstate(over="ignore"):
        return float(np.float32(math.ldexp(kept, cut - 149)))
