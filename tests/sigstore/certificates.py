"""Certificates of a loopback Sigstore: authorities, and the chains that a trusted root lists."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANIZATION = "loopback.example"
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate, and the key that it is for."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


def public_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the SubjectPublicKeyInfo of a key."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def now() -> dt.datetime:
    """Return the time in whole seconds, as certificates have it."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def root(name: str) -> Issued:
    """Return a new root authority."""
    key = ec.generate_private_key(ec.SECP384R1())
    return Issued(_authority(name, key, None, path_length=1).sign(key, hashes.SHA384()), key)


def intermediate(name: str, issuer: Issued) -> Issued:
    """Return an authority below `issuer` that may issue code signing certificates.

    Its extended key usage is not critical: no verifier of X.509 takes a critical one on an authority.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    builder = _authority(name, key, issuer, path_length=0).add_extension(usage, critical=False)
    return Issued(builder.sign(issuer.key, hashes.SHA384()), key)


def timestamper(name: str, issuer: Issued) -> Issued:
    """Return a certificate that may sign timestamps and nothing else; RFC 3161 wants that critical."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    builder = (
        _certificate(name, key, issuer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(usage, critical=True)
    )
    return Issued(builder.sign(issuer.key, hashes.SHA384()), key)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: Issued | None, *, path_length: int
) -> x509.CertificateBuilder:
    return (
        _certificate(name, key, issuer)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
    )


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: Issued | None) -> x509.CertificateBuilder:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    issuer_key = (issuer.key if issuer else key).public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - 365 * _DAY)
        .not_valid_after(now() + 3650 * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )
