"""Whether certificates were revoked, by lists that the caller has. RFC 5280 §5. Spec: statement §10.6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from model_verify.envelope.authority import MOST_SKEW
from model_verify.findings import Finding
from model_verify.models import BUNDLE_PATH

# Reasons that say nothing against what was signed before: RFC 3161 §4.1 draws the same line.
_HARMLESS_BEFORE = {
    x509.ReasonFlags.affiliation_changed,
    x509.ReasonFlags.superseded,
    x509.ReasonFlags.cessation_of_operation,
}


def check_revocation(
    path: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    *,
    at: datetime,
    stamped: bool,
    now: datetime,
) -> Iterator[Finding]:
    """Yield `CERTIFICATE_REVOKED` and `REVOCATION_UNKNOWN` for the certificates of a path from the leaf to a root.

    `at` is the time that the path is judged at, `stamped` whether a timestamp shows that. The root is the caller's.
    """
    for certificate, issuer in pairwise(path):
        name = certificate.subject.rfc4514_string()
        own = [one for one in lists if _is_by(one, issuer)]
        current = [one for one in own if _is_current(one, certificate, at, now)]
        entries = [
            (one in current, one.get_revoked_certificate_by_serial_number(certificate.serial_number)) for one in own
        ]
        revoked = [
            entry for is_current, entry in entries if entry and _counts(entry, at if stamped else None, is_current)
        ]
        if revoked:
            when = f"{min(entry.revocation_date_utc for entry in revoked):%Y-%m-%dT%H:%M:%SZ}"
            yield Finding("CERTIFICATE_REVOKED", BUNDLE_PATH, "certificates that hold", f"{name} revoked {when}")
        elif not current:
            wanted = f"a revocation list by {issuer.subject.rfc4514_string()}, not older than {at:%Y-%m-%dT%H:%M:%SZ}"
            yield Finding("REVOCATION_UNKNOWN", BUNDLE_PATH, wanted, f"none for {name}")


def _is_by(one: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Return whether an authority made a list of all its certificates: a critical extension would narrow it."""
    try:
        return (
            one.issuer == issuer.subject
            and not any(extension.critical for extension in one.extensions)
            and _signs_lists(issuer)
            and isinstance(one.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512)
            and one.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
            and not any(extension.critical for entry in one for extension in entry.extensions)
        )
    except MemoryError:
        raise
    except Exception:  # the library has no error of its own for what it cannot read
        return False


def _is_current(
    one: x509.CertificateRevocationList, certificate: x509.Certificate, at: datetime, now: datetime
) -> bool:
    """Return whether a list would have a certificate that was revoked before a time.

    Authorities leave out what has expired, so a list from after that says nothing.
    """
    return (
        one.next_update_utc is not None
        and at < one.next_update_utc
        and one.last_update_utc <= min(now + MOST_SKEW, certificate.not_valid_after_utc)
    )


def _signs_lists(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _counts(entry: x509.RevokedCertificate, stamped_at: datetime | None, is_current: bool) -> bool:
    """Return whether a revocation is one of the time that is judged. `stamped_at` is None where nothing shows it.

    What is on hold can come off it, so only a list that is current says that it is; nothing else is ever taken back.
    """
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        reason = x509.ReasonFlags.unspecified
    if reason is x509.ReasonFlags.remove_from_crl or (reason is x509.ReasonFlags.certificate_hold and not is_current):
        return False
    return stamped_at is None or reason not in _HARMLESS_BEFORE or entry.revocation_date_utc <= stamped_at
