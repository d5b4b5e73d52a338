"""DSSE envelope and Sigstore bundle. Spec: statement §4."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from model_verify.models.wire import Maybe, Wire


class EnvelopeSignature(Wire):
    sig: str
    keyid: Maybe[str] = None


class Envelope(Wire):
    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: list[EnvelopeSignature] = Field(min_length=1, max_length=1)

    model_config = ConfigDict(populate_by_name=True)


class PublicKeyHint(Wire):
    hint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]


class Empty(Wire):
    """An object without members."""


class KeyMaterial(Wire):
    public_key: PublicKeyHint = Field(alias="publicKey")
    tlog_entries: Maybe[Annotated[list[Empty], Field(max_length=0)]] = Field(alias="tlogEntries", default=None)
    timestamps: Maybe[Empty] = Field(alias="timestampVerificationData", default=None)

    model_config = ConfigDict(populate_by_name=True)


class Bundle(Wire):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    verification_material: KeyMaterial = Field(alias="verificationMaterial")
    dsse_envelope: Envelope = Field(alias="dsseEnvelope")

    model_config = ConfigDict(populate_by_name=True)
