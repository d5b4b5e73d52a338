"""How a bundle of OpenSSF Model Signing names its key. Spec: oms §2.2."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from model_verify.envelope import PublicKey


def pem_hint(key: PublicKey) -> str:
    """Return the hexadecimal SHA-256 of the key's PEM text; the standard's own bundles have that of its DER."""
    pem = key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()
