"""A device gives the same bits as the CPU. Spec: merge §2.

Every test here runs on the CPU too, by the same torch code on fewer elements; where torch finds no CUDA device, the
other half is skipped and the summary says so. Of this project it needs `merge` and `replay` alone, and neither numba
nor pytest plugins: `PYTHONPATH=verify python -m pytest --confcutdir=tests/gpu tests/gpu/test_cuda_bits.py`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from model_verify.errors import BackendUnavailable
from model_verify.merge.backend import Backend, CheckedBackend, Operand, check_known_answers
from model_verify.merge.coefficient import parse_weight
from model_verify.merge.methods.linear_f64 import LinearF64, linear_call
from model_verify.merge.reference import NumpyBackend
from model_verify.merge.tensor import TorchBackend
from model_verify.replay import Computed, Stored, TensorJob, run
from model_verify.tensors import TensorInfo
from tests.gpu import wrong
from tests.gpu.blocks import (
    BLOCKS_OF_A_ROUND,
    COMBINATIONS,
    FORMATS,
    Block,
    Combination,
    blocks,
    crossed_blocks,
    differing_elements,
    run_block,
    shown,
)

NO_DEVICE = "torch finds no CUDA device"
BLOCK_ELEMENTS = {"cuda": (1 << 20) + 37, "cpu": (1 << 12) + 3}
ELEMENTS = {device: BLOCKS_OF_A_ROUND * elements for device, elements in BLOCK_ELEMENTS.items()}
"""For each combination of dtypes: more than 100 million on a device."""
VECTORS = Path(__file__).parents[2] / "spec" / "vectors" / "v1" / "merge"


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip(NO_DEVICE)
    return name


@pytest.fixture(scope="module")
def backend(device: str) -> TorchBackend:
    return TorchBackend(device)


@pytest.fixture(scope="module")
def references() -> list[Backend]:
    """Return the implementations for the CPU that this machine can run, the plain one first."""
    found: list[Backend] = [NumpyBackend()]
    if importlib.util.find_spec("numba") is not None:
        from model_verify.merge.compiled import NumbaBackend

        found.append(NumbaBackend())
    return found


def test_compiled_loops_are_among_the_references(references: list[Backend]) -> None:
    if importlib.util.find_spec("numba") is None:
        pytest.skip("numba is not installed: the comparison was with numpy alone")
    assert [reference.name for reference in references] == ["numpy", "numba"]


def assert_same_bytes(block: Block, backend: Backend, references: list[Backend]) -> None:
    expected = run_block(references[0], block)
    for other in (*references[1:], backend):
        got = run_block(other, block, expected.out)
        differing = differing_elements(block, got.out, expected.out)
        where = shown(block, got.out, expected.out)
        assert differing == 0, f"{differing} of {block.elements} elements of {other.name} differ: {where}"
        assert got.blended.finite == expected.blended.finite, other.name
        assert got.blended.as_expected == (got.out == expected.out), other.name


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_device_and_cpu_give_the_same_bytes(
    combination: Combination,
    device: str,
    backend: TorchBackend,
    references: list[Backend],
    record_property: Callable[[str, object], None],
) -> None:
    compared = overflowing = 0
    for block in blocks(combination, elements=ELEMENTS[device], block_elements=BLOCK_ELEMENTS[device], seed=2026):
        assert_same_bytes(block, backend, references)
        compared += block.elements
        overflowing += not run_block(backend, block).blended.finite
    assert compared >= ELEMENTS[device]
    assert overflowing
    record_property("elements", compared)


@pytest.mark.parametrize(
    ("dtype", "output"), [("BF16", "BF16"), ("F16", "F16"), ("BF16", "F32"), ("F16", "BF16"), ("BF16", "F16")]
)
def test_all_65536_values_against_special_ones_give_the_same_bytes(
    dtype: str, output: str, device: str, backend: TorchBackend, references: list[Backend]
) -> None:
    step = 1 if device == "cuda" else 5
    for block in list(crossed_blocks(dtype, output))[::step]:
        assert_same_bytes(block, backend, references)


def merge_vectors() -> Iterator[Path]:
    return (path for path in sorted(VECTORS.iterdir()) if path.is_dir())


def test_vectors_of_the_spec_hold_on_the_device(backend: TorchBackend) -> None:
    """The expected bytes come from the spec's own generator, which shares no code with any backend."""
    accepted = 0
    for folder in merge_vectors():
        vector = json.loads((folder / "vector.json").read_text())
        stated, expected = vector["input"], vector["expected"]
        weights = [parse_weight(coefficient["decimal"]).value for coefficient in stated["coefficients"]]
        if stated["normalize"] and sum(weights) == 0:
            continue
        operands = [
            Operand(weight, given["dtype"], (folder / given["file"]).read_bytes())
            for weight, given in zip(weights, stated["inputs"], strict=True)
        ]
        block = Block(tuple(operands), stated["dtype"], stated["normalize"], stated["elements"])
        got = run_block(backend, block)
        assert got.blended.finite == expected["accepted"], folder.name
        if expected["accepted"]:
            assert got.out == (folder / expected["file"]).read_bytes(), folder.name
            accepted += 1
    assert accepted > 50


