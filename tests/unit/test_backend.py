"""Who computes, and the check that it computes the right bits. Spec: merge §2."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from model_verify.errors import BackendUnavailable
from model_verify.merge.backend import Backend, Blended, check_known_answers
from model_verify.merge.coefficient import weight_sum
from model_verify.merge.compiled import NumbaBackend
from model_verify.merge.formats import as_bits, narrow, widen
from model_verify.merge.known_answers import KNOWN_ANSWERS, KnownAnswer
from model_verify.merge.reference import NumpyBackend, blend
from model_verify.merge.selection import select_backend
from model_verify.merge.tensor import TorchBackend
from tests.models import SignedMerge


@pytest.fixture
def flushed_subnormals() -> Iterator[None]:
    """Set this thread's processor to take subnormals for zero, as some libraries do when they are loaded."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals")
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("backend", [NumpyBackend(), NumbaBackend(), TorchBackend("cpu")], ids=lambda b: b.name)
def test_every_backend_gives_the_known_answers(backend: Backend) -> None:
    check_known_answers(backend)


@pytest.mark.parametrize("backend", [NumbaBackend(), NumpyBackend()], ids=lambda b: b.name)
@pytest.mark.usefixtures("flushed_subnormals")
def test_a_processor_that_flushes_subnormals_is_noticed(backend: Backend) -> None:
    with pytest.raises(BackendUnavailable, match="subnormal sum"):
        check_known_answers(backend, frozenset({"F32"}))


@pytest.mark.usefixtures("flushed_subnormals")
def test_a_verification_on_such_a_processor_gives_no_verdict(signed_merge: SignedMerge) -> None:
    with pytest.raises(BackendUnavailable):
        signed_merge.verify()


def test_without_numba_numpy_computes(monkeypatch: pytest.MonkeyPatch, signed_merge: SignedMerge) -> None:
    monkeypatch.setitem(sys.modules, "model_verify.merge.compiled", None)
    assert select_backend("cpu").name == "numpy"
    report = signed_merge.verify()
    assert (report.level, report.run.device) == (3, "numpy")


def test_without_numpy_there_is_no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_verify.merge.reference", None)
    with pytest.raises(BackendUnavailable, match="numpy is not installed"):
        select_backend("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_asking_for_cuda_where_there_is_none_is_an_error() -> None:
    with pytest.raises(BackendUnavailable, match="no CUDA device"):
        select_backend("cuda")


def test_the_known_answers_cover_every_format_and_every_mixture_of_two() -> None:
    covered = {answer.dtypes for answer in KNOWN_ANSWERS}
    for one in ("F32", "BF16", "F16"):
        for other in ("F32", "BF16", "F16"):
            assert frozenset({one, other}) in covered


@pytest.mark.parametrize("answer", KNOWN_ANSWERS, ids=lambda answer: answer.name)
def test_every_known_answer_follows_from_the_text(answer: KnownAnswer) -> None:
    """Python's floats are IEEE float64, and `struct` rounds to nearest even; nothing of numpy or numba is used."""
    terms = [weight * first_value(dtype, data) for weight, dtype, data in answer.operands]
    total = terms[0]
    for term in terms[1:]:
        total += term
    if answer.normalize:
        weights = [weight for weight, _, _ in answer.operands]
        divisor = weights[0]
        for weight in weights[1:]:
            divisor += weight
        total /= divisor
    single = struct.unpack("<f", struct.pack("<f", total))[0]
    assert answer.expected.startswith(narrowed(single, answer.dtype))


def first_value(dtype: str, data: bytes) -> float:
    match dtype:
        case "F32":
            return float(struct.unpack("<f", data[:4])[0])
        case "BF16":
            return float(struct.unpack("<f", b"\0\0" + data[:2])[0])
        case _:
            return float(struct.unpack("<e", data[:2])[0])


def narrowed(single: float, dtype: str) -> bytes:
    match dtype:
        case "F32":
            return struct.pack("<f", single)
        case "F16":
            return struct.pack("<e", single)
        case _:
            bits = int.from_bytes(struct.pack("<f", single), "little")
            high, low = bits >> 16, bits & 0xFFFF
            up = low > 0x8000 or (low == 0x8000 and high % 2 == 1)
            return (high + up).to_bytes(2, "little")


class Wrong(NumpyBackend):
    """A backend that does one thing otherwise."""

    def __init__(self, name: str) -> None:
        self.name = name

    def linear(self, operands, out, *, dtype, normalize, expected=None):  # type: ignore[no-untyped-def]
        if self.name == "reversed":
            operands = operands[::-1]
        values = [widen(as_bits(operand.data, operand.dtype), operand.dtype) for operand in operands]
        weights = [operand.weight for operand in operands]
        if self.name == "float32 sum":
            total = np.float32(weights[0]) * values[0].astype(np.float32)
            for weight, value in zip(weights[1:], values[1:], strict=True):
                total = total + np.float32(weight) * value.astype(np.float32)
            total = total.astype(np.float64)
        else:
            total = blend(values, weights, normalize=False)
        if normalize:
            total = total * (1.0 / weight_sum(weights)) if self.name == "reciprocal" else total / weight_sum(weights)
        if self.name == "direct" and dtype == "F16":
            bits = total.astype(np.float16).view(np.uint16)
        elif self.name == "direct" and dtype == "BF16":
            mantissa, exponent = np.frexp(total)
            bits = narrow(np.ldexp(np.rint(mantissa * 256), exponent - 8), dtype)  # eight bits, in one rounding
        else:
            bits = narrow(total, dtype)
        out[:] = bits.tobytes()
        return Blended(True, expected is not None and bytes(out) == bytes(expected))


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
@pytest.mark.parametrize("name", ["reversed", "float32 sum", "direct", "reciprocal"])
def test_a_backend_that_does_one_thing_otherwise_is_noticed(name: str, dtype: str) -> None:
    if (name, dtype) in {("direct", "F32"), ("reciprocal", "BF16"), ("reciprocal", "F16")}:
        check_known_answers(Wrong(name), frozenset({dtype}))  # the same thing there, or not asked for there
        return
    with pytest.raises(BackendUnavailable):
        check_known_answers(Wrong(name), frozenset({dtype}))
