"""Known answers are right, and kernels that are wrong in one way or another fail them. Spec: merge §2, §5.1."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from model_verify.errors import BackendUnavailable
from model_verify.merge.methods.breadcrumbs import Breadcrumbs, BreadcrumbsTies
from model_verify.merge.methods.karcher import Karcher
from model_verify.merge.methods.linear import Linear
from model_verify.merge.methods.mergekit import MergekitKernel
from model_verify.merge.methods.model_stock import ModelStock
from model_verify.merge.methods.multislerp import Multislerp
from model_verify.merge.methods.nearswap import NearSwap
from model_verify.merge.methods.nuslerp import Nuslerp
from model_verify.merge.methods.passthrough import Passthrough
from model_verify.merge.methods.sce import Sce
from model_verify.merge.methods.slerp import Slerp
from model_verify.merge.methods.task_arithmetic import TaskArithmetic
from model_verify.merge.methods.ties import Ties
from model_verify.merge.tensor import TorchBackend
from tests.mergekit.wrong import WRONG

KERNELS: tuple[type[MergekitKernel], ...] = (
    Breadcrumbs,
    BreadcrumbsTies,
    Karcher,
    Linear,
    ModelStock,
    Multislerp,
    NearSwap,
    Nuslerp,
    Passthrough,
    Sce,
    Slerp,
    TaskArithmetic,
    Ties,
)
CPU = TorchBackend("cpu")


@pytest.fixture
def flushing() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("torch cannot make this processor flush subnormals")
    yield
    torch.set_flush_denormal(False)


def prove(kernel: type[MergekitKernel]) -> None:
    """Ask a kernel as a thread that computes for the first time does."""
    kernel(kernel.known_answers[0].call)._prove(CPU)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_kernels_give_their_known_answers(kernel: type[MergekitKernel]) -> None:
    assert kernel.known_answers
    prove(kernel)


@pytest.mark.parametrize("kernel", WRONG, ids=lambda kernel: kernel.__name__)
def test_known_answers_tell_a_wrong_kernel(kernel: type[MergekitKernel]) -> None:
    with pytest.raises(BackendUnavailable, match="computes other bits"):
        prove(kernel)


BOUNDED = (Karcher, ModelStock, Multislerp, Nuslerp, Sce)


@pytest.mark.parametrize(
    "kernel", [Linear, NearSwap, Passthrough, Slerp, TaskArithmetic, *BOUNDED], ids=lambda k: k.__name__
)
def test_known_answers_tell_a_processor_that_flushes_subnormals(kernel: type[MergekitKernel], flushing: None) -> None:
    other_class = type("Flushed", (kernel,), {})  # one that has not passed in this thread
    with pytest.raises(BackendUnavailable, match="computes other bits"):
        prove(other_class)
