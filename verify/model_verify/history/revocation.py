"""What is revoked, and whether that is to be honoured. Spec: history §1."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from pydantic import ValidationError

from model_verify.canonical import dumps
from model_verify.digest import CheckpointRoot
from model_verify.envelope import ExpectedSigner
from model_verify.envelope.check import claimed_signer
from model_verify.envelope.evidence import utc_text
from model_verify.findings import Finding
from model_verify.history.folder import BundleFile
from model_verify.history.report import ReportRevocation, RevocationOutcome
from model_verify.history.target import Target
from model_verify.models.any_statement import CHECKPOINT_ALGORITHM, AnySubject
from model_verify.models.history import (
    REVOCATION_TYPE,
    Revocation,
    RevokedIdentity,
    RevokedKey,
    RevokedRoot,
    RevokedSigner,
)
from model_verify.signature_report import describe_expected
from model_verify.signed_statement import SignedStatement, read_signed_statement
from model_verify.validation import first_problem

_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class JudgedRevocation:
    """What came of one revocation; `line` is None where there is nothing to read."""

    findings: tuple[Finding, ...]
    line: ReportRevocation | None = None
    root: CheckpointRoot | None = None
    """The root that it revokes, where it is honoured."""


def judge_revocation(file: BundleFile, target: Target, revokers: Sequence[ExpectedSigner]) -> JudgedRevocation:
    """Return what a revocation means for an attestation.

    A revoker whom the caller named may revoke everything. Whoever is accepted as the attestation's signer may revoke
    its root and its signer. Nothing is read of what nobody of them signed.
    """
    read = read_signed_statement(file.data, revokers, {REVOCATION_TYPE}, where=file.label, trust=target.trust)
    is_revoker = read.signature.holds
    if not is_revoker:
        read = read_signed_statement(
            file.data, target.same_signer, {REVOCATION_TYPE}, where=file.label, trust=target.trust
        )
    if read.signed is None or (read.head is None and read.signature.holds):
        stopped = read.findings[-1]
        return _malformed(file, stopped.actual or stopped.code)
    if read.head is None:
        return _not_honoured(file, claimed_signer(read.signed))
    try:
        revocation = Revocation.read(read.head.predicate)
    except ValidationError as error:
        return _malformed(file, first_problem(error))
    if not is_about(read.head.subject, revocation):
        return _malformed(file, "the subject is not what is revoked")
    outcome, findings = _outcome(file, revocation, target, is_revoker=is_revoker)
    revokes = revocation.revokes
    root = revokes.checkpoint_root if isinstance(revokes, RevokedRoot) and outcome != "not-honoured" else None
    return JudgedRevocation(findings, _line(file, outcome, revocation, read), root)


def _outcome(
    file: BundleFile, revocation: Revocation, target: Target, *, is_revoker: bool
) -> tuple[RevocationOutcome, tuple[Finding, ...]]:
    revokes = revocation.revokes
    said = f"{file.label}: {revocation.reason[:_MOST_SHOWN]}"
    if isinstance(revokes, RevokedRoot):
        root = revokes.checkpoint_root
        if root == target.statement.model.checkpoint_root:
            return "revoked", (Finding("ROOT_REVOKED", str(revokes), "weights that stand", said),)
        made_from = [one.name for one in target.statement.materials if one.digest.checkpoint_root == root]
        if made_from and not is_revoker:
            return "not-honoured", (_refusal(file, f"{revokes} is a parent's, and none of your revokers signed this"),)
        findings = [Finding("ROOT_REVOKED", name, "a parent that stands", said) for name in made_from]
        return ("revoked", tuple(findings)) if findings else ("elsewhere", ())
    if not target.is_by(revokes):
        if is_revoker:
            return "elsewhere", ()
        return "not-honoured", (_refusal(file, f"{revokes} is not who signed it"),)
    since, time = revocation.revoked_since, target.signature.time
    if since is not None and time is not None and time.earliest.time < _moment(since):
        signed = f"signed before {utc_text(time.earliest.time)}"
        return "signed-before", (Finding("SIGNER_REVOKED_LATER", str(revokes), f"revoked since {since}", signed),)
    unknown = "; nothing shows when this was signed" if since is not None and time is None else ""
    return "revoked", (Finding("SIGNER_REVOKED", str(revokes), "a signer that stands", said + unknown),)


def is_about(subjects: Sequence[AnySubject], revocation: Revocation) -> bool:
    """Return whether the only subject is what is revoked, by its only digest. Spec: history §1.3."""
    return [subject.digest for subject in subjects] == [subject_digest(revocation.revokes)]


def subject_digest(revokes: RevokedRoot | RevokedSigner) -> dict[str, str]:
    """Return the digest that stands for what is revoked, as a subject has it. Spec: history §1.3."""
    match revokes:
        case RevokedRoot(checkpoint_root=root):
            return {CHECKPOINT_ALGORITHM: root.hex}
        case RevokedKey(key_hint=hint):
            return {"sha256": hint}
        case RevokedIdentity(identity=identity, issuer=issuer):
            return {"sha256": hashlib.sha256(dumps({"identity": identity, "issuer": issuer})).hexdigest()}
        case _:
            assert_never(revokes)


def _line(
    file: BundleFile, outcome: RevocationOutcome, revocation: Revocation, read: SignedStatement
) -> ReportRevocation:
    time = read.signature.time
    return ReportRevocation(
        where=file.label,
        outcome=outcome,
        by=_signer(read),
        revokes=str(revocation.revokes),
        issued=revocation.issued,
        since=revocation.revoked_since,
        reason=revocation.reason,
        signed_before=None if time is None else utc_text(time.earliest.time),
    )


def _malformed(file: BundleFile, reason: str) -> JudgedRevocation:
    return JudgedRevocation((Finding("REVOCATION_MALFORMED", file.label, "a revocation", reason),))


def _not_honoured(file: BundleFile, by: str) -> JudgedRevocation:
    line = ReportRevocation(where=file.label, outcome="not-honoured", by=by)
    return JudgedRevocation((_refusal(file, f"it names {by}"),), line)


def _refusal(file: BundleFile, found: str) -> Finding:
    return Finding("REVOCATION_NOT_HONOURED", file.label, "signed by one who may revoke it", found)


def _signer(read: SignedStatement) -> str:
    assert read.signature.signer is not None
    return describe_expected(read.signature.signer).described


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z") + "+00:00")
