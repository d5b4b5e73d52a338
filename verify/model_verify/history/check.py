"""The history of an attestation, for the procedure. Spec: verification V4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from model_verify.envelope import ExpectedSigner
from model_verify.findings import Finding, limited
from model_verify.history.chain import follow_chain
from model_verify.history.commitment import JudgedCommitment, commitment_entry, judge_commitment
from model_verify.history.folder import BundleFile, revocations_in
from model_verify.history.freshness import describe_publication, publication_findings, stated_publication
from model_verify.history.report import ReportHistory
from model_verify.history.revocation import judge_revocation
from model_verify.history.target import Target
from model_verify.sources.source import Source


@dataclass(frozen=True, slots=True)
class History:
    """What came of looking at it."""

    findings: list[Finding] = field(default_factory=list)
    report: ReportHistory | None = None
    not_checked: list[tuple[str, str]] = field(default_factory=list)
    """What this does not speak of, and why."""


def check_history(
    source: Source,
    target: Target,
    *,
    revocations: Sequence[BundleFile],
    revokers: Sequence[ExpectedSigner],
    published: datetime | None,
) -> History:
    """Return what lies in a model's folder beside its attestation, with what the caller has of the kind.

    `published` is when the caller says that the model was published; a source on the Hub is asked where the caller does
    not. Raises what checking a signature raises, and `SourceError`.
    """
    there, findings = revocations_in(source)
    judged = [judge_revocation(file, target, revokers) for file in (*revocations, *there)]
    findings += [finding for one in judged for finding in one.findings]
    chain = follow_chain(source, target, [one.root for one in judged if one.root is not None])
    commitment = judge_commitment(source, target)
    committed = commitment.time if commitment.counts else None
    publication = describe_publication(stated_publication(published, source), target.signature.time, committed)
    findings += [*chain.findings, *commitment.findings, *publication_findings(publication)]
    is_dated = target.signature.time is not None or committed is not None
    report = ReportHistory(
        freshness="dated" if is_dated else "unknown",
        publication=publication,
        commitment=commitment.line,
        supersedes=chain.lines,
        revocations=[one.line for one in judged if one.line is not None],
    )
    return History(limited(findings), report, list(_open_ends(source, target, commitment, is_dated=is_dated)))


def _open_ends(
    source: Source, target: Target, commitment: JudgedCommitment, *, is_dated: bool
) -> Iterator[tuple[str, str]]:
    """Yield what is not known of the history, and why."""
    if not is_dated:
        yield "freshness", "unknown: nothing shows when this was signed, or that it is the latest"
    if commitment.line is not None and commitment.time is None:
        yield "time of the commitment", "nothing that counts shows it"
    unread = "it counts under the attestation's own signer, and nobody is expected"
    if not target.same_signer and target.statement.supersedes is not None:
        yield "what it takes the place of", unread
    if not target.same_signer and commitment_entry(source) is not None:
        yield "the commitment", unread
