"""Offices that certify keys, made by `cryptography`, with what a test wants wrong about them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from model_attest.signers.key import PrivateKey
from tests.sigstore.certificates import key_usage, now

NAME = "release@town.example"
DAY = dt.timedelta(days=1)


def new_key(kind: str) -> PrivateKey:
    match kind:
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


@dataclass(frozen=True)
class Office:
    """A root and an authority below it."""

    root_key: PrivateKey
    root: x509.Certificate
    key: PrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls, kind: str = "p384") -> Office:
        root_key, key = new_key(kind), new_key(kind)
        root = _authority("Root", root_key, "Root", root_key)
        return cls(root_key, root, key, _authority("Office", key, "Root", root_key))

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(Encoding.PEM)

    def second(self, kind: str = "p384") -> Office:
        """Return another authority of the same name below the same root, with a key of its own."""
        key = new_key(kind)
        return Office(self.root_key, self.root, key, _authority("Office", key, "Root", self.root_key))

    def certify(self, key: PrivateKey, *, start: dt.datetime | None = None, days: int = 30) -> x509.Certificate:
        """Return the certificate of a signer's key."""
        start = start or now() - DAY
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        return (
            _builder("Release", key, "Office", start, start + days * DAY)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(NAME)]), critical=False)
            .sign(self.key, hashes.SHA256())  # type: ignore[arg-type]
        )

    def crl(self, *revoked: x509.Certificate, of_root: bool = False) -> bytes:
        """Return a revocation list, PEM."""
        issuer, key = (self.root, self.root_key) if of_root else (self.certificate, self.key)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(now() - DAY / 24)
            .next_update(now() + DAY)
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(now() - DAY / 2)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Files:
    """A signer's key and chain, and the root, as files."""

    key: Path
    chain: Path
    root: Path


def written(office: Office, key: PrivateKey, certificate: x509.Certificate, folder: Path) -> Files:
    """Write the files of a signer; the chain has the root at its end, as such files often do."""
    files = Files(folder / "release.key", folder / "release.pem", folder / "root.pem")
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files.chain.write_bytes(
        b"".join(one.public_bytes(Encoding.PEM) for one in (certificate, office.certificate, office.root))
    )
    files.root.write_bytes(office.root.public_bytes(Encoding.PEM))
    return files


def _authority(name: str, key: PrivateKey, issuer: str, issuer_key: PrivateKey) -> x509.Certificate:
    return (
        _builder(name, key, issuer, now() - 900 * DAY, now() + 900 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(issuer_key, hashes.SHA256())  # type: ignore[arg-type]
    )


def _builder(name: str, key: PrivateKey, issuer: str, start: dt.datetime, end: dt.datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Town"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )
