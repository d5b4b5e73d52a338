"""What the signer committed to before anything was published. Spec: history §3."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import ValidationError

from model_verify.digest import FileDigest
from model_verify.envelope import SigningTime
from model_verify.envelope.check import claimed_signer
from model_verify.envelope.evidence import utc_text
from model_verify.files import COMMITMENT_PATH
from model_verify.findings import Finding
from model_verify.history.report import ReportCommitment
from model_verify.history.target import Target
from model_verify.models import MANIFEST_PATH, ModelIdentity
from model_verify.models.any_statement import CHECKPOINT_ALGORITHM
from model_verify.models.commitment import COMMITMENT_TYPE, Commitment
from model_verify.signature_report import describe_expected
from model_verify.signed_statement import read_signed_statement
from model_verify.sources.source import Entry, EntryKind, Source, read_whole
from model_verify.validation import first_problem

MAX_COMMITMENT_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class JudgedCommitment:
    """What came of a commitment; `line` is there where the signer made it, and `counts` where it is of this model."""

    findings: tuple[Finding, ...] = ()
    commitment: Commitment | None = None
    line: ReportCommitment | None = None
    time: SigningTime | None = None
    counts: bool = False


def commitment_entry(source: Source) -> Entry | None:
    """Return the entry of the commitment in a model's folder; None where there is none, or no regular file."""
    entry = next((entry for entry in source.entries() if entry.path == COMMITMENT_PATH), None)
    return entry if entry is not None and entry.kind is EntryKind.FILE else None


def judge_commitment(source: Source, target: Target) -> JudgedCommitment:
    """Return what the commitment in a folder means for the attestation there; nothing where it cannot be held to it."""
    entry = commitment_entry(source)
    if entry is None or target.is_detached or not target.same_signer:
        return JudgedCommitment()
    if entry.size_bytes > MAX_COMMITMENT_BYTES:
        return _malformed(f"{entry.size_bytes} bytes")
    data = read_whole(source, COMMITMENT_PATH, max_bytes=MAX_COMMITMENT_BYTES)
    read = read_signed_statement(data, target.same_signer, {COMMITMENT_TYPE}, where=COMMITMENT_PATH, trust=target.trust)
    if read.signed is not None and not read.signature.holds:
        found = Finding("COMMITMENT_SIGNER", COMMITMENT_PATH, "the attestation's signer", claimed_signer(read.signed))
        return JudgedCommitment((found,))
    if read.head is None:
        return _malformed(read.findings[-1].actual or read.findings[-1].code)
    try:
        commitment = Commitment.read(read.head.predicate)
    except ValidationError as error:
        return _malformed(first_problem(error))
    if [one.digest for one in read.head.subject] != [{CHECKPOINT_ALGORITHM: commitment.model.checkpoint_root.hex}]:
        return _malformed("the subject is not the root")
    mismatches = differences(commitment, target.statement.model, target.statement.manifest_digest)
    unknown = [replace(finding, where=COMMITMENT_PATH) for finding in read.signature.open_questions]
    findings = [*unknown, *mismatches, *_lateness(read.signature.time, target.signature.time)]
    assert read.signature.signer is not None
    time = read.signature.time
    counts = not mismatches and not unknown
    line = ReportCommitment(
        name=commitment.model.name,
        version=commitment.model.version,
        root=commitment.model.checkpoint_root,
        manifest_digest=commitment.manifest_digest,
        by=describe_expected(read.signature.signer).described,
        signed_before=None if time is None else utc_text(time.earliest.time),
        counted=counts,
    )
    return JudgedCommitment(tuple(findings), commitment, line, time, counts=counts)


def differences(commitment: Commitment, model: ModelIdentity, manifest_digest: FileDigest) -> list[Finding]:
    """Return where a commitment is of something else than the model of an attestation. Spec: history §3.4."""
    stated, digest = commitment.model, commitment.manifest_digest
    pairs = [
        ("root", stated.checkpoint_root.text, model.checkpoint_root.text),
        ("name", stated.name, model.name),
        ("version", stated.version, model.version),
        ("uri", stated.uri, model.uri),
        (MANIFEST_PATH, digest.text if digest else None, manifest_digest.text),
    ]
    return [
        Finding("COMMITMENT_MISMATCH", f"{COMMITMENT_PATH}: {what}", committed, str(signed))
        for what, committed, signed in pairs
        if committed is not None and committed != signed
    ]


def _lateness(committed: SigningTime | None, signed: SigningTime | None) -> list[Finding]:
    if committed is None or signed is None or committed.earliest.time <= signed.earliest.time:
        return []
    before = f"shown before {utc_text(signed.earliest.time)}, as the attestation is"
    return [Finding("COMMITMENT_LATE", COMMITMENT_PATH, before, f"before {utc_text(committed.earliest.time)}")]


def _malformed(reason: str) -> JudgedCommitment:
    return JudgedCommitment((Finding("COMMITMENT_MALFORMED", COMMITMENT_PATH, "a commitment", reason),))
