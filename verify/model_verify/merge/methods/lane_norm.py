"""The norm of a vector as torch computes it on the CPU: eight sums side by side. Spec: merge §5.9."""

# Shape suffixes: E elements, L lanes.

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from model_verify.merge.methods.fused import rounded_to_odd

_LANES = 8
_TAIL = 4
"""Of what is left over, four at a time are squared and then added; only what remains then can be fused."""


def lane_norm(vector_E: NDArray[np.float32], *, fused: bool) -> np.float32:
    """Return the float32 norm. `fused` says how the last up to three squares are added."""
    if len(vector_E) == 1:
        return np.float32(abs(vector_E[0]))
    whole = len(vector_E) // _LANES * _LANES
    squares_E = vector_E * vector_E
    # Row after row is added, as the order of additions is normative.
    lanes_L = np.add.reduce(squares_E[:whole].reshape(-1, _LANES), axis=0, dtype=np.float32)
    total = np.float32(0)
    for addend in lanes_L:
        total = total + addend
    plain = whole + (len(vector_E) - whole) // _TAIL * _TAIL if fused else len(vector_E)
    for square in squares_E[whole:plain]:
        total = total + square
    for value in vector_E[plain:]:
        total = _add_square(total, value)
    return np.float32(math.nan) if np.isnan(total) else np.float32(np.sqrt(total))


def _add_square(total: np.float32, value: np.float32) -> np.float32:
    one, square = (torch.tensor(number, dtype=torch.float64) for number in (float(total), float(value) ** 2))
    return np.float32(rounded_to_odd(square, one).item())
