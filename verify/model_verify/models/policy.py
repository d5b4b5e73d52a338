"""A policy, as its TOML is read. Spec: policy §1, §2."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from model_verify.models.wire import Wire, WireCheckpointRoot

POLICY_TYPE = "https://model-attest.github.io/policy/v1"

StepType = Literal["merge", "cast", "reshard", "rename", "drop", "lora", "dequantize", "quantize", "train", "run"]
MergeProfile = Literal["linear/f64-v1", "mergekit-0.1.4", "mergekit-0.1.5/fma", "mergekit-0.1.5/nofma"]
AcceptableVerdict = Literal["reproduced", "reproduced-within", "attested"]
"""Step verdicts with which a model can be VERIFIED at all: a policy makes nothing else acceptable."""
ForbiddenFiles = Literal["pickle", "remote-code"]
TimeEvidenceKind = Literal["timestamp", "log"]


def _kebab(name: str) -> str:
    return name.replace("_", "-")


_T = TypeVar("_T")


def _no_twins(entries: list[_T]) -> list[_T]:
    if any(entry in entries[:place] for place, entry in enumerate(entries)):
        raise ValueError("the same entry twice")
    return entries


Entries = Annotated[list[_T], Field(min_length=1, max_length=1024), AfterValidator(_no_twins)]
"""A list that says something: an empty one would be a rule that somebody forgot to write."""
FileName = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
KeyHint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]
ParentPattern = Annotated[str, StringConstraints(max_length=2048, pattern=r"^(sha256:[0-9a-f]{64}|pkg:[^\s]+)\z")]
"""A checkpoint root, or a package URL in which `*` stands for any characters but `/`."""
LicenseTerm = Annotated[
    str,
    StringConstraints(max_length=256, pattern=r"^[A-Za-z0-9.-]+(:[A-Za-z0-9.-]+)?\+?( WITH [A-Za-z0-9.-]+)?\z"),
]
"""One licence by its SPDX identifier, with its exception where it has one."""
RefPattern = Annotated[str, StringConstraints(min_length=2, max_length=2048, pattern=r"^[^*]+\*?\z")]
"""A ref; a `*` at its end stands for one or more characters, none of them `/`."""
ReasonCode = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}\z")]


class PolicyPart(Wire):
    """A table. What is not known here is refused: a rule that is misspelt must not be passed over."""

    model_config = ConfigDict(alias_generator=_kebab)


class PolicyIdentity(PolicyPart):
    name: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    issuer: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    trust_config: FileName | None = None


class PolicyJob(PolicyPart):
    """A job in a CI, by what the issuer says of it."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    repository: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    workflow: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    ref: RefPattern | None = None
    trust_config: FileName | None = None


class PolicyCertificate(PolicyPart):
    """A name in a certificate; `roots` and `crls` are files."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    roots: FileName
    crls: Entries[FileName] | None = None


class NamedSigners(PolicyPart):
    """Whom the caller knows, and has at hand."""

    keys: Entries[FileName] | None = None
    identities: Entries[PolicyIdentity] | None = None
    certificates: Entries[PolicyCertificate] | None = None
    jobs: Entries[PolicyJob] | None = None


class SignerRules(NamedSigners):
    """Who may have signed."""

    hints: Entries[KeyHint] | None = None


class RevocationRules(PolicyPart):
    """Who may revoke everything."""

    signers: NamedSigners


class TimestampRules(PolicyPart):
    """Whose timestamps count."""

    authorities: Entries[FileName]


class ParentRules(PolicyPart):
    origin: Literal["anchored", "observed"] | None = None
    allowed: Entries[ParentPattern] | None = None
    denied: Entries[ParentPattern] | None = None


class StepRules(PolicyPart):
    types: Entries[StepType] | None = None
    merge_profiles: Entries[MergeProfile] | None = None
    verdicts: Annotated[dict[StepType, Entries[AcceptableVerdict]], Field(min_length=1)] | None = None


class LicenseRules(PolicyPart):
    allowed: Entries[LicenseTerm] | None = None
    denied: Entries[LicenseTerm] | None = None


class FileRules(PolicyPart):
    forbidden: Entries[ForbiddenFiles]


class FindingRules(PolicyPart):
    refused: Entries[ReasonCode]


class CoverageRules(PolicyPart):
    minimum_percent: Annotated[int, Field(ge=1, le=100)]


class TimeRules(PolicyPart):
    required: Entries[TimeEvidenceKind] | None = None
    maximum_age_days: Annotated[int, Field(ge=1, le=36525)] | None = None


class PolicyDocument(PolicyPart):
    """The whole file; what is left out is no rule."""

    document_schema: Literal["https://model-attest.github.io/policy/v1"] = Field(alias="schema")
    minimum_level: Annotated[int, Field(ge=1, le=3)] | None = None
    signers: SignerRules | None = None
    timestamps: TimestampRules | None = None
    revocations: RevocationRules | None = None
    observers: NamedSigners | None = None
    """Whose observations of materials are taken."""
    anchors: (
        Annotated[
            dict[Annotated[str, StringConstraints(min_length=1, max_length=256)], WireCheckpointRoot],
            Field(min_length=1, max_length=1024),
        ]
        | None
    ) = None
    parents: ParentRules | None = None
    steps: StepRules | None = None
    licenses: LicenseRules | None = None
    files: FileRules | None = None
    findings: FindingRules | None = None
    coverage: CoverageRules | None = None
    time: TimeRules | None = None
