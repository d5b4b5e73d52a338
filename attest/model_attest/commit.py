"""Commit to a model before anything of it is published. Spec: history §3."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from model_attest.kept import read_commitment
from model_attest.placement import output_errors, replace_file
from model_attest.signed_statement import sign_statement
from model_attest.signers.signer import Signer
from model_attest.statement import describe_model
from model_verify.digest import CheckpointRoot, FileDigest
from model_verify.envelope import SignatureCheck, TimeTrust
from model_verify.errors import CallerError, MalformedInput, OutputError, SourceError
from model_verify.files import COMMITMENT_PATH
from model_verify.manifest import MAX_MANIFEST_BYTES, primary, read_manifest
from model_verify.models import MANIFEST_PATH
from model_verify.models.any_statement import CHECKPOINT_ALGORITHM, AnyStatementHead, AnySubject
from model_verify.models.commitment import COMMITMENT_TYPE, Commitment
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import Source, read_whole


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What was committed to, who signed it, and when, as a verifier finds it."""

    commitment: Commitment
    signature: SignatureCheck
    bundle_path: Path


def commit_folder(
    folder: Path,
    root: CheckpointRoot,
    signer: Signer,
    *,
    name: str | None = None,
    version: str | None = None,
    uri: str | None = None,
    trust: TimeTrust | None = None,
) -> CommitResult:
    """Sign that the model in `folder`, whose weights have `root`, is there, and write that into `attestation/`.

    Raises `CallerError` where that was committed to before: the earlier commitment says more. Raises `OutputError`
    where it cannot be written.
    """
    source = LocalFolder(folder)
    model = describe_model(source.root.name if name is None else name, root, version=version, uri=uri)
    commitment = Commitment(model=model, manifest_digest=_manifest_digest(source, root))
    there = read_commitment(source, signer, trust or TimeTrust())
    if there is not None and there.commitment == commitment:
        raise CallerError(
            f"{folder}: there is a commitment to this",
            hint=f"it is older, so it says more; else remove {COMMITMENT_PATH}",
        )
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: not writable", hint="make the folder writable, or commit to a copy of it")
    signed = sign_statement(build_commitment(commitment), signer, trust)
    path = folder / COMMITMENT_PATH
    with output_errors(path):
        path.parent.mkdir(exist_ok=True)
        replace_file(path, signed.data)
    return CommitResult(commitment, signed.signature, path)


def build_commitment(commitment: Commitment) -> bytes:
    """Return the statement, as canonical JSON."""
    head = AnyStatementHead(
        statement_type="https://in-toto.io/Statement/v1",
        subject=[AnySubject(digest={CHECKPOINT_ALGORITHM: commitment.model.checkpoint_root.hex})],
        predicate_type=COMMITMENT_TYPE,
        predicate=commitment.model_dump(mode="json", by_alias=True, exclude_none=True),
    )
    return head.canonical()


def _manifest_digest(source: Source, root: CheckpointRoot) -> FileDigest | None:
    """Return the digest of the manifest that is there, where it lists these weights."""
    try:
        data = read_whole(source, MANIFEST_PATH, max_bytes=MAX_MANIFEST_BYTES)
        listed = primary(read_manifest(data)).checkpoint_root
    except (MalformedInput, SourceError):
        return None
    return FileDigest(hashlib.sha256(data).digest()) if listed == root else None
