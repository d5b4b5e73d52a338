"""The manifest of a model folder, and its leaf file. Spec: manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gguf_file
from envelope import PREFIX, Object
from merkle import Tensor, by_name, checkpoint_root, digest_text, sha256, tensor_leaves, tensor_root
from weights_file import header_digest

Files = dict[str, bytes]

SCHEMA = PREFIX + "manifest/v1"
INDEX = ".safetensors.index."
EXEMPT_FOLDERS = ("attestation/", ".git/", ".cache/huggingface/", ".attest/")
WEIGHTS = (
    ".safetensors", ".bin", ".pt", ".pth", ".pth.tar", ".pkl", ".pickle", ".ckpt", ".joblib", ".gguf", ".ggml", ".onnx",
    ".onnx_data", ".h5", ".keras", ".msgpack", ".npz", ".npy", ".tflite", ".pb", ".ot", ".mlmodel", ".dduf",
    ".nemo", ".distcp", ".pdparams",
)  # fmt: skip
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")
READMES = ("readme", ".md", ".txt", ".rst")
CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".js", ".ipynb", ".cu", ".cpp", ".whl")
TOKENIZER_STARTS = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "chat_template")
TOKENIZER_ENDS = (".model", ".tiktoken", ".spm", ".jinja")
CONFIG = (".json", ".yaml", ".yml", ".toml", ".ini", ".cfg")


def file_class(path: str) -> str:
    """Return the class of a file. Spec: manifest §3.3."""
    name = path.rsplit("/", 1)[-1].casefold()
    if name.endswith(WEIGHTS):
        return "weights"
    if (name.startswith("readme") and name.endswith(READMES)) or name.endswith(IMAGES):
        return "documentation"
    if name.endswith(CODE):
        return "code"
    if name.startswith(TOKENIZER_STARTS) or name.endswith(TOKENIZER_ENDS):
        return "tokenizer"
    return "config" if name.endswith(CONFIG) else "other"


def tensors_of(file: bytes) -> list[Tensor]:
    """Return the tensors of a good safetensors file."""
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    header.pop("__metadata__", None)
    data = file[8 + size :]
    return [
        Tensor(name, one["dtype"], tuple(one["shape"]), data[one["data_offsets"][0] : one["data_offsets"][1]])
        for name, one in header.items()
    ]


@dataclass(frozen=True, slots=True)
class WeightSet:
    """What a loader takes as one model. `tensors` maps a file to its tensors; None for other formats."""

    prefix: str
    format: str
    files: tuple[str, ...]
    index: str | None = None
    tensors: Mapping[str, list[Tensor]] | None = None

    def every(self) -> list[Tensor]:
        """Return all tensors in the order of names."""
        return by_name([one for tensors in (self.tensors or {}).values() for one in tensors])

    def written(self, *, primary: bool) -> Object:
        """Return the set as it stands in a manifest. Spec: manifest §5."""
        made: Object = {"prefix": self.prefix, "format": self.format, "primary": primary, "files": list(self.files)}
        if self.index is not None:
            made["index"] = self.index
        if self.tensors is None:
            return made
        place = {one.name: file for file, tensors in self.tensors.items() for one in tensors}
        rows = [{**row(one), "file": place[one.name]} for one in self.every()]
        return {**made, "tensors": rows, "checkpoint_root": digest_text(checkpoint_root(self.every()))}


def row(tensor: Tensor) -> Object:
    """Return name, dtype, shape and root of a tensor."""
    root = digest_text(tensor_root(tensor.data))
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), "root": root}


def weight_sets(files: Files) -> list[WeightSet]:
    """Return the sets of a folder that is not ambiguous, in the order of prefixes."""
    sets, taken = [], set()
    for path in files:
        if INDEX in path and path.endswith(".json"):
            shards = shards_of(path, files)
            taken.update(shards)
            tensors = {shard: tensors_of(files[shard]) for shard in shards}
            sets.append(WeightSet(index_prefix(path), "safetensors", tuple(shards), path, tensors))
    for path, data in files.items():
        if file_class(path) != "weights" or path in taken:
            continue
        if path.endswith(".safetensors"):
            prefix = path.removesuffix(".safetensors")
            sets.append(WeightSet(prefix, "safetensors", (path,), None, {path: tensors_of(data)}))
        elif path.casefold().endswith(".gguf"):
            sets.append(WeightSet(path, "gguf", (path,), None, {path: gguf_file.parts(data)[1]}))
        else:
            suffix = "pth.tar" if path.endswith(".pth.tar") else path.rsplit(".", 1)[-1]
            sets.append(WeightSet(path, suffix, (path,)))
    return sorted(sets, key=lambda one: one.prefix.encode())


def shards_of(index: str, files: Files) -> list[str]:
    """Return the paths of an index's shards, in order."""
    folder = index.rsplit("/", 1)[0] + "/" if "/" in index else ""
    names = set(json.loads(files[index])["weight_map"].values())
    return sorted((folder + name for name in names), key=lambda path: path.encode())


