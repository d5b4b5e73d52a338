"""Run kernels on torch tensors, as the engine runs them on bytes."""

from __future__ import annotations

import math

import torch

from model_verify.merge.kernel import Block, Call, Opinion
from model_verify.merge.methods import load
from model_verify.merge.tensor import TorchBackend

NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint8: "U8",
    torch.float8_e4m3fn: "F8_E4M3",
}


def block(tensor: torch.Tensor) -> Block:
    flat = tensor.detach().contiguous().reshape(-1)
    return Block(
        NAMES[tensor.dtype], tuple(tensor.shape), memoryview(bytearray(flat.view(torch.uint8).numpy().tobytes()))
    )


def computed(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    """Return what the kernel of `call` gives, a matrix of the first operand's shape."""
    dtype = next(dtype for dtype, name in NAMES.items() if name == call.dtype)
    shape = tuple(operands[0].shape)
    out = Block(call.dtype, shape, memoryview(bytearray(math.prod(shape) * dtype.itemsize)))
    assert load(call).run(TorchBackend("cpu"), [block(operand) for operand in operands], out).finite
    return torch.frombuffer(out.data, dtype=dtype).reshape(shape)


def judged(call: Call, operands: tuple[torch.Tensor, ...], there: torch.Tensor) -> Opinion:
    return load(call).judge([block(operand) for operand in operands], block(computed(call, *operands)), block(there))
