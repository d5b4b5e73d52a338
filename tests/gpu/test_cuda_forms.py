"""The kernels of steps that change the form give the same bits on a device as on the CPU. Spec: pipeline §6, forms.

Merges are compared in `test_cuda_bits` and `test_cuda_mergekit`; that nothing is left out is a test here. Where torch
finds no CUDA device, that half is skipped and the summary says so; the other shows that the cases compute something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from model_verify.merge.kernel import Block, Call, Standing
from model_verify.merge.methods import _KERNELS, load
from model_verify.merge.methods.dequantize import block_parameters
from model_verify.merge.tensor import TorchBackend
from model_verify.merge.torch_kernel import TORCH_DTYPES
from model_verify.tensors import TensorInfo
from tests.gpu import test_cuda_mergekit as merges

NO_DEVICE = "torch finds no CUDA device"
ROWS = {"cuda": 4096, "cpu": 40}
COLUMNS = 768
BLOCK_DTYPES = [
    "GGML_Q4_0", "GGML_Q4_1", "GGML_Q5_0", "GGML_Q5_1", "GGML_Q8_0", "GGML_TQ1_0", "GGML_TQ2_0", "GGML_MXFP4",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A call, and the dtypes of its operands."""

    call: Call
    dtypes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.call.profile}-{self.call.method}-{'+'.join(self.dtypes)}-{self.call.dtype}"

    def operands(self, rows: int) -> list[Block]:
        shapes: list[tuple[int, ...]] = [(rows, COLUMNS)]
        if self.call.method == "lora":
            shapes += [(16, COLUMNS), (rows, 16)]
        if self.call.method == "dequantize":
            shapes += [(-(-rows // 128), COLUMNS // 128)]
        return [block(shape, dtype, seed) for seed, (shape, dtype) in enumerate(zip(shapes, self.dtypes, strict=True))]

    def run(self, device: str, operands: list[Block]) -> bytes:
        kernel = load(self.call)
        assert kernel.best is Standing.EXACT
        shape = operands[0].shape
        size_bytes = TensorInfo("", self.call.dtype, shape).size_bytes
        out = Block(self.call.dtype, shape, memoryview(bytearray(size_bytes)))
        assert kernel.run(TorchBackend(device), operands, out).finite
        return bytes(out.data)


def block(shape: tuple[int, ...], dtype: str, seed: int) -> Block:
    """Return weights as models have them, with zeros, subnormals and large values among them; or codes of FP8."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == "F8_E4M3":
        codes = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        codes[(codes & 0x7F) == 0x7F] = 0  # not a number
        return Block(dtype, shape, codes.numpy().tobytes())
    values = 0.05 * torch.randn(shape, generator=generator)
    scales = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, -1.0, 2.0**-130, 4.0])
    values *= scales[torch.randint(0, len(scales), shape, generator=generator)]
    return Block(dtype, shape, values.to(TORCH_DTYPES[dtype]).view(torch.uint8).numpy().tobytes())


def cases() -> Iterator[Case]:
    for source, dtype in (("F32", "BF16"), ("F32", "F16"), ("BF16", "F32"), ("F16", "BF16"), ("F16", "F32")):
        yield Case(Call("cast/v1", "cast", dtype), (source,))
    for profile in ("lora/f64-v1", "peft"):
        for dtype in ("F32", "BF16"):
            call = Call(profile, "lora", dtype, shared={"scale": 1.7, "transposed": False})
            yield Case(call, (dtype, "F32", "F32"))
    for dtype in ("F32", "BF16", "F16"):
        yield Case(Call("dequantize/v1", "dequantize", dtype, shared=block_parameters((128, 128))), ("F8_E4M3", "F32"))
    for profile in ("ggml/nofma", "ggml/fma"):
        for dtype in BLOCK_DTYPES:
            yield Case(Call(profile, "quantize", dtype), ("BF16",))


CASES = list(cases())


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip(NO_DEVICE)
    return name


@pytest.mark.parametrize("case", CASES, ids=str)
def test_device_and_cpu_give_the_same_bytes(case: Case, device: str) -> None:
    operands = case.operands(ROWS[device])
    expected = case.run("cpu", operands)
    got = case.run(device, operands)
    differing = sum(one != other for one, other in zip(got, expected, strict=True)) if got != expected else 0
    assert got == expected, f"{differing} of {len(expected)} bytes differ"
    assert len(set(expected)) > 16


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operand_shows_in_the_bytes(case: Case) -> None:
    operands = case.operands(ROWS["cpu"])
    before = case.run("cpu", operands)
    for place, operand in enumerate(operands):
        half = len(operand.data) // 2
        zeroed = Block(operand.dtype, operand.shape, bytes(half) + bytes(operand.data[half:]))
        assert case.run("cpu", [*operands[:place], zeroed, *operands[place + 1 :]]) != before


def test_every_kernel_is_asked_on_a_device() -> None:
    """A method that is added is added to one of the three files."""
    asked = {"test_cuda_bits": {("linear/f64-v1", "linear")}}
    asked["test_cuda_forms"] = {(case.call.profile, case.call.method) for case in CASES}
    methods = (*merges.EXACT, *merges.BOUNDED, *merges.MASKED)
    asked["test_cuda_mergekit"] = {(profile, method) for method in methods for profile in merges.PROFILES}
    assert set().union(*asked.values()) >= _KERNELS.keys()
