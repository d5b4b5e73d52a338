"""`attest record gguf`: files written by the real `gguf` package, recorded, signed and verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from model_attest import cli

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the libraries under test

HEADS, KV_HEADS, LAYERS = 4, 2, 2
Attest = Callable[..., tuple[int, dict[str, Any]]]
Types = Callable[[str], str]


@pytest.fixture
def attest(capsys: pytest.CaptureFixture[str]) -> Attest:
    def run(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = cli.run([*(str(argument) for argument in arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama in BF16 whose norms are all ones, as they are before training."""
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
    )
    folder = tmp_path_factory.mktemp("llama")
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder / "base")
    return folder / "base"


def converted(folder: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a Llama under the names and in the order of rows that llama.cpp gives them."""
    weights = {
        name: tensor.to(torch.float32).numpy() for name, tensor in load_file(folder / "model.safetensors").items()
    }
    out = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output.weight": weights["lm_head.weight"],
        "output_norm.weight": weights["model.norm.weight"],
    }
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}"
        for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", 0), ("o", 0)):
            matrix = weights[f"{stem}.self_attn.{name}_proj.weight"]
            if heads:
                matrix = matrix.reshape(heads, 2, len(matrix) // heads // 2, -1).swapaxes(1, 2).reshape(matrix.shape)
            out[f"blk.{layer}.attn_{'output' if name == 'o' else name}.weight"] = matrix
        for name in ("gate", "up", "down"):
            out[f"blk.{layer}.ffn_{name}.weight"] = weights[f"{stem}.mlp.{name}_proj.weight"]
        out[f"blk.{layer}.attn_norm.weight"] = weights[f"{stem}.input_layernorm.weight"]
        out[f"blk.{layer}.ffn_norm.weight"] = weights[f"{stem}.post_attention_layernorm.weight"]
    return out


def write(path: Path, tensors: dict[str, np.ndarray], type_of: Types, raw: dict[str, str] | None = None) -> Path:
    """Write a file; `raw` are tensors whose bytes stand for a type that the package cannot make."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    for name, values in tensors.items():
        if raw and name in raw:
            kind = gguf.GGMLQuantizationType[raw[name]]
            elements, size_bytes = gguf.GGML_QUANT_SIZES[kind]
            shape = (*values.shape[:-1], values.shape[-1] // elements * size_bytes)
            writer.add_tensor(name, np.ones(shape, dtype=np.uint8), raw_dtype=kind)
            continue
        kind = gguf.GGMLQuantizationType["F32" if values.ndim < 2 else type_of(name)]
        writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def release(llama: Path, tmp_path: Path) -> Path:
    """A copy of the model's weights in a folder that will be signed."""
    import shutil

    shutil.copytree(llama, tmp_path / "release")
    return tmp_path / "release"


def signed_and_verified(attest: Attest, release: Path, base: Path) -> dict[str, Any]:
    key = release.parent / "key"
    assert cli.run(["keygen", "--out", str(key)]) == 0
    assert cli.run(["sign", str(release), "--key", str(key)]) == 0
    _, report = attest("verify", release, "--key", f"{key}.pub", "--parent", f"base={base}", "--device", "cpu")
    return report


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q5_1", "MXFP4", "TQ1_0"])
def test_what_a_converter_wrote_is_recorded_and_reproduced(
    attest: Attest, llama: Path, release: Path, kind: str
) -> None:
    file = write(release / f"small-{kind}.gguf", converted(llama), lambda name: kind)
    code, answer = attest("record", "gguf", llama, file)
    assert code == 0, answer
    by_name = {target["tensor"]: target for target in answer["steps"][-1]["targets"]}
    assert by_name["blk.1.attn_k.weight"]["sources"] == ["model.layers.1.self_attn.k_proj.weight"]
    assert [by_name[f"blk.0.attn_{name}.weight"].get("permuteHeads") for name in "qkv"] == [HEADS, KV_HEADS, None]
    assert by_name["blk.1.ffn_norm.weight"]["dtype"] == "F32"
    report = signed_and_verified(attest, release, llama)
    assert (report["verdict"], report["level"]) == ("VERIFIED", 3), report["findings"]
    assert [step["verdict"] for step in report["steps"]] == ["reproduced", "reproduced"]


def test_two_files_beside_one_model(attest: Attest, llama: Path, release: Path) -> None:
    for kind in ("Q8_0", "Q4_1"):
        file = write(release / f"small-{kind}.gguf", converted(llama), lambda name, kind=kind: kind)
        code, answer = attest("record", "gguf", llama, file)
        assert code == 0, answer
    assert [step["type"] for step in answer["steps"]] == ["reshard", "quantize", "quantize"]
    code, answer = attest("record", "gguf", llama, file)
    assert (code, answer["error"]["code"]) == (2, "CALLER_ERROR")
    report = signed_and_verified(attest, release, llama)
    assert (report["verdict"], report["level"]) == ("VERIFIED", 3), report["findings"]


def test_norms_with_one_added_and_stacked_experts(attest: Attest, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(4)
    weights = {f"layers.0.experts.{e}.w": torch.randn(3, 64, generator=generator).bfloat16() for e in range(12)}
    weights["norm.weight"] = torch.randn(32, generator=generator).bfloat16() * 0.1
    (tmp_path / "base").mkdir()
    save_file(weights, tmp_path / "base" / "model.safetensors")
    values = {name: tensor.float().numpy() for name, tensor in weights.items()}
    tensors = {
        "blk.0.exps.weight": np.stack([values[f"layers.0.experts.{e}.w"] for e in range(12)]),
        "output_norm.weight": values["norm.weight"] + np.float32(1),
    }
    file = write(tmp_path / "base" / "m.gguf", tensors, lambda name: "Q8_0")
    code, answer = attest("record", "gguf", tmp_path / "base", file)
    assert code == 0, answer
    experts, norm = answer["steps"][-1]["targets"]
    assert experts["sources"] == [f"layers.0.experts.{e}.w" for e in range(12)]
    assert norm["add"] == "1"


def test_k_quants_are_named_and_leave_the_step_unchecked(attest: Attest, llama: Path, release: Path) -> None:
    raw = {"blk.0.ffn_up.weight": "Q4_K", "output.weight": "Q6_K"}
    file = write(release / "small.gguf", converted(llama), lambda name: "Q8_0", raw)
    code, answer = attest("record", "gguf", llama, file)
    assert code == 0, answer
    report = signed_and_verified(attest, release, llama)
    assert (report["verdict"], [step["verdict"] for step in report["steps"]]) == (
        "INCOMPLETE",
        ["reproduced", "unchecked"],
    )
    found = {(finding["code"], finding["where"].split(": ")[-1]) for finding in report["findings"]}
    assert {("TYPE_NOT_REPLAYED", name) for name in raw} <= found


def test_a_tensor_from_elsewhere_is_named(attest: Attest, llama: Path, release: Path) -> None:
    tensors = converted(llama)
    tensors["blk.1.ffn_down.weight"] = tensors["blk.1.ffn_down.weight"] * np.float32(1.5)
    code, answer = attest("record", "gguf", llama, write(release / "a.gguf", tensors, lambda name: "Q8_0"))
    assert (code, answer["error"]["code"]) == (2, "NOT_REPRODUCED")
    assert "blk.1.ffn_down.weight" in answer["error"]["message"]
    tensors = converted(llama)
    tensors["blk.1.ffn_down.weight"][200, 40] += 1  # far from the first values
    code, answer = attest("record", "gguf", llama, write(release / "b.gguf", tensors, lambda name: "Q8_0"))
    assert (code, answer["error"]["code"]) == (2, "NOT_REPRODUCED")
    assert "blk.1.ffn_down.weight" in answer["error"]["message"]
    assert not (release / ".attest").exists()


def test_what_is_no_gguf_file_is_said(attest: Attest, llama: Path) -> None:
    code, answer = attest("record", "gguf", llama, llama / "config.json")
    assert (code, answer["error"]["code"]) == (2, "CALLER_ERROR")
