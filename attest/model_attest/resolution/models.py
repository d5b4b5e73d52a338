"""What is known of a parent before a weight is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_verify.errors import MalformedInput, SourceMissing
from model_verify.sources.source import Source, read_whole
from model_verify.tensors import TensorInfo

CONFIGURATION = "config.json"
_MAX_CONFIGURATION_BYTES = 64 << 20
_LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers")


@dataclass(frozen=True, slots=True)
class Model:
    """A parent's tensors; how many layers it has and of which architecture it is, where its config.json says so."""

    tensors: Mapping[str, TensorInfo]
    layers: int | None = None
    architecture: str | None = None


def read_model(source: Source, tensors: Mapping[str, TensorInfo]) -> Model:
    """Return the model with these tensors. Raises `MalformedInput` for a config.json that is no JSON object."""
    try:
        data = read_whole(source, CONFIGURATION, max_bytes=_MAX_CONFIGURATION_BYTES)
    except SourceMissing:
        return Model(tensors)
    try:
        members = json.loads(data)
        if not isinstance(members, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise MalformedInput(f"not JSON: {error}", where=f"{source.label}: {CONFIGURATION}") from error
    return Model(tensors, _layers(members), _architecture(members))


def with_layers(configuration: bytes, layers: Sequence[int]) -> bytes:
    """Return a config.json for a model whose layers are these of the one that it describes.

    Counts them, and takes from lists with an entry for each layer, such as `layer_types`, the entries of these.
    """
    members = json.loads(configuration)
    text = members.get("text_config")
    for place in (members, text if isinstance(text, dict) else {}):
        for key in _LAYER_KEYS:
            if type(place.get(key)) is not int:
                continue
            for other, value in place.items():
                if "layer" in other and isinstance(value, list) and len(value) == place[key]:
                    place[other] = [value[number] for number in layers if number < len(value)]
            place[key] = len(layers)
            return json.dumps(members, indent=2).encode() + b"\n"
    return configuration


def _layers(members: Mapping[str, Any]) -> int | None:
    text = members.get("text_config")
    for place in (members, text if isinstance(text, dict) else {}):
        for key in _LAYER_KEYS:
            if type(place.get(key)) is int:
                return int(place[key])
    return None


def _architecture(members: Mapping[str, Any]) -> str | None:
    names = members.get("architectures")
    return str(names[0]) if isinstance(names, list) and len(names) == 1 else None
