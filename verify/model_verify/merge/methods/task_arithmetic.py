"""`task_arithmetic` of the mergekit profiles. Spec: merge §5.4."""

from __future__ import annotations

from model_verify.merge.kernel import Call
from model_verify.merge.known_answers import method_answer
from model_verify.merge.methods.deltas import DeltaKernel


def _call(dtype: str, *weights: float | None, normalize: bool = False, scale: float = 1.0) -> Call:
    """Return a call; the base is where there is no weight."""
    own = tuple({} if weight is None else {"weight": weight} for weight in weights)
    shared = {"normalize": normalize, "lambda": scale}
    return Call("mergekit-0.1.4", "task_arithmetic", dtype, dtype, base=weights.index(None), shared=shared, own=own)


def _hard(dtype: str) -> Call:
    return _call(dtype, 0.7, None, -0.3, 0.55, normalize=True, scale=0.9)


class TaskArithmetic(DeltaKernel):
    """The base and all differences from it, as they are."""

    known_answers = (
        # Elements that other orders, precisions and roundings get wrong: computed from the text in integers.
        method_answer("differences", _hard("F32"), ("00dc5dba", "8119d0dd", "81f87aa7", "80545995"), "0130f3db"),
        method_answer("differences", _hard("BF16"), ("00dc", "8119", "81f8", "8054"), "0133"),
        method_answer("differences", _hard("F16"), ("43d3", "bdfc", "b598", "ba04"), "404d"),
        method_answer("minus zero", _call("F32", None, -0.3), ("80000000", "80000000"), "00000000"),
        method_answer(
            "subnormals", _call("BF16", None, 1.0, 1.0), ("0001 0080", "0003 0081", "0002 0081"), "0004 0082"
        ),
    )
