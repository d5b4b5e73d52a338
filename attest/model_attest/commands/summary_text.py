"""What came of checking a summary, as lines for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from model_verify.report import ReportFinding
from model_verify.summary.report import SummaryReport, SummaryReportStated, SummaryReportSubject

_STATUS = {"fail": "FAIL", "incomplete": "skip", "warn": "warn", "note": "ok"}
_RANKS = {"ok": 0, "warn": 1, "skip": 2, "FAIL": 3}
_STEPS = ("signature", "form", "subject", "context", "result", "time", "level")


def summary_lines(report: SummaryReport) -> list[str]:
    """Return the verdict, a line for each step with what was found, and what nobody looked at."""
    verdict, _, why = report.headline.partition(": ")
    lines = [f"{verdict}  {report.reference}: {why}"]
    of_step: dict[str, list[ReportFinding]] = {step: [] for step in _STEPS}
    for finding in report.findings:
        of_step[_step(finding)].append(finding)
    for step in _STEPS:
        statuses = ["skip" if report.summary is None else "ok", *(_STATUS[one.severity] for one in of_step[step])]
        if step == "signature" and report.signer is not None and report.signer.expected:
            statuses[0] = "ok"
        status = max(statuses, key=_RANKS.__getitem__)
        lines.append(f"  {status:<4}  {step:<9}  {_text(step, report)}".rstrip())
        for finding in of_step[step]:
            lines += _finding_lines(finding)
    lines += _stated_lines(report.summary)
    lines += [f"not checked: {item.what} ({item.why})" for item in report.not_checked]
    return lines + [f"hint: {hint}" for hint in _hints(report)]


def _step(finding: ReportFinding) -> str:
    """Return the step that a finding belongs to; what a folder's bytes came to belongs to the subject."""
    chapter, step = finding.clause.split(" ")
    if chapter == "summary":
        return _STEPS[int(step[1:]) - 1]
    if "REVO" in finding.code:
        return "context"
    return {"V2": "signature", "V3": "signature", "V4": "form"}.get(step, "subject")


def _text(step: str, report: SummaryReport) -> str:
    if step == "signature":
        return _signature(report)
    stated = report.summary
    if stated is None:
        return "not reached"
    match step:
        case "subject":
            return _subject(report.subject)
        case "context":
            return f"{stated.verifier}, for {stated.resource}, by {_policy(stated)}"
        case "result":
            return stated.result
        case "time":
            until = f", until {stated.expires}" if stated.expires else ", without an end"
            return f"verified {stated.time_verified or 'nobody knows when'}{until}"
        case "level":
            return f"{stated.level or 'none'}: {', '.join(stated.levels)}"
        case _:
            return ""


def _signature(report: SummaryReport) -> str:
    signer = report.signer
    if signer is None:
        return "no signature was read"
    if not signer.expected:
        return f"the bundle names {signer.described}"
    dated = f", signed before {report.time.signed_before}" if report.time else ""
    return f"{signer.described}, the one you named{dated}"


def _subject(subject: SummaryReportSubject) -> str:
    match subject.kind:
        case "model":
            read = "every byte was read" if subject.bytes_read else "its other files were not read"
            return f"{subject.reference}, by its manifest {subject.manifest or 'that is not there'}; {read}"
        case "digest":
            return ", ".join(str(digest) for digest in (subject.manifest, subject.checkpoint) if digest is not None)
        case "nothing":
            return "none named"


def _policy(stated: SummaryReportStated) -> str:
    digest = f" sha256:{stated.policy.digest}" if stated.policy.digest else ", without a digest"
    return f"{stated.policy.uri}{digest}"


def _finding_lines(finding: ReportFinding) -> Iterator[str]:
    yield f"        {finding.code}"
    for name, text in (("expected", finding.expected), ("actual", finding.actual)):
        if text:
            yield f"          {name:<8}  {text}"


def _stated_lines(stated: SummaryReportStated | None) -> Iterator[str]:
    """Yield what the verifier found, in the verifier's words."""
    if stated is None:
        return
    if stated.headline:
        signer = f" of {stated.attestation_signer}" if stated.attestation_signer else ""
        kind = "a detached attestation" if stated.detached else "the attestation"
        yield f"it says, of {kind}{signer}: {stated.headline}"
    if stated.not_checked is None:
        yield "it does not say what the verifier did not check"
        return
    yield from (f"not checked by the verifier: {item.what} ({item.why})" for item in stated.not_checked)


def _hints(report: SummaryReport) -> Iterator[str]:
    codes = {finding.code for finding in report.findings}
    if "SIGNER_NOT_EXPECTED" in codes:
        yield "pass `--key PUB`, or `--identity NAME --issuer URL`, of the verifier whom you trust"
    if "SUMMARY_SUBJECT_NOT_GIVEN" in codes:
        yield "name the model's folder after the summary, or its `--manifest` or `--root`"
    if "SUMMARY_RESOURCE_NOT_GIVEN" in codes and report.summary is not None:
        yield f"pass `--resource {shlex.quote(report.summary.resource)}` if that is from where you have the model"
    if report.subject.kind == "model" and report.subject.manifest is None:
        yield "the folder has no manifest: if a detached attestation was verified, pass it with `--attestation`"
