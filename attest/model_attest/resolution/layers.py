"""Layers by the names of tensors, as mergekit sees them: `model.layers.3.mlp.up_proj.weight` is of layer 3.

mergekit has tables of the architectures that it knows: for these, what is not of a layer stands before the first one
(embeddings) or after the last one (norm, lm_head), and a model without lm_head gives its embeddings in its place. Of an
architecture that it does not know, all that is not of a layer stands before the first one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from model_verify.merge.methods.table import PROFILES

_NUMBER = re.compile(r"\.(0|[1-9][0-9]{0,5})\.", re.ASCII)
_BEFORE = re.compile(r"embed(?!_out)|embd|\bwte\b|\bwpe\b|_emb\b|relative_pe")
"""In the name of a tensor that stands before the first layer."""

_TIED_TO: dict[str, tuple[str, ...]] = {
    "lm_head.weight": (
        "model.embed_tokens.weight",
        "transformer.wte.weight",
        "wte.weight",
        "backbone.embeddings.weight",
        "model.language_model.embed_tokens.weight",
        "shared.weight",
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
    ),
    "language_model.lm_head.weight": ("language_model.model.embed_tokens.weight",),
    "output.weight": ("model.tok_embeddings.weight",),
    "cls.predictions.decoder.weight": ("bert.embeddings.word_embeddings.weight",),
    "lm_head.decoder.weight": ("roberta.embeddings.word_embeddings.weight",),
    "vocab_projector.weight": ("distilbert.embeddings.word_embeddings.weight",),
}
"""What stands in for a tensor that a model ties to another one."""

_SINCE_0_1_4 = """
    ArceeForCausalLM BaichuanForCausalLM BertForMaskedLM BertForMultipleChoice BertForSequenceClassification
    BertForTokenClassification BertModel ChatGLMModel Cohere2ForCausalLM CohereForCausalLM DistilBertForMaskedLM
    DistilBertForSequenceClassification DistilBertForTokenClassification DistilBertModel ExaoneForCausalLM
    FalconForCausalLM GPT2ForSequenceClassification GPT2LMHeadModel GPTBigCodeForCausalLM GPTNeoXForCausalLM
    Gemma2ForCausalLM Gemma3ForCausalLM Gemma3ForConditionalGeneration GemmaForCausalLM Glm4ForCausalLM
    GraniteMoeHybridForCausalLM InternLM2ForCausalLM JAISLMHeadModel LLaMaForCausalLM Lfm2ForCausalLM
    Llama4ForConditionalGeneration LlamaForCausalLM LlamaForSequenceClassification MambaForCausalLM
    Mistral3ForConditionalGeneration MistralForCausalLM MixFormerSequentialForCausalLM MixtralForCausalLM
    Olmo2ForCausalLM Phi3ForCausalLM Phi3SmallForCausalLM PhiForCausalLM QWenLMHeadModel Qwen2ForCausalLM
    Qwen2VLForConditionalGeneration Qwen2_5_VLForConditionalGeneration Qwen3ForCausalLM Qwen3MoeForCausalLM
    RobertaForMaskedLM RobertaForSequenceClassification RobertaForTokenClassification RobertaModel SolarForCausalLM
    StableLMEpochForCausalLM StableLmForCausalLM Starcoder2ForCausalLM T5ForConditionalGeneration
    WhisperForConditionalGeneration
"""
_SINCE_0_1_5 = """
    AfmoeForCausalLM ApertusForCausalLM Glm4MoeForCausalLM GraniteForCausalLM Qwen3VLForConditionalGeneration
    Qwen3VLMoeForConditionalGeneration
"""
_KNOWN = {
    profile: frozenset(_SINCE_0_1_4.split() + ([] if profile == "mergekit-0.1.4" else _SINCE_0_1_5.split()))
    for profile in PROFILES
}


def is_known(architecture: str | None, profile: str) -> bool:
    """Return whether mergekit has a table of this architecture, in the version of the profile."""
    return architecture in _KNOWN.get(profile, frozenset())


def stacks(names: Iterable[str]) -> dict[str, int]:
    """Return the number of layers of each stack by its prefix, such as `model.layers`."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for name in names:
        if match := _NUMBER.search(name):
            numbers[name[: match.start()]].add(int(match[1]))
    return {prefix: len(found) for prefix, found in numbers.items() if found == set(range(len(found)))}


def split(name: str, prefixes: Iterable[str]) -> tuple[str, int, str] | None:
    """Return stack, layer and the rest of the name of a tensor that is of a layer, or None."""
    match = _NUMBER.search(name)
    if match is None or name[: match.start()] not in prefixes:
        return None
    return name[: match.start()], int(match[1]), name[match.end() :]


def joined(prefix: str, layer: int, rest: str) -> str:
    return f"{prefix}.{layer}.{rest}"


def stands_before(name: str) -> bool:
    """Return whether a tensor that is of no layer stands before the first one, in an architecture that is known."""
    return _BEFORE.search(name) is not None


def counts_tokens(name: str) -> bool:
    """Return whether a tensor has a row for each token of the vocabulary."""
    return name in _TIED_TO or any(name in others for others in _TIED_TO.values())


def stand_ins(name: str) -> tuple[str, ...]:
    """Return the tensors that a model may have tied `name` to."""
    return _TIED_TO.get(name, ())
