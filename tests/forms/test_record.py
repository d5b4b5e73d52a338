"""`attest record lora` and `attest record dequantize`: real adapters and FP8 weights, recorded, signed and verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from model_attest import cli
from model_attest.adapters import read_config
from model_verify.errors import RecipeInvalid
from model_verify.sources.local import LocalFolder
from tests.forms.test_peft import model

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the libraries under test

Attest = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def attest(capsys: pytest.CaptureFixture[str]) -> Attest:
    """Run a command with `--json` in this process; return its exit code and answer."""

    def run(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = cli.run([*(str(argument) for argument in arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert cli.run(["keygen", "--out", str(tmp_path / "key")]) == 0
    return tmp_path / "key"


def merge_with_peft(
    folder: Path, kind: str, dtype: torch.dtype, config: Any, *, loaded: torch.dtype | None = None, safe: bool = False
) -> None:
    """Write `base`, `adapter` and `merged` as the libraries do; `loaded` is the format in which the base is merged."""
    model(kind, dtype).save_pretrained(folder / "base")
    load = transformers.AutoModelForCausalLM.from_pretrained
    adapted = peft.get_peft_model(load(folder / "base", dtype=dtype), config)
    generator = torch.Generator().manual_seed(5)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += (torch.randn(parameter.shape, generator=generator) * 0.02).to(parameter.dtype)
    adapted.save_pretrained(folder / "adapter")
    merged = peft.PeftModel.from_pretrained(load(folder / "base", dtype=loaded or dtype), folder / "adapter")
    merged.merge_and_unload(safe_merge=safe).save_pretrained(folder / "merged")


def verified(attest: Attest, folder: Path, key: Path, *parents: str) -> dict[str, Any]:
    """Sign `merged`, verify it with its parents, and return the report."""
    assert cli.run(["sign", str(folder / "merged"), "--key", str(key)]) == 0
    given = [text for name in parents for text in ("--parent", f"{name}={folder / name}")]
    _, report = attest("verify", folder / "merged", "--key", f"{key}.pub", *given, "--device", "cpu")
    return report


CONFIGS = {
    "linear": {"target_modules": ["q_proj", "down_proj"]},
    "all, biases": {"target_modules": ["q_proj", "v_proj"], "bias": "all"},
    "rank-stabilised": {"target_modules": ["q_proj"], "use_rslora": True},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "new head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "patterns": {
        "target_modules": ["q_proj", "k_proj", "v_proj"],
        "alpha_pattern": {"layers.0.self_attn.q_proj": 3, "k_proj": 5},
        "rank_pattern": {"v_proj": 2},
    },
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["BF16", "F32"])
def test_what_peft_merged_is_recorded_and_reproduced(
    attest: Attest, key: Path, tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=7, task_type="CAUSAL_LM", **CONFIGS[name])
    merge_with_peft(tmp_path, "qwen", dtype, config)
    code, answer = attest("record", "lora", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert (code, answer.get("within")) == (0, []), answer
    assert answer["steps"][0]["profile"] == "peft"
    report = verified(attest, tmp_path, key, "base", "adapter")
    assert (report["verdict"], report["level"]) == ("VERIFIED", 3), report["findings"]


@pytest.mark.parametrize("safe", [False, True])
def test_a_base_that_was_loaded_in_another_format(attest: Attest, key: Path, tmp_path: Path, safe: bool) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"])
    merge_with_peft(tmp_path, "llama", torch.float32, config, loaded=torch.bfloat16, safe=safe)
    code, answer = attest("record", "lora", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert code == 0, answer
    assert answer["steps"][0]["dtype"] == "BF16"
    deltas = {target.get("deltaDtype") for target in answer["steps"][0]["targets"]}
    assert deltas == ({"BF16"} if safe else {None})
    assert verified(attest, tmp_path, key, "base", "adapter")["level"] == 3


def test_matrices_stored_input_first(attest: Attest, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn"], fan_in_fan_out=True)
    merge_with_peft(tmp_path, "gpt2", torch.float32, config)
    code, answer = attest("record", "lora", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert code == 0, answer
    assert {target["transposed"] for target in answer["steps"][0]["targets"]} == {True}


def test_a_sum_in_another_order_is_recorded_as_within(attest: Attest, key: Path, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=8, lora_alpha=8, target_modules=["q_proj"])
    merge_with_peft(tmp_path, "llama", torch.float32, config)
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    base = load_file(tmp_path / "base" / "model.safetensors")
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    for name in list(adapter):
        if name.endswith("lora_A.weight"):
            b = adapter[name.replace("lora_A", "lora_B")].flip(1).contiguous()
            tensor = name.removeprefix("base_model.model.").replace(".lora_A", "")
            weights[tensor] = base[tensor] + b @ adapter[name].flip(0).contiguous()
    save_file(weights, tmp_path / "merged" / "model.safetensors", metadata={"format": "pt"})
    code, answer = attest("record", "lora", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert code == 0, answer
    assert len(answer["within"]) == 2
    report = verified(attest, tmp_path, key, "base", "adapter")
    assert (report["level"], report["steps"][0]["verdict"]) == (2, "reproduced-within")


def test_another_output_is_not_recorded(attest: Attest, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"])
    merge_with_peft(tmp_path, "llama", torch.bfloat16, config)
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    changed = {**weights, "model.norm.weight": weights["model.norm.weight"] * 2}
    save_file(changed, tmp_path / "merged" / "model.safetensors")
    code, answer = attest("record", "lora", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert (code, answer["error"]["code"]) == (2, "NOT_REPRODUCED")
    assert answer["error"]["message"].startswith("model.norm.weight")
    scaled = {
        **weights,
        "model.layers.1.self_attn.q_proj.weight": weights["model.layers.1.self_attn.q_proj.weight"] * 2,
    }
    save_file(scaled, tmp_path / "merged" / "model.safetensors")
    code, answer = attest("record", "lora", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert (code, answer["error"]["code"]) == (2, "NOT_REPRODUCED")
    assert not (tmp_path / "merged" / ".attest").exists()


def test_an_adapter_for_another_base_is_named(attest: Attest, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"])
    merge_with_peft(tmp_path, "llama", torch.bfloat16, config)
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    renamed = {name.replace("layers.1.", "layers.7."): tensor for name, tensor in adapter.items()}
    save_file(renamed, tmp_path / "adapter" / "adapter_model.safetensors")
    code, answer = attest("record", "lora", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert (code, answer["error"]["code"]) == (2, "RECIPE_INVALID")
    assert "model.layers.7.self_attn.q_proj.weight" in answer["error"]["message"]
    wide = {
        name: torch.cat([tensor, tensor], dim=1) if "lora_A" in name else tensor for name, tensor in adapter.items()
    }
    save_file(wide, tmp_path / "adapter" / "adapter_model.safetensors")
    code, answer = attest("record", "lora", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert (code, answer["error"]["code"]) == (2, "NOT_REPRODUCED")
    assert "for another base" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"lora_bias": True}, "lora_bias"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"something_new": "x"}, "something_new"),
        ({"alpha_pattern": {"(a+)+$": 4}}, "alpha_pattern"),
        ({"alpha_pattern": [1]}, "alpha_pattern"),
        ({"lora_alpha": 0.5}, "lora_alpha"),
        ({"lora_alpha": "8"}, "lora_alpha"),
        ({"lora_alpha": True}, "lora_alpha"),
        ({"use_rslora": 1}, "use_rslora"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"peft_type": None}, "null"),
    ],
)
def test_adapters_without_a_step_are_refused_by_name(tmp_path: Path, members: dict[str, Any], named: str) -> None:
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.05, "use_dora": False, **members}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeInvalid, match=named):
        read_config(LocalFolder(tmp_path))


@pytest.mark.parametrize("text", ["[]", "{", '{"peft_type":"LORA","peft_type":"LORA","lora_alpha":1}', "[" * 100_000])
def test_a_hostile_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(RecipeInvalid):
        read_config(LocalFolder(tmp_path))


def fp8_release(folder: Path, *, channels: bool) -> None:
    """Write `source` with FP8 weights as a release stores them, and `merged`, the same in BF16."""
    generator = torch.Generator().manual_seed(9)
    source: dict[str, torch.Tensor] = {"model.norm.weight": torch.ones(300, dtype=torch.bfloat16)}
    for name, shape in {"model.a.weight": (130, 300), "model.b.weight": (256, 128)}.items():
        codes = torch.randn(shape, generator=generator).to(torch.float8_e4m3fn)
        if channels:
            scales = torch.rand(shape[0], 1, generator=generator).to(torch.bfloat16)
            source |= {name: codes, f"{name}_scale": scales}
        else:
            grid = [-(-size // 128) for size in shape]
            source |= {name: codes, f"{name}_scale_inv": torch.rand(*grid, generator=generator) * 0.01}
    out = {"model.norm.weight": source["model.norm.weight"]}
    for name in ("model.a.weight", "model.b.weight"):
        codes = source[name].to(torch.float32)
        if channels:
            out[name] = (codes * source[f"{name}_scale"].to(torch.float32)).to(torch.bfloat16)
        else:
            rows, columns = torch.arange(codes.shape[0]) // 128, torch.arange(codes.shape[1]) // 128
            out[name] = (codes * source[f"{name}_scale_inv"][rows][:, columns]).to(torch.bfloat16)
    if channels:
        source["model.a.input_scale"] = torch.tensor(0.5)
    for place, tensors in (("source", source), ("merged", out)):
        (folder / place).mkdir()
        save_file(tensors, folder / place / "model.safetensors", metadata={"format": "pt"})
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}, "rms_norm_eps": 1e-6}
    (folder / "source" / "config.json").write_text(json.dumps({} if channels else config))


@pytest.mark.parametrize("channels", [False, True], ids=["blocks", "channels"])
def test_fp8_weights_are_recorded_and_reproduced(attest: Attest, key: Path, tmp_path: Path, channels: bool) -> None:
    fp8_release(tmp_path, channels=channels)
    code, answer = attest("record", "dequantize", tmp_path / "source", tmp_path / "merged")
    assert code == 0, answer
    expected = [[1, 300], [1, 128]] if channels else [[128, 128], [128, 128]]
    assert [target["block"] for target in answer["steps"][0]["targets"]] == expected
    assert answer["steps"][0].get("dropped") == (["model.a.input_scale"] if channels else None)
    report = verified(attest, tmp_path, key, "source")
    assert (report["verdict"], report["level"]) == ("VERIFIED", 3), report["findings"]


def test_fp8_weights_that_were_read_otherwise_are_not_recorded(attest: Attest, tmp_path: Path) -> None:
    fp8_release(tmp_path, channels=False)
    out = load_file(tmp_path / "merged" / "model.safetensors")
    out["model.a.weight"][0, 0] *= 2
    save_file(out, tmp_path / "merged" / "model.safetensors")
    code, answer = attest("record", "dequantize", tmp_path / "source", tmp_path / "merged")
    assert (code, answer["error"]["code"]) == (2, "NOT_REPRODUCED")
    source = load_file(tmp_path / "source" / "model.safetensors")
    del source["model.b.weight_scale_inv"]
    save_file(source, tmp_path / "source" / "model.safetensors")
    code, answer = attest("record", "dequantize", tmp_path / "source", tmp_path / "merged")
    assert (code, answer["error"]["code"]) == (2, "RECIPE_INVALID")
    assert "model.b.weight" in answer["error"]["message"]
