"""What an adapter of peft says of itself, as the targets of a step. `adapter_config.json` is read strictly.

Spec: forms §2.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model_verify.canonical import Json, loads
from model_verify.errors import MalformedJson, RecipeInvalid, SourceMissing
from model_verify.models import LoraTarget, Replacement
from model_verify.sources.source import Source, read_whole
from model_verify.tensors import TensorInfo

CONFIG_NAME = "adapter_config.json"
MAX_CONFIG_BYTES = 16 << 20

_WITHOUT_EFFECT = frozenset({
    "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config",
    "lora_dropout", "lora_ga_config", "megatron_core", "modules_to_save", "peft_type", "peft_version",
    "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules", "task_type",
})  # fmt: skip
"""Members that change no bit of a merge, or that the tensors themselves show."""
_USED = frozenset({"lora_alpha", "use_rslora", "fan_in_fan_out", "alpha_pattern"})
_PREFIX = "base_model.model."
_LITERAL = re.compile(r"[A-Za-z0-9_.\-]+")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The members that count: `alpha_patterns` are names of modules, in the order in which the first one fits."""

    alpha: int
    alpha_patterns: tuple[tuple[str, int], ...]
    rank_stabilised: bool
    fan_in_fan_out: bool

    def scale(self, module: str, rank: int) -> str:
        """Return what the product for a module is multiplied with, as the text of the float64 that peft computes."""
        alpha = next((alpha for name, alpha in self.alpha_patterns if f".{module}".endswith(f".{name}")), self.alpha)
        return repr(alpha / math.sqrt(rank) if self.rank_stabilised else alpha / rank)


def read_config(source: Source) -> AdapterConfig:
    """Return what `adapter_config.json` of an adapter's folder says.

    Raises `RecipeInvalid` for a kind of adapter that has no step, by the name of what is not supported, and for a
    member that is not known.
    """
    try:
        members = loads(
            read_whole(source, CONFIG_NAME, max_bytes=MAX_CONFIG_BYTES), max_bytes=MAX_CONFIG_BYTES, any_numbers=True
        )
    except MalformedJson as error:
        raise RecipeInvalid(f"{source.label}: {CONFIG_NAME}: {error.reason}") from error
    except SourceMissing as error:
        raise SourceMissing(f"{source.label} has no {CONFIG_NAME}", hint="name the adapter's folder") from error
    if not isinstance(members, dict) or members.get("peft_type") != "LORA":
        kind = members.get("peft_type") if isinstance(members, dict) else None
        raise RecipeInvalid(f"{source.label}: an adapter of type {json.dumps(kind)[:40]}, not LORA, cannot be replayed")
    for name, value in members.items():
        # What peft leaves out, or writes as nothing, is not in use.
        if name not in _WITHOUT_EFFECT | _USED and value not in (None, False, {}, []):
            raise RecipeInvalid(
                f"{source.label}: `{name}` in {CONFIG_NAME} is not supported: such a merge cannot be replayed"
            )
    patterns = members.get("alpha_pattern") or {}
    return AdapterConfig(
        alpha=_whole(source, "lora_alpha", members.get("lora_alpha")),
        alpha_patterns=tuple(_patterns(source, patterns)),
        rank_stabilised=_flag(source, "use_rslora", members.get("use_rslora")),
        fan_in_fan_out=_flag(source, "fan_in_fan_out", members.get("fan_in_fan_out")),
    )


def _patterns(source: Source, patterns: Json) -> Iterator[tuple[str, int]]:
    if not isinstance(patterns, dict):
        raise RecipeInvalid(f"{source.label}: `alpha_pattern` in {CONFIG_NAME} is no object")
    for name, alpha in patterns.items():
        # Peft reads them as regular expressions, which a stranger's file does not get to run here.
        if _LITERAL.fullmatch(name) is None:
            raise RecipeInvalid(f"{source.label}: `alpha_pattern` {json.dumps(name)[:80]} is no plain name of a module")
        yield name, _whole(source, "alpha_pattern", alpha)


def _whole(source: Source, name: str, value: Json) -> int:
    if type(value) is not int:
        raise RecipeInvalid(f"{source.label}: `{name}` in {CONFIG_NAME} is no whole number")
    return value


