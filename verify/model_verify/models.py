"""Wire models: every document of the standard, as it is written. The schemas in `schemas/` are generated from these.

Documents are read with `canonical.loads` first, then with these: pydantic's own JSON parser keeps the last of two equal
member names. What a publisher's tool writes, it builds from these too, so it cannot write a member that is not here.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

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
from model_verify.digest import CheckpointRoot, Digest, FileDigest, TensorRoot

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
HexFileDigest = Annotated[FileDigest, _hex(FileDigest), _AS_HEX, _HEX_SCHEMA]
HexCheckpointRoot = Annotated[CheckpointRoot, _hex(CheckpointRoot), _AS_HEX, _HEX_SCHEMA]

_READING = {"reading": True}


def _refuse_null(value: object, info: ValidationInfo) -> object:
    if value is None and info.context is _READING:
        raise ValueError("null does not stand for a member that is left out")
    return value


T = TypeVar("T")
Maybe = Annotated[T | None, BeforeValidator(_refuse_null)]
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


# Manifest. Spec: manifest §1 to §6.


class ManifestFile(Wire):
    path: str
    size_bytes: Size
    file_digest: WireFileDigest
    file_class: FileClass = Field(alias="class")
    header_digest: Maybe[WireFileDigest] = None

    model_config = ConfigDict(populate_by_name=True)


class ManifestTensor(Wire):
    name: str
    dtype: str
    shape: list[Size] = Field(max_length=64)
    root: WireTensorRoot
    file: str


class ManifestWeightSet(Wire):
    prefix: str
    format: str
    primary: bool
    files: list[str]
    index: Maybe[str] = None
    checkpoint_root: Maybe[WireCheckpointRoot] = None
    tensors: Maybe[list[ManifestTensor]] = None


class ManifestLeaves(Wire):
    count: Size
    file_digest: WireFileDigest


class Manifest(Wire):
    document_schema: Literal["https://model-attest.github.io/manifest/v1"] = Field(alias="schema")
    files: list[ManifestFile]
    leaves: ManifestLeaves
    weight_sets: list[ManifestWeightSet]

    model_config = ConfigDict(populate_by_name=True)


# Statement. Spec: statement §2, §3; pipeline §1 to §4.


class Sha256Only(Wire):
    sha256: HexFileDigest


class Subject(Open):
    name: str
    digest: Sha256Only


class MaterialDigest(Wire):
    checkpoint_root: HexCheckpointRoot = Field(alias="model-attest-checkpoint-v1")

    model_config = ConfigDict(populate_by_name=True)


class Material(Open):
    name: Identifier
    digest: MaterialDigest
    uri: Maybe[Annotated[str, StringConstraints(min_length=1, max_length=2048)]] = None


class Coefficient(Wire):
    decimal: Annotated[str, StringConstraints(max_length=128)]
    float32: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}\z")]


TensorSelection = Literal["rest"] | Annotated[list[str], Field(min_length=1)]


class LinearOperation(Open):
    op: Literal["linear"]
    tensors: TensorSelection
    dtype: FloatDtype
    normalize: bool
    coefficients: list[Coefficient]


class CopyOperation(Open):
    op: Literal["copy"]
    tensors: TensorSelection
    source: Identifier = Field(alias="from")


Operation = Annotated[LinearOperation | CopyOperation, Field(discriminator="op")]


class StepOutput(Open):
    checkpoint_root: WireCheckpointRoot


class StepHead(Open):
    """What every step has, whatever its type."""

    id: Identifier
    type: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    inputs: list[Identifier] = Field(min_length=1)
    output: StepOutput


class MergeStep(StepHead):
    type: Literal["merge"]
    profile: Literal["linear/f64-v1"]
    operations: list[Operation] = Field(min_length=1)


class TrainStep(StepHead):
    type: Literal["train"]
    trainable: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    parameters: Maybe[dict[str, str]] = None


class ModelIdentity(Open):
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    checkpoint_root: WireCheckpointRoot
    version: Maybe[Annotated[str, StringConstraints(min_length=1, max_length=256)]] = None
    uri: Maybe[Annotated[str, StringConstraints(min_length=1, max_length=2048)]] = None


class Predicate(Open):
    """`steps` stay as they were read: a step of an unknown type is a finding of its own, not a malformed statement."""

    model: ModelIdentity
    resolved_dependencies: list[Material]
    steps: list[dict[str, Any]]
    critical: Maybe[list[str]] = None
    card: Annotated[Any, BeforeValidator(_refuse_null)] = None
    supersedes: Annotated[Any, BeforeValidator(_refuse_null)] = None
    extensions: Annotated[Any, BeforeValidator(_refuse_null)] = None

    KNOWN: ClassVar[frozenset[str]] = frozenset({"model", "resolvedDependencies", "steps", "critical"})


class StatementHead(Open):
    """The statement before its predicate is read. The names of in-toto begin with an underscore once."""

    statement_type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[Subject] = Field(min_length=1)
    predicate_type: str
    predicate: dict[str, Any]


# Envelope and bundle. Spec: statement §4.


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


# Working records of the publisher, unsigned. `attest merge` writes them, `attest sign` absorbs them.


class StepRecord(Wire):
    """`.attest/steps/NNN.json`: one step, and the materials that it names."""

    document_schema: Literal["https://model-attest.github.io/step-record/v1"] = Field(alias="schema")
    materials: list[Material]
    step: MergeStep | TrainStep = Field(discriminator="type")

    model_config = ConfigDict(populate_by_name=True)
