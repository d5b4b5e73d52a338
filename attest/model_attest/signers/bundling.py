"""Bundles of statements that a key signs, by itself or under a certificate. Spec: statement §4, §10.1."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Protocol

from model_verify.envelope import PublicKey, pre_authentication_encoding
from model_verify.models import (
    PAYLOAD_TYPE,
    Bundle,
    CertificateChain,
    ChainMaterial,
    Envelope,
    EnvelopeSignature,
    KeyMaterial,
    PublicKeyHint,
    X509Certificate,
)


class SigningKey(Protocol):
    """A private key, wherever it is kept."""

    public_key: PublicKey

    def sign_message(self, message: bytes) -> bytes:
        """Return the signature over `message`, by the algorithm of the key's kind."""


def key_bundle(key: SigningKey, statement: bytes) -> bytes:
    """Return the bundle, as canonical JSON, that carries `statement` under a key's signature.

    `keyid` and the empty `tlogEntries` are there for tools that insist on them; verifiers ignore them.
    """
    material = KeyMaterial(public_key=PublicKeyHint(hint=key.public_key.hint), tlog_entries=[])
    return _bundle(key, statement, material)


def chain_bundle(key: SigningKey, chain: Sequence[bytes], statement: bytes) -> bytes:
    """Return the bundle that carries `statement` under a key's signature, and the key under a chain in DER."""
    certificates = [X509Certificate(raw_bytes=_base64(der)) for der in chain]
    material = ChainMaterial(chain=CertificateChain(certificates=certificates), tlog_entries=[])
    return _bundle(key, statement, material)


def _bundle(key: SigningKey, statement: bytes, material: KeyMaterial | ChainMaterial) -> bytes:
    signature = key.sign_message(pre_authentication_encoding(PAYLOAD_TYPE, statement))
    bundle = Bundle(
        media_type="application/vnd.dev.sigstore.bundle.v0.3+json",
        verification_material=material,
        dsse_envelope=Envelope(
            payload=_base64(statement),
            payload_type=PAYLOAD_TYPE,
            signatures=[EnvelopeSignature(sig=_base64(signature), keyid=key.public_key.hint)],
        ),
    )
    return bundle.canonical()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