def _flag(source: Source, name: str, value: Json) -> bool:
    if value not in (None, False, True) or type(value) is int:
        raise RecipeInvalid(f"{source.label}: `{name}` in {CONFIG_NAME} is neither true nor false")
    return bool(value)


@dataclass(frozen=True, slots=True)
class AdapterParts:
    """What the tensors of an adapter are for. `embeddings` are names of targets whose product peft always rounds."""

    targets: tuple[LoraTarget, ...]
    replaced: tuple[Replacement, ...]
    embeddings: frozenset[str]


_KINDS = {".lora_A.weight": (".lora_B.weight", False), ".lora_embedding_A": (".lora_embedding_B", True)}
_SECOND = tuple(second for second, _ in _KINDS.values())
_UNSUPPORTED = {
    ".lora_magnitude_vector": "DoRA",
    ".lora_magnitude_vector.weight": "DoRA",
    ".lora_B.bias": "a bias of the low-rank matrices (`lora_bias`)",
    ".token_adapter.trainable_tokens_delta": "single trainable tokens",
}


def read_parts(
    config: AdapterConfig, adapter: Mapping[str, TensorInfo], base: Mapping[str, TensorInfo]
) -> AdapterParts:
    """Return the targets and replacements that the tensors of an adapter make.

    Raises `RecipeInvalid`, naming a tensor, for one that has no place in the base or that no step has an operation for.
    """
    targets: list[LoraTarget] = []
    replaced: list[Replacement] = []
    embeddings: set[str] = set()
    for name, info in adapter.items():
        stem, kind = _split(name)
        if kind in _SECOND:
            if name.replace("_B", "_A") not in adapter:
                raise RecipeInvalid(f"the adapter has {name} without its other half")
        elif kind in _KINDS:
            second, is_embedding = _KINDS[kind]
            b = name.removesuffix(kind) + second
            if b not in adapter:
                raise RecipeInvalid(f"the adapter has {name} without its other half")
            tensor = _place(f"{stem}.weight", base, required=True)
            if is_embedding:
                embeddings.add(tensor)
            targets.append(
                LoraTarget(
                    tensor=tensor,
                    a=name,
                    b=b,
                    scale=config.scale(stem, max(1, info.shape[0] if info.shape else 1)),
                    transposed=is_embedding or config.fan_in_fan_out,
                )
            )
        else:
            tensor = _place(stem.replace(".base_layer.", "."), base, required=False)
            replaced.append(Replacement(tensor=tensor, source=name))
    if not targets:
        raise RecipeInvalid("the adapter has no low-rank matrices")
    return AdapterParts(
        tuple(sorted(targets, key=lambda target: target.tensor.encode("utf-8"))),
        tuple(sorted(replaced, key=lambda replacement: replacement.tensor.encode("utf-8"))),
        frozenset(embeddings),
    )


def _split(name: str) -> tuple[str, str]:
    """Return the module or tensor of the base that a tensor of an adapter is about, and which part it is."""
    for ending, what in _UNSUPPORTED.items():
        if name.endswith(ending):
            raise RecipeInvalid(f"{name} is part of {what}, which cannot be replayed")
    stem = name.removeprefix(_PREFIX)
    for kind in (*_KINDS, *_SECOND):
        if stem.endswith(kind):
            return stem.removesuffix(kind).removesuffix(".base_layer"), kind
    if "lora_" in stem:
        raise RecipeInvalid(f"{name} is a part of an adapter that is not known here")
    return stem, ""


def _place(name: str, base: Mapping[str, TensorInfo], *, required: bool) -> str:
    """Return the base's name for a tensor: the same, or the only one that is the same but for leading components."""
    if name in base:
        return name
    alike = [other for other in base if other.endswith(f".{name}") or name.endswith(f".{other}")]
    if len(alike) == 1:
        return alike[0]
    if not required and not alike:
        return name
    found = "no such tensor" if not alike else f"{', '.join(sorted(alike)[:3])}, any of which it could be"
    raise RecipeInvalid(f"the adapter is for another base: for its {name} the base has {found}")
