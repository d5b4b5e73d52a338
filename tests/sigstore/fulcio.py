"""An authority that certifies keys for identities (Fulcio v2), with the certificate's entry in a CT log (RFC 6962)."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import struct
from collections.abc import Callable

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.sigstore import certificates
from tests.sigstore.certificates import public_der

LIFETIME = dt.timedelta(minutes=10)
_CLAIMS_ARC = "1.3.6.1.4.1.57264.1"
_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_GITHUB = "https://github.com/"

# claim -> its extension of old, whose value is bare text; its extension of today, in DER; what goes before the text.
_CLAIM_EXTENSIONS: dict[str, tuple[int | None, int | None, str]] = {
    "event_name": (2, 20, ""),
    "sha": (3, 13, ""),
    "workflow": (4, None, ""),
    "repository": (5, 12, _GITHUB),
    "ref": (6, 14, ""),
    "job_workflow_ref": (None, 9, _GITHUB),
    "workflow_ref": (None, 18, _GITHUB),
    "job_workflow_sha": (None, 10, ""),
    "runner_environment": (None, 11, ""),
    "repository_owner": (None, 16, _GITHUB),
}

Edit = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]


class Fulcio:
    """Certifies whom a token names, for ten minutes."""

    def __init__(self) -> None:
        self.root = certificates.root("fulcio root")
        self.intermediate = certificates.intermediate("fulcio intermediate", self.root)
        self.ct_key = ec.generate_private_key(ec.SECP256R1())
        self.names_both_issuers = True
        """Whether the issuer stands in the certificate in both of its forms."""

    def certify(self, request_pem: bytes, claims: dict[str, str]) -> list[str]:
        """Return the chain for a certificate request, leaf first; raises `ValueError` unless it is signed."""
        request = x509.load_pem_x509_csr(request_pem)
        if not request.is_signature_valid:
            raise ValueError("the request is not signed by its key")
        leaf = self.issue(request.public_key(), subject_name(claims), claims)
        return [leaf.public_bytes(Encoding.PEM).decode(), self.intermediate.pem, self.root.pem]

    def issue(self, key: object, name: x509.GeneralName, claims: dict[str, str]) -> x509.Certificate:
        """Return the certificate of a key for a name, as the CT log has it."""
        start = certificates.now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.intermediate.certificate.subject)
            .public_key(key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + LIFETIME)
            .add_extension(certificates.key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)  # type: ignore[arg-type]
            .add_extension(self._authority_key_identifier(), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        )
        for number, value in _claim_extensions(claims, both_issuers=self.names_both_issuers):
            oid = x509.ObjectIdentifier(f"{_CLAIMS_ARC}.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        logged = builder.sign(self.intermediate.key, hashes.SHA384()).tbs_certificate_bytes
        proof = x509.UnrecognizedExtension(_SCT_LIST, core.OctetString(self._sct_list(logged)).dump())
        return builder.add_extension(proof, critical=False).sign(self.intermediate.key, hashes.SHA384())

    def _authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.intermediate.key.public_key())

    def _sct_list(self, logged: bytes) -> bytes:
        """Return the list of one signed certificate timestamp over what was logged. RFC 6962 §3.2, §3.3."""
        version, entry_type_precertificate = 0, 1
        milliseconds = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
        issuer = self.intermediate.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        signed = (
            struct.pack("!BBQH", version, 0, milliseconds, entry_type_precertificate)
            + hashlib.sha256(issuer).digest()
            + len(logged).to_bytes(3, "big")
            + logged
            + b"\0\0"
        )
        signature = self.ct_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        sha256_ecdsa = b"\4\3"
        sct = (
            bytes([version])
            + hashlib.sha256(public_der(self.ct_key)).digest()
            + struct.pack("!QH", milliseconds, 0)
            + sha256_ecdsa
            + struct.pack("!H", len(signature))
            + signature
        )
        return struct.pack("!HH", len(sct) + 2, len(sct)) + sct


def subject_name(claims: dict[str, str]) -> x509.GeneralName:
    """Return the name that a certificate is issued to."""
    if "job_workflow_ref" in claims:
        return x509.UniformResourceIdentifier(_GITHUB + claims["job_workflow_ref"])
    if "email" in claims:
        return x509.RFC822Name(claims["email"])
    return x509.UniformResourceIdentifier(claims["sub"])


def _claim_extensions(claims: dict[str, str], *, both_issuers: bool) -> list[tuple[int, bytes]]:
    """Return numbers and values of the extensions that carry claims."""
    found = [(1, claims["iss"].encode())] if both_issuers else []
    found.append((8, core.UTF8String(claims["iss"]).dump()))
    for claim, (old, today, before) in _CLAIM_EXTENSIONS.items():
        if claim not in claims:
            continue
        if old is not None:
            found.append((old, claims[claim].encode()))
        if today is not None:
            found.append((today, core.UTF8String(before + claims[claim]).dump()))
    return found


def decoded_request(members: dict[str, str]) -> bytes:
    """Return the certificate request in the body of a call."""
    return base64.b64decode(members["certificateSigningRequest"])
