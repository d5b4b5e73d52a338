"""Read a weight file that holds tensors, by its format. Spec: tensor-tree §5, §6."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from model_verify.files import GGUF, SAFETENSORS, weight_format
from model_verify.gguf import read_gguf
from model_verify.sources.source import File
from model_verify.weights import WeightFile, read_safetensors

_READERS: Mapping[str, Callable[[File], WeightFile]] = {SAFETENSORS: read_safetensors, GGUF: read_gguf}


def read_weight_file(file: File) -> WeightFile:
    """Return the tensors of a file that `files.has_tensors`, without their data. Raises `MalformedWeights`."""
    return _READERS[weight_format(file.path)](file)
