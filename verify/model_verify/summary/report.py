"""What came of checking a summary. Spec: summary §5.

It never says VERIFIED of a model: nobody looked at the model. It says whether another's word may be taken.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from model_verify.findings import Finding, Severity
from model_verify.models import Wire, WireCheckpointRoot, WireFileDigest
from model_verify.report import (
    ReportBundle,
    ReportFinding,
    ReportNotChecked,
    ReportSigner,
    ReportTime,
    ReportTool,
)
from model_verify.summary.reading import Summary
from model_verify.verdict import SENTENCES

SummaryVerdict = Literal["ACCEPTED", "REJECTED", "INCOMPLETE"]
OF_THE_FOLDER = ("V5", "V6", "V7", "V8")
"""Steps of verification that compare a folder's bytes with its manifest."""
EXIT_CODES: dict[SummaryVerdict, int] = {"ACCEPTED": 0, "REJECTED": 1, "INCOMPLETE": 3}


class SummaryReportSubject(Wire):
    """What the caller has, and whether its bytes were read; where they were not, a digest stands for them."""

    kind: Literal["model", "digest", "nothing"]
    reference: str | None
    manifest: WireFileDigest | None
    checkpoint: WireCheckpointRoot | None
    bytes_read: bool


class SummaryReportPolicy(Wire):
    uri: str
    digest: str | None


class SummaryReportStated(Wire):
    """What the summary says, in its own words. Its signer's word, like everything in it."""

    verifier: str
    time_verified: str | None
    resource: str
    policy: SummaryReportPolicy
    result: Literal["PASSED", "FAILED"]
    levels: list[str]
    level: Literal[1, 2, 3] | None
    expires: str | None
    headline: str | None
    detached: bool | None
    attestation_signer: str | None
    """Who signed the attestation that was verified."""
    not_checked: list[ReportNotChecked] | None
    """What the verifier did not check; null where the summary does not say."""


class SummaryReport(Wire):
    document_schema: Literal["https://model-attest.github.io/summary-report/v1"] = Field(
        alias="schema", default="https://model-attest.github.io/summary-report/v1"
    )
    tool: ReportTool = ReportTool()
    reference: str
    verdict: SummaryVerdict
    headline: str
    bundle: ReportBundle | None
    signer: ReportSigner | None
    time: ReportTime | None
    subject: SummaryReportSubject
    summary: SummaryReportStated | None
    findings: list[ReportFinding]
    not_checked: list[ReportNotChecked]

    model_config = ConfigDict(populate_by_name=True)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def decide(findings: list[Finding], summary: Summary | None) -> tuple[SummaryVerdict, str]:
    """Return the verdict and what it rests on. Spec: summary §4.

    ACCEPTED is given only where there is a summary, which there is only below a signature that holds.
    """
    for severity, verdict in _OF_SEVERITY.items():
        for finding in findings:
            if finding.severity is severity:
                return verdict, _sentence(finding)
    if summary is None or summary.level is None:
        return "INCOMPLETE", "there is no level to be taken"
    return "ACCEPTED", f"{summary.verifier} verified this, level {summary.level.level}; nothing was verified again"


_OF_SEVERITY: dict[Severity, SummaryVerdict] = {Severity.FAIL: "REJECTED", Severity.INCOMPLETE: "INCOMPLETE"}

_SENTENCES = {
    "SIGNATURE_INVALID": "there is no valid signature by the expected verifier",
    "SIGNER_NOT_EXPECTED": "nobody said whose summary to take",
    "PREDICATE_TYPE_UNKNOWN": "the statement is no verification summary",
    "SUMMARY_MALFORMED": "the summary is malformed",
    "SUMMARY_SUBJECT_NOT_GIVEN": "nobody said what the summary is to be about",
    "SUMMARY_SUBJECT_MISMATCH": "the summary is about another model",
    "SUMMARY_ATTESTATION_MISMATCH": "the summary is of another attestation than the one here",
    "SUMMARY_VERIFIER_MISMATCH": "the summary names another verifier",
    "SUMMARY_RESOURCE_NOT_GIVEN": "nobody said from where the model is",
    "SUMMARY_RESOURCE_MISMATCH": "the summary is for another resource",
    "SUMMARY_POLICY_MISMATCH": "the model was held against another policy",
    "SUMMARY_INCONSISTENT": "the summary contradicts itself",
    "SUMMARY_FAILED": "the verifier did not pass the model",
    "SUMMARY_EXPIRED": "the summary is too old",
    "SUMMARY_FROM_FUTURE": "the summary is from the future",
    "SUMMARY_LEVEL_BELOW": "the level is below what is asked for",
}
"""What findings mean for the summary, where that is not what they mean for a model."""


def _sentence(finding: Finding) -> str:
    if finding.code in _SENTENCES:
        return _SENTENCES[finding.code]
    if finding.clause.split(" ")[1] in OF_THE_FOLDER:
        return "the folder is not as its manifest has it"
    return SENTENCES[finding.code]
