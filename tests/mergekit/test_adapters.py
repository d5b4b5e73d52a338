"""`model+lora`: mergekit merges the adapter with peft before anything else, and so does the record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_attest.merge import run_merge
from model_attest.recipes import read_recipe
from model_attest.record.mergekit import RecordedMerge, record_merge
from model_attest.sign import sign_folder
from model_verify.errors import RecipeInvalid
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.mergekit.oracle import Mergekit
from tests.mergekit.shapes import HEADS, HIDDEN, write_model
from tests.models import new_signer

LAYERS, RANK = 2, 4
CONFIG = """\
merge_method: task_arithmetic
base_model: {root}/base
models:
  - {{model: {root}/base+{root}/one, parameters: {{weight: 0.7}}}}
  - {{model: {root}/base+{root}/two, parameters: {{weight: 0.5}}}}
dtype: float32
out_dtype: bfloat16
"""


def write_adapter(folder: Path, seed: int) -> Path:
    """Write an adapter of a Llama-like model as peft does."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for layer in range(LAYERS):
        for module, rows in (("q_proj", HIDDEN), ("v_proj", HIDDEN // HEADS)):
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{prefix}.lora_A.weight"] = torch.randn(RANK, HIDDEN, generator=generator)
            tensors[f"{prefix}.lora_B.weight"] = torch.randn(rows, RANK, generator=generator) / 10
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 16, "bias": "none"}
    config |= {"base_model_name_or_path": "base", "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.0}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = write_model(tmp_path / "base", "llama", layers=LAYERS, seed=0)
    configuration = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**configuration, "torch_dtype": "bfloat16"}))
    for seed, name in enumerate(("one", "two"), start=1):
        write_adapter(tmp_path / name, seed)
    return tmp_path


def record(root: Path, config: str = CONFIG) -> RecordedMerge:
    (root / "config.yml").write_text(config.format(root=root))
    return record_merge(read_recipe(root / "config.yml", made_by_mergekit=True), root / "out", device="cpu")


def merge(worker: Mergekit, root: Path, **options: str) -> None:
    worker.merge(CONFIG.format(root=root), root / "out", lora_merge_cache=str(root / "cache"), **options)


def test_adapters_become_steps_before_the_merge_and_all_of_it_is_replayed(root: Path, mergekit: Mergekit) -> None:
    merge(mergekit, root)
    found = record(root)
    assert (found.matches, found.best.loaded_as, found.best.outcome.exact) == (True, None, 21)
    steps = [json.loads((root / f"out/.attest/steps/00{i}.json").read_bytes()) for i in (1, 2, 3)]
    assert [(s["step"]["id"], s["step"]["type"], s["step"]["inputs"]) for s in steps] == [
        ("base-one", "lora", ["base", "one"]),
        ("base-two", "lora", ["base", "two"]),
        ("merge", "merge", ["base-one", "base-two", "base"]),
    ]
    signer = new_signer()
    sign_folder(root / "out", signer, name="merged", version=None, uri=None)
    parents = {name: LocalFolder(root / name) for name in ("base", "one", "two")}
    report = verify(
        Request(LocalFolder(root / "out"), expected_signer=signer.public_key, parents=parents, device="cpu")
    )
    assert (report.verdict, report.level) == ("VERIFIED", 3), report.findings
    assert [step.verdict for step in report.steps] == ["reproduced"] * 3


def test_the_dtype_in_which_the_model_was_loaded_is_found(root: Path, mergekit: Mergekit) -> None:
    merge(mergekit, root, lora_merge_dtype="float32")
    found = record(root)
    assert (found.matches, found.best.loaded_as) == (True, "F32")


def test_mergekit_0_1_4_loads_models_in_float32(root: Path, mergekit_0_1_4: Mergekit) -> None:
    merge(mergekit_0_1_4, root)
    found = record(root)
    assert (found.matches, found.best.loaded_as) == (True, "F32")


def test_attest_merge_gives_what_mergekit_gives(root: Path, mergekit: Mergekit) -> None:
    merge(mergekit, root)
    (root / "recipe.yml").write_text(CONFIG.format(root=root) + "attest: {copy_from: base}\n")
    result = run_merge(read_recipe(root / "recipe.yml"), root / "ours", device="cpu")
    theirs, ours = (load_file(root / name / "model.safetensors") for name in ("out", "ours"))
    assert {name: t.tolist() for name, t in theirs.items()} == {name: t.tolist() for name, t in ours.items()}
    assert [material.name for material in result.materials] == ["base", "one", "two"]
    assert len(list((root / "ours/.attest/steps").iterdir())) == 3


def test_another_adapter_is_not_what_mergekit_merged(root: Path, mergekit: Mergekit) -> None:
    merge(mergekit, root)
    (root / "two").rename(root / "gone")
    write_adapter(root / "two", 3)
    found = record(root)
    assert (found.matches, found.best.outcome.different) == (False, 2 * LAYERS)


def test_an_adapter_for_another_model_is_refused_by_name(root: Path, mergekit: Mergekit) -> None:
    merge(mergekit, root)
    tensors = load_file(root / "two" / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    save_file({**tensors, name: torch.zeros(HIDDEN + 1, RANK)}, root / "two" / "adapter_model.safetensors")
    with pytest.raises(RecipeInvalid, match=r"layers\.0\.self_attn\.q_proj\.weight: the adapter is for another base"):
        record(root)


def test_an_adapter_of_another_kind_is_refused_by_name(root: Path) -> None:
    (root / "two" / "adapter_config.json").write_text('{"peft_type": "VERA"}')
    (root / "config.yml").write_text(CONFIG.format(root=root) + "attest: {copy_from: base}\n")
    with pytest.raises(RecipeInvalid, match="VERA"):
        run_merge(read_recipe(root / "config.yml"), root / "ours", device="cpu")
