"""Recipes of `linear/f64-v1`: what they mean, and that nothing in them is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from model_attest.recipes import Recipe, read_recipe
from model_attest.recipes.recipe import identifiers
from model_attest.recipes.settings import Setpoint, look_up
from model_verify.errors import RecipeInvalid, SourceError, SourceMissing

GOOD = """\
merge_method: linear
models:
  - model: a
    parameters: {weight: 0.60}
  - model: sub/b
    parameters: {weight: 4e-1}
parameters: {normalize: false}
"""


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "sub" / "b").mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def read(folder: Path, text: str | bytes) -> Recipe:
    path = folder / "recipe.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_recipe(path)


def weights(recipe: Recipe, tensor: str) -> list[Setpoint | None]:
    (part,) = recipe.slices
    return [look_up("weight", recipe.scopes(part, given), tensor, 0) for given in part.contributions]


def normalize(recipe: Recipe) -> Setpoint | None:
    return look_up("normalize", [recipe.settings], "x", 0)


def test_a_recipe_is_read_as_it_is_written(tmp_path: Path) -> None:
    recipe = read(tmp_path, GOOD)
    assert [(parent.id, parent.folder) for parent in recipe.parents] == [
        ("a", tmp_path / "a"),
        ("b", tmp_path / "sub" / "b"),
    ]
    assert weights(recipe, "x") == ["0.60", "4e-1"]
    assert (normalize(recipe), recipe.out_dtype, recipe.copy_from, recipe.copy_tensors) == (False, None, None, ())
    assert recipe.profile == "linear/f64-v1"


def test_paths_start_at_the_recipe_and_not_at_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yml").write_text(GOOD)
    monkeypatch.chdir(tmp_path / "sub")
    assert read_recipe(Path("../recipe.yml")).parents[0].folder == tmp_path / "a"


@pytest.mark.parametrize(
    "number", ["0.6", "1", "-0.25", "1e-3", "1E+2", "0.5000000298023223876953125000000000000000001"]
)
def test_coefficients_keep_the_digits_that_were_written(tmp_path: Path, number: str) -> None:
    assert weights(read(tmp_path, GOOD.replace("0.60", number)), "x")[0] == number


@pytest.mark.parametrize(
    "number",
    [
        ".nan",
        ".inf",
        "-.inf",
        "nan",
        "1e400",
        "0x10",
        "010",
        "+1",
        "1_000",
        ".5",
        "5.",
        "1:30",
        "'0.6'",
        "true",
        "~",
        "",
    ],
)
def test_what_is_no_plain_decimal_is_refused_with_its_line(tmp_path: Path, number: str) -> None:
    with pytest.raises(RecipeInvalid, match=r"recipe\.yml: line 4: "):
        read(tmp_path, GOOD.replace("0.60", number))


CONDITIONS = """\
merge_method: linear
models:
  - model: a
    parameters:
      weight:
        - {filter: embed, value: 0.1}
        - {filter: layers.1, value: 0.2}
        - {filter: "*", value: 0.3}
        - {value: 0.4}
  - model: sub/b
    parameters:
      weight:
        - filter: mlp
          value: 0.5
parameters:
  normalize: true
  weight:
    - {filter: norm, value: 0.6}
    - {filter: null, value: 0.7}
