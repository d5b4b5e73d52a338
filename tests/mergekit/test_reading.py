"""mergekit's YAML: what is read, and what is refused by name with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from model_attest.recipes import Recipe, read_recipe
from model_verify.errors import RecipeInvalid

TIES = """\
merge_method: ties
base_model: base
models:
  - model: a
    parameters: {weight: 0.5, density: 0.3}
  - model: b
    parameters: {weight: [0, 0.25, 1.0e-3]}
parameters: {lambda: 0.9}
dtype: bfloat16
"""
SLICES = """\
merge_method: linear
slices:
  - sources:
      - {model: a, layer_range: [0, 2], parameters: {weight: 1}}
      - {model: b, layer_range: [1, 3], parameters: {weight: 2}}
  - sources: [{model: a, layer_range: [2, 3]}]
    parameters: {weight: 3}
attest: {profile: mergekit-0.1.4}
"""


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "base", "lora"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def read(folder: Path, text: str) -> Recipe:
    (folder / "config.yml").write_text(text)
    return read_recipe(folder / "config.yml")


def test_an_unlisted_base_comes_last(tmp_path: Path) -> None:
    recipe = read(tmp_path, TIES)
    assert [parent.id for parent in recipe.parents] == ["a", "b", "base"]
    (part,) = recipe.slices
    assert ([c.parent for c in part.contributions], part.base) == ([0, 1, 2], 2)
    assert (recipe.method, recipe.profile, recipe.dtype) == ("ties", "mergekit-0.1.5/fma", "BF16")


def test_a_listed_base_keeps_its_place(tmp_path: Path) -> None:
    (part,) = read(tmp_path, TIES.replace("base_model: base", "base_model: a")).slices
    assert ([c.parent for c in part.contributions], part.base) == ([0, 1], 0)


def test_slices_have_layers_and_settings_of_their_own(tmp_path: Path) -> None:
    recipe = read(tmp_path, SLICES)
    assert [[(c.parent, c.layers) for c in part.contributions] for part in recipe.slices] == [
        [(0, range(2)), (1, range(1, 3))],
        [(0, range(2, 3))],
    ]
    assert [set(part.settings) for part in recipe.slices] == [set(), {"weight"}]


def test_numbers_become_the_shortest_text_of_what_mergekit_reads(tmp_path: Path) -> None:
    (part,) = read(tmp_path, TIES.replace("0.3", "0.1000000000000000055511151231257827")).slices
    written = [c.settings[name][0].values for c in part.contributions[:2] for name in c.settings]
    assert written == [("0.5",), ("0.1",), ("0.0", "0.25", "0.001")]


def test_an_adapter_makes_another_model(tmp_path: Path) -> None:
    recipe = read(tmp_path, TIES.replace("- model: b", "- model: base+lora"))
    assert [(parent.id, parent.adapter and parent.adapter.name) for parent in recipe.parents] == [
        ("a", None),
        ("base-lora", "lora"),
        ("base", None),
    ]


def test_what_mergekit_takes_without_effect_is_noted(tmp_path: Path) -> None:
    recipe = read(tmp_path, TIES.replace("lambda: 0.9", "lambda: 0.9, int8_mask: true, t: 0.5"))
    assert recipe.notes == (
        "line 8: `int8_mask` has no effect: it saves memory and changes no bit",
        "line 8: `t` has no effect: ties does not take it",
    )


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        ("1e-3", "`1e-3` is a number in JSON and text in YAML 1.1"),
        ("1.0e3", "`1.0e3` is a number in JSON and text in YAML 1.1"),
        ("1_000", "not a decimal number"),
        ("0o17", "not a decimal number"),
        ("017", "not a decimal number"),
        ("0x1F", "not a decimal number"),
        ("1:30", "not a decimal number"),
        (".5", "not a decimal number"),
        ("5.", "not a decimal number"),
        ("+.5", "not a decimal number"),
        ("+1", "not a decimal number"),
        (".inf", "not a decimal number"),
        (".nan", "not a decimal number"),
        ("1.0e+400", "too large for float64"),
        ("'0.5'", "not a number"),
        ("true", "not a decimal number"),
        ("yes", "not a decimal number"),
        ("~", "not a decimal number"),
    ],
)
@pytest.mark.parametrize("place", ["{}", "[0, {}]", "[{{filter: mlp, value: {}}}]", "{{value: [{}, 1]}}"])
def test_numbers_that_parsers_read_differently_are_refused(
    tmp_path: Path, number: str, problem: str, place: str
) -> None:
    with pytest.raises(RecipeInvalid, match=rf"config\.yml: line 5: `weight`.*{problem}"):
        read(tmp_path, TIES.replace("weight: 0.5", f"weight: {place.format(number)}"))


@pytest.mark.parametrize("number", ["0", "-0", "1", "0.5", "-0.5", "1.5e-3", "1.0e+3", "12345678901234567890123"])
def test_numbers_that_are_taken_are_those_of_pyyaml(tmp_path: Path, number: str) -> None:
    (part,) = read(tmp_path, TIES.replace("weight: 0.5", f"weight: {number}")).slices
    (written,) = part.contributions[0].settings["weight"][0].values
    assert written == repr(float(yaml.safe_load(number)))


@pytest.mark.parametrize(
    ("truth", "expected"), [("true", True), ("False", False), ("1", True), ("0", False), ("1.0", True)]
)
def test_truths_are_those_of_mergekit(tmp_path: Path, truth: str, expected: bool) -> None:
    recipe = read(tmp_path, TIES.replace("lambda: 0.9", f"normalize: {truth}"))
    assert recipe.settings["normalize"][0].values == (expected,)


@pytest.mark.parametrize("truth", ["yes", "on", "2", "0.5", "'true'", "[true, 2]", "~"])
def test_what_is_no_truth_is_refused(tmp_path: Path, truth: str) -> None:
    with pytest.raises(RecipeInvalid, match="line 8: `normalize` is neither true nor false"):
        read(tmp_path, TIES.replace("lambda: 0.9", f"normalize: {truth}"))


@pytest.mark.parametrize(
    ("text", "old", "new", "problem"),
    [
        (TIES, "ties", "tie", "line 1: merge_method `tie` is not supported"),
        (TIES, "ties", "arcee_fusion", "line 1: merge_method `arcee_fusion` is not supported"),
        (TIES, "base_model: base\n", "", "line 3: ties needs a `base_model`"),
        (TIES, "- model: b", "- model: a", "line 6: `a` is the model of line 4 again"),
        (TIES, "- model: b", "- model: ../" + "{folder}/a", "line 6: .* is the model of line 4 again"),
        (TIES, "- model: b", "- model: c", "line 6: there is no model `c`"),
        (TIES, "- model: b", "- model: base+none", "line 6: there is no model `none`"),
        (TIES, "- model: b", "- model: base+lora+lora", "line 6: .* more than one `\\+`"),
        (TIES, "- model: b", "- model: {model: b}", "line 6: model is not text"),
        (TIES, "density: 0.3", "densty: 0.3", "line 5: `densty` has no meaning in the parameters of ties"),
        (TIES, "density: 0.3", "lambda: 0.3", "line 5: `lambda` is not for one model"),
        (TIES, "weight: 0.5", "weight: []", "line 5: `weight` is an empty list"),
        (TIES, "weight: 0.5", "weight: [0, {value: 1}]", "line 5: `weight` is not a number"),
        (TIES, "weight: 0.5", "weight: [[0, 1]]", "line 5: `weight` is not a number"),
        (TIES, "weight: 0.5", "weight: {value: []}", "line 5: a gradient of 0 values"),
        (TIES, "weight: 0.5", "weight: [" + "0," * 1024 + "0]", "line 5: a gradient of 1025 values, not 1 to 1024"),
        (TIES, "weight: 0.5", "weight: {value: 1, filter: 1}", "line 5: filter is not text"),
        (TIES, "weight: 0.5", "weight: {value: 1, if: x}", "line 5: `if` has no meaning in a condition"),
        (TIES, "dtype: bfloat16", "dtype: float64", "line 9: dtype `float64` is not one of"),
        (TIES, "dtype: bfloat16", "dtype: int8", "line 9: dtype `int8` is not one of"),
        (TIES, "dtype: bfloat16", "name: x", "line 9: `name` is not supported"),
        (TIES, "dtype: bfloat16", "dtyp: x", "line 9: `dtyp` has no meaning in a recipe"),
        (TIES, "dtype: bfloat16", "slices: []", "line 9: `slices` beside `models`"),
        (TIES, "dtype: bfloat16", "tokenizer: {tokens: {}}", "line 9: `tokens` replaces rows of the embeddings"),
        (TIES, "dtype: bfloat16", "tokenizer: {pad_to_multiple_of: 8}", "line 9: `pad_to_multiple_of` adds rows"),
        (TIES, "dtype: bfloat16", "tokenizer: {sauce: x}", "line 9: `sauce` has no meaning in `tokenizer`"),
        (TIES, "dtype: bfloat16", "attest: {profile: linear/f64-v1}", "line 9: profile .* has no method `ties`"),
        (TIES, "dtype: bfloat16", "attest: {profile: mergekit-0.1.3}", "line 9: profile .* is not known"),
        (SLICES, "[0, 2]", "[0, 1]", "line 4: the sources of a slice have 1 and 2 layers"),
        (SLICES, "[2, 3]", "[3, 3]", r"line 6: `layer_range` \[3, 3\] has no layers"),
        (SLICES, "[2, 3]", "[3, 2]", r"line 6: `layer_range` \[3, 2\] has no layers"),
        (SLICES, "[2, 3]", "[-1, 2]", "line 6: `layer_range` is not two layer numbers"),
        (SLICES, "[2, 3]", "[0, 1, 2]", "line 6: `layer_range` is not two layer numbers"),
        (SLICES, "[2, 3]", "[0, 1.0]", "line 6: `layer_range` is not two layer numbers"),
        (SLICES, "[2, 3]", "[0, 010]", "line 6: `layer_range` is not two layer numbers"),
        (SLICES, "[2, 3]", "['0', 1]", "line 6: `layer_range` is not two layer numbers"),
        (SLICES, "{model: a, layer_range: [2, 3]}", "{model: a}", "line 6: the source has no `layer_range`"),
        (SLICES, "model: b, layer_range", "model: a, layer_range", "line 5: `a` is the model of line 4 again"),
        (SLICES, "    parameters: {weight: 3}", "    residual_weight: 0.5", "line 7: `residual_weight` has no effect"),
        (SLICES, "linear", "passthrough", "line 4: passthrough does not merge 2 models"),
        (SLICES, "slices:", "modules:", "modules is not a mapping"),
    ],
)
def test_what_has_no_meaning_here_is_refused_with_its_line(
    tmp_path: Path, text: str, old: str, new: str, problem: str
) -> None:
    assert old in text
    with pytest.raises(RecipeInvalid, match=problem):
        read(tmp_path, text.replace(old, new.replace("{folder}", tmp_path.name)))


@pytest.mark.parametrize(
    ("modules", "problem"),
    [
        ("{text: {models: [{model: a}]}}", "the module `text` is not supported"),
        ("{default: {models: [{model: a}], slices: []}}", "a module has `models` or `slices`"),
        ("{default: {parameters: {weight: 1}}}", "a module has `models` or `slices`"),
        ("{default: {models: [{model: a}], dtype: x}}", "`dtype` has no meaning in a module"),
    ],
)
def test_modules_are_the_one_module_default(tmp_path: Path, modules: str, problem: str) -> None:
    text = f"merge_method: linear\nmodules: {modules}\nattest: {{profile: mergekit-0.1.4}}\n"
    with pytest.raises(RecipeInvalid, match=f"line 2: {problem}"):
        read(tmp_path, text)


def test_a_module_has_settings_between_slices_and_all(tmp_path: Path) -> None:
    text = "merge_method: linear\nmodules: {default: {models: [{model: a}], parameters: {weight: 1}}}\n"
    recipe = read(tmp_path, text + "parameters: {weight: 2}\nattest: {profile: mergekit-0.1.4}\n")
    (part,) = recipe.slices
    scopes = recipe.scopes(part, part.contributions[0])
    assert [scope["weight"][0].values for scope in scopes if "weight" in scope] == [("1.0",), ("2.0",)]


def test_a_base_of_a_slice_comes_before_that_of_all(tmp_path: Path) -> None:
    sources = "[{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 1]}]"
    text = (
        f"merge_method: slerp\nbase_model: a\nparameters: {{t: 0.5}}\nslices: [{{sources: {sources}, base_model: b}}]"
    )
    (part,) = read(tmp_path, text).slices
    assert part.base == 1
    with pytest.raises(RecipeInvalid, match="the `base_model` is none of the sources"):
        read(tmp_path, text.replace("base_model: b}", "base_model: base}"))


def test_a_linear_recipe_without_a_profile_is_the_canonical_one(tmp_path: Path) -> None:
    text = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]\n"
    text += "parameters: {normalize: true}\n"
    assert read(tmp_path, text).profile == "linear/f64-v1"
    (tmp_path / "config.yml").write_text(text.replace("parameters: {normalize: true}", "dtype: float16"))
    assert read_recipe(tmp_path / "config.yml", made_by_mergekit=True).profile is None
