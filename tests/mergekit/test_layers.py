"""Layers are found by the names of tensors, and tensors that are of none stand where mergekit's tables have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_attest.recipes import read_recipe
from model_attest.resolution import ResolvedMerge, resolve
from model_attest.resolution.layers import is_known, split, stacks, stand_ins, stands_before
from model_verify.errors import RecipeInvalid
from tests.mergekit.oracle import Mergekit
from tests.mergekit.plans import read_parent
from tests.mergekit.shapes import write_model

PROFILE = "mergekit-0.1.5/fma"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b", "base")):
        write_model(tmp_path / name, "llama", layers=3, seed=seed)
    return tmp_path


def resolve_at(folder: Path, text: str, profile: str = PROFILE, output: set[str] | None = None) -> ResolvedMerge:
    (folder / "config.yml").write_text(text)
    recipe = read_recipe(folder / "config.yml", made_by_mergekit=True)
    return resolve(recipe, profile, [read_parent(parent.folder) for parent in recipe.parents], output=output)


def replace_tensors(folder: Path, *, without: str = "", **changes: torch.Tensor) -> None:
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not without or without not in name}
    save_file({**kept, **changes}, folder / "model.safetensors")


LINEAR = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\n"


def stacked(*ranges: tuple[str, int, int]) -> str:
    slices = ", ".join(f"{{sources: [{{model: {m}, layer_range: [{i}, {j}]}}]}}" for m, i, j in ranges)
    return f"merge_method: passthrough\nslices: [{slices}]\n"


def operand(merge: ResolvedMerge, name: str) -> list[tuple[str, str]]:
    operation = merge.bound.operations[name]
    return [(merge.step.inputs[operand.position], operand.info.name) for operand in operation.operands]


def test_layers_are_stacked_and_numbered_anew(models: Path) -> None:
    merge = resolve_at(models, stacked(("a", 0, 2), ("b", 1, 3), ("a", 2, 3)))
    weight = "mlp.up_proj.weight"
    assert [operand(merge, f"model.layers.{layer}.{weight}") for layer in range(5)] == [
        [("a", f"model.layers.0.{weight}")],
        [("a", f"model.layers.1.{weight}")],
        [("b", f"model.layers.1.{weight}")],
        [("b", f"model.layers.2.{weight}")],
        [("a", f"model.layers.2.{weight}")],
    ]
    assert operand(merge, "model.embed_tokens.weight") == [("a", "model.embed_tokens.weight")]
    assert f"model.layers.5.{weight}" not in merge.bound.operations


def test_what_follows_the_layers_is_of_the_last_slice(models: Path) -> None:
    merge = resolve_at(models, stacked(("a", 0, 1), ("b", 1, 3)))
    assert [operand(merge, name) for name in ("model.norm.weight", "lm_head.weight")] == [
        [("b", "model.norm.weight")],
        [("b", "lm_head.weight")],
    ]


def test_of_an_architecture_that_mergekit_does_not_know_all_is_of_the_first_slice(models: Path) -> None:
    for name in ("a", "b"):
        (models / name / "config.json").write_text('{"architectures": ["TownForCausalLM"], "num_hidden_layers": 3}')
    merge = resolve_at(models, stacked(("a", 0, 1), ("b", 1, 3)))
    assert operand(merge, "lm_head.weight") == [("a", "lm_head.weight")]


def test_operations_that_are_alike_are_written_once(models: Path) -> None:
    merge = resolve_at(models, LINEAR.replace("weight: 0.5", "weight: [{filter: mlp, value: 1}, {value: 0.5}]"))
    written = [(op.op, op.tensors if op.tensors == "rest" else len(op.tensors)) for op in merge.step.operations]
    assert written == [("linear", "rest"), ("linear", 9)]
    assert merge.step.operations[0].model_dump(exclude_none=True, by_alias=True) == {
        "op": "linear",
        "tensors": "rest",
        "dtype": "BF16",
        "computeDtype": "BF16",
        "parameters": {"normalize": True},
        "inputParameters": [{"weight": "0.5"}, {"weight": "0.5"}],
    }


def test_the_rest_is_listed_where_it_is_not_all_the_rest(models: Path) -> None:
    merge = resolve_at(models, stacked(("a", 0, 2)))
    assert all(operation.tensors != "rest" for operation in merge.step.operations)
    assert len(merge.bound.operations) == 2 * 9 + 3


def test_a_model_without_lm_head_gives_what_it_is_tied_to(models: Path) -> None:
    replace_tensors(models / "b", without="lm_head")
    merge = resolve_at(models, LINEAR)
    assert operand(merge, "lm_head.weight") == [("a", "lm_head.weight"), ("b", "model.embed_tokens.weight")]
    named = [operation for operation in merge.step.operations if operation.names]
    assert [operation.names for operation in named] == [{"b": ["model.embed_tokens.weight"]}]


def test_without_any_lm_head_there_is_none(models: Path) -> None:
    for name in ("a", "b"):
        replace_tensors(models / name, without="lm_head")
    assert "lm_head.weight" not in resolve_at(models, LINEAR).bound.operations


def test_what_a_parent_lacks_is_refused_unless_mergekit_wrote_it(models: Path) -> None:
    replace_tensors(models / "b", without="layers.1.mlp.up_proj")
    with pytest.raises(RecipeInvalid, match=r'"model\.layers\.1\.mlp\.up_proj\.weight" is missing from b'):
        resolve_at(models, LINEAR)
    names = set(load_file(models / "a" / "model.safetensors"))
    merge = resolve_at(models, LINEAR, output=names)
    assert operand(merge, "model.layers.1.mlp.up_proj.weight") == [("a", "model.layers.1.mlp.up_proj.weight")]


def test_what_mergekit_left_out_everywhere_is_said(models: Path) -> None:
    names = set(load_file(models / "a" / "model.safetensors"))
    for name in ("a", "b"):
        buffers = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(3)}
        replace_tensors(models / name, **buffers)
    merge = resolve_at(models, LINEAR, output=names)
    assert merge.left_out == ("model.layers.*.self_attn.rotary_emb.inv_freq",)
    assert set(merge.bound.operations) == names
    with pytest.raises(RecipeInvalid, match=r"the output has no tensor 'model.layers.2.mlp.up_proj.weight'"):
        resolve_at(models, LINEAR, output=names - {"model.layers.2.mlp.up_proj.weight"})
    with pytest.raises(RecipeInvalid, match=r"no parent gives the output's tensor 'model.layers.3.mlp.up_proj.weight'"):
        resolve_at(models, LINEAR, output=names | {"model.layers.3.mlp.up_proj.weight"})
    with pytest.raises(RecipeInvalid, match="no parent gives") as raised:
        resolve_at(models, LINEAR, output=names | {"model.layers.0.mlp.experts.gate_up_proj"})
    assert "packs the experts" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (stacked(("a", 0, 4)), r"line 2: `layer_range` \[0, 4\], and a has 3 layers"),
        (stacked(("a", 3, 4)), r"line 2: `layer_range` \[3, 4\], and a has 3 layers"),
    ],
)
def test_layers_out_of_bounds_are_refused(models: Path, text: str, problem: str) -> None:
    with pytest.raises(RecipeInvalid, match=problem):
        resolve_at(models, text)


def test_whole_models_of_other_lengths_are_refused(models: Path) -> None:
    write_model(models / "long", "llama", layers=4, seed=9)
    with pytest.raises(RecipeInvalid, match="line 2: a has 3 layers and long has 4"):
        resolve_at(models, LINEAR.replace("model: b", "model: long"))


def test_the_configuration_must_agree_with_the_tensors(models: Path) -> None:
    configuration = json.loads((models / "b" / "config.json").read_text())
    for layers in (2, 4):
        (models / "b" / "config.json").write_text(json.dumps({**configuration, "num_hidden_layers": layers}))
        with pytest.raises(RecipeInvalid, match=f"b: its config.json says {layers} layers, and its tensors have 3"):
            resolve_at(models, LINEAR)


def test_layers_that_the_configuration_does_not_count_are_not_written(models: Path) -> None:
    configuration = json.loads((models / "b" / "config.json").read_text())
    for name in ("a", "b"):
        (models / name / "config.json").write_text(json.dumps({**configuration, "num_hidden_layers": 2}))
    names = {name for name in load_file(models / "a" / "model.safetensors") if ".2." not in name}
    assert set(resolve_at(models, LINEAR, output=names).bound.operations) == names


def test_gradients_and_slices_need_one_stack_of_layers(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tensors = {f"{part}.block.{i}.w": torch.ones(2) for part in ("encoder", "decoder") for i in range(2)}
        save_file(tensors, tmp_path / name / "model.safetensors")
    merge = resolve_at(tmp_path, LINEAR)
    assert len(merge.bound.operations) == 4
    with pytest.raises(RecipeInvalid, match=r"a gradient, and .* several stacks of layers: decoder\.block, encoder"):
        resolve_at(tmp_path, LINEAR.replace("weight: 0.5", "weight: [0, 1]"))
    with pytest.raises(RecipeInvalid, match="line 2: the models have several stacks"):
        resolve_at(tmp_path, stacked(("a", 0, 1)))


def test_only_numbers_without_gaps_are_layers() -> None:
    names = ["h.0.x", "h.1.x", "merger.mlp.0.w", "merger.mlp.2.w", "m.00.x", "m.layers.0.experts.1.w", "3.x"]
    assert stacks(names) == {"h": 2} | {"m.layers": 1}
    assert split("m.layers.0.experts.1.w", {"m.layers"}) == ("m.layers", 0, "experts.1.w")
    assert split("m.00.x", {"m"}) is None


# Dtypes.


def test_mixed_dtypes_are_widened_as_the_version_does(models: Path) -> None:
    write_model(models / "half", "llama", layers=3, seed=5, dtype=torch.float16)
    text = LINEAR.replace("model: b", "model: half")
    ties = text.replace("linear", "ties\nbase_model: base")
    for profile, config, expected in [
        (PROFILE, text, "F32"),
        ("mergekit-0.1.4", text, "F32"),
        (PROFILE, ties, "F32"),
        ("mergekit-0.1.4", ties, "BF16"),
        (PROFILE, text + "dtype: float16\n", "F16"),
    ]:
        (operation,) = resolve_at(models, config, profile).step.operations
        assert (operation.compute_dtype, operation.dtype) == (expected, expected)
    slerp = text.replace("linear", "slerp\nbase_model: a").replace("weight", "t")
    with pytest.raises(RecipeInvalid, match=r"is BF16, F16, which slerp of mergekit-0.1.4 mixes") as raised:
        resolve_at(models, slerp, "mergekit-0.1.4")
    assert raised.value.hint == "write the `dtype`"


def test_the_output_has_a_dtype_of_its_own(models: Path) -> None:
    (operation,) = resolve_at(models, LINEAR + "dtype: float32\nout_dtype: float16\n").step.operations
    assert (operation.compute_dtype, operation.dtype) == ("F32", "F16")


def test_whole_numbers_are_copied_and_doubles_are_refused(models: Path) -> None:
    for name in ("a", "b"):
        replace_tensors(models / name, position_ids=torch.arange(4))
    names = set(load_file(models / "a" / "model.safetensors"))
    assert resolve_at(models, LINEAR, output=names).bound.operations["position_ids"].call is None
    with pytest.raises(RecipeInvalid, match='"position_ids" is I64 and cannot be blended'):
        resolve_at(models, LINEAR)  # whose are taken is to be said
    merge = resolve_at(models, LINEAR + "attest: {copy_from: b}\n")
    assert operand(merge, "position_ids") == [("b", "position_ids")]
    for name in ("a", "b"):
        replace_tensors(models / name, position_ids=torch.ones(4).double())
    with pytest.raises(RecipeInvalid, match='"position_ids" is F64 and cannot be blended'):
        resolve_at(models, LINEAR, output=names)


# mergekit's tables.


def test_names_stand_where_the_tables_of_0_1_5_have_them(mergekit: Mergekit) -> None:
    checked = 0
    for architecture, entry in mergekit.tables().items():
        if architecture.startswith("_"):
            continue
        assert is_known(architecture, PROFILE), architecture
        if len(entry["modules"]) > 1:
            continue  # slices are not supported, so that it does not matter
        names = [(name, True) for name in entry["before"]] + [(name, False) for name in entry["after"]]
        for name, before in names:
            if "{" not in name and not name.startswith("layers."):
                assert stands_before(name) is before, (architecture, name)
                checked += 1
        for name, others in entry["tied"]:
            assert set(others) <= {*stand_ins(name), "model.lm_head.weight"}, (architecture, name)
    assert checked > 150


def test_the_tables_of_0_1_4_are_those_that_are_known(mergekit_0_1_4: Mergekit) -> None:
    for architecture in mergekit_0_1_4.tables():
        assert is_known(architecture, "mergekit-0.1.4"), architecture
    assert not is_known("GraniteForCausalLM", "mergekit-0.1.4")
