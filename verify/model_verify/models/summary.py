"""A verification summary: SLSA's predicate, and what ours has beyond it. Spec: summary §1, §2."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from model_verify.models.wire import TYPE_PREFIX, Identifier, Maybe, Open, Size, WireCheckpointRoot

SUMMARY_TYPE = "https://slsa.dev/verification_summary/v1"
SUMMARY_MEMBER = TYPE_PREFIX + "summary/v1"
"""The one member of the predicate that is this standard's: SLSA lets extensions have URIs for names, and no others."""

Text = Annotated[str, StringConstraints(max_length=2048)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Moment = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z\z")
]
Verdict = Literal["VERIFIED", "REJECTED", "INCOMPLETE"]
Level = Annotated[int, Field(ge=1, le=3)]


def _is_small(digests: dict[str, str]) -> dict[str, str]:
    if len(digests) > 16 or any(len(text) > 256 for pair in digests.items() for text in pair):
        raise ValueError("more digests than a thing has")
    return digests


Digests = Annotated[dict[str, str], AfterValidator(_is_small)]


class Descriptor(Open):
    """A resource of in-toto: an attestation, or a policy."""

    uri: Maybe[Uri] = None
    name: Maybe[Text] = None
    digest: Maybe[Digests] = None


class AppliedPolicy(Descriptor):
    uri: Uri


class Verifier(Open):
    id: Uri
    version: Maybe[Annotated[dict[str, str], Field(max_length=64)]] = None


class SummarySigner(Open):
    """Who signed the attestation that was verified."""

    kind: Text
    described: Text
    expected: bool


class SummaryCoverage(Open):
    tensors: Size
    tensors_hashed: Size
    tensors_reproduced: Size
    bytes: Size
    bytes_hashed: Size
    bytes_reproduced: Size


class SummaryStep(Open):
    id: Text
    type: Text
    verdict: Text


class SummaryMaterial(Open):
    id: Identifier
    root: WireCheckpointRoot
    status: Text
    origin: Text
    level: Maybe[Level] = None
    """Of its own attestation, where that was followed and holds."""


class SummaryFinding(Open):
    code: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}\z")]
    severity: Text
    count: Size


class SummaryNotChecked(Open):
    what: Text
    why: Text


_Few = Field(max_length=256)


class SummaryDetails(Open):
    """What this standard's report says beyond the words of SLSA."""

    verdict: Verdict
    headline: Text
    depth: Text
    level: Maybe[Level] = None
    expires: Maybe[Moment] = None
    detached: bool
    signer: Maybe[SummarySigner] = None
    coverage: Maybe[SummaryCoverage] = None
    steps: Annotated[list[SummaryStep], _Few]
    materials: Annotated[list[SummaryMaterial], _Few]
    findings: Annotated[list[SummaryFinding], _Few]
    not_checked: Annotated[list[SummaryNotChecked], _Few]
    left_out: Size
    """How many entries of these lists are not here, as there are more than 256."""


class SummaryPredicate(Open):
    """SLSA's verification summary, version 1. What is not known is ignored, as SLSA has it."""

    verifier: Verifier
    resource_uri: Uri
    policy: AppliedPolicy
    verification_result: Literal["PASSED", "FAILED"]
    verified_levels: Annotated[list[Text], Field(max_length=256)]
    time_verified: Maybe[Moment] = None
    input_attestations: Maybe[Annotated[list[Descriptor], Field(max_length=1024)]] = None
    # The one member that SLSA lets be null, which says the same as leaving it out.
    dependency_levels: Annotated[dict[str, Size], Field(max_length=256)] | None = None
    slsa_version: Maybe[Text] = None
    details: Maybe[SummaryDetails] = Field(default=None, alias=SUMMARY_MEMBER)