out_dtype: bfloat16
attest: {profile: linear/f64-v1, copy_from: sub/b, copy_tensors: [ids, "1"]}
"""


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        ("embed_tokens.weight", ["0.1", "0.7"]),
        ("layers.1.mlp", ["0.2", "0.5"]),
        ("layers.10.norm", ["0.2", "0.6"]),  # a part of the name, as mergekit has it
        ("lm_head", ["0.3", "0.7"]),
        ("mlp.norm", ["0.3", "0.5"]),
    ],
)
def test_the_first_condition_that_fits_wins_and_none_falls_through(
    tmp_path: Path, tensor: str, expected: list[str]
) -> None:
    recipe = read(tmp_path, CONDITIONS)
    assert weights(recipe, tensor) == expected
    assert (normalize(recipe), recipe.out_dtype, recipe.copy_from) == (True, "BF16", "b")
    assert recipe.copy_tensors == ("ids", "1")


def test_a_tensor_that_no_condition_fits_has_no_weight(tmp_path: Path) -> None:
    recipe = read(tmp_path, GOOD.replace("0.60", "[{filter: x, value: 1}]"))
    assert weights(recipe, "y") == [None, "4e-1"]


def test_a_zero_weight_does_not_fall_through(tmp_path: Path) -> None:
    recipe = read(tmp_path, CONDITIONS.replace("value: 0.5", "value: 0"))
    assert weights(recipe, "mlp") == ["0.3", "0"]


@pytest.mark.parametrize(
    ("key", "line", "problem", "hint"),
    [
        ("slices: []", 1, "`slices` is not supported", "list whole models"),
        ("modules: {}", 1, "`modules` is not supported", "list whole models"),
        ("base_model: a", 1, "`base_model` is not supported", "no base"),
        ("tokenizer_source: union", 1, "`tokenizer_source` is not supported", "copy_from"),
        ("tokenizer: {source: base}", 1, "`tokenizer` is not supported", "copy_from"),
        ("chat_template: auto", 1, "`chat_template` is not supported", "copy_from"),
        ("dtype: bfloat16", 1, "`dtype` is not supported", "out_dtype"),
        ("name: x", 1, "`name` is not supported", "attest sign --name"),
        ("colour: red", 1, "`colour` has no meaning", None),
        ("<<: {a: 1}", 1, "a key is not a plain name", None),
        ("? [a]\n: 1", 1, "a key is not a plain name", None),
    ],
)
def test_every_other_key_is_refused_by_name(
    tmp_path: Path, key: str, line: int, problem: str, hint: str | None
) -> None:
    with pytest.raises(RecipeInvalid, match=f"line {line}: {problem}") as raised:
        read(tmp_path, f"{key}\n{GOOD}")
    assert (raised.value.hint is None) == (hint is None)
    assert hint is None or hint in str(raised.value.hint)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("linear", "tie", "line 1: merge_method `tie` is not supported"),
        ("linear", "[linear]", "line 1: merge_method is not text"),
        ("merge_method: linear\n", "", "line 1: the recipe has no `merge_method`"),
        ("0.60", "[0.6, 0.4]", "line 4: gradients"),
        ("0.60", "[{value: [0.6, 0.4]}]", "line 4: gradients"),
        ("0.60", "[]", "line 4: `weight` is an empty list"),
        ("0.60", "{filter: x}", "line 4: the condition of `weight` has no `value`"),
        ("0.60", "[{filter: x}]", "line 4: the condition of `weight` has no `value`"),
        ("0.60", "[{filter: 1, value: 1}]", "line 4: filter is not text"),
        ("0.60", "[{filter: x, value: 1, scale: 2}]", "line 4: `scale` has no meaning"),
        ("weight: 0.60", "density: 0.5", "line 4: `density` has no meaning"),
        ("weight: 0.60", "normalize: true", "line 4: `normalize` is not for one model"),
        ("    parameters: {weight: 0.60}", "    weight: 0.6", "line 4: `weight` has no meaning of a model"),
        ("model: sub/b", "model: a", "line 5: `a` is the model of line 3 again"),
        ("model: sub/b", "model: ./sub/../a", "again"),
        ("model: sub/b", "model: none", "line 5: there is no model `none`"),
        ("model: sub/b", "model: a+lora", r"line 5: `a\+lora`: adapters"),
        ("model: sub/b", "model: 7", "line 5: model is not text"),
        ("parameters: {normalize: false}", "", "`normalize` is not written"),
        ("{normalize: false}", "{weight: 1}", "line 7: `normalize` is not written"),
        ("normalize: false", "normalize: yes", "line 7: `normalize` is neither true nor false"),
        ("normalize: false", "normalize: 'true'", "line 7: `normalize` is neither true nor false"),
        ("normalize: false", "normalize: 0", "line 7: `normalize` is neither true nor false"),
        ("normalize: false", "normalize: false, lambda: 1", "line 7: `lambda` has no meaning"),
    ],
)
def test_what_has_no_meaning_here_is_refused_with_its_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeInvalid, match=problem):
        read(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("addition", "problem"),
    [
        ("out_dtype: float64", "line 8: out_dtype `float64` is not one of"),
        ("out_dtype: auto", "line 8: out_dtype `auto`"),
        ("attest: {profile: linear/f32}", "line 8: profile `linear/f32` is not known"),
        ("attest: {copy_from: c}", "line 8: copy_from `c` is none of a, b"),
        ("attest: {copy_tensors: [x]}", "line 8: `copy_tensors` without `copy_from`"),
        ("attest: {copy_from: a, copy_tensors: x}", "line 8: `copy_tensors` is not a list"),
        ("attest: {copy_from: a, copy_tensors: [x, x]}", "twice"),
        ("attest: {copy_from: a, copy_tensors: [1]}", "a tensor name is not text"),
        ("attest: {copyfrom: a}", "line 8: `copyfrom` has no meaning"),
        ("attest: a", "line 8: attest is not a mapping"),
        ("merge_method: linear", "line 8: `merge_method` is there twice, first in line 1"),
        ("x: &anchor 1", "line 8: anchors and aliases"),
        ("x: *anchor", "line 8: anchors and aliases"),
        ("x: !!python/object/apply:os.system [id]", "line 8: tags are not supported"),
        ("x: !!int '1'", "line 8: tags are not supported"),
        ("x: " + "[" * 30 + "]" * 30, "line 8: nested deeper than 16"),
        ("x: " + "{a: " * 5000 + "1" + "}" * 5000, "nested deeper than 16"),
        ("---\nmerge_method: linear", "line 8: but found another document"),
        ("x: [", "line 9"),
        ("\t", "line 8: "),
        ("x: \x07", "not YAML"),
    ],
)
def test_yaml_beyond_the_subset_is_refused(tmp_path: Path, addition: str, problem: str) -> None:
    with pytest.raises(RecipeInvalid, match=problem):
        read(tmp_path, f"{GOOD}{addition}\n")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"[]", "the recipe is not a mapping"),
        (b"\xff\xfe", "not UTF-8"),
        (b"merge_method: linear\nmodels: {}\nparameters: {normalize: true}\n", "`models` is not a list"),
        (b"merge_method: linear\nmodels: [{model: a}]\nparameters: {normalize: true}\n", "at least two"),
        (b"merge_method: linear\nmodels: [a, b]\nparameters: {normalize: true}\n", "a model is not a mapping"),
    ],
)
def test_what_is_no_recipe_is_said_so(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(RecipeInvalid, match=problem):
        read(tmp_path, content)


def test_a_recipe_over_a_mebibyte_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "big.yml").touch()
    os.truncate(tmp_path / "big.yml", 1 << 40)
    with pytest.raises(SourceError, match="over the limit"):
        read_recipe(tmp_path / "big.yml")


def test_a_missing_recipe_and_a_fifo_are_errors_and_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="FIFO"):
        read_recipe(tmp_path / "pipe")
    with pytest.raises(SourceMissing, match="there is no recipe at"):
        read_recipe(tmp_path / "none.yml")
    with pytest.raises(SourceMissing, match="there is no recipe at"):
        read_recipe(tmp_path / "none" / "none.yml")


def test_another_parser_reads_the_same_numbers(tmp_path: Path) -> None:
    """mergekit reads its recipes with PyYAML's safe loader: where both take a number, they take the same one."""
    document = yaml.safe_load(CONDITIONS)
    assert document["parameters"]["weight"][0] == {"filter": "norm", "value": 0.6}
    assert [float(w or 0) for w in weights(read(tmp_path, CONDITIONS), "embed")] == [0.1, 0.7]


