"""Before or after it was published, and whether anything shows how old it is. Spec: history §4."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from model_verify.envelope import SigningTime
from model_verify.envelope.evidence import utc_text
from model_verify.findings import Finding
from model_verify.history.report import ReportPublication
from model_verify.models import BUNDLE_PATH


def describe_publication(
    published: datetime | None, signed: SigningTime | None, committed: SigningTime | None
) -> ReportPublication | None:
    """Return how the verified times lie to when the caller says that it was published; None where the caller does not.

    `committed` is the time of a commitment that counts.
    """
    if published is None:
        return None
    return ReportPublication(
        time=utc_text(published), signed=_side(signed, published), committed=_side(committed, published)
    )


def publication_findings(publication: ReportPublication | None) -> Sequence[Finding]:
    """Return what is to be said where nothing shows that it was signed, or committed to, before it was published."""
    if publication is None or "before" in (publication.signed, publication.committed):
        return ()
    if publication.signed == publication.committed == "unknown":
        return ()
    shown = f"shown to be there by {publication.time}, when it was published"
    return (Finding("SHOWN_AFTER_PUBLICATION", BUNDLE_PATH, shown, "shown only after that"),)


def _side(time: SigningTime | None, published: datetime) -> Literal["before", "after", "unknown"]:
    if time is None:
        return "unknown"
    return "before" if time.earliest.time <= published else "after"
