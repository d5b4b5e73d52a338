"""What the report says of who signed, and when. Spec: verification §6."""

from __future__ import annotations

import hashlib
from typing import assert_never

from model_verify.digest import FileDigest
from model_verify.envelope import (
    ExpectedCertificate,
    ExpectedIdentity,
    KnownSigner,
    PublicKey,
    SignatureCheck,
    SignedPayload,
    SigningTime,
    TimeTrust,
)
from model_verify.envelope.evidence import utc_text
from model_verify.report import ReportBundle, ReportLog, ReportSigner, ReportTime, ReportTimeEvidence
from model_verify.sources.detached import DetachedAttestation


def describe_bundle(signed: SignedPayload | None, attestation: DetachedAttestation | None) -> ReportBundle | None:
    """Return which bundle was read; None where there is none that could be."""
    if signed is None:
        return None
    digest = FileDigest(hashlib.sha256(signed.bundle).digest())
    return ReportBundle(digest=digest, detached=attestation.label if attestation else None)


def describe_detached(attestation: DetachedAttestation | None, check: SignatureCheck) -> str:
    """Return what the headline adds where whoever signed need not be whoever published the model."""
    if attestation is None or check.signer is None:
        return ""
    return f"; the attestation is detached, by {describe_expected(check.signer).described}"


def describe_signer(signed: SignedPayload | None, check: SignatureCheck) -> ReportSigner | None:
    """Return who signed, as the check found or as the bundle says; None where there is no bundle to read."""
    if check.signer is not None:
        return describe_expected(check.signer, anchor=check.anchor)
    if signed is None:
        return None
    if signed.identity is not None:
        identity = signed.identity
        return ReportSigner(kind="sigstore", identity=identity.name, issuer=identity.issuer, expected=False)
    if signed.leaf is not None:
        name = signed.certified_name
        return ReportSigner(kind="certificate", identity=name, algorithm=signed.leaf.key.kind, expected=False)
    return ReportSigner(kind="key", key_hint=signed.hint, expected=False)


def describe_expected(signer: KnownSigner, *, anchor: str | None = None) -> ReportSigner:
    """Return a signer who is known to have signed; `anchor` is the root that vouches for a certificate."""
    match signer:
        case PublicKey():
            return ReportSigner(kind="key", key_hint=signer.hint, algorithm=signer.kind, expected=True)
        case ExpectedIdentity(identity=identity):
            return ReportSigner(kind="sigstore", identity=identity.name, issuer=identity.issuer, expected=True)
        case ExpectedCertificate(name=name):
            return ReportSigner(kind="certificate", identity=name, issuer=anchor, expected=True)
        case _:
            assert_never(signer)


def describe_time(time: SigningTime | None) -> ReportTime | None:
    """Return when it was signed, by whose word; None where nothing shows it."""
    if time is None:
        return None
    return ReportTime(
        signed_before=utc_text(time.earliest.time),
        by=time.earliest.by,
        evidence=[
            ReportTimeEvidence(source=word.source, by=word.by, time=utc_text(word.time)) for word in time.evidence
        ],
        log=None if time.log is None else ReportLog(origin=time.log.origin, index=time.log.index),
    )


def undated_reason(signed: SignedPayload, trust: TimeTrust) -> str:
    """Return why nothing is known of when it was signed."""
    if signed.identity is not None:
        return "its signature was not verified"
    judged = "" if signed.leaf is None else ": its certificate is judged at the time of verification"
    count = len(signed.timestamps)
    if count == 0:
        return f"the bundle holds no timestamp{judged}"
    counted = "a timestamp" if count == 1 else f"{count} timestamps"
    if not trust.authorities:
        return f"the bundle holds {counted}, and you name no authority whose word you take{judged}"
    return f"the bundle holds {counted}, and none that counts{judged}"
