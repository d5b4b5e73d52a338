"""The kernels against the real mergekit 0.1.5, tensor by tensor and byte by byte. Spec: merge §5.

mergekit's own warnings do not concern us, so they are no errors here.
"""

# Shape suffixes: E elements of one tensor.

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from model_verify.merge.kernel import Block, Call, Standing
from model_verify.merge.methods import load
from model_verify.merge.tensor import TorchBackend
from model_verify.merge.torch_kernel import TORCH_DTYPES
from tests.gpu.blocks import FORMATS
from tests.mergekit.cases import DTYPES, calls, data_kinds, operands
from tests.mergekit.tensors import assert_same, data, room

pytestmark = pytest.mark.filterwarnings("default")
mergekit = pytest.importorskip("mergekit", reason="mergekit is not installed")

CPU = TorchBackend("cpu")
SHAPES: tuple[tuple[int, ...], ...] = ((257,), (16, 33), (1,), (), (3, 5, 7))
METHODS = ("linear", "passthrough", "task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties", "nearswap", "slerp")


def profile() -> str:
    """Return the profile of mergekit as it runs here: torch fuses where the processor can."""
    return "mergekit-0.1.5/nofma" if torch.backends.cpu.get_cpu_capability() == "DEFAULT" else "mergekit-0.1.5/fma"


def every_case(method: str, dtype: str) -> Iterator[tuple[Call, tuple[Block, ...]]]:
    for kind in data_kinds():
        for shape in SHAPES:
            for seed, call in enumerate(calls(method, profile(), dtype)):
                yield call, operands(kind, [dtype] * len(call.own), shape, seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_kernels_give_mergekits_bytes(method: str, dtype: str, record_property: Callable[[str, object], None]) -> None:
    from tests.mergekit.tensor_oracle import merge

    cases = compared = 0
    for call, given in every_case(method, dtype):
        compared += assert_same(load(call), given, data(merge(call, given)))
        cases += 1
    assert compared > 20_000
    record_property("cases", cases)
    record_property("elements", compared)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_operands_of_mixed_dtypes_are_rounded_when_loaded_and_outputs_when_saved(method: str, dtype: str) -> None:
    from tests.mergekit.tensor_oracle import merge

    for seed, call in enumerate(calls(method, profile(), dtype)):
        given = operands("weights", [DTYPES[n % 3] for n in range(len(call.own))], (40, 7), seed)
        for saved in DTYPES:
            saving = replace(call, dtype=saved)
            assert_same(load(saving), given, data(merge(saving, given)))


@pytest.mark.parametrize("int8_mask", [False, True])
def test_int8_mask_changes_no_bit(int8_mask: bool) -> None:
    from tests.mergekit.tensor_oracle import merge

    for seed, call in enumerate(calls("ties", profile(), "BF16")):
        given = operands("tuned", ["BF16"] * len(call.own), (64, 9), seed)
        assert_same(load(call), given, data(merge(call, given, extra={"int8_mask": int8_mask})))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [5, 6, 8, 9, 17, 19, 33])
