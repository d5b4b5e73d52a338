"""Signing with a key that a private authority certified. Spec: statement §10."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from model_attest.signers.bundling import SigningKey, chain_bundle
from model_verify.envelope import ExpectedCertificate, PublicKey, SignedPayload
from model_verify.errors import CertificateUnreadable, OutputError
from model_verify.models import MAX_CERTIFICATES


class CertificateSigner:
    """Signs statements with a key, and sends the certificates along that lead from it to a root."""

    def __init__(self, key: SigningKey, certificates: Sequence[x509.Certificate], roots: bytes) -> None:
        """`certificates` begin with that of the key; roots among them are left out. `roots` are PEM.

        Raises `CertificateUnreadable` where the first is of another key.
        """
        if _public_der(certificates[0]) != _public_der(key.public_key):
            raise CertificateUnreadable(
                "the first certificate is not of this key",
                hint="it comes first, then each that certifies the one before",
            )
        self._key = key
        self._chain = [
            one.public_bytes(Encoding.DER)
            for one in certificates
            if one.issuer != one.subject or one == certificates[0]
        ]
        if len(self._chain) > MAX_CERTIFICATES:
            raise CertificateUnreadable(f"more than {MAX_CERTIFICATES} certificates below a root")
        self._roots = roots

    @property
    def public_key(self) -> PublicKey:
        return self._key.public_key

    def sign(self, statement: bytes) -> bytes:
        """Return the bundle, as canonical JSON, that carries `statement` under the key's signature."""
        return chain_bundle(self._key, self._chain, statement)

    def expected(self, signed: SignedPayload) -> ExpectedCertificate:
        """Return the first name that the certificate has, by the roots that the signer goes by."""
        if signed.leaf is None or not signed.leaf.names:
            raise OutputError("the attestation does not pass its own verification: its certificate has no name")
        return ExpectedCertificate(signed.leaf.names[0], self._roots)


def _public_der(of: x509.Certificate | object) -> bytes:
    key = of.public_key() if isinstance(of, x509.Certificate) else of.key  # type: ignore[attr-defined]
    der: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return der
