"""The real mergekit as an oracle: what it makes of one tensor of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mergekit.merge_methods.api import merge_tensors

from model_verify.merge.kernel import Block, Call
from model_verify.merge.torch_kernel import TORCH_DTYPES, load_block

PER_INPUT = {"weight", "density", "gamma", "scale"}


def merge(call: Call, operands: Sequence[Block], *, extra: Mapping[str, object] | None = None) -> torch.Tensor:
    """Return mergekit's output for this call, in the call's dtype. `extra` are parameters that a call does not have.

    Operands are rounded to the compute dtype when they are loaded, and the output when it is saved.
    """
    assert call.compute_dtype is not None
    dtype = TORCH_DTYPES[call.compute_dtype]
    tensors = [load_block(operand, "cpu").to(dtype) for operand in operands]
    parameters: dict[str, object] = {**call.shared, **(extra or {})}
    if "max_iter" in parameters:
        parameters["max_iter"] = int(call.shared["max_iter"])
    own = [own for position, own in enumerate(call.own) if position != call.base]
    for name in sorted({name for given in own for name in given}):
        parameters[name] = [given[name] for given in own]
    merged = merge_tensors(tensors, call.method, parameters=parameters, base_index=call.base, name="t")
    return merged.to(TORCH_DTYPES[call.dtype])