@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "breadcrumbs_ties"])
def test_sums_over_many_inputs_are_met_or_within(method: str, count: int, dtype: str) -> None:
    """Elements at the end of a stretch, and tensors of one element, are added in other orders."""
    from tests.mergekit.tensor_oracle import merge

    (first, *_) = calls(method, profile(), dtype)
    own = tuple({**dict(first.own[-1]), "weight": 0.1 + 0.07 * (n % 5)} for n in range(count))
    base = None if first.base is None else 0
    shared = {**first.shared, "normalize": True}
    call = replace(first, shared=shared, base=base, own=own if base is None else ({}, *own))
    for shape in ((1,), (7,), (300,), (70_001,)):
        given = operands("weights", [dtype] * len(call.own), shape, count)
        merged = data(merge(call, given))
        out = room(dtype, shape)
        kernel = load(call)
        if not kernel.run(CPU, given, out, expected=merged).as_expected:
            assert kernel.bounded
            assert kernel.judge(given, out, Block(dtype, shape, merged)).standing is Standing.WITHIN


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "breadcrumbs_ties"])
def test_scaled_differences_are_met_or_within(method: str, dtype: str) -> None:
    """mergekit adds up a whole tensor in an order that depends on the number of threads."""
    from tests.mergekit.tensor_oracle import merge

    for seed, call in enumerate(calls(method, profile(), dtype)):
        call = replace(call, shared={**call.shared, "rescale": True})
        given = operands("tuned", [dtype] * len(call.own), (123, 401), seed)
        threads = torch.get_num_threads()
        for number in (1, 3):
            torch.set_num_threads(number)
            merged = data(merge(call, given))
            torch.set_num_threads(threads)
            out = room(dtype, given[0].shape)
            kernel = load(call)
            if not kernel.run(CPU, given, out, expected=merged).as_expected:
                assert kernel.judge(given, out, Block(dtype, out.shape, merged)).standing is Standing.WITHIN


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "breadcrumbs_ties"])
def test_another_choice_among_equal_magnitudes_is_within_and_a_changed_bit_is_not(
    method: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.mergekit.tensor_oracle import merge

    sort, argsort = torch.sort, torch.argsort
    within = 0
    for seed, call in enumerate(calls(method, profile(), dtype)):
        given = operands("equal", [dtype] * len(call.own), (31, 30), seed)
        with monkeypatch.context() as patch:
            # As a version of torch would whose sort is stable.
            patch.setattr(torch, "sort", lambda *args, **options: sort(*args, **options, stable=True))
            patch.setattr(torch, "argsort", lambda *args, **options: argsort(*args, **options, stable=True))
            merged = data(merge(call, given))
        out = room(dtype, given[0].shape)
        kernel = load(call)
        if kernel.run(CPU, given, out, expected=merged).as_expected:
            continue
        within += 1
        assert kernel.judge(given, out, Block(dtype, out.shape, merged)).standing is Standing.WITHIN
        width = FORMATS[dtype].bits // 8
        for element in (0, 400, 929):
            changed = bytearray(merged)
            changed[(element + 1) * width - 1] ^= 0x40  # in the exponent: a low bit may be another choice
            assert kernel.judge(given, out, Block(dtype, out.shape, changed)).standing is Standing.DIFFERENT
    assert within >= 5


def test_the_multiply_add_is_the_same_with_numba_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from model_verify.merge.methods import fused

    assert fused._add_compiled is not None, "numba is not installed"
    for kind in data_kinds():
        one, other = operands(kind, ["F32"] * 2, (5000,), 3)
        sum_E, x_E = (torch.frombuffer(bytearray(block.data), dtype=torch.float32) for block in (one, other))
        for weight in (0.6000000238418579, -1.0, 2.0**-130, 2.0**127):
            compiled_E = fused.add_product(sum_E.clone(), x_E, weight)
            with monkeypatch.context() as patch:
                patch.setattr(fused, "_add_compiled", None)
                plain_E = fused.add_product(sum_E.clone(), x_E, weight)
            finite_E = plain_E.isfinite()
            assert data(compiled_E[finite_E]) == data(plain_E[finite_E])
            assert not compiled_E[~finite_E].isfinite().any()
            if profile().endswith("/fma"):
                torch_E = torch.addcmul(sum_E, x_E, torch.tensor([weight]))
                assert data(compiled_E[finite_E]) == data(torch_E[finite_E])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("closeness", [0.01, 0.1, 0.5, 2.0, -0.2])
def test_slerp_on_many_threads_is_met_or_within_to_the_bit_for_one_pair_of_coefficients(
    closeness: float, dtype: str
) -> None:
    from tests.mergekit.tensor_oracle import merge

    generator = np.random.default_rng(int(100 * closeness) % 97)
    for elements in (50, 40_000, 250_001):
        base_E = 0.02 * generator.standard_normal(elements)
        other_E = base_E * np.sign(closeness) + abs(closeness) * 0.02 * generator.standard_normal(elements)
        given = tuple(
            Block(dtype, (elements,), data(torch.tensor(values_E).to(TORCH_DTYPES[dtype])))
            for values_E in (base_E, other_E)
        )
        call = Call(profile(), "slerp", dtype, compute_dtype=dtype, base=0, shared={"t": 0.4}, own=({}, {}))
        threads = torch.get_num_threads()
        torch.set_num_threads(4)
        merged = data(merge(call, given))
        torch.set_num_threads(threads)
        kernel, out = load(call), room(dtype, (elements,))
        if not kernel.run(CPU, given, out, expected=merged).as_expected:
            assert kernel.judge(given, out, Block(dtype, (elements,), merged)).standing is Standing.WITHIN
        # A bit of one element, and another t, are told.
        changed = bytearray(merged)
        changed[elements // 2 * FORMATS[dtype].bits // 8] ^= 1
        assert kernel.judge(given, out, Block(dtype, (elements,), changed)).standing is Standing.DIFFERENT
        near = room(dtype, (elements,))
        load(replace(call, shared={"t": 0.4005})).run(CPU, given, near)
        if elements > 50:
            assert kernel.judge(given, out, near).standing is Standing.DIFFERENT
