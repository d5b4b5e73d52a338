"""The kernels against outputs of mergekit 0.1.4, byte by byte; `regenerate_0_1_4.py` recorded them. Spec: merge §5."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from model_verify.errors import OperationRefused
from model_verify.merge.kernel import Block, Standing
from model_verify.merge.methods import load
from model_verify.merge.tensor import TorchBackend
from tests.gpu.blocks import FORMATS
from tests.mergekit.cases import DTYPES
from tests.mergekit.regenerate_0_1_4 import FOLDER, METHODS, Case, cases, digest_of
from tests.mergekit.tensors import assert_same, room

CPU = TorchBackend("cpu")
BOUNDED = ("karcher", "model_stock", "multislerp", "nuslerp", "sce")
MASKED = ("dare_linear", "dare_ties", "della", "della_linear")


def recorded() -> dict[tuple[str, str], tuple[dict[str, Any], list[bytes | None]]]:
    """Return what the index says of each method and dtype, and the outputs; None where mergekit stopped."""
    index = json.loads((FOLDER / "index.json").read_text())
    data = memoryview((FOLDER / "outputs.bin").read_bytes())
    found = {}
    for entry in index["cases"]:
        outputs: list[bytes | None] = []
        for number, case in enumerate(cases(entry["method"], entry["dtype"])):
            if number in entry["refused"]:
                outputs.append(None)
                continue
            size = len(room(case.call.dtype, case.operands[0].shape).data)
            outputs.append(bytes(data[:size]))
            data = data[size:]
        found[entry["method"], entry["dtype"]] = entry, outputs
    assert not len(data)
    return found


@pytest.fixture(scope="module")
def outputs() -> dict[tuple[str, str], tuple[dict[str, Any], list[bytes | None]]]:
    return recorded()


def replayed(
    outputs: dict[tuple[str, str], tuple[dict[str, Any], list[bytes | None]]], method: str, dtype: str
) -> Iterator[tuple[Case, bytes | None]]:
    entry, merged = outputs[method, dtype]
    given = list(cases(method, dtype))
    assert entry["count"] == len(given) == len(merged)
    assert entry["operands"] == digest_of(given), "the operands are not those of the recording"
    return zip(given, merged, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("slerp", *BOUNDED, *MASKED)])
def test_kernels_give_the_bytes_of_0_1_4(outputs: Any, method: str, dtype: str) -> None:
    for case, merged in replayed(outputs, method, dtype):
        kernel = load(case.call)
        if merged is None:
            with pytest.raises(OperationRefused, match="keeps none"):
                kernel.run(CPU, case.operands, room(dtype, case.operands[0].shape))
        else:
            assert_same(kernel, case.operands, merged)


@pytest.mark.parametrize("dtype", DTYPES)
def test_slerp_gives_the_bytes_of_0_1_4_or_is_within(outputs: Any, dtype: str) -> None:
    """0.1.4 takes norms from a BLAS, which adds in an order of the processor's."""
    for case, merged in replayed(outputs, "slerp", dtype):
        assert merged is not None
        form = FORMATS[dtype]
        kernel, out = load(case.call), room(dtype, case.operands[0].shape)
        if not kernel.run(CPU, case.operands, out, expected=merged).finite:
            continue
        there = Block(dtype, out.shape, merged)
        if out.data != merged:
            assert kernel.judge(case.operands, out, there).standing is Standing.WITHIN
        changed = bytearray(merged)
        changed[form.bits // 8 - 1] ^= 0x40
        assert kernel.judge(case.operands, out, Block(dtype, out.shape, changed)).standing is Standing.DIFFERENT


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", BOUNDED)
def test_bounded_methods_give_the_bytes_of_0_1_4_or_are_within(outputs: Any, method: str, dtype: str) -> None:
    """It has the inputs of some methods in a set, so that their order is open too."""
    found: Counter[Standing] = Counter()
    for case, merged in replayed(outputs, method, dtype):
        kernel, out = load(case.call), room(dtype, case.operands[0].shape)
        if merged is None:
            with pytest.raises(OperationRefused):
                kernel.run(CPU, case.operands, out)
            continue
        if not all_finite(dtype, merged):
            continue
        there = Block(dtype, out.shape, merged)
        if kernel.run(CPU, case.operands, out, expected=merged).as_expected:
            found[Standing.EXACT] += 1
        else:
            found[kernel.judge(case.operands, out, there).standing] += 1
    if dtype == "F32":
        # Of opposite directions there is no bound; where nearly all cancels out it is too wide (merge §5.10).
        assert found[Standing.DIFFERENT] <= {"karcher": 2, "nuslerp": 5}.get(method, 0), found
        most = {"karcher": 2, "nuslerp": 5, "multislerp": 1, "sce": 1}.get(method, 0)
        assert found[Standing.DIFFERENT] + found[Standing.EXAMINED] <= most, found
    else:
        assert not found[Standing.DIFFERENT] + found[Standing.EXAMINED], found
    assert found[Standing.EXACT] + found[Standing.WITHIN] >= 20, found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", MASKED)
def test_what_0_1_4_drew_is_examined(outputs: Any, method: str, dtype: str) -> None:
    looked_at = 0
    for case, merged in replayed(outputs, method, dtype):
        if merged is None or not all_finite(dtype, merged):
            continue
        there = Block(dtype, case.operands[0].shape, merged)
        opinion = load(case.call).judge(case.operands, there, there)
        assert (opinion.standing, opinion.warning) == (Standing.EXAMINED, ""), opinion
        looked_at += 1
    assert looked_at >= 40


def all_finite(dtype: str, merged: bytes) -> bool:
    form = FORMATS[dtype]
    return bool(form.is_finite(np.frombuffer(merged, dtype=form.kind)).all())
