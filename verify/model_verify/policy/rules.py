"""The rules of a policy against what verification found. Spec: policy §2 to §5.

Each function yields the findings of one table of the policy. Nothing here changes what the standard found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from model_verify.digest import CheckpointRoot
from model_verify.envelope import SigningTime
from model_verify.envelope.authority import MOST_SKEW
from model_verify.envelope.evidence import utc_text
from model_verify.files import PICKLE_FORMATS, weight_format
from model_verify.findings import Finding, limited
from model_verify.models import ManifestFile
from model_verify.models.policy import (
    CoverageRules,
    FileRules,
    FindingRules,
    LicenseRules,
    ParentRules,
    StepRules,
    TimeRules,
)
from model_verify.policy.document import Policy
from model_verify.policy.licenses import License, MalformedLicense, read_expression, read_license
from model_verify.report import ReportCoverage, ReportMaterial, ReportStep, Verdict

_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Evidence:
    """What verification found, with the verdict and level that it gives by the standard alone."""

    verdict: Verdict
    level: int | None
    findings: Sequence[Finding]
    materials: Sequence[ReportMaterial]
    steps: Sequence[ReportStep]
    files: Sequence[ManifestFile]
    coverage: ReportCoverage | None
    time: SigningTime | None
    now: datetime


def anchored(materials: Sequence[ReportMaterial], anchors: Mapping[CheckpointRoot, str]) -> list[ReportMaterial]:
    """Return materials, and those of their attestations, with the caller's names of their roots. Spec: policy §3."""
    return [_anchored(material, anchors) for material in materials]


def _anchored(material: ReportMaterial, anchors: Mapping[CheckpointRoot, str]) -> ReportMaterial:
    changes: dict[str, object] = {}
    if material.root in anchors:
        changes = {"origin": "anchored", "anchor": anchors[material.root]}
    if material.attestation is not None:
        below = anchored(material.attestation.materials, anchors)
        changes["attestation"] = material.attestation.model_copy(update={"materials": below})
    return material.model_copy(update=changes)


def evaluate(policy: Policy, evidence: Evidence) -> list[Finding]:
    """Return the findings of all rules that are not met. Spec: verification V12.

    Rules on what came out (level, verdicts of steps, coverage) are asked where the verdict is VERIFIED: elsewhere, what
    was not checked, or failed, says more than that a rule is not met.
    """
    rules = policy.rules
    found: list[Finding] = []
    if evidence.verdict == "VERIFIED":
        found += _level(rules.minimum_level, evidence.level)
        found += _step_verdicts(rules.steps, evidence.steps)
        found += _coverage(rules.coverage, evidence.coverage)
    found += _step_kinds(rules.steps, evidence.steps)
    found += _parents(rules.parents, evidence.materials)
    found += _licenses(rules.licenses, evidence.materials)
    found += _files(rules.files, evidence)
    found += _refused(rules.findings, evidence.findings)
    found += _time(rules.time, evidence.time, evidence.now)
    return limited(found)


def _level(minimum: int | None, level: int | None) -> Iterator[Finding]:
    if minimum is not None and (level or 0) < minimum:
        yield Finding("POLICY_LEVEL", "", f"level {minimum}", f"level {level}")


def _step_kinds(rules: StepRules | None, steps: Sequence[ReportStep]) -> Iterator[Finding]:
    if rules is None:
        return
    for step in steps:
        if rules.types is not None and step.type not in rules.types:
            yield Finding("POLICY_STEP", step.id, f"type {_any_of(rules.types)}", f"type {step.type}")
        profiles = rules.merge_profiles
        if step.type == "merge" and profiles is not None and step.profile not in profiles:
            yield Finding("POLICY_STEP", step.id, f"profile {_any_of(profiles)}", f"profile {step.profile}")


def _step_verdicts(rules: StepRules | None, steps: Sequence[ReportStep]) -> Iterator[Finding]:
    for kind, accepted in (rules.verdicts or {}).items() if rules else ():
        for step in steps:
            if step.type == kind and step.verdict not in accepted:
                yield Finding("POLICY_STEP", step.id, f"verdict {_any_of(accepted)}", f"verdict {step.verdict}")


def _lineage(materials: Sequence[ReportMaterial], before: str = "") -> Iterator[tuple[str, ReportMaterial]]:
    """Yield every material that is known, as far up as the caller had the lineage followed, with its path."""
    for material in materials:
        yield before + material.id, material
        if material.attestation is not None:
            yield from _lineage(material.attestation.materials, f"{before}{material.id}/")


def _parents(rules: ParentRules | None, materials: Sequence[ReportMaterial]) -> Iterator[Finding]:
    if rules is None:
        return
    for material in materials:
        if rules.origin is not None and material.origin not in ("anchored", rules.origin):
            yield Finding("POLICY_MATERIAL", material.id, f"origin {rules.origin}", _parent_text(material))
        allowed = rules.allowed
        if allowed is not None and not any(_matches(entry, material) for entry in allowed):
            yield Finding(
                "POLICY_MATERIAL", material.id, f"a parent that is allowed: {_any_of(allowed)}", _parent_text(material)
            )
    for path, material in _lineage(materials):
        for entry in rules.denied or ():
            if _matches(entry, material):
                yield Finding("POLICY_MATERIAL", path, f"not {entry}, which is denied", _parent_text(material))


