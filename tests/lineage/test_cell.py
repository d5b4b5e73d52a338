"""What lies in the rounding cell of a blend, and what never does: real training from where it says that it began.

Spec: pipeline §4.13. Shares are of all elements of small models, never of samples.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model_verify.lineage.blend import Estimate, estimate_blend
from model_verify.lineage.cell import CellCount, count_cell
from model_verify.merge.backend import Backend
from model_verify.merge.kernel import Block
from model_verify.merge.selection import select_backend
from tests.lineage.trainer import train
from tests.lineage.weights import DTYPES, Tensors, blend, data_of, random_model, samples, sibling

FORMATS = ["BF16", "F16", "F32"]
DISTANCES = [0.01, 0.05]
"""Parents so far apart, relative to their size, that is from a light fine-tune to a long one."""


@pytest.fixture(scope="module")
def backend() -> Backend:
    return select_backend("cpu")


def parents(dtype: str, distance: float) -> list[Tensors]:
    base = random_model(1, dtype)
    return [sibling(base, 2, distance), sibling(base, 3, distance)]


def in_float32(models: list[Tensors], coefficients: tuple[float, ...]) -> Tensors:
    """Return a merge by a tool that is in no list: float32 sums from the last parent to the first, not rounded yet."""
    total = {name: torch.zeros(weights_E.shape) for name, weights_E in models[0].items()}
    for model, coefficient in reversed(list(zip(models, coefficients, strict=True))):
        total = {name: sum_E + torch.tensor(coefficient) * model[name].float() for name, sum_E in total.items()}
    return total


def rounded(model: Tensors, dtype: str) -> Tensors:
    return {name: weights_E.to(DTYPES[dtype]) for name, weights_E in model.items()}


def estimate(backend: Backend, models: list[Tensors], child: Tensors, dtype: str, before: Tensors) -> Estimate:
    found = estimate_blend(samples(models, child, dtype, before=before), backend)
    assert found is not None
    return found


def count(models: list[Tensors], child: Tensors, dtype: str, before: Tensors, found: Estimate) -> CellCount:
    """Return the count of all elements, with the coefficients that were found or, without any, the fitted ones."""
    total = CellCount()
    for name in child:
        texts = (found.within or {}).get(name) or tuple(str(value) for value in found.fitted)
        blocks = [Block(dtype, (child[name].numel(),), data_of(model[name])) for model in (*models, before, child)]
        total += count_cell(blocks[:-2], np.array([float(text) for text in texts]), *blocks[-2:])
    return total


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("coefficients", [(0.6, 0.4), (0.61803398875, 0.38196601125), (1.3, -0.35), (0.07, 0.93)])
def test_a_merge_by_an_unknown_tool_lies_in_the_cell(
    backend: Backend, dtype: str, distance: float, coefficients: tuple[float, float]
) -> None:
    models = parents(dtype, distance)
    child = rounded(in_float32(models, coefficients), dtype)
    found = estimate(backend, models, child, dtype, models[0])
    assert found.within is not None
    total = count(models, child, dtype, models[0], found)
    assert total.explains
    assert total.inside >= 0.9999 * total.elements
    assert total.mirrored_inside < 0.2 * total.moved


def test_a_merge_of_three_lies_in_the_cell(backend: Backend) -> None:
    models = [*parents("BF16", 0.05), sibling(random_model(1, "BF16"), 4, 0.05)]
    child = rounded(in_float32(models, (0.41421356, 0.31415927, 0.27442717)), "BF16")
    found = estimate(backend, models, child, "BF16", models[0])
    assert found.within is not None
    assert count(models, child, "BF16", models[0], found).explains


def test_a_merge_whose_coefficients_follow_the_layers_lies_in_the_cell(backend: Backend) -> None:
    models = parents("BF16", 0.05)
    child: Tensors = {}
    for place, name in enumerate(models[0]):
        share = 0.1234567 + 0.71 * place / 4
        child |= {name: rounded(in_float32(models, (1 - share, share)), "BF16")[name]}
    found = estimate(backend, models, child, "BF16", models[0])
    assert found.within is not None
    assert len(set(found.within.values())) > 1
    assert count(models, child, "BF16", models[0], found).explains


def test_light_sgd_on_a_merge_that_was_not_declared_lies_there_too(backend: Backend) -> None:
    """Twenty steps at 1e-5 leave nearly all of a merge as it was: too little to call it either."""
    models = parents("BF16", 0.01)
    child = train(blend(models, ["0.6", "0.4"]), "BF16", "sgd", 1e-5, steps=20, master=True)
    found = estimate(backend, models, child, "BF16", models[0])
    assert found.within is not None
    assert found.exact is None
    assert count(models, child, "BF16", models[0], found).explains


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    ("kind", "rate", "steps"), [("sgd", 1e-5, 20), ("sgd", 1e-2, 3), ("adamw", 1e-6, 1), ("adamw", 1e-5, 20)]
)
@pytest.mark.parametrize("master", [True, False])
@pytest.mark.parametrize("start", ["one model", "merge", "merge that nobody rounded"])
def test_real_training_from_its_declared_input_never_does(
    backend: Backend, dtype: str, distance: float, kind: str, rate: float, steps: int, master: bool, start: str
) -> None:
    """However light: what moves away from the input moves out of the cell."""
    models = parents(dtype, distance)
    before = models[0] if start == "one model" else blend(models, ["0.6", "0.4"])
    began = in_float32(models, (0.6, 0.4)) if start == "merge that nobody rounded" else before
    child = train(began, dtype, kind, rate, steps=steps, master=master)  # type: ignore[arg-type]
    found = estimate(backend, models, child, dtype, before)
    assert found.exact is None
    assert found.within is None
    total = count(models, child, dtype, before, found)
    assert not total.explains
    assert total.moved_inside < 0.7 * total.moved


@pytest.mark.parametrize("dtype", FORMATS)
def test_other_changes_of_a_merge_do_not(backend: Backend, dtype: str) -> None:
    models = parents(dtype, 0.05)
    before = blend(models, ["0.6", "0.4"])
    for change in (quantized, low_rank, scaled):
        child = rounded({name: change(weights_E.float()) for name, weights_E in before.items()}, dtype)
        found = estimate(backend, models, child, dtype, before)
        assert found.within is None
        assert not count(models, child, dtype, before, found).explains


def quantized(weights_E: torch.Tensor) -> torch.Tensor:
    """Return the weights through int8, one scale for all."""
    scale = weights_E.abs().max() / 127
    return (weights_E / scale).round() * scale


def low_rank(weights_E: torch.Tensor) -> torch.Tensor:
    """Return the weights with a LoRA of rank 4 merged into them."""
    generator = torch.Generator().manual_seed(6)
    down, up = torch.randn(4, 96, generator=generator), torch.randn(weights_E.numel() // 96, 4, generator=generator)
    return weights_E + 1e-3 * (up @ down).reshape(weights_E.shape)


def scaled(weights_E: torch.Tensor) -> torch.Tensor:
    """Return the weights with noise of one per cent of their size."""
    generator = torch.Generator().manual_seed(7)
    return weights_E * (1 + 0.01 * torch.randn(weights_E.shape, generator=generator))


def test_siblings_that_were_never_merged_do_not(backend: Backend) -> None:
    for dtype in FORMATS:
        models = [random_model(1, dtype), sibling(random_model(1, dtype), 2, 0.05)]
        child = sibling(models[0], 3, 0.05)
        assert estimate(backend, models, child, dtype, models[0]).within is None


def test_few_elements_say_nothing(backend: Backend) -> None:
    """Two coefficients can be chosen so that a handful of elements lie where they are wanted."""
    models = [{"bias": model["embedding"][:100]} for model in parents("BF16", 0.05)]
    child = rounded(in_float32(models, (0.61803398875, 0.38196601125)), "BF16")
    assert estimate(backend, models, child, "BF16", models[0]).within is None


def test_elements_are_counted_by_hand() -> None:
    """1 and 2 at a half each: 1.5. In BF16 half a step is 2^-8 there; the third element is two steps off."""
    one, two = (torch.full((4,), value, dtype=torch.bfloat16) for value in (1.0, 2.0))
    child = torch.tensor([1.5, 1.5 + 2.0**-8, 1.5 + 2.0**-6, 1.0]).to(torch.bfloat16)
    assert child.tolist() == [1.5, 1.5, 1.515625, 1.0]  # the second is a tie that goes to the even neighbour
    blocks = [Block("BF16", (4,), data_of(tensor)) for tensor in (one, two, one, child)]
    found = count_cell(blocks[:2], np.array([0.5, 0.5]), *blocks[2:])
    assert found == CellCount(elements=4, inside=2, moved=3, moved_inside=2, mirrored_inside=0)
    assert not found.explains


def test_a_float32_sum_may_be_off_by_what_its_terms_round() -> None:
    """1e8 − 1e8 + 1 is 1 in float64; in float32 the order of the terms decides what is left of the 1."""
    models = [torch.tensor([value]) for value in (1e8, -1e8, 1.0)]
    blocks = [Block("F32", (1,), data_of(tensor)) for tensor in (*models, models[0], torch.tensor([0.0]))]
    assert count_cell(blocks[:3], np.array([1.0, 1.0, 1.0]), *blocks[3:]).inside == 1
