"""What observers saw of the materials of a model. Spec: observation; verification V10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from model_verify.envelope import ExpectedSigner, TimeTrust
from model_verify.envelope.check import claimed_signer
from model_verify.envelope.evidence import utc_text
from model_verify.findings import Finding, limited
from model_verify.history.folder import BundleFile
from model_verify.models.any_statement import CHECKPOINT_ALGORITHM
from model_verify.models.observation import OBSERVATION_PATH, OBSERVATION_TYPE, Observation
from model_verify.report import ReportMaterial, ReportObservation
from model_verify.signature_report import describe_expected
from model_verify.signed_statement import read_signed_statement
from model_verify.small_file import read_small
from model_verify.validation import first_problem

MAX_OBSERVATION_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Observed:
    """An observation by an observer whom the caller named."""

    observation: Observation
    line: ReportObservation


def load_observation(path: Path) -> BundleFile:
    """Return the observation at a path: a bundle, or the folder that `attest observe` wrote; raises `CallerError`."""
    found = path / OBSERVATION_PATH if path.is_dir() else path
    return BundleFile(str(found), read_small(found, MAX_OBSERVATION_BYTES))


def observe_materials(
    materials: Sequence[ReportMaterial],
    files: Sequence[BundleFile],
    observers: Sequence[ExpectedSigner],
    trust: TimeTrust,
) -> tuple[list[ReportMaterial], list[Finding]]:
    """Return materials with what observers saw of their roots, and what there is to say of the observations.

    A material whose root was observed has the origin *observed*, unless the caller knows the root by name. No status,
    and no verdict, follows from it.
    """
    findings: list[Finding] = []
    seen: list[Observed] = []
    for file in files:
        read = _read(file, observers, trust)
        if isinstance(read, Finding):
            findings.append(read)
        else:
            seen.append(read)
    roots = {material.root for material in materials}
    for one in seen:
        if one.observation.checkpoint_root not in roots:
            findings.append(
                Finding(
                    "OBSERVATION_OF_OTHER", one.line.where, "a material's root", str(one.observation.checkpoint_root)
                )
            )
    placed = []
    for material in materials:
        own = [one for one in seen if one.observation.checkpoint_root == material.root]
        placed.append(_with(material, own))
        findings += [
            Finding("OBSERVED_ELSEWHERE", material.id, material.uri, one.observation.uri)
            for one in own
            if material.uri is not None and material.uri != one.observation.uri
        ]
    return placed, limited(findings)


def _with(material: ReportMaterial, seen: Sequence[Observed]) -> ReportMaterial:
    if not seen:
        return material
    origin = "anchored" if material.origin == "anchored" else "observed"
    return material.model_copy(update={"origin": origin, "observations": [one.line for one in seen]})


def _read(file: BundleFile, observers: Sequence[ExpectedSigner], trust: TimeTrust) -> Observed | Finding:
    """Return an observation, or why it is not taken. Nothing is parsed of what no observer signed."""

    def refused(reason: str) -> Finding:
        return Finding("OBSERVATION_REFUSED", file.label, "an observation by an observer of yours", reason)

    read = read_signed_statement(file.data, observers, {OBSERVATION_TYPE}, where=file.label, trust=trust)
    if read.signed is not None and not read.signature.holds:
        return refused(f"it names {claimed_signer(read.signed)}")
    if read.signature.open_questions:
        return refused(f"{read.signature.open_questions[0].code}: {read.signature.open_questions[0].actual}")
    if read.head is None:
        return refused(read.findings[-1].actual or read.findings[-1].code)
    try:
        observation = Observation.read(read.head.predicate)
    except ValidationError as error:
        return refused(first_problem(error))
    expected = [
        {CHECKPOINT_ALGORITHM: observation.checkpoint_root.hex},
        {"sha256": observation.manifest_digest.hex},
    ]
    if [subject.digest for subject in read.head.subject] != expected:
        return refused("the subjects are not the root and the manifest")
    assert read.signature.signer is not None
    time = read.signature.time
    line = ReportObservation(
        where=file.label,
        by=describe_expected(read.signature.signer).described,
        uri=observation.uri,
        observed=observation.observed,
        manifest_digest=observation.manifest_digest,
        signed_before=None if time is None else utc_text(time.earliest.time),
    )
    return Observed(observation, line)