def test_identifiers_are_made_of_allowed_characters_and_distinct() -> None:
    assert identifiers(["a b", "a+b", "a b", ".hidden", "é", "", "x" * 70, "x" * 70]) == [
        "a-b",
        "a-b-2",
        "a-b-3",
        "hidden",
        "model",
        "model-2",
        "x" * 64,
        "x" * 62 + "-2",
    ]


@pytest.mark.parametrize("reference", ["lab/a-7b", "lab/a-7b@main", "lab/a-7b@" + "0" * 40])
def test_a_hub_model_is_found_in_the_cache(tmp_path: Path, reference: str) -> None:
    entry = tmp_path / "hub" / "models--lab--a-7b"
    (entry / "refs").mkdir(parents=True)
    (entry / "blobs").mkdir()
    (entry / "refs" / "main").write_text("0" * 40)
    (entry / "snapshots" / ("0" * 40)).mkdir(parents=True)
    recipe = read(tmp_path, GOOD.replace("model: sub/b", f"model: {reference}"))
    assert (recipe.parents[1].id, recipe.parents[1].folder) == ("a-7b", entry / "snapshots" / ("0" * 40))


@pytest.mark.parametrize("reference", ["lab/none", "lab/a@../../x", "../x/y", "lab/a@main"])
def test_a_hub_model_that_is_not_in_the_cache_is_not_fetched(tmp_path: Path, reference: str) -> None:
    (tmp_path / "hub" / "models--lab--a" / "refs").mkdir(parents=True)
    (tmp_path / "hub" / "models--lab--a" / "refs" / "main").write_text("../../elsewhere")
    with pytest.raises(RecipeInvalid, match="there is no model") as raised:
        read(tmp_path, GOOD.replace("model: sub/b", f"model: {reference}"))
    assert "hf download" in str(raised.value.hint)
