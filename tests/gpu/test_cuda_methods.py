"""Every kernel that is exact gives the same bits on a device as on the CPU. Spec: merge §5.1, forms §2 to §4.

`linear/f64-v1` has more to pass, in `test_cuda_bits`. Methods that are reproduced within a bound are computed on the
CPU whatever the device, so there is nothing to compare. Where torch finds no CUDA device, that half is skipped and the
summary says so; the other shows that the cases compute something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

import pytest
import torch

from model_verify.merge import methods
from model_verify.merge.kernel import Block, Call, Number, Standing
from model_verify.merge.methods import _KERNELS, load
from model_verify.merge.methods.dequantize import block_parameters
from model_verify.merge.methods.table import METHODS, PROFILES, Base, Kind
from model_verify.merge.tensor import TorchBackend
from model_verify.merge.torch_kernel import TORCH_DTYPES, TorchKernel
from model_verify.tensors import TensorInfo

NO_DEVICE = "torch finds no CUDA device"
ROWS = {"cuda": 4096, "cpu": 40}
COLUMNS = 768
EXACT_METHODS = [
    "breadcrumbs", "breadcrumbs_ties", "linear", "nearswap", "passthrough", "slerp", "task_arithmetic", "ties",
]  # fmt: skip
DECIMALS = {"density": 0.5, "gamma": 0.05, "lambda": 0.9, "scale": 1.7, "t": 0.4, "weight": 0.3}
BLOCK_DTYPES = [
    "GGML_Q4_0",
    "GGML_Q4_1",
    "GGML_Q5_0",
    "GGML_Q5_1",
    "GGML_Q8_0",
    "GGML_TQ1_0",
    "GGML_TQ2_0",
    "GGML_MXFP4",
]


@dataclass(frozen=True)
class Case:
    """A call, and the dtypes of its operands; those of `lora` and `dequantize` have shapes of their own."""

    call: Call
    dtypes: tuple[str, ...]

    def __str__(self) -> str:
        shared = ",".join(f"{name}={value}" for name, value in self.call.shared.items())
        return f"{self.call.profile}-{self.call.method}-{'+'.join(self.dtypes)}-{self.call.dtype}-{shared}"

    def operands(self, rows: int) -> list[Block]:
        shapes: list[tuple[int, ...]] = [(rows, COLUMNS)] * len(self.dtypes)
        if self.call.method == "lora":
            shapes = [(rows, COLUMNS), (16, COLUMNS), (rows, 16)]
        if self.call.method == "dequantize":
            shapes = [(rows, COLUMNS), (-(-rows // 128), COLUMNS // 128)]
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


def merges() -> Iterator[Case]:
    """Yield every exact method of mergekit's, in each profile, with its switches on and off."""
    for name in EXACT_METHODS:
        method = METHODS[name]
        has_base = method.base is Base.REQUIRED
        count = min(3, method.most)
        for profile in (one for one in PROFILES if one in method.profiles):
            for on in (True, False) if Kind.BOOL in method.shared.values() else (True,):
                for held, computed in (("F32", "F32"), ("BF16", "BF16"), ("F16", "F16"), ("BF16", "F32")):
                    own: list[dict[str, Number]] = [
                        {name: DECIMALS[name] / (1 + place % 2) for name in method.own} for place in range(count)
                    ]
                    if has_base:
                        own[0] = {}
                    shared: dict[str, Number] = {
                        name: on if kind is Kind.BOOL else DECIMALS[name] for name, kind in method.shared.items()
                    }
                    base = 0 if has_base else None
                    call = Call(profile, name, held, computed, base=base, shared=shared, own=tuple(own))
                    yield Case(call, (held,) * count)


def forms() -> Iterator[Case]:
    """Yield the kernels of the steps that change the form."""
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


CASES = [*merges(), *forms()]


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
    assert len(set(expected)) > 16  # something was computed


def test_every_exact_kernel_is_compared() -> None:
    """A method that is added, and is exact and computed on the device, is added here."""
    exact = {
        key for key in _KERNELS if (kernel := kernel_of(key)) and kernel.best is Standing.EXACT and not kernel.on_host
    }
    assert {(case.call.profile, case.call.method) for case in CASES} == exact


def kernel_of(key: tuple[str, str]) -> type[TorchKernel] | None:
    """Return the class that computes a method; None for `linear/f64-v1`, which has its own tests."""
    module, name = _KERNELS[key]
    found = getattr(import_module(f"{methods.__name__}.{module}"), name)
    return found if issubclass(found, TorchKernel) else None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operand_shows_in_the_bytes(case: Case) -> None:
    operands = case.operands(ROWS["cpu"])
    before = case.run("cpu", operands)
    for place, operand in enumerate(operands):
        half = len(operand.data) // 2
        zeroed = Block(operand.dtype, operand.shape, bytes(half) + bytes(operand.data[half:]))
        assert case.run("cpu", [*operands[:place], zeroed, *operands[place + 1 :]]) != before
