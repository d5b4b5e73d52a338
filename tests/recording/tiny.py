"""A language model of two layers and a tokenizer of characters, made on the spot."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXTS = ["the town council met on monday", "the minutes were read and agreed", "a new bridge was asked for"] * 8
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
_LETTERS = "abcdefghijklmnopqrstuvwxyz .,:?!\n"


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that takes letters one by one."""
    words = [*_SPECIAL.values(), *_LETTERS]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **_SPECIAL)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return tokenizer


def new_model(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """Return an untrained model."""
    config = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**{**config, **changes}))


def rows() -> list[dict[str, list[int]]]:
    """Return the texts as a plain Trainer takes them."""
    tokenizer = new_tokenizer()
    found = []
    for text in TEXTS:
        ids = tokenizer(text, max_length=16, truncation=True, padding="max_length")["input_ids"]
        found.append({"input_ids": ids, "labels": ids})
    return found
