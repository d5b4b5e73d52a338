"""What a report says of the history of an attestation, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from model_attest.commands.area import Area
from model_verify.history.report import ReportCommitment, ReportHistory, ReportRevocation, ReportSuperseded

REVOCATION_CODES = (
    "ROOT_REVOKED", "SIGNER_REVOKED", "SIGNER_REVOKED_LATER", "REVOCATION_MALFORMED", "REVOCATION_NOT_HONOURED"
)  # fmt: skip
HISTORY_CODES = ("HISTORY_MISMATCH", "HISTORY_MISSING", "HISTORY_SIGNER", "HISTORY_TOO_LONG")
COMMITMENT_CODES = (
    "COMMITMENT_MALFORMED", "COMMITMENT_MISMATCH", "COMMITMENT_SIGNER", "COMMITMENT_LATE", "SHOWN_AFTER_PUBLICATION"
)  # fmt: skip
_SIDES = {"before": "before that", "after": "as far as is shown only after that", "unknown": "at no time that is shown"}
_WORDS = {"caller": "your word", "hub": "the Hub's word"}
_OUTCOMES = {
    "revoked": "revokes this",
    "signed-before": "revokes the signer, after this was signed",
    "elsewhere": "is of something else",
    "not-honoured": "is not honoured",
}


def commitment(history: ReportHistory | None) -> Area:
    """Return the line on what was committed to, and on before and after: without a text where there is neither."""
    parts = []
    if history is not None and history.commitment is not None:
        parts.append(_commitment(history.commitment))
    if history is not None and history.publication is not None:
        publication = history.publication
        said = f"signed {_SIDES[publication.signed]}, committed to {_SIDES[publication.committed]}"
        parts.append(f"published {publication.time} by {_WORDS[publication.by]}: {said}")
    return Area("commitment", "ok", "; ".join(parts))


def _commitment(one: ReportCommitment) -> str:
    if not one.counted:
        return "of something else"
    shown = f"before {one.signed_before}" if one.signed_before else "at a time that nobody vouches for"
    return f"this root was there under this name {shown}; that no other was is not shown"


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
