"""What a report says of the history of an attestation, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from model_attest.commands.area import Area
from model_verify.history.report import ReportHistory, ReportRevocation, ReportSuperseded

REVOCATION_CODES = (
    "ROOT_REVOKED", "SIGNER_REVOKED", "SIGNER_REVOKED_LATER", "REVOCATION_MALFORMED", "REVOCATION_NOT_HONOURED"
)  # fmt: skip
HISTORY_CODES = ("HISTORY_MISMATCH", "HISTORY_MISSING", "HISTORY_SIGNER", "HISTORY_TOO_LONG")
_OUTCOMES = {
    "revoked": "revokes this",
    "signed-before": "revokes the signer, after this was signed",
    "elsewhere": "is of something else",
    "not-honoured": "is not honoured",
}


def superseded(history: ReportHistory | None) -> Area:
    """Return the line on attestations that this one takes the place of: without a text where there are none."""
    listed = history.supersedes if history is not None else []
    if not listed:
        return Area("supersedes", "ok", "")
    count = sum(one.counted for one in listed)
    said = f"{count} of the same signer's; what was found on them stays so"
    return Area("supersedes", "ok", said, details=tuple(_superseded(one) for one in listed))


def _superseded(one: ReportSuperseded) -> str:
    if not one.counted:
        return f"{one.root}, by another signer: does not count"
    named = " ".join(text for text in (one.name, one.version) if text)
    dated = f", signed before {one.signed_before}" if one.signed_before else ""
    revoked = ", revoked" if one.revoked else ""
    return f"{named}, {one.root}{dated}{revoked}: {one.reason or 'no reason is stated'}"


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
