"""The manifest. Spec: manifest §1 to §6."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from model_verify.models.wire import FileClass, Maybe, Size, Wire, WireCheckpointRoot, WireFileDigest, WireTensorRoot


class ManifestFile(Wire):
    path: str
    size_bytes: Size
    file_digest: WireFileDigest
    file_class: FileClass = Field(alias="class")
    header_digest: Maybe[WireFileDigest] = None

    model_config = ConfigDict(populate_by_name=True)


class ManifestTensor(Wire):
    name: str
    dtype: str
    shape: list[Size] = Field(max_length=64)
    root: WireTensorRoot
    file: str


class ManifestWeightSet(Wire):
    prefix: str
    format: str
    primary: bool
    files: list[str]
    index: Maybe[str] = None
    checkpoint_root: Maybe[WireCheckpointRoot] = None
    tensors: Maybe[list[ManifestTensor]] = None


class ManifestLeaves(Wire):
    count: Size
    file_digest: WireFileDigest


class Manifest(Wire):
    document_schema: Literal["https://model-attest.github.io/manifest/v1"] = Field(alias="schema")
    files: list[ManifestFile]
    leaves: ManifestLeaves
    weight_sets: list[ManifestWeightSet]

    model_config = ConfigDict(populate_by_name=True)
