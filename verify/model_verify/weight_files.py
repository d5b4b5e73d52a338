"""Read a weight file that holds tensors, by its format. Spec: tensor-tree §5, §6."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from model_verify.errors import MalformedWeights
from model_verify.files import GGUF, SAFETENSORS, weight_format
from model_verify.gguf import read_gguf
from model_verify.sources.source import File
from model_verify.weights import WeightFile, read_safetensors

_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_POINTER_BYTES = 1024
_RULES = {SAFETENSORS: "tensor-tree §5.1", GGUF: "tensor-tree §6.1"}
_READERS: Mapping[str, Callable[[File], WeightFile]] = {SAFETENSORS: read_safetensors, GGUF: read_gguf}


def read_weight_file(file: File) -> WeightFile:
    """Return the tensors of a file that `files.has_tensors`, without their data. Raises `MalformedWeights`.

    A pointer of Git LFS is said to be one: a clone holds them where the files themselves were not fetched.
    """
    if file.size_bytes <= _MAX_POINTER_BYTES and file.read(0, file.size_bytes).startswith(_POINTER):
        reason = "a pointer of Git LFS, not the weights: `git lfs pull` fetches them"
        raise MalformedWeights(reason, where=file.path, rule=_RULES[weight_format(file.path)])
    return _READERS[weight_format(file.path)](file)
