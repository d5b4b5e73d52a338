"""What an attacker declares so that a bound is as wide as the weights: it shows nothing then. Spec: merge §5.10.

The output is a tensor that none of the inputs had any part in.
"""

# Shape suffixes: M rows and N columns.

from __future__ import annotations

import pytest
import torch

from model_verify.merge.kernel import Block, Call, Standing
from model_verify.merge.methods import load
from model_verify.merge.tensor import TorchBackend

Weights = tuple[dict[str, float], ...]


def tensor(seed: int) -> torch.Tensor:
    return 0.02 * torch.randn((32, 48), generator=torch.Generator().manual_seed(seed))


def block(values_MN: torch.Tensor) -> Block:
    return Block("F32", tuple(values_MN.shape), values_MN.contiguous().view(torch.uint8).numpy().tobytes())


def standing(call: Call, there_MN: torch.Tensor, *given_MN: torch.Tensor) -> Standing:
    kernel, there = load(call), block(there_MN)
    given = [block(values_MN) for values_MN in given_MN]
    out = Block("F32", there.shape, memoryview(bytearray(len(there.data))))
    blended = kernel.run(TorchBackend("cpu"), given, out, expected=there.data)
    assert blended.finite
    return Standing.EXACT if blended.as_expected else kernel.judge(given, out, there).standing


@pytest.mark.parametrize("weight", [1e12, 1e18])
def test_large_weights_of_multislerp_let_nothing_pass_as_within(weight: float) -> None:
    shared = {"eps": 1e-8, "normalize_weights": False}
    call = Call("mergekit-0.1.5/fma", "multislerp", "F32", "F32", shared=shared, own=({"weight": weight},) * 2)
    assert standing(call, tensor(3), tensor(1), tensor(2)) >= Standing.EXAMINED


def test_a_selection_among_equals_lets_nothing_pass_as_within() -> None:
    """Of inputs that are everywhere equally far from each other, sce may select any elements."""
    shared = {"select_topk": 0.5}
    call = Call("mergekit-0.1.5/fma", "sce", "F32", "F32", base=2, shared=shared, own=({}, {}, {}))
    assert standing(call, tensor(3), tensor(1), tensor(1) + 0.125, tensor(2)) >= Standing.EXAMINED


@pytest.mark.parametrize(("size", "found"), [(0.01, Standing.DIFFERENT), (1e10, Standing.EXAMINED)])
def test_an_adapter_that_cancels_out_lets_nothing_pass_as_within(size: float, found: Standing) -> None:
    call = Call("peft", "lora", "F32", shared={"scale": 1.0, "transposed": False})
    a_RN = torch.tensor([[size], [-size]]).expand(2, 48)
    assert standing(call, tensor(3), tensor(1), a_RN, torch.ones((32, 2))) is found
