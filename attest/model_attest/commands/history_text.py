"""What a report says of the history of an attestation, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from model_attest.commands.area import Area
from model_verify.history.report import ReportHistory, ReportRevocation

REVOCATION_CODES = (
    "ROOT_REVOKED", "SIGNER_REVOKED", "SIGNER_REVOKED_LATER", "REVOCATION_MALFORMED", "REVOCATION_NOT_HONOURED"
)  # fmt: skip
_OUTCOMES = {
    "revoked": "revokes this",
    "signed-before": "revokes the signer, after this was signed",
    "elsewhere": "is of something else",
    "not-honoured": "is not honoured",
}


def revocations(history: ReportHistory | None) -> Area:
    """Return the line on revocations: without a text where there are none."""
    listed = history.revocations if history is not None else []
    if not listed:
        return Area("revocations", "ok", "")
    count = sum(one.outcome == "revoked" for one in listed)
    said = f"{count} of {len(listed)} revoke this" if count else f"{len(listed)} read, and none revokes this"
    return Area("revocations", "ok", said, details=tuple(line for one in listed for line in _revocation(one)))


def _revocation(one: ReportRevocation) -> Iterator[str]:
    yield f"{one.where}, by {one.by}"
    if one.revokes is None:
        yield f"  {_OUTCOMES[one.outcome]}"
        return
    since = f" since {one.since}" if one.since else ""
    dated = f"signed before {one.signed_before}" if one.signed_before else "by the date of its signer"
    yield f"  {_OUTCOMES[one.outcome]}: {one.revokes}{since}, {one.issued}, {dated}: {one.reason}"
