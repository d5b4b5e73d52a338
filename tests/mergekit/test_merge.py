"""`attest merge` in the mergekit profiles gives what mergekit gives, and refuses what nobody could check."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from model_attest.merge import MergeResult, run_merge
from model_attest.recipes import read_recipe
from model_attest.record.mergekit import record_merge
from model_verify.errors import BackendUnavailable, RecipeInvalid
from model_verify.merge.kernel import Call, Standing
from model_verify.merge.methods import load
from tests.cli.making import attest
from tests.mergekit.matrix import BOUNDED, COMPUTED, DTYPES, EXACT, RANDOM, Parents, write_parents
from tests.mergekit.oracle import Mergekit
from tests.mergekit.roots import PATH as ROOTS
from tests.mergekit.roots import names
from tests.publisher.conftest import expected_root


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Parents]:
    root = tmp_path_factory.mktemp("merge")
    wanted = {*(name[:2] for name in names()), *(("mixtral", dtype) for dtype in DTYPES)}
    return {(shape, dtype): write_parents(root / shape / dtype, shape, dtype) for shape, dtype in sorted(wanted)}


def merge(given: Parents, case: str, dtype: str, out: Path, *, profile: str, more: str = "") -> MergeResult:
    """Merge a case; the other files are those of a model that takes part in it."""
    config = given.config(case, dtype)
    model = given.root / ("a" if any(f"{given.root}/a{end}" in config for end in "\n,}") else "base")
    recipe = out.parent / f"{out.name}.yml"
    recipe.write_text(f"{config}attest: {{profile: {profile}, copy_from: {model}}}\n{more}")
    return run_merge(read_recipe(recipe), out, device="cpu")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case in EXACT if case in COMPUTED])
def test_the_weights_are_those_of_mergekit(
    case: str, dtype: str, parents: dict[tuple[str, str], Parents], mergekit: Mergekit, tmp_path: Path
) -> None:
    for shape in ("llama", "qwen2", "mixtral"):
        given = parents[shape, dtype]
        mergekit.merge(given.config(case, dtype), tmp_path / f"theirs-{shape}")
        result = merge(given, case, dtype, tmp_path / shape, profile="mergekit-0.1.5/fma")
        assert result.checkpoint_root.text == expected_root(tmp_path / f"theirs-{shape}" / "model.safetensors")


@pytest.mark.parametrize("case", [case for case in EXACT if case in COMPUTED])
def test_the_weights_are_those_that_mergekit_0_1_4_gave(
    case: str, parents: dict[tuple[str, str], Parents], tmp_path: Path
) -> None:
    roots = json.loads(ROOTS.read_text())
    for shape, dtype, other in names():
        if other == case:
            out = tmp_path / f"{shape}-{dtype}"
            result = merge(parents[shape, dtype], case, dtype, out, profile="mergekit-0.1.4")
            assert result.checkpoint_root.text == roots[f"{shape}/{dtype}/{case}"], (shape, dtype)


@pytest.mark.parametrize("profile", ["mergekit-0.1.5/fma", "mergekit-0.1.4"])
@pytest.mark.parametrize("case", BOUNDED)
def test_what_is_not_fixed_to_the_bit_is_written_as_it_is_computed_anywhere(
    case: str, profile: str, parents: dict[tuple[str, str], Parents], tmp_path: Path
) -> None:
    given = parents["llama", "bfloat16"]
    result = merge(given, case, "bfloat16", tmp_path / "out", profile=profile)
    recipe = tmp_path / "same.yml"
    recipe.write_text(given.config(case, "bfloat16"))
    found = record_merge(read_recipe(recipe, made_by_mergekit=True), tmp_path / "out", profile=profile, device="cpu")
    assert found.best.standing is Standing.EXACT, found.best.outcome
    assert found.checkpoint_root == result.checkpoint_root


@pytest.mark.parametrize("case", [case for case in RANDOM if case in COMPUTED])
def test_random_numbers_are_refused(case: str, parents: dict[tuple[str, str], Parents], tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="draws random numbers, so that nobody could check") as raised:
        merge(parents["llama", "bfloat16"], case, "bfloat16", tmp_path / "out", profile="mergekit-0.1.5/fma")
    assert "attest record mergekit" in str(raised.value.hint)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("chat_template: auto", "`chat_template` is not supported"),
        ("tokenizer_source: union", r"`tokenizer_source: union` permutes or extends embeddings, .* no tokenizer\.json"),
    ],
)
def test_what_changes_more_than_weights_is_refused(
    option: str, problem: str, parents: dict[tuple[str, str], Parents], tmp_path: Path
) -> None:
    given = parents["llama", "bfloat16"]
    with pytest.raises(RecipeInvalid, match=problem):
        merge(given, "ties", "bfloat16", tmp_path / "out", profile="mergekit-0.1.5/fma", more=f"{option}\n")


def test_a_method_without_a_kernel_is_refused_by_name() -> None:
    call = Call("mergekit-0.1.5/fma", "none", "BF16")
    with pytest.raises(BackendUnavailable, match=r"none of mergekit-0\.1\.5/fma is not computed by this version"):
        load(call)


STACK = """\
merge_method: passthrough
slices:
  - sources: [{{model: {root}/a, layer_range: [0, 3]}}]
  - sources: [{{model: {root}/b, layer_range: [1, 3]}}]
attest: {{copy_from: {root}/a}}
"""


def test_a_stack_of_layers_has_a_configuration_that_counts_them(
    parents: dict[tuple[str, str], Parents], tmp_path: Path
) -> None:
    given = parents["llama", "float16"]
    path = given.root / "a" / "config.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "layer_types": ["one", "two", "three"]}))
    try:
        (tmp_path / "recipe.yml").write_text(STACK.format(root=given.root))
        result = run_merge(read_recipe(tmp_path / "recipe.yml"), tmp_path / "out", device="cpu")
    finally:
        path.write_text(before)
    configuration = json.loads((tmp_path / "out" / "config.json").read_text())
    assert configuration["num_hidden_layers"] == 5
    assert configuration["layer_types"] == ["one", "two", "three", "two", "three"]
    assert result.blended_tensors == 5 * 9 + 3
    assert result.step.profile == "mergekit-0.1.5/fma"


def test_the_command_prints_the_profile_and_what_has_no_effect(
    parents: dict[tuple[str, str], Parents], tmp_path: Path
) -> None:
    given = parents["llama", "bfloat16"]
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(f"{given.config('ties', 'bfloat16')}attest: {{copy_from: {given.root}/base}}\n")
    done = attest("merge", "recipe.yml", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "  ties of mergekit-0.1.5/fma"
    assert re.search("^note: line [0-9]+: `int8_mask` has no effect", done.stderr, re.MULTILINE)
