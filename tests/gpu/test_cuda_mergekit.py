"""The methods of mergekit give the same bits with a CUDA device as on the CPU, and say the same of what is there.

Where torch finds no CUDA device, that half is skipped, and the summary says so; the other runs the same code with torch
on the CPU. `PYTHONPATH=verify python -m pytest --confcutdir=tests/gpu tests/gpu/test_cuda_mergekit.py`. Spec: merge §5.
"""

# Shape suffixes: E elements of one tensor.

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from model_verify.errors import OperationRefused
from model_verify.merge.kernel import Block, Call, Standing
from model_verify.merge.methods import load
from model_verify.merge.tensor import TorchBackend
from tests.gpu.blocks import FORMATS
from tests.mergekit.cases import DTYPES, calls, data_kinds, operands

EXACT = ("linear", "passthrough", "task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties", "nearswap")
BOUNDED = ("slerp", "karcher", "model_stock", "multislerp", "nuslerp", "sce")
MASKED = ("dare_linear", "dare_ties", "della", "della_linear")
PROFILES = ("mergekit-0.1.5/fma", "mergekit-0.1.5/nofma", "mergekit-0.1.4")
SHAPES = {"cpu": (37, 29), "cuda": (1021, 517)}
CPU = TorchBackend("cpu")


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    return name


def cases(method: str, profile: str, dtype: str, device: str) -> Iterator[tuple[str, Call, tuple[Block, ...]]]:
    for kind in data_kinds():
        for seed, call in enumerate(calls(method, profile, dtype)):
            yield f"{kind} {seed}", call, operands(kind, [dtype] * len(call.own), SHAPES[device], seed)


def computed(backend: TorchBackend, call: Call, given: tuple[Block, ...]) -> bytes | str:
    """Return the output, or why there is none."""
    out = room(call.dtype, given[0].shape)
    try:
        finite = load(call).run(backend, given, out).finite
    except OperationRefused as error:
        return error.code
    return bytes(out.data) if finite else "not finite"


def room(dtype: str, shape: tuple[int, ...]) -> Block:
    """Return an output to be written."""
    return Block(dtype, shape, memoryview(bytearray(math.prod(shape) * FORMATS[dtype].bits // 8)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", [*EXACT, *BOUNDED])
def test_device_and_cpu_give_the_same_bytes(method: str, dtype: str, device: str) -> None:
    backend, compared = TorchBackend(device), 0
    for profile in PROFILES if device == "cuda" else PROFILES[:1]:
        for name, call, given in cases(method, profile, dtype, device):
            expected = computed(CPU, call, given)
            assert computed(backend, call, given) == expected, f"{profile} {name}"
            compared += isinstance(expected, bytes)
    assert compared >= 10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", [*EXACT, *BOUNDED])
def test_a_parent_has_an_effect_on_the_device_where_it_has_one_on_the_cpu(method: str, dtype: str, device: str) -> None:
    (call, *_) = calls(method, PROFILES[0], dtype)
    given = operands("tuned", [dtype] * len(call.own), SHAPES[device], 1)
    backend, kernel = TorchBackend(device), load(call)
    out = room(dtype, given[0].shape)
    kernel.run(CPU, given, out)
    for position in range(len(given)):
        expected = kernel.has_effect(CPU, given, position, out)
        assert kernel.has_effect(backend, given, position, out) is expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", MASKED)
def test_what_was_drawn_on_the_device_is_examined(method: str, dtype: str, device: str) -> None:
    """Masks and sums of the device: a scale that its order of adding gives, each difference kept or not."""
    own = {"weight": 0.6, "density": 0.5} | ({"epsilon": 0.1} if method.startswith("della") else {})
    shared = {"normalize": False, "lambda": 1.0, "rescale": True}
    call = Call(PROFILES[0], method, dtype, compute_dtype=dtype, base=0, shared=shared, own=({}, own))
    given = operands("tuned", [dtype] * 2, SHAPES[device], 1)
    kind = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[dtype]
    base_E, other_E = (torch.frombuffer(bytearray(block.data), dtype=kind).to(device) for block in given)
    torch.manual_seed(0)
    delta_E = other_E - base_E
    kept_E = torch.bernoulli(torch.full(delta_E.shape, 0.5, device=device)).to(kind)
    masked_E = delta_E * kept_E
    scaled_E = masked_E * (delta_E.abs().sum() / masked_E.abs().sum())
    merged_E = (base_E + scaled_E * torch.tensor(0.6, dtype=kind, device=device)).cpu()
    there = Block(dtype, given[0].shape, merged_E.view(torch.uint8).numpy().tobytes())
    opinion = load(call).judge(given, there, there)
    assert (opinion.standing, opinion.warning) == (Standing.EXAMINED, ""), opinion
