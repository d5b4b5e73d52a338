"""Public keys, and signatures by them. Spec: statement §4.3, §5."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from model_verify.errors import KeyUnreadable

if TYPE_CHECKING:
    from model_verify.envelope.bundle import SignedPayload

SupportedPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


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
