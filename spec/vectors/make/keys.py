"""Keys of the vectors: made from their names, public halves as PEM, signatures as bytes."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache

import ecdsa
import ed25519
import mldsa
import rsa

CURVES = {"p256": ecdsa.P256, "p384": ecdsa.P384}
RSA = "2a864886f70d010101"
EC_PUBLIC_KEY = "2a8648ce3d0201"
IDENTIFIERS = {"p256": "2a8648ce3d030107", "p384": "2b81040022", "ed25519": "2b6570", "ml-dsa-65": "608648016503040312"}


def der(tag: int, *content: bytes) -> bytes:
    """Return one DER element."""
    body = b"".join(content)
    if len(body) < 0x80:
        size = bytes([len(body)])
    else:
        length = (len(body).bit_length() + 7) // 8
        size = bytes([0x80 | length]) + len(body).to_bytes(length, "big")
    return bytes([tag]) + size + body


def der_integer(value: int) -> bytes:
    """Return a DER INTEGER that is not negative."""
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def der_signature(r: int, s: int) -> bytes:
    """Return an ECDSA signature as DER."""
    return der(0x30, der_integer(r), der_integer(s))


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the vectors. `kind` is p256, p384, ed25519, ml-dsa-65, or rsa and the number of bits."""

    kind: str
    name: str

    @property
    def text(self) -> str:
        """What the key is made from."""
        return f"model-attest vector key {self.kind} {self.name}"

    @property
    def bits(self) -> int:
        """The bits of an RSA key's modulus."""
        return int(self.kind.removeprefix("rsa"))

    @property
    def _seed(self) -> bytes:
        return hashlib.sha512(self.text.encode()).digest()

    @property
    def secret(self) -> int:
        """The scalar of an ECDSA key."""
        return 1 + int.from_bytes(self._seed, "big") % (CURVES[self.kind].order - 1)

    def sign(self, message: bytes) -> bytes:
        """Return the signature over `message`: DER for ECDSA, 64 bytes for Ed25519, PSS with SHA-256 for RSA."""
        if self.kind == "ed25519":
            return ed25519.sign(self._seed[:32], message)
        if self.kind == "ml-dsa-65":
            return mldsa.sign(self._seed[:32], message)
        if self.kind.startswith("rsa"):
            return rsa.sign_pss(self.text, self.bits, message)
        return der_signature(*ecdsa.sign(CURVES[self.kind], self.secret, message))

    def public_der(self) -> bytes:
        """Return the SubjectPublicKeyInfo."""
        return _public_der(self)

    def raw_public(self) -> bytes:
        """Return the public key without its wrapping."""
        if self.kind == "ed25519":
            return ed25519.public_key(self._seed[:32])
        if self.kind == "ml-dsa-65":
            return mldsa.public_key(self._seed[:32])
        if self.kind.startswith("rsa"):
            return der(0x30, der_integer(rsa.key(self.text, self.bits)[0]), der_integer(rsa.EXPONENT))
        return ecdsa.public_point(CURVES[self.kind], self.secret)

    def pem(self) -> bytes:
        """Return the SubjectPublicKeyInfo as PEM."""
        return pem("PUBLIC KEY", self.public_der())

    def hint(self) -> str:
        """Return the key hint. Spec: statement §4.4."""
        return hashlib.sha256(self.public_der()).hexdigest()


def pem(label: str, data: bytes) -> bytes:
    """Return DER as PEM."""
    text = base64.b64encode(data).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


@cache
def _public_der(key: Key) -> bytes:
    if key.kind.startswith("rsa"):
        return der(0x30, der(0x30, der(0x06, bytes.fromhex(RSA)), der(0x05)), der(0x03, b"\x00", key.raw_public()))
    own = der(0x06, bytes.fromhex(IDENTIFIERS[key.kind]))
    if key.kind in CURVES:
        own = der(0x06, bytes.fromhex(EC_PUBLIC_KEY)) + own
    return der(0x30, der(0x30, own), der(0x03, b"\x00", key.raw_public()))


def check() -> None:
    """Compare signatures with the values of the RFCs."""
    ed25519.check()
    ecdsa.check()
    mldsa.check()


RELEASE = Key("p256", "release")
RELEASE_P384 = Key("p384", "release")
RELEASE_ED25519 = Key("ed25519", "release")
RELEASE_ML_DSA = Key("ml-dsa-65", "release")
STRANGER = Key("p256", "stranger")
