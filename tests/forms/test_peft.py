"""Adapters merged by the real peft, replayed to the bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from model_verify.merge.kernel import Call
from tests.forms.kernels import computed

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # those of the libraries under test
    pytest.mark.skipif(
        not torch.backends.mkl.is_available() or not torch.backends.cpu.get_cpu_capability().startswith("AVX"),
        reason="the profile is what MKL gives with fused multiply-adds; elsewhere merges are only within its bound",
    ),
]

NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
SIZES = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}


def model(kind: str, dtype: torch.dtype) -> Any:
    torch.manual_seed(7)
    if kind == "llama":
        made = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))
    elif kind == "qwen":
        made = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SIZES, tie_word_embeddings=True))
    else:
        config = transformers.GPT2Config(vocab_size=96, n_positions=32, n_embd=48, n_layer=2, n_head=4)
        made = transformers.GPT2LMHeadModel(config)
    return made.to(dtype)


def merged(
    folder: Path,
    kind: str,
    dtype: torch.dtype,
    config: Any,
    *,
    adapter_dtype: torch.dtype | None = None,
    safe: bool = False,
) -> tuple[dict[str, torch.Tensor], ...]:
    """Return base, adapter and merged tensors as the libraries write them."""
    model(kind, dtype).save_pretrained(folder / "base")
    load = transformers.AutoModelForCausalLM.from_pretrained
    adapted = peft.get_peft_model(load(folder / "base", dtype=dtype), config)
    generator = torch.Generator().manual_seed(3)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            moved = parameter.data.float() + torch.randn(parameter.shape, generator=generator) * 0.02
            parameter.data = moved.to(adapter_dtype or parameter.dtype)
    adapted.save_pretrained(folder / "adapter")
    loaded = peft.PeftModel.from_pretrained(load(folder / "base", dtype=dtype), folder / "adapter")
    loaded.merge_and_unload(safe_merge=safe).save_pretrained(folder / "merged")
    return (
        load_file(folder / "base" / "model.safetensors"),
        load_file(folder / "adapter" / "adapter_model.safetensors"),
        load_file(folder / "merged" / "model.safetensors"),
    )


def replay(
    base: dict[str, torch.Tensor],
    adapter: dict[str, torch.Tensor],
    dtype: torch.dtype,
    scale: float,
    *,
    fan_in: bool = False,
    safe: bool = False,
) -> dict[str, torch.Tensor]:
    """Return what the kernel gives for every tensor that the adapter touches."""
    out: dict[str, torch.Tensor] = {}
    parts = {name.removeprefix("base_model.model."): tensor for name, tensor in adapter.items()}
    for name, a in parts.items():
        if name.endswith(".lora_A.weight"):
            stem, b, transposed, rounded = (
                name.removesuffix(".lora_A.weight"),
                parts[name.replace("_A.", "_B.")],
                fan_in,
                safe,
            )
        elif name.endswith(".lora_embedding_A"):
            stem, b, transposed, rounded = name.removesuffix(".lora_embedding_A"), parts[name[:-1] + "B"], True, True
        else:
            continue
        start = parts.get(
            f"{stem}.base_layer.weight", base.get(f"{stem}.weight", base.get(f"transformer.{stem}.weight"))
        )
        assert start is not None, stem
        parameters: dict[str, Any] = {"scale": scale, "transposed": transposed}
        if rounded:
            parameters["deltaDtype"] = NAMES[dtype]
        out[f"{stem}.weight"] = computed(Call("peft", "lora", NAMES[dtype], shared=parameters), start, a, b)
    return out


@pytest.mark.parametrize("rank", [1, 2, 8, 64])
@pytest.mark.parametrize("dtype", NAMES, ids=NAMES.values())
@pytest.mark.parametrize("kind", ["llama", "qwen"])
def test_linear_layers_of_every_rank(tmp_path: Path, kind: str, dtype: torch.dtype, rank: int) -> None:
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = peft.LoraConfig(r=rank, lora_alpha=13, target_modules=modules, use_rslora=rank == 8)
    base, adapter, output = merged(tmp_path, kind, dtype, config)
    scale = 13 / math.sqrt(8) if rank == 8 else 13 / rank
    replayed = replay(base, adapter, dtype, scale)
    assert len(replayed) == 14
    for name, tensor in replayed.items():
        assert torch.equal(tensor, output[name]), name
        assert not torch.equal(tensor, base[name])
    for name in output.keys() - replayed.keys():
        assert torch.equal(output[name], base[name])


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("dtype", NAMES, ids=NAMES.values())
def test_embeddings_safe_merges_and_adapters_in_bf16(tmp_path: Path, dtype: torch.dtype, safe: bool) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "embed_tokens"])
    base, adapter, output = merged(tmp_path, "llama", dtype, config, adapter_dtype=torch.bfloat16, safe=safe)
    replayed = replay(base, adapter, dtype, 1.5, safe=safe)
    assert "model.embed_tokens.weight" in replayed
    for name, tensor in replayed.items():
        assert torch.equal(tensor, output[name]), name


def test_matrices_that_are_stored_input_first(tmp_path: Path) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    base, adapter, output = merged(tmp_path, "gpt2", torch.bfloat16, config)
    replayed = replay(base, adapter, torch.bfloat16, 2.0, fan_in=True)
    assert len(replayed) == 6
    for name, tensor in replayed.items():
        assert torch.equal(tensor, output[name]), name


@pytest.mark.parametrize("rank", [192, 194, 256, 384])
def test_ranks_that_the_blas_library_cuts(rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    w, a, b = (torch.randn(shape, generator=generator) for shape in ((72, 80), (rank, 80), (72, rank)))
    call = Call("peft", "lora", "F32", shared={"scale": 0.7, "transposed": False})
    assert torch.equal(computed(call, w, a, b), w + (b @ a) * 0.7)
