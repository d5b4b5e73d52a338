"""What a bundle carries, unverified. Spec: statement §4; verification V2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from model_verify.canonical import loads
from model_verify.envelope.identity import Identity, JobClaims
from model_verify.errors import MalformedDocument, MalformedJson
from model_verify.models import PAYLOAD_TYPE, Bundle, CertificateMaterial, ChainMaterial, decode_base64

if TYPE_CHECKING:
    from model_verify.envelope.leaf import CertifiedLeaf
from model_verify.validation import first_problem

MAX_BUNDLE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class SignedPayload:
    """What a bundle carries. Nothing here is verified until `check_signature` says so."""

    payload: bytes
    payload_type: str
    signature: bytes
    hint: str | None = None
    """How the bundle names its key; None where it carries a certificate."""
    identity: Identity | None = None
    """Whom the bundle's certificate names; None where it names a key."""
    claims: JobClaims | None = None
    """What the certificate says of a job in a CI; None where the bundle names a key."""
    material: CertificateMaterial | None = None
    """The certificate and its place in a log; None where the bundle names a key."""
    leaf: CertifiedLeaf | None = None
    """What a chain of certificates of the bundle's says; None where it carries none."""
    timestamps: tuple[bytes, ...] = ()
    """Timestamps of the signature, in DER."""
    bundle: bytes = b""
    """The bundle as it was read."""

    @property
    def certified_name(self) -> str | None:
        """The name in the bundle's certificate, the first of several; None where it has none."""
        if self.identity is not None:
            return self.identity.name
        return next(iter(self.leaf.names), None) if self.leaf is not None else None

    @property
    def named(self) -> str:
        """Whom the bundle names as its signer, which it may do wrongly."""
        if self.hint is not None:
            return f"key {self.hint}"
        return str(self.identity or self.leaf)


def open_bundle(data: bytes) -> SignedPayload:
    """Return what a bundle carries, unverified.

    Raises `MalformedDocument` with `BUNDLE_MALFORMED` or `SIGNATURE_KIND_UNSUPPORTED`. Spec: statement §4.
    """
    try:
        members = loads(data, max_bytes=MAX_BUNDLE_BYTES)
    except MalformedJson as error:
        raise MalformedDocument("BUNDLE_MALFORMED", error.reason, rule=error.rule) from error
    try:
        bundle = Bundle.read(members)
    except ValidationError as error:
        raise MalformedDocument("BUNDLE_MALFORMED", first_problem(error), rule="statement §4") from error
    envelope = bundle.dsse_envelope
    payload = _decode(envelope.payload, "payload")
    signature = _decode(envelope.signatures[0].sig, "sig")
    if isinstance(bundle.verification_material, CertificateMaterial):
        # Only here, so that signatures by keys do not wait for X.509.
        from model_verify.envelope.certificate import read_claims, read_identity

        certificate = decode_base64(bundle.verification_material.certificate.raw_bytes)
        identity, claims = read_identity(certificate), read_claims(certificate)
        return SignedPayload(
            payload,
            envelope.payload_type,
            signature,
            identity=identity,
            claims=claims,
            material=bundle.verification_material,
            timestamps=bundle.verification_material.signed_timestamps,
            bundle=data,
        )
    if isinstance(bundle.verification_material, ChainMaterial):
        from model_verify.envelope.leaf import read_leaf

        chain = bundle.verification_material.chain.certificates
        return SignedPayload(
            payload,
            envelope.payload_type,
            signature,
            leaf=read_leaf([decode_base64(one.raw_bytes) for one in chain]),
            timestamps=bundle.verification_material.signed_timestamps,
            bundle=data,
        )
    named = bundle.verification_material
    return SignedPayload(
        payload,
        envelope.payload_type,
        signature,
        hint=named.public_key.hint,
        timestamps=named.signed_timestamps,
        bundle=data,
    )


def _decode(text: str, member: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as error:
        raise MalformedDocument("BUNDLE_MALFORMED", f"`{member}` is {error}", rule="statement §4.2") from error


def is_statement(signed: SignedPayload) -> bool:
    """Return whether the payload says that it is an in-toto statement. Spec: statement §4.3."""
    return signed.payload_type == PAYLOAD_TYPE
