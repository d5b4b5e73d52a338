"""From a bundle's bytes to the bytes that an expected key has signed. Spec: statement §4, §5; verification V2, V3."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import ValidationError

from model_verify.canonical import loads
from model_verify.errors import KeyUnreadable, MalformedDocument, MalformedJson
from model_verify.models import PAYLOAD_TYPE, Bundle
from model_verify.validation import first_problem

MAX_BUNDLE_BYTES = 16 << 20

SupportedPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class SignedPayload:
    """What a bundle carries. Nothing here is verified until `PublicKey.verifies` says so."""

    payload: bytes
    payload_type: str
    signature: bytes
    hint: str


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that the caller named. Its kind alone chooses the algorithm."""

    key: SupportedPublicKey
    hint: str
    kind: str

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Return the key in a PEM SubjectPublicKeyInfo; raises `KeyUnreadable` for anything else."""
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyUnreadable("not a PEM public key", hint="`attest keygen` writes one as `PATH.pub`") from error
        return cls.from_key(key)

    @classmethod
    def from_key(cls, key: object) -> PublicKey:
        """Return `key` with its hint; raises `KeyUnreadable` unless it is P-256, P-384 or Ed25519."""
        match key:
            case ed25519.Ed25519PublicKey():
                kind = "ed25519"
            case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
                kind = "p256"
            case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
                kind = "p384"
            case _:
                raise KeyUnreadable("the key is not ECDSA P-256, ECDSA P-384 or Ed25519")
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(key, hashlib.sha256(der).hexdigest(), kind)

    def verifies(self, signed: SignedPayload) -> bool:
        """Return whether this key signed the payload under its payload type. Spec: statement §4.3, §5."""
        message = pre_authentication_encoding(signed.payload_type, signed.payload)
        try:
            match self.key:
                case ed25519.Ed25519PublicKey():
                    self.key.verify(signed.signature, message)
                case ec.EllipticCurvePublicKey():
                    self.key.verify(signed.signature, message, ec.ECDSA(ecdsa_hash(self.key.curve)))
        except InvalidSignature:
            return False
        return True


def ecdsa_hash(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    """Return the hash that goes with a curve. Spec: statement §5."""
    return hashes.SHA384() if isinstance(curve, ec.SECP384R1) else hashes.SHA256()


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature covers. Spec: statement §4.3."""
    encoded = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(encoded), encoded, len(payload), payload)


def open_bundle(data: bytes) -> SignedPayload:
    """Return what a bundle carries, unverified.

    Raises `MalformedDocument` with `BUNDLE_MALFORMED` or `SIGNATURE_KIND_UNSUPPORTED`. Spec: statement §4.
    """
    try:
        members = loads(data, max_bytes=MAX_BUNDLE_BYTES)
    except MalformedJson as error:
        raise MalformedDocument("BUNDLE_MALFORMED", error.reason, rule=error.rule) from error
    material = members.get("verificationMaterial") if isinstance(members, dict) else None
    if isinstance(material, dict) and "publicKey" not in material:
        other = sorted(material.keys() & {"certificate", "x509CertificateChain"})
        if other:
            raise MalformedDocument("SIGNATURE_KIND_UNSUPPORTED", f"signed with `{other[0]}`", rule="statement §4.4")
    try:
        bundle = Bundle.read(members)
    except ValidationError as error:
        raise MalformedDocument("BUNDLE_MALFORMED", first_problem(error), rule="statement §4") from error
    envelope = bundle.dsse_envelope
    return SignedPayload(
        payload=_decode(envelope.payload, "payload"),
        payload_type=envelope.payload_type,
        signature=_decode(envelope.signatures[0].sig, "sig"),
        hint=bundle.verification_material.public_key.hint,
    )


def _decode(text: str, member: str) -> bytes:
    """Return what base64 `text` writes, if it is the one way to write it."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedDocument("BUNDLE_MALFORMED", f"`{member}` is not base64", rule="statement §4.2") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise MalformedDocument("BUNDLE_MALFORMED", f"`{member}` is not canonical base64", rule="statement §4.2")
    return data


def is_statement(signed: SignedPayload) -> bool:
    """Return whether the payload says that it is an in-toto statement. Spec: statement §4.3."""
    return signed.payload_type == PAYLOAD_TYPE
