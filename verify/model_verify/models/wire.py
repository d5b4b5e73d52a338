"""What all wire models have in common: how they are read and written, digests, and names of files."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from model_verify.canonical import MAX_INTEGER, dumps
from model_verify.digest import ChainDigest, CheckpointRoot, Digest, FileDigest, TensorRoot

TYPE_PREFIX = "https://model-attest.github.io/"
PIPELINE_TYPE = TYPE_PREFIX + "pipeline/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

ATTESTATION_FOLDER = "attestation"
MANIFEST_PATH = "attestation/manifest.json"
LEAVES_PATH = "attestation/leaves.sha256tree"
BUNDLE_PATH = "attestation/pipeline.sigstore.json"

_TEXT_SCHEMA = WithJsonSchema({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})
_HEX_SCHEMA = WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$"})


def _text(kind: type[Digest]) -> BeforeValidator:
    def read(value: object) -> Digest:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise ValueError("a digest is text")
        return kind.parse(value)

    return BeforeValidator(read)


def _hex(kind: type[Digest]) -> BeforeValidator:
    def read(value: object) -> Digest:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise ValueError("a digest is text")
        return kind.parse_hex(value)

    return BeforeValidator(read)


_AS_TEXT = PlainSerializer(lambda digest: digest.text, return_type=str)
_AS_HEX = PlainSerializer(lambda digest: digest.hex, return_type=str)

WireFileDigest = Annotated[FileDigest, _text(FileDigest), _AS_TEXT, _TEXT_SCHEMA]
WireTensorRoot = Annotated[TensorRoot, _text(TensorRoot), _AS_TEXT, _TEXT_SCHEMA]
WireCheckpointRoot = Annotated[CheckpointRoot, _text(CheckpointRoot), _AS_TEXT, _TEXT_SCHEMA]
WireChainDigest = Annotated[ChainDigest, _text(ChainDigest), _AS_TEXT, _TEXT_SCHEMA]
HexFileDigest = Annotated[FileDigest, _hex(FileDigest), _AS_HEX, _HEX_SCHEMA]
HexCheckpointRoot = Annotated[CheckpointRoot, _hex(CheckpointRoot), _AS_HEX, _HEX_SCHEMA]

_READING = {"reading": True}


def refuse_null(value: object, info: ValidationInfo) -> object:
    if value is None and info.context is _READING:
        raise ValueError("null does not stand for a member that is left out")
    return value


T = TypeVar("T")
Maybe = Annotated[T | None, BeforeValidator(refuse_null)]
"""A member that may be left out, and that is not null where it is there."""

Size = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\z")]
"""Of a material or a step. Spec: pipeline §1."""
FileClass = Literal["weights", "documentation", "code", "tokenizer", "config", "other"]
FloatDtype = Literal["F32", "BF16", "F16"]


class Wire(BaseModel):
    """A document, or a part of one. Unknown members are refused unless a subclass says otherwise."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @classmethod
    def read(cls, members: object) -> Self:
        """Return the document that `members`, from `canonical.loads`, are; raises pydantic's `ValidationError`."""
        return cls.model_validate(members, context=_READING, by_alias=True, by_name=False)

    def canonical(self) -> bytes:
        """Return the canonical JSON of this document; members that are None are left out. Spec: statement §1.3."""
        return dumps(self.model_dump(mode="json", by_alias=True, exclude_none=True))


class Open(Wire):
    """A part in which a verifier ignores members that it does not know. Spec: statement §3.4."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)