def test_device_passes_the_known_answer_check(backend: TorchBackend) -> None:
    check_known_answers(backend)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_comparison_sees_a_single_bit(combination: Combination, backend: TorchBackend) -> None:
    (block,) = blocks(combination, elements=1, block_elements=4096, seed=7)
    right = run_block(backend, block)
    last = bytearray(right.out)
    last[-FORMATS[combination.output].bits // 8] ^= 1
    assert differing_elements(block, right.out, bytes(last)) == 1
    assert run_block(backend, block, right.out).blended.as_expected
    assert not run_block(backend, block, bytes(last)).blended.as_expected


class Memory:
    """A file of the engine that holds its bytes in memory."""

    path = "memory"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size_bytes = len(data)

    def read(self, offset: int, size_bytes: int) -> bytes:
        return self.data[offset : offset + size_bytes]

    def read_into(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = self.data[offset : offset + len(buffer)]

    def check_unchanged(self) -> None: ...


@pytest.mark.parametrize("threads", [1, 8])
def test_engine_gives_the_same_leaves_and_effects_on_the_device(threads: int, backend: TorchBackend) -> None:
    """Eight threads use one device at once, and the last unit of each tensor is short."""
    elements = 3 * (1 << 20) + 12_345
    found = []
    for chosen in (NumpyBackend(), backend):
        jobs = []
        for seed, combination in enumerate(COMBINATIONS):
            (block,) = blocks(combination, elements=1, block_elements=elements, seed=seed)
            name = f"tensor {seed}"
            stored = [
                Stored(f"input {i}", TensorInfo(name, o.dtype, (elements,)), Memory(bytes(o.data)), 0)
                for i, o in enumerate(block.operands)
            ]
            weights = [operand.weight for operand in block.operands]
            kernel = LinearF64(linear_call(weights, combination.output, normalize=block.normalize))
            output = TensorInfo(name, combination.output, (elements,))
            jobs.append(TensorJob(tuple(stored), (Computed("step", output, tuple(s.key for s in stored), kernel),)))
        result = run(jobs, backend=CheckedBackend(chosen), threads=threads)
        leaves = {name: bytes(r.leaves) for (node, name), r in result.tensors.items() if node == "step"}
        found.append((leaves, result.effective, {name: r.finite for (_, name), r in result.tensors.items()}))
    assert found[0] == found[1]
    assert len(found[0][0]) == len(COMBINATIONS)


# What is wrong is seen to be wrong.

UNFIT = (
    wrong.RoundsOnce(),
    wrong.FlushesSubnormalInputs(),
    wrong.FlushesSubnormalOutputs(),
    wrong.CutsOff(),
    wrong.TakesTheReciprocal(),
)
"""What a processor's mode or a device's library can do to a backend that is written rightly."""

WRONG = (*UNFIT, wrong.StartsFromZero(), wrong.AddsInFloat32(), wrong.AddsFromTheEnd())


def combinations_that_differ(backend: Backend) -> set[str]:
    reference = NumpyBackend()
    return {
        str(combination)
        for combination in COMBINATIONS
        for block in blocks(combination, elements=ELEMENTS["cpu"], block_elements=BLOCK_ELEMENTS["cpu"], seed=2026)
        if differing_elements(block, run_block(backend, block).out, run_block(reference, block).out)
    }


def test_wrong_backends_are_right_but_for_one_thing() -> None:
    assert combinations_that_differ(wrong.WrongBackend()) == set()
    check_known_answers(wrong.WrongBackend())


@pytest.mark.parametrize("backend", WRONG, ids=lambda backend: backend.name)
def test_comparison_tells_a_wrong_backend(backend: wrong.WrongBackend) -> None:
    differing = combinations_that_differ(backend)
    assert differing


@pytest.mark.parametrize("backend", UNFIT, ids=lambda backend: backend.name)
def test_known_answers_tell_a_wrong_backend(backend: wrong.WrongBackend) -> None:
    with pytest.raises(BackendUnavailable, match="computes other bits"):
        check_known_answers(backend)


def test_known_answers_tell_a_processor_that_flushes_subnormals(references: list[Backend]) -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("torch cannot make this processor flush subnormals")
    try:
        for reference in (*references, TorchBackend("cpu")):
            with pytest.raises(BackendUnavailable, match="computes other bits"):
                check_known_answers(reference)
    finally:
        torch.set_flush_denormal(False)
    for reference in (*references, TorchBackend("cpu")):
        check_known_answers(reference)
