"""From a signed predicate to a summary. Spec: summary §1, §2; S2."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import ValidationError

from model_verify.digest import CheckpointRoot, Digest, FileDigest
from model_verify.errors import MalformedDocument
from model_verify.models.any_statement import CHECKPOINT_ALGORITHM, AnyStatementHead
from model_verify.models.summary import SummaryDetails, SummaryPredicate
from model_verify.summary.levels import FAILED, StatedLevel, stated_levels
from model_verify.validation import first_problem

RULE = "summary §1"
_D = TypeVar("_D", bound=Digest)


@dataclass(frozen=True, slots=True)
class Summary:
    """What somebody says to have verified. Who that is, the signature showed."""

    manifests: frozenset[FileDigest]
    roots: frozenset[CheckpointRoot]
    verifier: str
    resource: str
    policy_uri: str
    policy_digest: str | None
    """SHA-256 in hexadecimal, where the summary gives one."""
    result: Literal["PASSED", "FAILED"]
    words: tuple[str, ...]
    level: StatedLevel | None
    """The level of this standard that it states; None where it states none."""
    time: datetime | None
    attestations: frozenset[str] | None
    """SHA-256, in hexadecimal, of what was verified; None where the summary does not say."""
    details: SummaryDetails | None
    contradictions: tuple[str, ...]


def read_summary(head: AnyStatementHead) -> Summary:
    """Return the summary in a statement whose signature holds; raises `MalformedDocument` with SUMMARY_MALFORMED."""
    try:
        predicate = SummaryPredicate.read(head.predicate)
        time = None if predicate.time_verified is None else moment(predicate.time_verified)
        details = predicate.details
        expires = None if details is None or details.expires is None else moment(details.expires)
    except ValidationError as error:
        raise MalformedDocument("SUMMARY_MALFORMED", first_problem(error), rule=RULE) from error
    except ValueError as error:
        raise MalformedDocument("SUMMARY_MALFORMED", "a time that no calendar has", rule=RULE) from error
    levels = stated_levels(predicate.verified_levels)
    inputs = predicate.input_attestations
    return Summary(
        manifests=frozenset(_digests(head, "sha256", FileDigest)),
        roots=frozenset(_digests(head, CHECKPOINT_ALGORITHM, CheckpointRoot)),
        verifier=predicate.verifier.id,
        resource=predicate.resource_uri,
        policy_uri=predicate.policy.uri,
        policy_digest=(predicate.policy.digest or {}).get("sha256"),
        result=predicate.verification_result,
        words=tuple(predicate.verified_levels),
        level=levels[0] if len(levels) == 1 else None,
        time=time,
        attestations=None if not inputs else frozenset((one.digest or {}).get("sha256", "") for one in inputs),
        details=details,
        contradictions=tuple(_contradictions(predicate, details, levels, expires)),
    )


def moment(text: str) -> datetime:
    """Return a time of RFC 3339 in UTC; raises `ValueError` for one that no calendar has."""
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)


def _digests(head: AnyStatementHead, algorithm: str, kind: type[_D]) -> set[_D]:
    """Return the digests of one kind; what is not written as such is none that anything could equal."""
    found = set()
    for subject in head.subject:
        with contextlib.suppress(ValueError):
            found.add(kind.parse_hex(subject.digest.get(algorithm, "")))
    return found


def _contradictions(
    predicate: SummaryPredicate, details: SummaryDetails | None, levels: list[StatedLevel], expires: datetime | None
) -> list[str]:
    """Return where a summary says two things at once. Spec: summary S5."""
    passed = predicate.verification_result == "PASSED"
    found = []
    if passed and FAILED in predicate.verified_levels:
        found.append("PASSED, and FAILED in `verifiedLevels`")
    if not passed and levels:
        found.append("FAILED, and a level in `verifiedLevels`")
    if len(levels) > 1:
        found.append("two levels in `verifiedLevels`")
    if details is None:
        return found
    if passed and details.verdict != "VERIFIED":
        found.append(f"PASSED, and the verdict {details.verdict}")
    if passed and any(stated.level != details.level for stated in levels):
        found.append("a level other than the one in `verifiedLevels`")
    if passed and any(stated.expires != expires for stated in levels):
        found.append("an end other than the one in `verifiedLevels`")
    return found
