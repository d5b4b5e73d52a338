"""A verifier's report as a signed verification summary, for others to rely on. Spec: summary §1 to §3."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TypeVar

from model_attest.placement import output_errors, place_new_file
from model_attest.signed_statement import sign_statement
from model_attest.signers.signer import Signer
from model_verify import __version__
from model_verify.digest import FileDigest
from model_verify.envelope import TimeTrust
from model_verify.errors import CallerError, OutputError
from model_verify.models import BUNDLE_PATH, MANIFEST_PATH, TYPE_PREFIX
from model_verify.models.any_statement import (
    CHECKPOINT_ALGORITHM,
    AnyStatementHead,
    AnySubject,
)
from model_verify.models.summary import (
    SUMMARY_TYPE,
    AppliedPolicy,
    Descriptor,
    SummaryCoverage,
    SummaryDetails,
    SummaryFinding,
    SummaryMaterial,
    SummaryNotChecked,
    SummaryPredicate,
    SummarySigner,
    SummaryStep,
    Verifier,
)
from model_verify.report import Report, ReportMaterial
from model_verify.summary.levels import dependency_levels, words_of

NO_POLICY = TYPE_PREFIX + "verification/v1"
"""What a model is held against where the caller has no policy: the standard alone."""
A_POLICY = TYPE_PREFIX + "policy/v1"
"""A policy of the caller's; which one, its digest says."""
SLSA_VERSION = "1.1"
MOST_EXPIRY_DAYS = 36_500
_MOST_ENTRIES = 256
_MOST_CHARACTERS = 500
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f\x7f]+")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SummaryTerms:
    """What the verifier says in the summary beyond what was found."""

    verifier: str
    """A URI: who stands behind this verification."""
    resource: str
    """A URI: from where a reader is to have the model."""
    verified_at: datetime
    policy: FileDigest | None = None
    policy_uri: str | None = None
    expires_days: int | None = None
    required_level: int | None = None

    def __post_init__(self) -> None:
        """Raises `CallerError` for what is no URI."""
        for name, uri in (("verifier", self.verifier), ("resource", self.resource), ("policy", self.policy_uri)):
            if uri is not None and (_URI.fullmatch(uri) is None or len(uri) > 2048):
                raise CallerError(f"the {name} `{uri[:200]}` is no URI", hint="write it like https://agency.example")

    @property
    def expires(self) -> datetime | None:
        return None if self.expires_days is None else self._second + timedelta(days=self.expires_days)

    @property
    def _second(self) -> datetime:
        return self.verified_at.astimezone(UTC).replace(microsecond=0)

    @property
    def time(self) -> str:
        return _text(self._second)


@dataclass(frozen=True, slots=True)
class WrittenSummary:
    """A summary that was signed and written."""

    path: Path
    passed: bool
    words: tuple[str, ...]
    expires: str | None


def check_place(path: Path) -> None:
    """Raise `OutputError` where a summary cannot be written, before the model is read: that can take hours."""
    if path.exists() or path.is_symlink():
        raise OutputError(f"{path} is already there", hint="name another file: a summary is never replaced")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path.absolute().parent} is no folder", hint="make it first")


def write_summary(
    report: Report,
    terms: SummaryTerms,
    signer: Signer,
    path: Path,
    *,
    found_manifest: FileDigest | None = None,
    trust: TimeTrust | None = None,
) -> WrittenSummary:
    """Sign the summary of a report, and write its bundle to `path`, whole or not at all.

    `found_manifest` is what a summary that did not pass is about, where the verification did not get to the manifest.
    Raises `CallerError` where there is nothing that it could be about, and what signing and writing raise.
    """
    predicate = build_predicate(report, terms)
    statement = AnyStatementHead(
        statement_type="https://in-toto.io/Statement/v1",
        subject=_subjects(report, found_manifest),
        predicate_type=SUMMARY_TYPE,
        predicate=predicate.model_dump(mode="json", by_alias=True, exclude_none=True),
    )
    bundle = sign_statement(statement.canonical(), signer, trust)
    with output_errors(path):
        try:
            place_new_file(path, bundle.data)
        except FileExistsError as error:
            raise OutputError(f"{path} is already there", hint="a summary is never replaced") from error
    expires = predicate.details.expires if predicate.details else None
    passed = predicate.verification_result == "PASSED"
    return WrittenSummary(path, passed, tuple(predicate.verified_levels), expires)


