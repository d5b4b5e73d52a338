"""What a report says of the history. Spec: history §1 to §4; verification §6."""

from __future__ import annotations

from typing import Literal

from model_verify.models import Wire, WireCheckpointRoot, WireFileDigest

RevocationOutcome = Literal["revoked", "signed-before", "elsewhere", "not-honoured"]


class ReportRevocation(Wire):
    """A revocation that lay at hand. Only the first of its outcomes counts against the model.

    `revoked`: it names the model's root, a material's, or its signer. `signed-before`: its signer, but what was signed
    before `since` stands. `elsewhere`: something else. `not-honoured`: whoever signed it may not revoke that; where
    nobody whom the caller knows signed it, nothing of it was read.
    """

    where: str
    outcome: RevocationOutcome
    by: str
    revokes: str | None = None
    issued: str | None = None
    """By the word of whoever signed it."""
    since: str | None = None
    reason: str | None = None
    signed_before: str | None = None
    """By somebody else's word."""


class ReportSuperseded(Wire):
    """An attestation that this one takes the place of. It is `counted` where the same signer signed it.

    What is found on its root stays so, whatever took its place.
    """

    where: str
    root: WireCheckpointRoot
    reason: str | None
    """Why another took its place, by the word of that one's signer."""
    counted: bool
    name: str | None
    version: str | None
    signed_before: str | None
    revoked: bool


class ReportCommitment(Wire):
    """What the attestation's signer committed to, and the time by which that is known to have been signed.

    It shows that this was there then. It does not show that nothing else was.
    """

    name: str
    version: str | None
    root: WireCheckpointRoot
    manifest_digest: WireFileDigest | None
    by: str
    signed_before: str | None
    counted: bool
    """Whether it is of the model that was attested to, and nothing is open about its signature."""


class ReportPublication(Wire):
    """When the model was published, by whose word, and what of it is shown to have been there by then.

    `hub`: it is the date of the commit, as the Hub lists it, and nothing else rests on it. `after`: the earliest time
    that anybody vouches for is later. `unknown`: nobody vouches for any.
    """

    time: str
    by: Literal["caller", "hub"]
    signed: Literal["before", "after", "unknown"]
    committed: Literal["before", "after", "unknown"]


class ReportHistory(Wire):
    freshness: Literal["dated", "unknown"]
    """Whether somebody vouches for a time of the attestation, or of a commitment to it. Neither shows that it is the
    latest."""
    publication: ReportPublication | None
    commitment: ReportCommitment | None
    supersedes: list[ReportSuperseded]
    """From the newest to the oldest."""
    revocations: list[ReportRevocation]
