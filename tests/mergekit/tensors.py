"""Tensors as blocks, and a kernel held against what mergekit gave."""

# Shape suffixes: E elements of one tensor.

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from model_verify.merge.kernel import Block, Kernel
from model_verify.merge.tensor import TorchBackend
from tests.gpu.blocks import FORMATS


def room(dtype: str, shape: tuple[int, ...]) -> Block:
    """Return an output to be written."""
    return Block(dtype, shape, memoryview(bytearray(math.prod(shape) * FORMATS[dtype].bits // 8)))


def data(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same(kernel: Kernel, given: Sequence[Block], merged: bytes) -> int:
    """Hold the kernel against mergekit: the same bytes, or not finite in the same elements. Return finite elements."""
    dtype = kernel.call.dtype  # type: ignore[attr-defined]
    out = room(dtype, given[0].shape)
    kernel.run(TorchBackend("cpu"), given, out)
    form = FORMATS[dtype]
    one_E, other_E = (np.frombuffer(bits, dtype=form.kind) for bits in (out.data, merged))
    finite_E = form.is_finite(other_E)
    assert (form.is_finite(one_E) == finite_E).all()
    differ_E = finite_E & (one_E != other_E)
    assert not differ_E.any(), f"{differ_E.sum()} of {len(one_E)} elements, the first at {differ_E.argmax()}"
    return int(finite_E.sum())
