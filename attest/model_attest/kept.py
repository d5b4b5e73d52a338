"""What lies in `attestation/` and stays there when a model is signed anew. Spec: history."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from model_attest.signers.signer import Signer
from model_verify.digest import FileDigest
from model_verify.envelope import (
    MAX_BUNDLE_BYTES,
    ExpectedIdentity,
    KnownSigner,
    SignatureCheck,
    TimeTrust,
    check_signature,
    is_statement,
    open_bundle,
)
from model_verify.errors import CallerError, MalformedInput, OutputError, SourceError
from model_verify.files import COMMITMENT_PATH, superseded_path
from model_verify.findings import Finding
from model_verify.history.chain import MAX_LINKS, follow_chain
from model_verify.history.commitment import MAX_COMMITMENT_BYTES, commitment_entry, differences
from model_verify.history.folder import revocations_in
from model_verify.history.target import Target
from model_verify.models import BUNDLE_PATH, ModelIdentity
from model_verify.models.commitment import COMMITMENT_TYPE, Commitment
from model_verify.models.history import Superseded
from model_verify.signed_statement import read_signed_statement
from model_verify.sources.source import Source, read_whole
from model_verify.statement import read_statement

_FRESH = "`--fresh` forgets the attestations that were here"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The attestation that a new one takes the place of, with those that it has superseded, by their paths."""

    supersedes: Superseded
    check: SignatureCheck
    files: Mapping[str, bytes]

    def check_signer(self, new: SignatureCheck) -> None:
        """Raise `OutputError` unless the new attestation is by the same signer, or by a job of the same repository."""
        if same_signer(self.check, new):
            return
        raise OutputError(
            "the attestation that is here is by another identity", hint=f"{_FRESH}: they count under one signer only"
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """What a new attestation takes over: files by their paths, and what it supersedes."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    predecessor: Predecessor | None = None


def keep(source: Source, signer: Signer, trust: TimeTrust, *, reason: str | None, fresh: bool) -> Kept:
    """Return what stays in a model's folder that is signed anew.

    An attestation by another signer is not superseded: for a verifier it would not count. With `fresh`, none is.

    Raises `CallerError` for a revocation or a chain that cannot be read, and for a reason where nothing is superseded.
    """
    revocations, problems = revocations_in(source)
    _require_none(problems, "remove it")
    files = {file.label: file.data for file in revocations}
    predecessor = None if fresh else _predecessor(source, signer, trust, reason)
    if predecessor is None:
        if reason is not None:
            raise CallerError("`--reason`, and no attestation of yours is here", hint="it says why one is superseded")
        return Kept(files)
    return Kept({**files, **predecessor.files}, predecessor)


def _predecessor(source: Source, signer: Signer, trust: TimeTrust, reason: str | None) -> Predecessor | None:
    """Return the attestation that is there, where the same signer may have made it and it can be read."""
    try:
        data = read_whole(source, BUNDLE_PATH, max_bytes=MAX_BUNDLE_BYTES)
        signed = open_bundle(data)
        expected = signer.expected(signed)
        check = check_signature(signed, expected, trust)
        if not (check.holds and is_statement(signed)):
            return None
        statement = read_statement(signed.payload)
    except (MalformedInput, SourceError, OutputError):
        return None
    chain = follow_chain(source, Target(statement, check, expected, trust))
    _require_none(chain.findings, _FRESH)
    if len(chain.lines) >= MAX_LINKS:
        raise CallerError(f"{MAX_LINKS} attestations were superseded here, which is the most", hint=_FRESH)
    digest = FileDigest(hashlib.sha256(data).digest())
    supersedes = Superseded(bundle_digest=digest, checkpoint_root=statement.model.checkpoint_root, reason=reason)
    return Predecessor(supersedes, check, {**chain.files, superseded_path(digest): data})


def keep_commitment(
    source: Source,
    signer: Signer,
    trust: TimeTrust,
    model: ModelIdentity,
    manifest_digest: FileDigest,
    *,
    superseded: Superseded | None,
    fresh: bool,
) -> Mapping[str, bytes]:
    """Return the commitment that a new attestation of `model` takes over, by its path, where there is one.

    One to the model that is superseded goes with it. Raises `CallerError` for one to something else, or that cannot be
    read, as every verifier would find that; with `fresh`, it is forgotten.
    """
    if commitment_entry(source) is None:
        return {}
    there = read_commitment(source, signer, trust)
    problem = "is by another signer, or cannot be read"
    if there is not None:
        problems = differences(there.commitment, model, manifest_digest)
        if not problems:
            return {COMMITMENT_PATH: there.data}
        if (
            superseded is not None
            and there.commitment.model.checkpoint_root == superseded.checkpoint_root != model.checkpoint_root
        ):
            return {}
        problem = f"is to another {problems[0].where.rsplit(': ', 1)[-1]}: {problems[0].expected}"
    if fresh:
        return {}
    raise CallerError(
        f"the commitment that is here {problem}", hint=f"`attest commit` again, or remove {COMMITMENT_PATH}"
    )


@dataclass(frozen=True, slots=True)
class OwnCommitment:
    """A commitment by the same signer, and its bundle."""

    commitment: Commitment
    data: bytes


def read_commitment(source: Source, signer: Signer, trust: TimeTrust) -> OwnCommitment | None:
    """Return the commitment that is there; None where there is none by this signer that can be read."""
    try:
        data = read_whole(source, COMMITMENT_PATH, max_bytes=MAX_COMMITMENT_BYTES)
        expected = signer.expected(open_bundle(data))
        read = read_signed_statement(data, [expected], {COMMITMENT_TYPE}, where=COMMITMENT_PATH, trust=trust)
        return None if read.head is None else OwnCommitment(Commitment.read(read.head.predicate), data)
    except (MalformedInput, SourceError, OutputError, ValidationError):
        return None


def same_signer(one: SignatureCheck, other: SignatureCheck) -> bool:
    """Return whether two are by one key or identity, or by jobs of one repository: their names change with the tag."""
    return one.signer == other.signer or (_job(one) is not None and _job(one) == _job(other))


def _job(check: SignatureCheck) -> tuple[str, str, bytes | None] | None:
    signer: KnownSigner | None = check.signer
    if not isinstance(signer, ExpectedIdentity) or check.claims is None or check.claims.repository is None:
        return None
    return signer.identity.issuer, check.claims.repository, signer.trust_config


def _require_none(findings: list[Finding], hint: str) -> None:
    for finding in findings:
        problem = f"{finding.code}: expected {finding.expected}, not {finding.actual}"
        raise CallerError(f"{finding.where}: {problem}", hint=hint)