def index_prefix(index: str) -> str:
    """Return the prefix of an index, with its variant where it has one. Spec: manifest §5.1."""
    stem, rest = index.split(INDEX)
    return stem if rest == "json" else f"{stem}.{rest.removesuffix('.json')}"


def primary_prefix(sets: list[WeightSet]) -> str:
    """Return the prefix of the primary set. Spec: manifest §5."""
    prefixes = [one.prefix for one in sets if one.format == "safetensors"]
    for known in ("model", "diffusion_pytorch_model", "adapter_model"):
        if known in prefixes:
            return known
    top = [prefix for prefix in prefixes if "/" not in prefix]
    (only,) = top if len(top) == 1 else prefixes
    return only


def exempt(path: str, data: bytes) -> bool:
    """Return whether a file is not listed. Spec: manifest §4."""
    if path == "model.sig" or path.startswith(EXEMPT_FOLDERS):
        return True
    lines = data.decode("utf-8", "replace").splitlines()
    plain = [line for line in lines if line and not line.startswith("#")]
    lfs = all(line.split()[1:] == ["filter=lfs", "diff=lfs", "merge=lfs", "-text"] for line in plain)
    return path == ".gitattributes" and lfs


def file_row(path: str, data: bytes) -> Object:
    """Return a file as it stands in `files`. Spec: manifest §3."""
    made: Object = {
        "path": path,
        "class": file_class(path),
        "size_bytes": len(data),
        "file_digest": digest_text(sha256(data)),
    }
    if path.casefold().endswith(".safetensors"):
        made["header_digest"] = digest_text(header_digest(data))
    if path.casefold().endswith(".gguf"):
        made["header_digest"] = digest_text(gguf_file.header_digest(data))
    return made


def build(files: Files, *, primary: str | None = None) -> tuple[Any, bytes]:
    """Return the manifest as an object that a caller may alter, and the leaf file; `primary` overrides the rule."""
    listed = {path: data for path, data in files.items() if not exempt(path, data)}
    sets = weight_sets(listed)
    chosen = primary_prefix(sets) if primary is None else primary
    leaves = [digest for one in sets for tensor in one.every() for digest in tensor_leaves(tensor.data)]
    leaf_file = b"".join(leaves)
    document = {
        "schema": SCHEMA,
        "files": [file_row(path, listed[path]) for path in sorted(listed, key=lambda path: path.encode())],
        "weight_sets": [one.written(primary=one.prefix == chosen) for one in sets],
        "leaves": {"count": len(leaves), "file_digest": digest_text(sha256(leaf_file))},
    }
    return document, leaf_file


def primary_root(manifest: Any) -> bytes:
    """Return the checkpoint root of the primary set."""
    (only,) = [one for one in manifest["weight_sets"] if one["primary"]]
    return bytes.fromhex(only["checkpoint_root"][7:])
