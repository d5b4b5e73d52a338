"""Whether the expected signer signed. Spec: verification V3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from model_verify.envelope.authority import TimeTrust
from model_verify.envelope.bundle import SignedPayload
from model_verify.envelope.dating import date_signature
from model_verify.envelope.evidence import SigningTime
from model_verify.envelope.identity import ExpectedCertificate, ExpectedIdentity, ExpectedJob, JobClaims
from model_verify.envelope.key import PublicKey
from model_verify.findings import Finding, Severity
from model_verify.models import BUNDLE_PATH

KnownSigner = PublicKey | ExpectedIdentity | ExpectedCertificate
"""Who signed."""
ExpectedSigner = KnownSigner | ExpectedJob
"""Whom the caller named."""


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """What came of holding a bundle against the signer that is expected."""

    signer: KnownSigner | None = None
    """Who signed; None where the expected signer did not, or nobody is expected."""
    claims: JobClaims | None = None
    """What the signer's certificate says of a job in a CI; None where a key signed."""
    findings: tuple[Finding, ...] = ()
    time: SigningTime | None = None
    """When it was signed; None where nothing in the bundle shows it, or where the signature does not hold."""
    anchor: str | None = None
    """The root that vouches for the signer's certificate; None where none of the caller's does."""

    @property
    def holds(self) -> bool:
        return self.signer is not None

    @property
    def open_questions(self) -> tuple[Finding, ...]:
        """What nobody knows of a signature that holds, such as whether its certificate was revoked."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.INCOMPLETE)


def check_signature(signed: SignedPayload, expected: ExpectedSigner, trust: TimeTrust | None = None) -> SignatureCheck:
    """Return whether `expected` signed, and when; where that does not hold, why.

    `trust` says whose timestamps count; those of an identity's bundle are judged by its instance.

    Raises `SigstoreMissing` and `TrustConfigUnreadable` where an identity is expected, `CertificateUnreadable` where a
    certificate is, and `TimestampsMissing` where an authority is trusted, and this cannot be found out.
    """
    match expected:
        case PublicKey():
            # A certificate is no reason to look past the caller's key: what is signed under one is not signed by it.
            if signed.hint is not None and expected.verifies(signed):
                time, findings = date_signature(signed, trust or TimeTrust())
                return SignatureCheck(expected, findings=findings, time=time)
            return failed("SIGNATURE_INVALID", f"signed by key {expected.hint}", claimed_signer(signed))
        case ExpectedIdentity() | ExpectedJob():
            if signed.material is None:
                return failed("SIGNATURE_INVALID", f"signed by {expected}", claimed_signer(signed))
            # Only here: it takes a second to import, which signatures by keys need not wait for.
            from model_verify.envelope.sigstore import verify_certified

            return verify_certified(signed, signed.material, expected)
        case ExpectedCertificate():
            if signed.leaf is None:
                return failed("SIGNATURE_INVALID", f"signed by {expected}", claimed_signer(signed))
            # Only here, so that signatures by keys do not wait for X.509.
            from model_verify.envelope.certified import verify_certificate_signature

            return verify_certificate_signature(signed, signed.leaf, expected, trust or TimeTrust())
        case _:
            assert_never(expected)


def claimed_signer(signed: SignedPayload) -> str:
    """Return whom a bundle names as its signer, which it may do wrongly."""
    if signed.hint is not None:
        return f"hint {signed.hint}"
    return f"a certificate for {signed.identity or signed.leaf}"


def names_signer(signed: SignedPayload, expected: ExpectedSigner) -> bool:
    """Return whether the bundle says that `expected` signed it. It proves nothing."""
    match expected:
        case PublicKey():
            return signed.hint == expected.hint
        case ExpectedIdentity():
            return signed.identity == expected.identity
        case ExpectedCertificate():
            return signed.leaf is not None and expected.name in signed.leaf.names
        case ExpectedJob():
            return (
                signed.identity is not None
                and signed.claims is not None
                and expected.is_met(signed.identity, signed.claims)
            )
        case _:
            assert_never(expected)


def failed(code: str, expected: str, actual: str) -> SignatureCheck:
    """Return what stops the procedure."""
    return SignatureCheck(findings=(Finding(code, BUNDLE_PATH, expected, actual),))
