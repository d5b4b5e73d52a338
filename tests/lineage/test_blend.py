"""Coefficients come from weights alone, and only where the weights are that blend to the bit. Spec: pipeline §4.2."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from model_verify.lineage.blend import Estimate, estimate_blend
from model_verify.lineage.formulas import Formula
from model_verify.merge.backend import Backend
from model_verify.merge.selection import select_backend
from tests.lineage.weights import DTYPES, Tensors, blend, random_model, samples, sibling

FORMATS = ["BF16", "F16", "F32"]


@pytest.fixture(scope="module")
def backend() -> Backend:
    return select_backend("cpu")


def estimate(backend: Backend, parents: Sequence[Tensors], child: Tensors, dtype: str) -> Estimate:
    found = estimate_blend(samples(parents, child, dtype), backend)
    assert found is not None
    return found


def only_formula(found: Estimate) -> Formula:
    assert found.exact is not None
    (formula,) = set(found.exact.values())
    return formula


def decimals(formula: Formula) -> list[str]:
    return list(formula.texts)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("distance", [0.01, 0.05, 1.0])
@pytest.mark.parametrize(
    "coefficients", [["0.6", "0.4"], ["0.37", "0.63"], ["0.125", "0.875"], ["1.2", "-0.2"], ["0.6", "0.6"], ["0", "1"]]
)
def test_coefficients_of_up_to_three_decimals_are_found(
    backend: Backend, dtype: str, distance: float, coefficients: list[str]
) -> None:
    base = random_model(1, dtype)
    parents = [sibling(base, 2, distance), sibling(base, 3, distance)]
    found = only_formula(estimate(backend, parents, blend(parents, coefficients), dtype))
    assert decimals(found) == coefficients
    assert not found.arithmetic.normalize


@pytest.mark.parametrize(("dtype", "distance"), [("F32", 0.01), ("F16", 0.01), ("BF16", 0.05), ("BF16", 1.0)])
def test_coefficients_of_four_decimals_are_found(backend: Backend, dtype: str, distance: float) -> None:
    base = random_model(1, dtype)
    parents = [sibling(base, 2, distance), sibling(base, 3, distance)]
    found = only_formula(estimate(backend, parents, blend(parents, ["0.6173", "0.3827"]), dtype))
    assert decimals(found) == ["0.6173", "0.3827"]


def test_what_is_found_of_close_parents_gives_the_same_bits(backend: Backend) -> None:
    """One per cent apart, BF16 weights cannot tell 0.6173 from its neighbours everywhere: the bits decide."""
    base = random_model(1, "BF16")
    parents = [sibling(base, 2, 0.01), sibling(base, 3, 0.01)]
    child = blend(parents, ["0.6173", "0.3827"])
    found = only_formula(estimate(backend, parents, child, "BF16"))
    again = blend(parents, decimals(found))
    assert all(torch.equal(again[name].view(torch.int16), child[name].view(torch.int16)) for name in child)
    assert abs(float(decimals(found)[0]) - 0.6173) < 0.001


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(
    ("coefficients", "shortest"), [(["1", "2"], ["1", "2"]), (["2", "1"], ["2", "1"]), (["3", "4"], ["3", "4"])]
)
def test_fractions_are_found_as_normalized_whole_numbers(
    backend: Backend, dtype: str, coefficients: list[str], shortest: list[str]
) -> None:
    base = random_model(1, dtype)
    parents = [sibling(base, 2, 0.05), sibling(base, 3, 0.05)]
    child = blend(parents, coefficients, normalize=True)
    found = only_formula(estimate(backend, parents, child, dtype))
    if dtype == "F32":
        assert (decimals(found), found.arithmetic.normalize) == (shortest, True)
    again = blend(parents, decimals(found), normalize=found.arithmetic.normalize)
    assert all(torch.equal(again[name], child[name]) for name in child)


def test_decimals_that_were_normalized_are_found_where_that_changed_bits(backend: Backend) -> None:
    """mergekit normalizes unless told otherwise, and the float32 of 0.6 and of 0.4 do not sum to 1."""
    base = random_model(1, "F32")
    parents = [sibling(base, 2, 0.05), sibling(base, 3, 0.05)]
    found = only_formula(estimate(backend, parents, blend(parents, ["0.6", "0.4"], normalize=True), "F32"))
    assert (decimals(found), found.arithmetic.normalize) == (["0.6", "0.4"], True)


@pytest.mark.parametrize("dtype", FORMATS)
def test_three_parents_are_told_apart(backend: Backend, dtype: str) -> None:
    base = random_model(1, dtype)
    parents = [sibling(base, seed, 0.05) for seed in (2, 3, 4)]
    found = only_formula(estimate(backend, parents, blend(parents, ["0.5", "0.2", "0.3"]), dtype))
    assert decimals(found) == ["0.5", "0.2", "0.3"]


def test_tensors_with_coefficients_of_their_own_are_explained_one_by_one(backend: Backend) -> None:
    base = random_model(1, "BF16")
    parents = [sibling(base, 2, 0.05), sibling(base, 3, 0.05)]
    child = blend(parents, ["0.6", "0.4"]) | {"head": parents[1]["head"], "embedding": parents[0]["embedding"]}
    found = estimate(backend, parents, child, "BF16")
    assert found.exact is not None
    assert {name: decimals(formula) for name, formula in found.exact.items()} == {
        "embedding": ["1", "0"],
        "layers.0.up": ["0.6", "0.4"],
        "layers.0.down": ["0.6", "0.4"],
        "layers.0.norm": ["0.6", "0.4"],
        "head": ["0", "1"],
    }


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("distance", [0.001, 0.01, 0.05, 1.0])
def test_siblings_that_were_never_merged_are_no_blend(backend: Backend, dtype: str, distance: float) -> None:
    base = random_model(1, dtype)
    parents = [base, sibling(base, 2, distance)]
    assert estimate(backend, parents, sibling(base, 3, distance), dtype).exact is None


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_one_training_step_on_a_blend_is_no_blend(
    backend: Backend, dtype: str, kind: type[torch.optim.SGD] | type[torch.optim.AdamW]
) -> None:
    base = random_model(1, dtype)
    parents = [sibling(base, 2, 0.05), sibling(base, 3, 0.05)]
    blended = blend(parents, ["0.6", "0.4"])
    child = one_step(blended, kind, dtype)
    assert any(not torch.equal(child[name], blended[name]) for name in child)
    found = estimate(backend, parents, child, dtype)
    assert found.exact is None
    assert found.fitted == pytest.approx((0.6, 0.4), abs=0.02)


def one_step(model: Tensors, kind: type[torch.optim.SGD] | type[torch.optim.AdamW], dtype: str) -> Tensors:
    """Return `model` after one step of size 1e-4 on a quadratic loss towards other weights."""
    wanted = random_model(9, "F32")
    weights = {name: weights_E.float().clone().requires_grad_() for name, weights_E in model.items()}
    optimizer = kind(list(weights.values()), lr=1e-4)
    loss = sum(((weights[name] - wanted[name]) ** 2).sum() for name in weights)
    assert isinstance(loss, torch.Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {name: weights_E.detach().to(DTYPES[dtype]) for name, weights_E in weights.items()}


def test_a_single_changed_bit_is_no_blend(backend: Backend) -> None:
    base = random_model(1, "BF16")
    parents = [base, sibling(base, 2, 0.05)]
    child = blend(parents, ["0.6", "0.4"])
    child["layers.0.norm"].view(torch.int16)[5] ^= 1
    assert estimate(backend, parents, child, "BF16").exact is None


def test_a_few_trained_elements_do_not_pass_for_a_blend(backend: Backend) -> None:
    """Any one number lies on the line through two others: a trained scale must not be taken for a merge of scales."""
    base = {"scale": torch.tensor([1.0]), "frozen": torch.randn(4096, generator=torch.Generator().manual_seed(1))}
    other = sibling(base, 2, 0.05)
    child = base | {"scale": torch.tensor([1.25])}
    for names in (["scale"], ["scale", "frozen"]):
        parents = [{name: model[name] for name in names} for model in (base, other)]
        assert estimate(backend, parents, {name: child[name] for name in names}, "F32").exact is None


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("elements", [1, 2, 4, 8, 16, 32, 64, 128])
def test_small_tensors_that_were_trained_are_no_blend(backend: Backend, dtype: str, elements: int) -> None:
    for seed in range(10):
        base = {"bias": random_model(10 * seed, dtype)["embedding"][:elements]}
        parents = [base, sibling(base, 10 * seed + 1, 0.02)]
        found = estimate_blend(samples(parents, sibling(base, 10 * seed + 2, 0.02), dtype), backend)
        assert found is None or found.exact is None


def test_a_model_that_is_one_of_two_others_is_found_where_neither_is_its_input(backend: Backend) -> None:
    base = random_model(1, "BF16")
    parents = [base, sibling(base, 2, 0.05)]
    found = estimate_blend(samples(parents, base, "BF16", before=sibling(base, 3, 0.05)), backend)
    assert found is not None
    assert decimals(only_formula(found)) == ["1", "0"]
    assert estimate(backend, parents, base, "BF16").exact is None


def test_a_small_blend_is_found_where_enough_elements_speak_for_it(backend: Backend) -> None:
    base = {"bias": random_model(1, "BF16")["embedding"][:64]}
    parents = [base, sibling(base, 2, 0.5)]
    found = only_formula(estimate(backend, parents, blend(parents, ["0.6", "0.4"]), "BF16"))
    assert decimals(found) == ["0.6", "0.4"]


def test_equal_parents_are_no_blend(backend: Backend) -> None:
    base = random_model(1, "BF16")
    assert estimate(backend, [base, base], base, "BF16").exact is None


def test_weights_that_are_not_finite_are_no_blend(backend: Backend) -> None:
    base = random_model(1, "BF16")
    child = {name: torch.full_like(weights_E, torch.nan) for name, weights_E in base.items()}
    assert estimate_blend(samples([base, sibling(base, 2, 0.05)], child, "BF16"), backend) is None


def test_cancelled_and_tiny_elements_do_not_mislead_the_fit(backend: Backend) -> None:
    base = random_model(1, "F32")
    other = sibling(base, 2, 0.05)
    other["head"] = -1.5 * base["head"]  # 0.6 and 0.4 cancel but for rounding
    base["embedding"][:100] = 1e-42
    found = only_formula(estimate(backend, [base, other], blend([base, other], ["0.6", "0.4"]), "F32"))
    assert decimals(found) == ["0.6", "0.4"]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("distance", [0.01, 0.05])
def test_any_coefficients_of_four_decimals_give_a_formula_with_the_same_bits(
    backend: Backend, dtype: str, distance: float
) -> None:
    """Spec: pipeline §4.2 asks for these of every verifier."""
    chance = random.Random(4)
    for seed in range(10):
        base = {"weights": random_model(10 * seed, dtype)["embedding"]}
        parents = [sibling(base, 10 * seed + 1, distance), sibling(base, 10 * seed + 2, distance)]
        share = chance.randint(500, 9500)
        child = blend(parents, [f"{share / 10_000:.4f}", f"{1 - share / 10_000:.4f}"])
        found = only_formula(estimate(backend, parents, child, dtype))
        again = blend(parents, decimals(found), normalize=found.arithmetic.normalize)
        assert torch.equal(again["weights"], child["weights"])
