"""Before or after it was published, and whether anything shows how old it is. Spec: history §4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from model_verify.envelope import SigningTime
from model_verify.envelope.evidence import utc_text
from model_verify.findings import Finding
from model_verify.history.report import ReportPublication
from model_verify.models import BUNDLE_PATH
from model_verify.sources.source import Source


@dataclass(frozen=True, slots=True)
class Publication:
    """When a model was published, and by whose word."""

    time: datetime
    by: Literal["caller", "hub"]


def stated_publication(published: datetime | None, source: Source) -> Publication | None:
    """Return when it was published: as the caller says in `published`, else as the Hub does; None where neither does.

    The Hub is asked only where the caller says nothing. Raises `SourceError`.
    """
    if published is not None:
        return Publication(published, "caller")
    date = source.commit_date()
    return None if date is None else Publication(date, "hub")


def describe_publication(
    published: Publication | None, signed: SigningTime | None, committed: SigningTime | None
) -> ReportPublication | None:
    """Return how the verified times lie to when it was published; None where nobody says when that was.

    `committed` is the time of a commitment that counts.
    """
    if published is None:
        return None
    return ReportPublication(
        time=utc_text(published.time),
        by=published.by,
        signed=_side(signed, published.time),
        committed=_side(committed, published.time),
    )


def publication_findings(publication: ReportPublication | None) -> Sequence[Finding]:
    """Return what is to be said where nothing shows that it was signed, or committed to, before it was published."""
    if publication is None or "before" in (publication.signed, publication.committed):
        return ()
    if publication.signed == publication.committed == "unknown":
        return ()
    word = ", by the Hub's word" if publication.by == "hub" else ""
    shown = f"shown to be there by {publication.time}, when it was published{word}"
    return (Finding("SHOWN_AFTER_PUBLICATION", BUNDLE_PATH, shown, "shown only after that"),)


def _side(time: SigningTime | None, published: datetime) -> Literal["before", "after", "unknown"]:
    if time is None:
        return "unknown"
    return "before" if time.earliest.time <= published else "after"
