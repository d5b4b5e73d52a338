"""Real models merged, signed and verified with this project's own tools, and ways to damage a copy of one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file
from torch import Tensor

from model_attest.inventory import take_inventory
from model_attest.merge import DEFAULT_SHARD_BYTES, run_merge
from model_attest.recipes.mergekit import read_recipe
from model_attest.record import RECORD_FOLDER, write_record
from model_attest.sign import sign_folder
from model_verify.envelope import PublicKey
from model_verify.models import Material, MaterialDigest, StepOutput, StepRecord, TrainStep
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.models import new_signer
from tests.real.fetch import Pair

INDEX = "model.safetensors.index.json"
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Rule:
    """Coefficients of tensors whose name holds `filter`, as decimals and as the float32 bits that these mean."""

    decimals: tuple[str, str]
    float32: tuple[int, int]
    filter: str = ""


@dataclass(frozen=True)
class Blend:
    """A recipe for two models: the first rule whose filter fits decides. `normalize` as in mergekit."""

    rules: tuple[Rule, ...]
    normalize: bool = False

    def bits_for(self, name: str) -> tuple[int, int]:
        """Return the coefficients of a tensor, as float32 bits."""
        return next(rule.float32 for rule in self.rules if rule.filter in name)

    def recipe(self, parents: Sequence[Path]) -> str:
        """Return it as mergekit's YAML, of which JSON is a part; everything else is copied from the first parent."""
        models = []
        for position, folder in enumerate(parents):
            weights = [
                {"filter": rule.filter or None, "value": _number(rule.decimals[position])} for rule in self.rules
            ]
            models.append({"model": str(folder), "parameters": {"weight": weights}})
        recipe = {
            "merge_method": "linear",
            "models": models,
            "parameters": {"normalize": self.normalize},
            "attest": {"copy_from": parents[0].name},
        }
        return json.dumps(recipe)


def _number(text: str) -> float:
    """Return what JSON writes with exactly these digits."""
    assert repr(float(text)) == text
    return float(text)


@dataclass(frozen=True)
class Release:
    """A signed folder, its parents by identifier, and the key that signed it."""

    folder: Path
    parents: Mapping[str, Path]
    key: PublicKey

    def verify(self, **changes: object) -> Report:
        """Verify with the right key and parents, except for the `changes` to the request."""
        parents = {name: LocalFolder(folder) for name, folder in self.parents.items()}
        request = {"expected_signer": self.key, "parents": parents, "device": "cpu", **changes}
        return verify(Request(LocalFolder(self.folder), **request))  # type: ignore[arg-type]

    def copy(self, target: Path) -> Release:
        """Copy the folder, so that a test may change it."""
        shutil.copytree(self.folder, target)
        return Release(target, self.parents, self.key)


def make_release(pair: Pair, blend: Blend, out: Path, *, max_shard_bytes: int = DEFAULT_SHARD_BYTES) -> Release:
    """Merge `pair` into `out`, sign that, and return it."""
    recipe = out.with_suffix(".yaml")
    recipe.write_text(blend.recipe(pair), encoding="utf-8")
    run_merge(read_recipe(recipe), out, device="cpu", max_shard_bytes=max_shard_bytes)
    signer = new_signer()
    sign_folder(out, signer)
    return Release(out, {folder.name: folder for folder in pair}, signer.public_key)


def sign_again(altered: Release) -> Release:
    """Sign a release's weights, as they are now, as what its recorded merge gave; the signer tells an untruth."""
    (record,) = (altered.folder / RECORD_FOLDER).iterdir()
    document = json.loads(record.read_text())
    root = take_inventory(LocalFolder(altered.folder)).checkpoint_root
    document["step"]["output"]["checkpointRoot"] = root.text
    record.write_text(json.dumps(document))
    signer = new_signer()
    sign_folder(altered.folder, signer)
    return Release(altered.folder, altered.parents, signer.public_key)


def make_training_release(folder: Path, parent: Path) -> Release:
    """Sign `folder`, as it stands, as training of every tensor of the model in `parent`."""
    step = TrainStep(
        id="train",
        type="train",
        inputs=[parent.name],
        output=StepOutput(checkpoint_root=take_inventory(LocalFolder(folder)).checkpoint_root),
        trainable="all",
    )
    root = take_inventory(LocalFolder(parent)).checkpoint_root
    material = Material(name=parent.name, digest=MaterialDigest(checkpoint_root=root))
    schema: Literal["https://model-attest.github.io/step-record/v1"] = "https://model-attest.github.io/step-record/v1"
    write_record(folder, StepRecord(document_schema=schema, materials=[material], step=step))
    signer = new_signer("ed25519")
    sign_folder(folder, signer)
    return Release(folder, {parent.name: parent}, signer.public_key)


def weights_of(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a folder, read by the safetensors library: one file, or what the index names."""
    if not (folder / INDEX).exists():
        return load_file(folder / "model.safetensors")
    weight_map: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    weights: dict[str, Tensor] = {}
    for name in sorted(set(weight_map.values())):
        shard = load_file(folder / name)
        assert set(shard) == {tensor for tensor, file in weight_map.items() if file == name}
        weights |= shard
    return weights


def write_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write one weight file with the safetensors library, in the place of all that are there."""
    remove_weights(folder)
    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})


def write_shards(folder: Path, shards: Sequence[Iterable[str]], weights: Mapping[str, Tensor]) -> None:
    """Write `weights` in files of the tensors `shards` with the safetensors library, in the place of all there are."""
    remove_weights(folder)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        part = {name: weights[name] for name in names}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    assert weight_map.keys() == weights.keys()
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def remove_weights(folder: Path) -> None:
    for path in [*folder.glob("*.safetensors"), folder / INDEX]:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Place:
    """Where a tensor's data lie."""

    path: Path
    offset: int
    size_bytes: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size_bytes)

    def write(self, data: bytes) -> None:
        """Write other data of the same size."""
        assert len(data) == self.size_bytes
        with self.path.open("r+b") as file:
            file.seek(self.offset)
            file.write(data)


def place_of(folder: Path, name: str) -> Place:
    """Return where a tensor lies, by the file's own header."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header: dict[str, Any] = json.loads(file.read(header_bytes))
        if name in header:
            begin, end = header[name]["data_offsets"]
            return Place(path, _LENGTH_BYTES + header_bytes + begin, end - begin)
    raise AssertionError(f"no tensor {name} in {folder}")


def flip_bit(place: Place, byte: int, bit: int) -> None:
    data = bytearray(place.read())
    data[byte] ^= 1 << bit
    place.write(bytes(data))
