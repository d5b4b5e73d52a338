"""Tiny models that mergekit and transformers take for real ones, by their tensors and config.json."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

Shape = tuple[int, ...]
HIDDEN, INNER, HEADS, VOCABULARY, EXPERTS = 8, 12, 2, 16, 2
_HEAD = HIDDEN // HEADS


def _decoder(layers: int, mlp: Callable[[str], Mapping[str, Shape]], *, head: bool, biases: bool) -> dict[str, Shape]:
    """Return names and shapes of what Llama, Qwen2 and Mixtral have in common, and their own feed-forward layers."""
    found: dict[str, Shape] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    if head:
        found["lm_head.weight"] = (VOCABULARY, HIDDEN)
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{prefix}.{norm}.weight"] = (HIDDEN,)
        for name, size in (("q", HIDDEN), ("k", _HEAD), ("v", _HEAD)):
            found[f"{prefix}.self_attn.{name}_proj.weight"] = (size, HIDDEN)
            if biases:
                found[f"{prefix}.self_attn.{name}_proj.bias"] = (size,)
        found[f"{prefix}.self_attn.o_proj.weight"] = (HIDDEN, HIDDEN)
        found.update(mlp(prefix))
    return found


def _dense(prefix: str) -> dict[str, Shape]:
    return {
        f"{prefix}.mlp.gate_proj.weight": (INNER, HIDDEN),
        f"{prefix}.mlp.up_proj.weight": (INNER, HIDDEN),
        f"{prefix}.mlp.down_proj.weight": (HIDDEN, INNER),
    }


def _packed_experts(prefix: str) -> dict[str, Shape]:
    """As transformers 5 holds them, and mergekit 0.1.5 writes them."""
    return {
        f"{prefix}.mlp.gate.weight": (EXPERTS, HIDDEN),
        f"{prefix}.mlp.experts.gate_up_proj": (EXPERTS, 2 * INNER, HIDDEN),
        f"{prefix}.mlp.experts.down_proj": (EXPERTS, HIDDEN, INNER),
    }


def _single_experts(prefix: str) -> dict[str, Shape]:
    """As releases have them, and mergekit 0.1.4 writes them."""
    found: dict[str, Shape] = {f"{prefix}.block_sparse_moe.gate.weight": (EXPERTS, HIDDEN)}
    for expert in range(EXPERTS):
        for name, shape in (("w1", (INNER, HIDDEN)), ("w2", (HIDDEN, INNER)), ("w3", (INNER, HIDDEN))):
            found[f"{prefix}.block_sparse_moe.experts.{expert}.{name}.weight"] = shape
    return found


def _gptj(layers: int) -> dict[str, Shape]:
    """An architecture that mergekit has no table of."""
    found: dict[str, Shape] = {
        "transformer.wte.weight": (VOCABULARY, HIDDEN),
        "lm_head.weight": (VOCABULARY, HIDDEN),
        "lm_head.bias": (VOCABULARY,),
    }
    for name in ("transformer.ln_f", *(f"transformer.h.{layer}.ln_1" for layer in range(layers))):
        found |= {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}
    for layer in range(layers):
        prefix = f"transformer.h.{layer}"
        for name in ("q", "k", "v", "out"):
            found[f"{prefix}.attn.{name}_proj.weight"] = (HIDDEN, HIDDEN)
        found |= {f"{prefix}.mlp.fc_in.weight": (INNER, HIDDEN), f"{prefix}.mlp.fc_in.bias": (INNER,)}
        found |= {f"{prefix}.mlp.fc_out.weight": (HIDDEN, INNER), f"{prefix}.mlp.fc_out.bias": (HIDDEN,)}
    return found


SHAPES: Mapping[str, Callable[[int], dict[str, Shape]]] = {
    "llama": lambda layers: _decoder(layers, _dense, head=True, biases=False),
    "qwen2-tied": lambda layers: _decoder(layers, _dense, head=False, biases=True),
    "qwen2": lambda layers: _decoder(layers, _dense, head=True, biases=True),
    "mixtral": lambda layers: _decoder(layers, _packed_experts, head=True, biases=False),
    "mixtral-0.1.4": lambda layers: _decoder(layers, _single_experts, head=True, biases=False),
    "gptj": _gptj,
}

_COMMON = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 1,
    "vocab_size": VOCABULARY,
}
_CONFIGURATIONS: Mapping[str, Mapping[str, object]] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **_COMMON},
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **_COMMON},
    "mixtral": {
        "model_type": "mixtral",
        "architectures": ["MixtralForCausalLM"],
        "num_local_experts": EXPERTS,
        **_COMMON,
    },
    "gptj": {
        "model_type": "gptj",
        "architectures": ["GPTJForCausalLM"],
        "n_embd": HIDDEN,
        "n_inner": INNER,
        "n_head": HEADS,
        "rotary_dim": 2,
        "vocab_size": VOCABULARY,
    },
}


def configuration(shape: str, layers: int) -> dict[str, object]:
    family = shape.split("-")[0]
    count = {"n_layer" if family == "gptj" else "num_hidden_layers": layers}
    return {**_CONFIGURATIONS[family], **count, "tie_word_embeddings": shape.endswith("-tied")}


def weights(shape: str, layers: int, seed: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the same tensors everywhere and always: no random number generator promises that."""
    found: dict[str, torch.Tensor] = {}
    for name, size in SHAPES[shape](layers).items():
        count = math.prod(size)
        noise = hashlib.shake_256(f"{seed}/{name}".encode()).digest(2 * count)
        numbers = np.frombuffer(noise, dtype="<i2").astype(np.float32) / 8192
        found[name] = torch.from_numpy(numbers).reshape(size).to(dtype)
    return found


def write_model(
    folder: Path, shape: str, *, layers: int, seed: int, dtype: torch.dtype = torch.bfloat16, near: Path | None = None
) -> Path:
    """Write a model and return its folder. With `near`, it lies near that model, as a fine-tune of it would."""
    folder.mkdir(parents=True)
    tensors = weights(shape, layers, seed, dtype)
    if near is not None:
        base = load_file(near / "model.safetensors")
        tensors = {
            name: (base[name if name in base else "model.embed_tokens.weight"].float() + 0.05 * t.float()).to(dtype)
            for name, t in tensors.items()
        }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(configuration(shape, layers)))
    return folder
