"""Kernels written in torch: the same code, and the same bits, on the CPU and on CUDA.

Only operations are used that IEEE 754 fixes (each its own kernel, so that nothing is fused or reordered) or that are
exact; sums have a written order. A kernel proves itself with its known answers in every thread before it first
computes there.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from model_verify.errors import BackendUnavailable
from model_verify.merge.backend import Backend, Blended
from model_verify.merge.difference import equal
from model_verify.merge.kernel import Block, Buffer, Call, Opinion, Standing
from model_verify.merge.known_answers import MethodAnswer

TORCH_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_passed = threading.local()


class TorchKernel:
    """Base of the kernels in `methods/`: a subclass has `compute`, and `judge` where it is not exact."""

    whole: ClassVar[bool] = False
    best: ClassVar[Standing] = Standing.EXACT
    bounded: bool = False
    on_host: ClassVar[bool] = False
    """Whether it is computed on the CPU, whatever the backend has."""
    known_answers: ClassVar[Sequence[MethodAnswer]] = ()

    def __init__(self, call: Call) -> None:
        self.call = call

    def compute(self, operands: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the output in its dtype. Operands have the dtype and shape of their blocks and lie on one device."""
        raise NotImplementedError

    def run(
        self, backend: Backend, operands: Sequence[Block], out: Block, *, expected: Buffer | None = None
    ) -> Blended:
        self._prove(backend)
        return self._run(backend, operands, out, expected)

    def _run(self, backend: Backend, operands: Sequence[Block], out: Block, expected: Buffer | None) -> Blended:
        if not len(out.data):
            return Blended(True, expected is not None)  # torch cannot view no bytes as elements
        device = "cpu" if self.on_host else backend.device
        loaded = [load_block(operand, device) for operand in operands]
        computed = self.compute(loaded)
        finite = all(is_finite(tensor) for tensor in (*loaded, computed))
        store(computed, out)
        return Blended(finite, expected is not None and equal(out.data, expected))

    def has_effect(self, backend: Backend, operands: Sequence[Block], position: int, out: Block) -> bool:
        """Return whether zeros in place of one operand change the output. Spec: merge §3."""
        zeroed = list(operands)
        zeroed[position] = Block(
            operands[position].dtype, operands[position].shape, bytes(len(operands[position].data))
        )
        without = Block(out.dtype, out.shape, memoryview(bytearray(len(out.data))))
        self._run(backend, zeroed, without, None)
        return not equal(without.data, out.data)

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        return Opinion(Standing.DIFFERENT)

    def _prove(self, backend: Backend) -> None:
        """Raise `BackendUnavailable` unless this thread and device give the bits of the known answers."""
        passed: set[tuple[type, str]] = _passed.__dict__.setdefault("passed", set())
        key = (type(self), backend.device)
        if key in passed:
            return
        torch.set_num_threads(1)  # work is spread over chunks: torch's own pool contends with that
        for answer in self.known_answers:
            out = Block(answer.call.dtype, answer.shape, memoryview(bytearray(len(answer.expected))))
            type(self)(answer.call)._run(backend, answer.blocks(), out, None)
            if bytes(out.data) != answer.expected:
                raise BackendUnavailable(
                    f"{backend.name} computes other bits than {answer.call.profile} {answer.call.method} "
                    f"({answer.name})",
                    hint="something set this processor or device to flush subnormals or to another rounding mode",
                )
        passed.add(key)


def is_finite(tensor: torch.Tensor) -> bool:
    """Return whether there is neither an infinity nor a NaN. Numbers that are not floating-point are finite."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # A NaN anywhere is the smallest and the largest. Twenty times as fast as to ask each element.
    lowest, highest = torch.aminmax(tensor)
    return bool((torch.isfinite(lowest) & torch.isfinite(highest)).item())


def load_block(block: Block, device: str) -> torch.Tensor:
    """Return the elements on `device`, in the block's dtype and shape.

    Elements of one byte that no torch dtype is known for come as unsigned bytes, all others as a row of such bytes.
    """
    elements = torch.from_numpy(np.frombuffer(block.data, dtype=np.uint8).copy())
    dtype = TORCH_DTYPES.get(block.dtype)
    if dtype is not None:
        elements = elements.view(dtype)
    return (elements.reshape(block.shape) if len(elements) == math.prod(block.shape) else elements).to(device)


def store(tensor: torch.Tensor, out: Block) -> None:
    """Write the elements of `tensor`, which has the block's dtype, to `out.data`."""
    assert isinstance(out.data, memoryview)
    out.data[:] = tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy().tobytes()
