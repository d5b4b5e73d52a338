"""The history of an attestation, for the procedure. Spec: verification V4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from model_verify.envelope import ExpectedSigner
from model_verify.findings import Finding, limited
from model_verify.history.chain import follow_chain
from model_verify.history.folder import BundleFile, revocations_in
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
    source: Source, target: Target, *, revocations: Sequence[BundleFile], revokers: Sequence[ExpectedSigner]
) -> History:
    """Return what lies in a model's folder beside its attestation, with what the caller has of the kind.

    Raises what checking a signature raises.
    """
    there, findings = revocations_in(source)
    judged = [judge_revocation(file, target, revokers) for file in (*revocations, *there)]
    findings += [finding for one in judged for finding in one.findings]
    chain = follow_chain(source, target, [one.root for one in judged if one.root is not None])
    findings += chain.findings
    report = ReportHistory(supersedes=chain.lines, revocations=[one.line for one in judged if one.line is not None])
    open_ends = []
    if target.statement.supersedes is not None and not target.same_signer:
        open_ends.append(("what it takes the place of", "that counts under its own signer, and nobody is expected"))
    return History(limited(findings), report, open_ends)
