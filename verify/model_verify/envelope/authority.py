"""Whom the caller trusts to say when something existed: timestamping authorities, by their certificates.

Spec: statement §9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from model_verify.errors import CallerError, CertificateUnreadable

if TYPE_CHECKING:  # signatures by keys do not wait for X.509
    from cryptography import x509

MOST_SKEW = timedelta(minutes=5)
"""By how much a time may lie ahead of the verifier's clock."""


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """One that the caller trusts, and when it was in service."""

    signers: tuple[x509.Certificate, ...]
    """The certificates that may sign; where there is none, every one that leads to a root and may sign timestamps."""
    between: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    start: datetime | None = None
    end: datetime | None = None

    def serves_at(self, time: datetime) -> bool:
        """Return whether it was in service then."""
        return (self.start is None or self.start <= time) and (self.end is None or time < self.end)

    @classmethod
    def from_chain(
        cls, chain: Sequence[x509.Certificate], start: datetime, end: datetime | None = None
    ) -> TimestampAuthority:
        """Return the authority of a chain from the certificate that signs to the root."""
        signer, *between, root = chain
        return cls((signer,), tuple(between), (root,), start, end)

    @classmethod
    def from_pem(cls, pem: bytes) -> TimestampAuthority:
        """Return the authority whose certificates a PEM file has, in any order; raises `CertificateUnreadable`.

        Whoever names itself as its issuer is a root. Whoever may sign timestamps is a signer, and then no other is.
        """
        from model_verify.envelope.pem import read_certificates

        signers, between, roots = [], [], []
        for certificate in read_certificates(pem):
            if certificate.issuer == certificate.subject:
                roots.append(certificate)
            elif signs_timestamps(certificate):
                signers.append(certificate)
            else:
                between.append(certificate)
        if not roots:
            raise CertificateUnreadable("there is no root among the certificates", hint="add the authority's root")
        return cls(tuple(signers), tuple(between), tuple(roots))


@dataclass(frozen=True, slots=True)
class TimeTrust:
    """Whose word on the time of a signature the caller takes, and when it is verified."""

    authorities: tuple[TimestampAuthority, ...] = ()
    now: datetime | None = None
    """None for the machine's clock."""

    @property
    def verified_at(self) -> datetime:
        """When it is verified. Raises `CallerError` for a time without a zone."""
        if self.now is not None and self.now.tzinfo is None:
            raise CallerError("a time of verification without a zone")
        return self.now or datetime.now(UTC)


def signs_timestamps(certificate: x509.Certificate) -> bool:
    """Return whether a certificate is for timestamps and nothing else. RFC 3161 §2.3."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return usage.critical and list(usage.value) == [ExtendedKeyUsageOID.TIME_STAMPING]
