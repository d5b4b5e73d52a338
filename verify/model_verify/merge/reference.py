"""`linear/f64-v1` in plain numpy, line for line as the spec has it. Spec: merge §2."""

# Shape suffixes: E elements of one block.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_verify.merge.backend import Blended, Buffer, Operand
from model_verify.merge.coefficient import weight_sum
from model_verify.merge.difference import equal
from model_verify.merge.formats import FLOAT_BYTES, Floats, as_bits, narrow, nonfinite, widen

_BLOCK_ELEMENTS = 1 << 16


class NumpyBackend:
    """The reference: slower than the others, and without anything to compile."""

    name = "numpy"
    device = "cpu"

    def linear(
        self,
        operands: Sequence[Operand],
        out: memoryview,
        *,
        dtype: str,
        normalize: bool,
        expected: Buffer | None = None,
    ) -> Blended:
        blocks = [as_bits(operand.data, operand.dtype) for operand in operands]
        finite = True
        for start in range(0, len(out) // FLOAT_BYTES[dtype], _BLOCK_ELEMENTS):
            stop = start + _BLOCK_ELEMENTS
            values_E = [widen(bits[start:stop], op.dtype) for bits, op in zip(blocks, operands, strict=True)]
            blended_E = blend(values_E, [operand.weight for operand in operands], normalize=normalize)
            bits_E = narrow(blended_E, dtype)
            finite = finite and not nonfinite(bits_E, dtype).any()
            out[start * FLOAT_BYTES[dtype] : stop * FLOAT_BYTES[dtype]] = bits_E.tobytes()
        return Blended(bool(finite), expected is not None and equal(out, expected))


def blend(values_PE: Sequence[Floats], weights_P: Sequence[float], *, normalize: bool) -> Floats:
    """Return the float64 blend, added in declared order, as E. Spec: merge §2.2, §2.3."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        sum_E = weights_P[0] * values_PE[0]
        for weight, values_E in zip(weights_P[1:], values_PE[1:], strict=True):
            sum_E = sum_E + weight * values_E
        if normalize:
            sum_E = sum_E / weight_sum(weights_P)
    return sum_E