def _matches(entry: str, material: ReportMaterial) -> bool:
    """Return whether an entry is a material's root, or a pattern that its package URL fits. Spec: policy §3."""
    if entry.startswith("sha256:"):
        return entry == material.root.text
    return material.uri is not None and _fits(entry.casefold(), material.uri.casefold())


def _fits(pattern: str, uri: str) -> bool:
    wanted, there = pattern.split("/"), uri.split("/")
    return len(wanted) == len(there) and all(map(_fits_segment, wanted, there))


def _fits_segment(pattern: str, text: str) -> bool:
    """Return whether `text` fits a pattern in which `*` stands for anything; in time linear in both."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *middle, last = others
    if not (text.startswith(first) and text.endswith(last) and len(text) >= len(first) + len(last)):
        return False
    place, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _parent_text(material: ReportMaterial) -> str:
    uri = f", {material.uri[:_MOST_SHOWN]} by the signer's word" if material.uri else ""
    return f"{material.root.text}{uri}"


def _licenses(rules: LicenseRules | None, materials: Sequence[ReportMaterial]) -> Iterator[Finding]:
    if rules is None:
        return
    allowed = None if rules.allowed is None else frozenset(map(read_license, rules.allowed))
    denied = frozenset(map(read_license, rules.denied or ()))

    def accepts(license: License) -> bool:
        return (allowed is None or license in allowed) and not {license, license.bare} & denied

    for path, material in _lineage(materials):
        text = material.license
        if text is None:
            yield Finding("POLICY_LICENSE", path, "a licence", "none is stated")
            continue
        try:
            expression = read_expression(text)
        except MalformedLicense as error:
            yield Finding(
                "POLICY_LICENSE", path, "a licence expression of SPDX", f"{text[:_MOST_SHOWN]}: {error}"[:400]
            )
            continue
        if not expression.is_satisfied(accepts):
            yield Finding("POLICY_LICENSE", path, "a licence that the policy accepts", text[:_MOST_SHOWN])


def _files(rules: FileRules | None, evidence: Evidence) -> Iterator[Finding]:
    for kind in rules.forbidden if rules else ():
        match kind:
            case "pickle":
                for file in evidence.files:
                    if file.file_class == "weights" and weight_format(file.path) in PICKLE_FORMATS:
                        yield Finding(
                            "POLICY_FILE",
                            file.path,
                            "no file that runs code when it is loaded",
                            file.path.rsplit(".", 1)[-1],
                        )
            case "remote-code":
                for file in evidence.files:
                    if file.file_class == "code":
                        yield Finding("POLICY_FILE", file.path, "no code", "a file of class code")
                for finding in evidence.findings:
                    if finding.code == "CODE_ELSEWHERE":
                        yield Finding("POLICY_FILE", finding.where, "no code", finding.actual)
            case _:
                assert_never(kind)


def _refused(rules: FindingRules | None, findings: Sequence[Finding]) -> Iterator[Finding]:
    for finding in findings:
        if rules is not None and finding.code in rules.refused:
            said = ": ".join(part for part in (finding.code, finding.actual) if part)
            yield Finding("POLICY_FINDING", finding.where, f"no {finding.code}", said)


def _coverage(rules: CoverageRules | None, coverage: ReportCoverage | None) -> Iterator[Finding]:
    if rules is None:
        return
    done, total = (0, 0) if coverage is None else (coverage.bytes_reproduced, coverage.bytes)
    # In integers, and a model of no bytes has nothing reproduced.
    if total == 0 or done * 100 < rules.minimum_percent * total:
        yield Finding(
            "POLICY_COVERAGE", "", f"{rules.minimum_percent} % of the bytes reproduced", f"{done} of {total} bytes"
        )


def _time(rules: TimeRules | None, time: SigningTime | None, now: datetime) -> Iterator[Finding]:
    if rules is None:
        return
    for kind in rules.required or ():
        if time is None or not _has(time, kind):
            wanted = {"timestamp": "a trusted timestamp", "log": "an entry in a log"}[kind]
            yield Finding("POLICY_TIME", "", wanted, "none")
    if rules.maximum_age_days is None:
        return
    wanted = f"signed at most {rules.maximum_age_days} days before {utc_text(now)}"
    if time is None:
        yield Finding("POLICY_TIME", "", wanted, "nothing shows when it was signed")
        return
    age = now - time.earliest.time
    if not -MOST_SKEW <= age <= timedelta(days=rules.maximum_age_days):
        yield Finding("POLICY_TIME", "", wanted, f"signed before {utc_text(time.earliest.time)}")


def _has(time: SigningTime, kind: str) -> bool:
    return time.log is not None if kind == "log" else any(word.source == kind for word in time.evidence)


def _any_of(words: Sequence[str]) -> str:
    return ", ".join(words)[:_MOST_SHOWN]
