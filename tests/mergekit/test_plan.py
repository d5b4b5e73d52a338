"""The operands and parameters of every output tensor are those that mergekit's own planner resolves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_attest.recipes.methods import METHODS
from model_verify.errors import RecipeInvalid
from model_verify.merge.methods.table import METHODS as TABLE
from tests.mergekit.configs import MERGEKIT_0_1_4, MERGEKIT_0_1_5, Language, configurations
from tests.mergekit.oracle import Mergekit, MergekitRefused
from tests.mergekit.plans import Plan, resolved, wanted
from tests.mergekit.shapes import write_model

LAYERS = 3
EXAMPLES = int(os.environ.get("MERGEKIT_EXAMPLES", "30"))
FAMILIES = {
    "llama": ("llama",) * 4,
    "qwen2": ("qwen2-tied", "qwen2-tied", "qwen2", "qwen2-tied"),
    "mixtral": ("mixtral",) * 4,
    "mixtral-0.1.4": ("mixtral-0.1.4",) * 4,
    "gptj": ("gptj",) * 4,
}
"""Shapes of four models that are merged with each other."""


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    root = tmp_path_factory.mktemp("families")
    return {
        family: [write_model(root / family / f"m{i}", shape, layers=LAYERS, seed=i) for i, shape in enumerate(shapes)]
        for family, shapes in FAMILIES.items()
    }


def compare(worker: Mergekit, profile: str, config: dict[str, Any], folder: Path) -> bool:
    """Hold our resolution against mergekit's; return whether mergekit takes the configuration at all."""
    text = yaml.safe_dump(config, sort_keys=False)
    path = folder / "config.yml"
    path.write_text(text)
    try:
        expected = wanted(worker.plan(text), config["merge_method"])
    except MergekitRefused:
        expected = {}
    if not expected or any(fails_later(plan) for plan in expected.values()):
        with pytest.raises(RecipeInvalid):
            resolved(path, profile, None)
        return False
    _, found = resolved(path, profile, set(expected))
    assert found == expected
    return True


def fails_later(plan: Plan) -> bool:
    """Return whether mergekit plans a tensor that it cannot merge when it comes to it.

    It gives the last slice's norm as few sources as the first slice has, and 0.1.4 asks no weight of a base.
    """
    lacks_base = plan.base not in (None, *(folder for folder, _, _ in plan.operands))
    return lacks_base or (plan.op == "linear" and any(not own for _, _, own in plan.operands))


def hold_against(worker: Mergekit, profile: str, language: Language, models: list[Path], folder: Path) -> None:
    taken = []

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        config = data.draw(configurations(language, models, LAYERS))
        taken.append(compare(worker, profile, config, folder))

    run()
    assert sum(taken) > len(taken) / 2, "mergekit refuses most of what is made up"


@pytest.mark.parametrize("family", ["llama", "qwen2", "mixtral", "gptj"])
def test_every_operand_and_parameter_is_the_one_that_mergekit_plans(
    family: str, families: dict[str, list[Path]], mergekit: Mergekit, tmp_path: Path
) -> None:
    hold_against(mergekit, "mergekit-0.1.5/fma", MERGEKIT_0_1_5, families[family], tmp_path)


@pytest.mark.parametrize("family", ["llama", "qwen2", "mixtral-0.1.4", "gptj"])
def test_every_operand_and_parameter_is_the_one_that_mergekit_0_1_4_plans(
    family: str, families: dict[str, list[Path]], mergekit_0_1_4: Mergekit, tmp_path: Path
) -> None:
    hold_against(mergekit_0_1_4, "mergekit-0.1.4", MERGEKIT_0_1_4, families[family], tmp_path)


@pytest.mark.parametrize("method", sorted(TABLE))
def test_a_recipe_gives_what_the_statement_asks_of_the_method(method: str) -> None:
    asked, given = TABLE[method], METHODS[method]
    assert {name: p.kind for name, p in given.shared.items()} == dict(asked.shared)
    assert {name: p.kind for name, p in given.own.items()} == dict(asked.own)
    assert {name for name, p in given.own.items() if p.may_be_left_out} == asked.optional
    assert given.base is asked.base
