"""A summary against what the caller has and asks: S1 to S7, in order. Spec: summary §4.

S1 signature    S3 subject             S5 result   S7 level
S2 form         S4 who, what, by what  S6 time
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from model_verify.digest import CheckpointRoot, FileDigest
from model_verify.envelope import MAX_BUNDLE_BYTES, ExpectedSigner, TimestampAuthority, TimeTrust
from model_verify.envelope.authority import MOST_SKEW
from model_verify.envelope.evidence import utc_text
from model_verify.errors import MalformedDocument
from model_verify.findings import Finding, Severity
from model_verify.history.folder import BundleFile
from model_verify.manifest import MAX_MANIFEST_BYTES
from model_verify.models import BUNDLE_PATH, MANIFEST_PATH
from model_verify.models.summary import SUMMARY_TYPE
from model_verify.report import ReportNotChecked, report_finding
from model_verify.signature_report import describe_bundle, describe_signer, describe_time
from model_verify.signed_statement import SignedStatement, read_signed_statement
from model_verify.sources.detached import DetachedAttestation, DetachedSource
from model_verify.sources.source import EntryKind, Source, read_whole
from model_verify.summary.reading import Summary, read_summary
from model_verify.summary.report import (
    OF_THE_FOLDER,
    SummaryReport,
    SummaryReportPolicy,
    SummaryReportStated,
    SummaryReportSubject,
    decide,
)
from model_verify.summary.revoking import revoked


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """A summary, what the caller has, and what the caller asks of it. Spec: summary §4."""

    bundle: bytes
    label: str
    expected_signers: Sequence[ExpectedSigner]
    now: datetime
    source: Source | None = None
    """The model folder, of which the manifest and the bundle are read; the rest only with `read_folder`."""
    attestation: DetachedAttestation | None = None
    read_folder: bool = False
    manifest: FileDigest | None = None
    root: CheckpointRoot | None = None
    verifier: str | None = None
    resource: str | None = None
    policy: FileDigest | None = None
    minimum_level: int = 1
    maximum_age_days: int | None = None
    timestamp_authorities: tuple[TimestampAuthority, ...] = ()
    revocations: Sequence[BundleFile] = ()
    """What the caller has of what the verifier took back."""


def judge_summary(request: SummaryRequest) -> SummaryReport:
    """Return the report on a summary.

    Raises `SourceError` where bytes of the folder cannot be had, and what `read_signed_statement` raises.
    """
    trust = TimeTrust(request.timestamp_authorities, request.now)
    read = read_signed_statement(
        request.bundle, request.expected_signers, {SUMMARY_TYPE}, where=request.label, trust=trust
    )
    findings = list(read.findings)
    summary: Summary | None = None
    if read.head is not None:
        try:
            summary = read_summary(read.head)
        except MalformedDocument as error:
            findings.append(Finding(error.code, request.label, error.rule, error.reason))
    if summary is not None:
        findings += _subject(request, summary)
        findings += _context(request, summary)
        findings += revoked(request.revocations, request.expected_signers, summary, read.signature, trust)
        findings += _result(request, summary)
        findings += _time(request, summary, read)
        findings += _level(request, summary)
    verdict, why = decide(findings, summary)
    return SummaryReport(
        reference=request.label,
        verdict=verdict,
        headline=f"SUMMARY {verdict}: {why}",
        bundle=describe_bundle(read.signed, None),
        signer=describe_signer(read.signed, read.signature),
        time=describe_time(read.signature.time),
        subject=_described_subject(request),
        summary=None if summary is None else _stated(summary),
        findings=[report_finding(finding) for finding in findings],
        not_checked=list(_not_checked(request, summary)),
    )


def _here(request: SummaryRequest) -> Source | None:
    if request.source is None or request.attestation is None:
        return request.source
    return DetachedSource(request.source, request.attestation)


def _subject(request: SummaryRequest, summary: Summary) -> Iterator[Finding]:
    """S3: the summary is about what the caller has."""
    if request.source is None and request.manifest is None and request.root is None:
        named = ", ".join(sorted(digest.text for digest in (*summary.manifests, *summary.roots)))[:200]
        yield Finding("SUMMARY_SUBJECT_NOT_GIVEN", request.label, "a folder or a digest of yours", named)
    if request.manifest is not None and request.manifest not in summary.manifests:
        yield _other_subject(request, request.manifest.text, _texts(summary.manifests))
    if request.root is not None and request.root not in summary.roots:
        yield _other_subject(request, request.root.text, _texts(summary.roots))
    source = _here(request)
    if source is None:
        return
    manifest = manifest_digest(source)
    if manifest is None or manifest not in summary.manifests:
        found = "a folder without a manifest" if manifest is None else manifest.text
        yield _other_subject(request, found, _texts(summary.manifests))
        return
    bundle = _digest_at(source, BUNDLE_PATH, MAX_BUNDLE_BYTES)
    if summary.attestations is not None and (bundle is None or bundle.hex not in summary.attestations):
        found = "a folder without an attestation" if bundle is None else bundle.text
        listed = ", ".join(sorted(summary.attestations))[:200]
        yield Finding("SUMMARY_ATTESTATION_MISMATCH", BUNDLE_PATH, found, listed)
    if request.read_folder:
        yield from _bytes(request)


def _other_subject(request: SummaryRequest, here: str, there: str) -> Finding:
    return Finding("SUMMARY_SUBJECT_MISMATCH", request.label, here, there or "no digest of that kind")


def _texts(digests: frozenset[FileDigest] | frozenset[CheckpointRoot]) -> str:
    return ", ".join(sorted(digest.text for digest in digests))[:200]


def manifest_digest(source: Source) -> FileDigest | None:
    """Return the SHA-256 of a folder's manifest, or None where there is no file that could be one."""
    return _digest_at(source, MANIFEST_PATH, MAX_MANIFEST_BYTES)


