"""DSSE envelope and Sigstore bundle, signed by a key or under a certificate. Spec: statement §4, §6, §9, §10."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator

from model_verify.models.wire import Maybe, Wire

MAX_TIMESTAMPS = 32
MAX_CERTIFICATES = 8
"""Of a chain, without its root."""


def decode_base64(text: str) -> bytes:
    """Return what base64 `text` writes; raises `ValueError` unless it is the one way to write it.

    Spec: statement §4.2.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise ValueError("not canonical base64")
    return data


def _is_base64(text: str) -> str:
    decode_base64(text)
    return text


Base64 = Annotated[str, AfterValidator(_is_base64)]
ProtobufInteger = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,18})\z")]
"""What protobuf's JSON writes for a 64-bit integer."""


class Document(Wire):
    model_config = ConfigDict(populate_by_name=True)


class EnvelopeSignature(Wire):
    sig: str
    keyid: Maybe[str] = None


class Envelope(Document):
    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: list[EnvelopeSignature] = Field(min_length=1, max_length=1)


class PublicKeyHint(Wire):
    hint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]


class Empty(Wire):
    """An object without members."""


class SignedTimestamp(Document):
    signed_timestamp: Base64 = Field(alias="signedTimestamp")


class Timestamps(Document):
    rfc3161: Annotated[list[SignedTimestamp], Field(max_length=MAX_TIMESTAMPS)] = Field(
        alias="rfc3161Timestamps", default=[]
    )


class Timestamped(Document):
    """What may carry timestamps of its signature."""

    timestamps: Maybe[Timestamps] = Field(alias="timestampVerificationData", default=None)

    @property
    def signed_timestamps(self) -> tuple[bytes, ...]:
        """The timestamps, in DER."""
        listed = self.timestamps.rfc3161 if self.timestamps else []
        return tuple(decode_base64(stamp.signed_timestamp) for stamp in listed)


class KeyMaterial(Timestamped):
    public_key: PublicKeyHint = Field(alias="publicKey")
    tlog_entries: Maybe[Annotated[list[Empty], Field(max_length=0)]] = Field(alias="tlogEntries", default=None)


class X509Certificate(Document):
    raw_bytes: Base64 = Field(alias="rawBytes")


class LogId(Document):
    key_id: Base64 = Field(alias="keyId")


class KindVersion(Document):
    kind: str
    version: str


class InclusionPromise(Document):
    signed_entry_timestamp: Base64 = Field(alias="signedEntryTimestamp")


class Checkpoint(Document):
    envelope: str


class InclusionProof(Document):
    log_index: ProtobufInteger = Field(alias="logIndex")
    root_hash: Base64 = Field(alias="rootHash")
    tree_size: ProtobufInteger = Field(alias="treeSize")
    hashes: Annotated[list[Base64], Field(max_length=64)]
    checkpoint: Checkpoint


class LogEntry(Document):
    log_index: ProtobufInteger = Field(alias="logIndex")
    log_id: LogId = Field(alias="logId")
    kind_version: KindVersion = Field(alias="kindVersion")
    integrated_time: Maybe[ProtobufInteger] = Field(alias="integratedTime", default=None)
    inclusion_promise: Maybe[InclusionPromise] = Field(alias="inclusionPromise", default=None)
    inclusion_proof: InclusionProof = Field(alias="inclusionProof")
    canonicalized_body: Base64 = Field(alias="canonicalizedBody")

    @property
    def promised_time_s(self) -> int | None:
        """When the log says that it took the entry, in seconds since 1970, where it also signs that."""
        if self.integrated_time is None or self.inclusion_promise is None:
            return None
        return int(self.integrated_time) or None


class CertificateMaterial(Timestamped):
    certificate: X509Certificate
    tlog_entries: Annotated[list[LogEntry], Field(min_length=1, max_length=1)] = Field(alias="tlogEntries")

    @property
    def log_entry(self) -> LogEntry:
        return self.tlog_entries[0]

    @model_validator(mode="after")
    def _place_is_signed(self) -> Self:
        """Without a dated promise, which has the place in the log in it, only the proof says where the entry is."""
        entry = self.log_entry
        if entry.promised_time_s is None and entry.log_index != entry.inclusion_proof.log_index:
            raise ValueError("the log entry has another place than its proof")
        return self

    @model_validator(mode="after")
    def _has_a_time(self) -> Self:
        if self.log_entry.promised_time_s is None and not self.signed_timestamps:
            raise ValueError("neither a dated promise of the log nor a timestamp")
        return self


class CertificateChain(Document):
    certificates: Annotated[list[X509Certificate], Field(min_length=1, max_length=MAX_CERTIFICATES)]


class ChainMaterial(Timestamped):
    chain: CertificateChain = Field(alias="x509CertificateChain")
    tlog_entries: Maybe[Annotated[list[Empty], Field(max_length=0)]] = Field(alias="tlogEntries", default=None)


_KINDS: Mapping[str, tuple[str, type[Document]]] = {
    "certificate": ("certificate", CertificateMaterial),
    "chain": ("x509CertificateChain", ChainMaterial),
}


def _kind_of_material(value: Any) -> str:
    for kind, (member, model) in _KINDS.items():
        if isinstance(value, model) or (isinstance(value, dict) and member in value):
            return kind
    return "key"


Material = Annotated[
    Annotated[KeyMaterial, Tag("key")]
    | Annotated[CertificateMaterial, Tag("certificate")]
    | Annotated[ChainMaterial, Tag("chain")],
    Discriminator(_kind_of_material),
]


class Bundle(Document):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    verification_material: Material = Field(alias="verificationMaterial")
    dsse_envelope: Envelope = Field(alias="dsseEnvelope")
