"""`linear` of the profile `linear/f64-v1`. Spec: merge §2, §3. The arithmetic itself is the backend's."""

from __future__ import annotations

from collections.abc import Sequence

from model_verify.merge.backend import Backend, Blended, Operand
from model_verify.merge.coefficient import weight_sum
from model_verify.merge.difference import equal
from model_verify.merge.kernel import Block, Buffer, Call, Opinion, Standing

LINEAR_F64_V1 = "linear/f64-v1"


def linear_call(weights: Sequence[float], dtype: str, *, normalize: bool) -> Call:
    """Return the call of a blend; `weights` are float32 values widened to float64, one for each operand."""
    own = tuple({"weight": weight} for weight in weights)
    return Call(LINEAR_F64_V1, "linear", dtype, shared={"normalize": normalize}, own=own)


class LinearF64:
    """The blend of any number of operands, element by element."""

    whole = False
    best = Standing.EXACT
    bounded = False

    def __init__(self, call: Call) -> None:
        self._weights = [float(own["weight"]) for own in call.own]
        self._normalize = bool(call.shared["normalize"])

    def run(
        self, backend: Backend, operands: Sequence[Block], out: Block, *, expected: Buffer | None = None
    ) -> Blended:
        terms = [Operand(w, block.dtype, block.data) for w, block in zip(self._weights, operands, strict=True)]
        return self._blend(backend, terms, out, expected)

    def _blend(self, backend: Backend, terms: Sequence[Operand], out: Block, expected: Buffer | None) -> Blended:
        assert isinstance(out.data, memoryview)
        return backend.linear(terms, out.data, dtype=out.dtype, normalize=self._normalize, expected=expected)

    def has_effect(self, backend: Backend, operands: Sequence[Block], position: int, out: Block) -> bool:
        """Return whether leaving out a term, and its coefficient from W, changes the output. Spec: merge §3."""
        terms = [Operand(w, block.dtype, block.data) for w, block in zip(self._weights, operands, strict=True)]
        del terms[position]
        without = Block(out.dtype, out.shape, memoryview(bytearray(len(out.data))))
        if terms:
            if self._normalize and weight_sum([term.weight for term in terms]) == 0:
                return True
            self._blend(backend, terms, without, None)
        return not equal(without.data, out.data)

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        return Opinion(Standing.DIFFERENT)