def build_predicate(report: Report, terms: SummaryTerms) -> SummaryPredicate:
    """Return the summary of a report: PASSED only where that is VERIFIED, at the level that was required or above."""
    passed = report.verdict == "VERIFIED" and (report.level or 0) >= (terms.required_level or 0)
    expires = terms.expires if passed else None
    return SummaryPredicate(
        verifier=Verifier(id=terms.verifier, version={report.tool.name: __version__}),
        time_verified=terms.time,
        resource_uri=terms.resource,
        policy=AppliedPolicy(
            uri=terms.policy_uri or (NO_POLICY if terms.policy is None else A_POLICY),
            digest=None if terms.policy is None else {"sha256": terms.policy.hex},
        ),
        input_attestations=list(_attestations(report, terms.resource)) or None,
        verification_result="PASSED" if passed else "FAILED",
        verified_levels=words_of(report, passed=passed, expires=expires),
        dependency_levels=dependency_levels(report, expires=expires) if passed else None,
        slsa_version=SLSA_VERSION,
        details=_details(report, expires),
    )


def _subjects(report: Report, found_manifest: FileDigest | None) -> list[AnySubject]:
    if report.roots is not None:
        root = {CHECKPOINT_ALGORITHM: report.roots.checkpoint.hex}
        manifest = {"sha256": report.roots.manifest.hex}
        return [AnySubject(name=MANIFEST_PATH, digest=manifest), AnySubject(name="checkpoint", digest=root)]
    if found_manifest is not None and report.verdict != "VERIFIED":
        return [AnySubject(name=MANIFEST_PATH, digest={"sha256": found_manifest.hex})]
    raise CallerError("there is nothing that a summary could be about", hint="the folder has no attestation to read")


def _attestations(report: Report, resource: str) -> Iterator[Descriptor]:
    """Yield every bundle that was read, each once."""
    listed: set[str] = set()
    if report.bundle is not None:
        listed.add(report.bundle.digest.hex)
        inside = resource.startswith("pkg:") and "#" not in resource and report.bundle.detached is None
        uri = f"{resource}#{BUNDLE_PATH}" if inside else None
        yield Descriptor(name=BUNDLE_PATH, uri=uri, digest={"sha256": report.bundle.digest.hex})
    pending = [(material.id, material) for material in report.materials]
    while pending:
        path, material = pending.pop(0)
        if material.attestation is None:
            continue
        pending += [(f"{path}/{above.id}", above) for above in material.attestation.materials]
        bundle = material.attestation.bundle
        if bundle is not None and bundle.digest.hex not in listed:
            listed.add(bundle.digest.hex)
            yield Descriptor(name=f"{path}: {BUNDLE_PATH}"[:2048], digest={"sha256": bundle.digest.hex})


def _details(report: Report, expires: datetime | None) -> SummaryDetails:
    counted = Counter((finding.code, finding.severity) for finding in report.findings)
    findings = [
        SummaryFinding(code=code, severity=severity, count=count) for (code, severity), count in counted.items()
    ]
    lists = (report.steps, report.materials, findings, report.not_checked)
    coverage = report.coverage
    return SummaryDetails(
        verdict=report.verdict,
        headline=_short(report.headline),
        depth=report.depth,
        level=report.level,
        expires=None if expires is None else _text(expires),
        detached=report.bundle is not None and report.bundle.detached is not None,
        signer=None
        if report.signer is None
        else SummarySigner(
            kind=report.signer.kind, described=_short(report.signer.described), expected=report.signer.expected
        ),
        coverage=None if coverage is None else SummaryCoverage(**coverage.model_dump()),
        steps=[SummaryStep(id=step.id, type=_short(step.type), verdict=step.verdict) for step in _few(report.steps)],
        materials=[_material(material) for material in _few(report.materials)],
        findings=list(_few(findings)),
        not_checked=[
            SummaryNotChecked(what=_short(item.what), why=_short(item.why)) for item in _few(report.not_checked)
        ],
        left_out=sum(max(0, len(entries) - _MOST_ENTRIES) for entries in lists),
    )


def _material(material: ReportMaterial) -> SummaryMaterial:
    attestation = material.attestation
    return SummaryMaterial(
        id=material.id,
        root=material.root,
        status=material.status,
        origin=material.origin,
        level=attestation.level if attestation else None,
    )


def _few(entries: list[_T]) -> Iterator[_T]:
    return islice(entries, _MOST_ENTRIES)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
