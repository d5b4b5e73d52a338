"""Public keys, and signatures by them. Spec: statement §4.3, §5."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

from model_verify.errors import KeyUnreadable

if TYPE_CHECKING:
    from model_verify.envelope.bundle import SignedPayload

SupportedPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey | rsa.RSAPublicKey
MIN_RSA_BITS, MAX_RSA_BITS = 3072, 8192


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
        """Return `key` with its hint; raises `KeyUnreadable` unless it is P-256, P-384, Ed25519 or ML-DSA-65."""
        match key:
            case ed25519.Ed25519PublicKey():
                kind = "ed25519"
            case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
                kind = "p256"
            case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
                kind = "p384"
            case mldsa.MLDSA65PublicKey():
                kind = "ml-dsa-65"
            case _:
                raise KeyUnreadable("the key is not ECDSA P-256, ECDSA P-384, Ed25519 or ML-DSA-65")
        return cls._of_kind(key, kind)

    @classmethod
    def from_certified(cls, key: object) -> PublicKey:
        """Return a key that a certificate is for, which may be RSA; raises `KeyUnreadable`. Spec: statement §10.2."""
        return cls._of_kind(key, "rsa-pss") if isinstance(key, rsa.RSAPublicKey) else cls.from_key(key)

    @classmethod
    def _of_kind(cls, key: SupportedPublicKey, kind: str) -> PublicKey:
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(key, hashlib.sha256(der).hexdigest(), kind)

    @property
    def size_bits(self) -> int:
        """The bits of an RSA key's modulus; 0 for other keys."""
        return self.key.key_size if isinstance(self.key, rsa.RSAPublicKey) else 0

    @property
    def is_large_enough(self) -> bool:
        """Whether it is no RSA key, or one of a size that may sign. Spec: statement §10.2."""
        return not isinstance(self.key, rsa.RSAPublicKey) or MIN_RSA_BITS <= self.key.key_size <= MAX_RSA_BITS

    def verifies(self, signed: SignedPayload) -> bool:
        """Return whether this key signed the payload under its payload type. Spec: statement §4.3, §5."""
        message = pre_authentication_encoding(signed.payload_type, signed.payload)
        try:
            match self.key:
                case ed25519.Ed25519PublicKey():
                    self.key.verify(signed.signature, message)
                case ec.EllipticCurvePublicKey():
                    self.key.verify(signed.signature, message, ec.ECDSA(ecdsa_hash(self.key.curve)))
                case mldsa.MLDSA65PublicKey():
                    self.key.verify(signed.signature, message)
                case rsa.RSAPublicKey():
                    self.key.verify(signed.signature, message, PSS, hashes.SHA256())
        except InvalidSignature:
            return False
        return True


PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
"""How RSA signs, with SHA-256. Spec: statement §10.2."""


def ecdsa_hash(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    """Return the hash that goes with a curve. Spec: statement §5."""
    return hashes.SHA384() if isinstance(curve, ec.SECP384R1) else hashes.SHA256()


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature covers. Spec: statement §4.3."""
    encoded = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(encoded), encoded, len(payload), payload)
