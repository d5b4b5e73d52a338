"""The fused multiply-add of `fused.py`, compiled for the CPU. Spec: merge §5.3.

Compiled for IEEE arithmetic (no fast-math), and without the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def _generate_bits_of(typing_context: Any, value: Any) -> Any:
    """int64 bits of a float64, a reinterpretation without an instruction."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), generate


def _generate_double_of(typing_context: Any, bits: Any) -> Any:
    """float64 of int64 bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), generate


bits_of: Any = intrinsic(_generate_bits_of)
double_of: Any = intrinsic(_generate_double_of)


@njit(cache=True, nogil=True)
def add_product(sum_E, x_E, weight):  # type: ignore[no-untyped-def]
    """Add x·weight to `sum_E` in place, rounding once: through a float64 that is rounded to odd."""
    wide = np.float64(weight)
    for i in range(len(sum_E)):
        product = np.float64(x_E[i]) * wide
        before = np.float64(sum_E[i])
        total = product + before
        back = total - product
        error = (product - (total - back)) + (before - back)
        bits = bits_of(total)
        away = np.int64(1) if (bits_of(error) ^ bits) >= np.int64(0) else np.int64(-1)
        inexact = (error > 0.0) | (error < 0.0)
        sum_E[i] = np.float32(double_of(bits + (away if inexact & ((bits & np.int64(1)) == 0) else np.int64(0))))
