"""Signatures under certificates of private authorities. Spec: statement §10."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from cryptography import x509

from model_verify.envelope.authority import TimeTrust
from model_verify.envelope.bundle import SignedPayload
from model_verify.envelope.chain import UntrustedChain, verify_chain
from model_verify.envelope.check import SignatureCheck, failed
from model_verify.envelope.dating import date_signature
from model_verify.envelope.evidence import utc_text
from model_verify.envelope.identity import ExpectedCertificate
from model_verify.envelope.key import MAX_RSA_BITS, MIN_RSA_BITS
from model_verify.envelope.leaf import CertifiedLeaf
from model_verify.envelope.pem import read_certificates, read_crls
from model_verify.envelope.revocation import check_revocation
from model_verify.findings import Finding, Severity
from model_verify.models import BUNDLE_PATH


def verify_certificate_signature(
    signed: SignedPayload, leaf: CertifiedLeaf, expected: ExpectedCertificate, trust: TimeTrust
) -> SignatureCheck:
    """Return whether whoever is expected signed, under a certificate that was good then.

    It is judged at the earliest time that a timestamp shows, else now. The name is looked at last, so that
    `IDENTITY_MISMATCH` names somebody who did sign.
    """
    if not leaf.key.is_large_enough:
        bits = f"an RSA key of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits"
        return failed("CERTIFICATE_INVALID", bits, f"one of {leaf.key.size_bits} bits")
    if not leaf.key.verifies(signed):
        return failed("SIGNATURE_INVALID", f"signed by {expected}", f"not by the key certified for {leaf}")
    time, findings = date_signature(signed, trust)
    at = time.earliest.time if time is not None else trust.verified_at
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of certificates that an attacker wrote
        outside = tuple(_outside(leaf, expected, at.replace(microsecond=0)))
        if outside:
            return SignatureCheck(findings=(*outside, *findings))
        try:
            path = verify_chain(leaf.chain, _roots(expected.roots), at)
        except UntrustedChain as error:
            return failed("CERTIFICATE_INVALID", f"a certificate by your roots for {expected.name}", str(error))
        if expected.crls:
            lists = [one for data in expected.crls for one in _crls(data)]
            findings += tuple(check_revocation(path, lists, at=at, stamped=time is not None, now=trust.verified_at))
    if any(finding.severity is Severity.FAIL for finding in findings):
        return SignatureCheck(findings=findings)
    if expected.name not in leaf.names:
        return failed("IDENTITY_MISMATCH", f"signed by {expected}", f"signed by {leaf}")
    return SignatureCheck(expected, findings=findings, time=time, anchor=path[-1].subject.rfc4514_string())


def _outside(leaf: CertifiedLeaf, expected: ExpectedCertificate, at: datetime) -> Iterator[Finding]:
    """Yield a finding for each certificate of the bundle that is not valid at a time."""
    for one in leaf.chain:
        start, end = one.not_valid_before_utc, one.not_valid_after_utc
        if not start <= at <= end:
            validity = f"{one.subject.rfc4514_string()} valid from {utc_text(start)} to {utc_text(end)}"
            yield Finding("CERTIFICATE_EXPIRED", BUNDLE_PATH, f"valid at {utc_text(at)}", validity)


@lru_cache(maxsize=8)
def _roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    return read_certificates(pem)


@lru_cache(maxsize=8)
def _crls(data: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    return read_crls(data)