def _digest_at(source: Source, path: str, max_bytes: int) -> FileDigest | None:
    """Return the SHA-256 of a file, or None where there is no regular file of a size that it can have."""
    entry = next((entry for entry in source.entries() if entry.path == path), None)
    if entry is None or entry.kind is EntryKind.IRREGULAR or entry.size_bytes > max_bytes:
        return None
    return FileDigest(hashlib.sha256(read_whole(source, path, max_bytes=max_bytes)).digest())


def _bytes(request: SummaryRequest) -> Iterator[Finding]:
    """Yield how the folder's bytes differ from the manifest that the summary is about."""
    # Only here: whoever relies on a summary need not wait for what replays merges.
    from model_verify.procedure import Request, verify

    assert request.source is not None
    report = verify(Request(request.source, attestation=request.attestation))
    said = 0
    for finding in report.findings:
        if finding.severity == Severity.FAIL.value and finding.clause.split(" ")[1] in OF_THE_FOLDER:
            said += 1
            yield Finding(finding.code, finding.where, finding.expected, finding.actual)
    covered = report.coverage
    if not said and (covered is None or covered.bytes_hashed != covered.bytes):
        yield _other_subject(request, "a folder whose bytes are all as in its manifest", report.headline)


def _context(request: SummaryRequest, summary: Summary) -> Iterator[Finding]:
    """S4: by whom, for what, and by which policy."""
    if request.verifier is not None and request.verifier != summary.verifier:
        yield Finding("SUMMARY_VERIFIER_MISMATCH", request.label, request.verifier, summary.verifier)
    expected = _resources(request)
    if not expected:
        yield Finding("SUMMARY_RESOURCE_NOT_GIVEN", request.label, "a resource named by you", summary.resource)
    elif summary.resource not in expected:
        yield Finding("SUMMARY_RESOURCE_MISMATCH", request.label, " or ".join(expected), summary.resource)
    if request.policy is not None and request.policy.hex != summary.policy_digest:
        found = summary.policy_digest or f"{summary.policy_uri}, without a digest"
        yield Finding("SUMMARY_POLICY_MISMATCH", request.label, request.policy.hex, found)


def _resources(request: SummaryRequest) -> list[str]:
    """Return what the resource may be called: as the caller says, else as the folder's place in the Hub cache does."""
    if request.resource is not None:
        return [request.resource]
    source = request.source
    if source is None or source.repository is None:
        return []
    return [source.repository, *([f"{source.repository}@{source.commit}"] if source.commit else [])]


