"""The words of `verifiedLevels`, written and read. Spec: summary §3.

Consumers of SLSA look for a word that they know and ignore the rest. So what weakens a level stands in the level's own
word, where it cannot be passed over: whoever looks for MODEL_ATTEST_LEVEL_2 does not find it in one that expires.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from model_verify.report import Report

PREFIX = "MODEL_ATTEST_"
FAILED = "FAILED"
Level = Literal[1, 2, 3]
_NUMBERS: dict[str, Level] = {"1": 1, "2": 2, "3": 3}
_LEVEL = re.compile(r"MODEL_ATTEST_LEVEL_([123])(?:_UNTIL_([0-9]{8}T[0-9]{6}Z))?")
_COMPACT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class StatedLevel:
    """A level of this standard, and until when it is stated; None for good."""

    level: Level
    expires: datetime | None = None

    @property
    def word(self) -> str:
        until = "" if self.expires is None else f"_UNTIL_{self.expires.strftime(_COMPACT)}"
        return f"{PREFIX}LEVEL_{self.level}{until}"


def stated_levels(words: Iterable[str]) -> list[StatedLevel]:
    """Return the levels of this standard among `words`. A word with a qualifier that is not known states none."""
    found = [match for word in words if (match := _LEVEL.fullmatch(word))]
    return [stated for match in found if (stated := _stated(match)) is not None]


def _stated(match: re.Match[str]) -> StatedLevel | None:
    if match[2] is None:
        return StatedLevel(_NUMBERS[match[1]])
    try:
        return StatedLevel(_NUMBERS[match[1]], datetime.strptime(match[2], _COMPACT).replace(tzinfo=UTC))
    except ValueError:
        return None


def words_of(report: Report, *, passed: bool, expires: datetime | None) -> list[str]:
    """Return `verifiedLevels` for a report: the level first, then what was covered and what weakens it."""
    if not passed or report.level is None:
        # Where a caller asked for more than a VERIFIED report has, the verdict alone would say too much.
        below = "LEVEL_NOT_MET" if report.verdict == "VERIFIED" else report.verdict
        return [FAILED, f"{PREFIX}{below}"]
    level = StatedLevel(report.level, expires).word
    if report.depth != "full":
        level = f"{level}_DEPTH_{report.depth.upper()}"  # a qualifier that no reader of version 1 takes for a level
    return [level, *_qualities(report)]


def _qualities(report: Report) -> Iterator[str]:
    yield f"{PREFIX}DEPTH_{report.depth.upper()}"
    if report.coverage is not None and report.coverage.bytes:
        total = report.coverage.bytes
        yield f"{PREFIX}HASHED_PERCENT_{100 * report.coverage.bytes_hashed // total}"
        yield f"{PREFIX}REPRODUCED_PERCENT_{100 * report.coverage.bytes_reproduced // total}"
    for verdict, word in (("attested", "STEPS_ATTESTED"), ("reproduced-within", "STEPS_WITHIN")):
        if count := sum(step.verdict == verdict for step in report.steps):
            yield f"{PREFIX}{word}_{count}"
    if unknown := sum(material.origin == "unknown" for material in report.materials):
        yield f"{PREFIX}ORIGINS_UNKNOWN_{unknown}"
    if report.bundle is not None and report.bundle.detached is not None:
        yield f"{PREFIX}DETACHED"
    for code in sorted({finding.code for finding in report.findings if finding.severity == "warn"}):
        yield f"{PREFIX}WARN_{code}"


def dependency_levels(report: Report, *, expires: datetime | None) -> dict[str, int] | None:
    """Return how many models of the lineage are at each level; None unless every one was verified by its attestation.

    SLSA counts all dependencies, transitive ones included, and reads a level that is missing as none at that level. So
    nothing is counted where a part of the lineage was not followed: what is not known is not zero.
    """
    levels: dict[str, Level] = {}
    pending = list(report.materials)
    if not pending:
        return None  # that a model has no parents at all is at most the signer's word
    while pending:
        material = pending.pop()
        attestation = material.attestation
        if attestation is None or attestation.level is None:
            return None
        if attestation.level > levels.get(material.root.text, 0):
            levels[material.root.text] = attestation.level  # a model that is there twice counts once, as the best
        pending += attestation.materials
    counted: dict[str, int] = {}
    for level in levels.values():
        word = StatedLevel(level, expires).word
        counted[word] = counted.get(word, 0) + 1
    return counted
