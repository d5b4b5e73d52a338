"""JSON answers that are no documents of the standard. Heavy to import: only where a command runs."""

from __future__ import annotations

from typing import Any, Literal

from model_verify.models import (
    KnownStep,
    Material,
    MergekitStep,
    MergeStep,
    Wire,
    WireCheckpointRoot,
    WireFileDigest,
    WireTensorRoot,
)


class HashedTensor(Wire):
    name: str
    dtype: str
    shape: list[int]
    root: WireTensorRoot


class HashAnswer(Wire):
    """`attest hash`: the root of one weight set. `other_weight_sets` are in the folder and not in the root."""

    path: str
    checkpoint_root: WireCheckpointRoot
    tensor_count: int
    size_bytes: int
    files: list[str]
    other_weight_sets: list[str]
    tensors: list[HashedTensor] | None


class KeygenAnswer(Wire):
    private_key: str
    public_key: str
    type: Literal["p256", "p384", "ed25519"]
    hint: str
    encrypted: bool


class MergeAnswer(Wire):
    out: str
    checkpoint_root: WireCheckpointRoot
    materials: list[Material]
    step: MergeStep | MergekitStep
    blended_tensors: int
    copied_tensors: int
    weight_files: list[str]
    copied_files: list[str]
    size_bytes: int
    no_effect: list[str]
    backend: str


class SignAnswer(Wire):
    name: str
    bundle: str
    signer: str
    manifest_digest: WireFileDigest
    checkpoint_root: WireCheckpointRoot
    tensor_count: int
    file_count: int
    size_bytes: int
    materials: list[Material]
    steps: list[KnownStep]
    other_weight_sets: list[str]


class InspectAnswer(Wire):
    """`attest inspect`: what a bundle claims. `verified` is false whatever it claims."""

    verified: Literal[False]
    reference: str
    signer_hint: str
    payload_type: str
    statement: dict[str, Any]
    contradictions: list[str]


def members(document: Wire) -> object:
    """Return a document as what JSON is made of."""
    return document.model_dump(mode="json", by_alias=True)
