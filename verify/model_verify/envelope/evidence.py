"""When something was signed, and by whose word. Spec: statement §6.7, §9."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class TimeEvidence:
    """Somebody's word that a signature existed at a time."""

    source: Literal["timestamp", "log"]
    by: str
    time: datetime


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a signature is entered in a transparency log, as the log has signed it."""

    origin: str
    """The name that the log signs its checkpoints under."""
    index: int


@dataclass(frozen=True, slots=True)
class SigningTime:
    """All verified evidence of when something was signed; there is at least one."""

    evidence: tuple[TimeEvidence, ...]
    log: LogPlace | None = None
    """Where it is logged; None where it is in no log."""

    @property
    def earliest(self) -> TimeEvidence:
        """The tightest: each says that the signature was there by then."""
        return min(self.evidence, key=lambda word: word.time)


def utc_text(time: datetime) -> str:
    """Return a time as RFC 3339 has it, in UTC and whole seconds. A fraction is rounded up, as it is an upper bound."""
    seconds = int(time.timestamp())
    whole = seconds if time.timestamp() == seconds else seconds + 1
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
