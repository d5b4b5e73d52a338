"""JSON answers that are no documents of the standard. Heavy to import: only where a command runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from model_verify.models import (
    FloatDtype,
    KnownStep,
    Material,
    MergekitStep,
    MergeStep,
    StepRecord,
    Wire,
    WireCheckpointRoot,
    WireFileDigest,
    WireTensorRoot,
)
from model_verify.models.history import Superseded
from model_verify.report import ReportSigner, ReportTime


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
    type: Literal["p256", "p384", "ed25519", "ml-dsa-65"]
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


class RecordAnswer(Wire):
    """A step that was recorded as what gave the model in `out`, with all steps and materials that lead to it.

    Of a step that was replayed: `within` are tensors that are only in the bound of its profile, `no_effect` inputs
    whose removal would change no bit.
    """

    out: str
    record: str
    checkpoint_root: WireCheckpointRoot
    materials: list[Material]
    steps: list[KnownStep]
    within: list[str] = Field(default_factory=list)
    no_effect: list[str] = Field(default_factory=list)


def recorded(out: str, path: Path, records: Sequence[StepRecord]) -> RecordAnswer:
    """Return the answer of a command that recorded the last of `records`."""
    return RecordAnswer(
        out=out,
        record=str(path),
        checkpoint_root=records[-1].step.output.checkpoint_root,
        materials=[material for record in records for material in record.materials],
        steps=[record.step for record in records],
    )


def recorded_lines(answer: RecordAnswer) -> list[str]:
    """Return the same as lines for people."""
    step = answer.steps[-1]
    return [
        f"{answer.checkpoint_root}  {answer.out}",
        f"  by step {step.id}: {step.type} of {', '.join(step.inputs)}",
        *(f"  from {material.name}  {material.digest.checkpoint_root}" for material in answer.materials),
        f"  recorded in {answer.record}: `attest sign {shlex.quote(answer.out)} --key KEY` absorbs it",
    ]


class TriedProfile(Wire):
    """A profile that was held against an output: how many tensors stand how, and what is first not as it gives it.

    `loaded_as` is the dtype of models that adapters were merged into; null where it is that in which they are stored.
    """

    profile: str
    loaded_as: FloatDtype | None
    standing: Literal["exact", "within", "examined", "different"]
    exact: int
    within: int
    examined: int
    different: int
    problem: str | None


class RecordMergekitAnswer(Wire):
    """`attest record mergekit`: `profile` is the one that gives the output, and null where none does."""

    out: str
    config: str
    method: str
    checkpoint_root: WireCheckpointRoot
    profile: str | None
    tried: list[TriedProfile]
    materials: list[Material]
    step: MergeStep | MergekitStep
    record: str | None
    left_out: list[str]
    no_effect: list[str]
    backend: str


class SignAnswer(Wire):
    name: str
    bundle: str
    signer: ReportSigner
    time: ReportTime | None
    manifest_digest: WireFileDigest
    checkpoint_root: WireCheckpointRoot
    tensor_count: int
    file_count: int
    size_bytes: int
    materials: list[Material]
    steps: list[KnownStep]
    other_weight_sets: list[str]
    supersedes: Superseded | None
    model_sig: str | None
    """The signature of OpenSSF Model Signing, where one was asked for."""


class CommitAnswer(Wire):
    """`attest commit`: what was committed to. `manifest_digest` is that of an attestation that was already there."""

    bundle: str
    name: str
    version: str | None
    checkpoint_root: WireCheckpointRoot
    manifest_digest: WireFileDigest | None
    signer: ReportSigner
    time: ReportTime | None


class ObserveAnswer(Wire):
    """`attest observe`: what was there, under which package URL by the observer's word."""

    out: str
    uri: str
    checkpoint_root: WireCheckpointRoot
    manifest_digest: WireFileDigest
    tensor_count: int
    file_count: int
    size_bytes: int
    signer: ReportSigner
    time: ReportTime | None


class RevokeAnswer(Wire):
    """`attest revoke`: what is revoked, and who says so."""

    out: str
    revokes: str
    reason: str
    since: str | None
    signer: ReportSigner
    time: ReportTime | None


class InspectAnswer(Wire):
    """`attest inspect`: what a bundle claims. `verified` is false whatever it claims."""

    verified: Literal[False]
    reference: str
    signer_hint: str | None
    """Of its key, in a bundle that names one."""
    signer_identity: str | None
    """In a bundle with a certificate, and the issuer that vouched for it."""
    signer_issuer: str | None
    payload_type: str
    statement: dict[str, Any]
    contradictions: list[str]


def members(document: Wire) -> object:
    """Return a document as what JSON is made of."""
    return document.model_dump(mode="json", by_alias=True)
