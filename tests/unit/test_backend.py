"""Who computes, and the check that it computes the right bits. Spec: merge §2."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch

from model_verify.errors import BackendUnavailable
from model_verify.merge.backend import Backend, check_known_answers, select_backend
from model_verify.merge.compiled import NumbaBackend
from model_verify.merge.known_answers import KNOWN_ANSWERS
from model_verify.merge.reference import NumpyBackend
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