def _result(request: SummaryRequest, summary: Summary) -> Iterator[Finding]:
    """S5: it passed, and says so once."""
    for contradiction in summary.contradictions:
        yield Finding("SUMMARY_INCONSISTENT", request.label, "one result", contradiction)
    if summary.result != "PASSED":
        said = f"FAILED, {summary.details.headline}" if summary.details else "FAILED"
        yield Finding("SUMMARY_FAILED", request.label, "PASSED", said)


def _time(request: SummaryRequest, summary: Summary, read: SignedStatement) -> Iterator[Finding]:
    """S6: neither too old nor from the future, by the clock here and by when it is known to have been signed."""
    now = request.now
    if summary.level is not None and summary.level.expires is not None and summary.level.expires <= now:
        yield Finding("SUMMARY_EXPIRED", request.label, f"later than {_text(now)}", _text(summary.level.expires))
    if request.maximum_age_days is not None:
        oldest = now - timedelta(days=request.maximum_age_days)
        if summary.time is None or summary.time < oldest:
            found = "no time of verification" if summary.time is None else _text(summary.time)
            yield Finding("SUMMARY_EXPIRED", request.label, f"verified since {_text(oldest)}", found)
    if summary.time is None:
        return
    signed = read.signature.time
    latest = now if signed is None else min(now, signed.earliest.time)
    if summary.time > latest + MOST_SKEW:
        yield Finding("SUMMARY_FROM_FUTURE", request.label, f"not after {_text(latest)}", _text(summary.time))


def _level(request: SummaryRequest, summary: Summary) -> Iterator[Finding]:
    """S7: a level of this standard that is high enough."""
    if summary.result != "PASSED":
        return
    if summary.level is None or summary.level.level < request.minimum_level:
        found = ", ".join(summary.words)[:200] or "no level"
        yield Finding("SUMMARY_LEVEL_BELOW", request.label, f"level {request.minimum_level}", found)


def _text(time: datetime) -> str:
    return utc_text(time.astimezone(UTC))


def _described_subject(request: SummaryRequest) -> SummaryReportSubject:
    source = _here(request)
    given = request.manifest is not None or request.root is not None
    return SummaryReportSubject(
        kind="model" if source is not None else "digest" if given else "nothing",
        reference=None if source is None else source.label,
        manifest=request.manifest if source is None else manifest_digest(source),
        checkpoint=request.root,
        bytes_read=source is not None and request.read_folder,
    )


def _stated(summary: Summary) -> SummaryReportStated:
    details = summary.details
    left = details.not_checked if details else None
    level = summary.level
    return SummaryReportStated(
        verifier=summary.verifier,
        time_verified=None if summary.time is None else _text(summary.time),
        resource=summary.resource,
        policy=SummaryReportPolicy(uri=summary.policy_uri, digest=summary.policy_digest),
        result=summary.result,
        levels=list(summary.words),
        level=None if level is None else level.level,
        expires=None if level is None or level.expires is None else _text(level.expires),
        headline=details.headline if details else None,
        detached=details.detached if details else None,
        attestation_signer=details.signer.described if details and details.signer else None,
        not_checked=None if left is None else [ReportNotChecked(what=one.what, why=one.why) for one in left],
    )


def _not_checked(request: SummaryRequest, summary: Summary | None) -> Iterator[ReportNotChecked]:
    """Yield what this check did not look at. What the verifier did not look at is the summary's to say."""
    yield ReportNotChecked(what="the model", why="this is another's verification of it; `attest verify` verifies it")
    if summary is None:
        yield ReportNotChecked(what="everything that the summary says", why="not evaluated")
        return
    if request.source is not None and not request.read_folder:
        yield ReportNotChecked(
            what="the bytes of the folder", why="its manifest and its attestation were compared, no other file was read"
        )
    if request.source is None and request.manifest is None and request.root is not None:
        yield ReportNotChecked(
            what="files other than weights: code, configuration, tokenizer",
            why="a checkpoint root speaks of tensors alone",
        )
    if request.source is not None and summary.attestations is None:
        yield ReportNotChecked(what="which attestation was verified", why="the summary does not say")
    if request.verifier is None:
        yield ReportNotChecked(what="the name of the verifier", why="you named a signer, and no verifier beside it")
    if request.policy is None:
        yield ReportNotChecked(what="the policy", why="you named none to compare it with")
    if summary.time is None:
        yield ReportNotChecked(what="when it was verified", why="the summary does not say")
