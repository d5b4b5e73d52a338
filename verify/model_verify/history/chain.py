"""The attestations that an attestation takes the place of, one after the other. Spec: history §2."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from model_verify.digest import CheckpointRoot, FileDigest
from model_verify.envelope import MAX_BUNDLE_BYTES, SignatureCheck, check_signature, is_statement, open_bundle
from model_verify.envelope.check import claimed_signer
from model_verify.envelope.evidence import utc_text
from model_verify.errors import MalformedDocument
from model_verify.files import is_superseded_path, superseded_path
from model_verify.findings import Finding
from model_verify.history.report import ReportSuperseded
from model_verify.history.target import Target
from model_verify.models.history import Superseded
from model_verify.sources.source import EntryKind, Source, read_whole
from model_verify.statement import Statement, read_statement

MAX_LINKS = 64


@dataclass(slots=True)
class Chain:
    """What the chain came to: its files by their paths, from the newest to the oldest, and what there is to say."""

    files: dict[str, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    lines: list[ReportSuperseded] = field(default_factory=list)


class _Ended(Exception):
    """The chain cannot be followed further; the finding says why."""

    def __init__(self, code: str, path: str, expected: str, actual: str) -> None:
        super().__init__(code)
        self.finding = Finding(code, path, expected, actual)


def follow_chain(source: Source, target: Target, revoked: Collection[CheckpointRoot] = ()) -> Chain:
    """Return the attestations that `target` takes the place of, as far as its own signer signed them.

    `revoked` are roots whose revocation is honoured. A file of the chain's folder that the chain does not reach is
    FILE_EXTRA, but where nobody is expected: then nothing of the chain is read.
    """
    chain = Chain()
    if not target.same_signer:
        return chain
    supersedes = target.statement.supersedes
    while supersedes is not None:
        if len(chain.lines) == MAX_LINKS:
            chain.findings.append(Finding("HISTORY_TOO_LONG", _path(supersedes), f"at most {MAX_LINKS} links", "more"))
            break
        try:
            supersedes = _follow(source, target, supersedes, revoked, chain)
        except _Ended as ended:
            chain.findings.append(ended.finding)
            break
    if not target.is_detached:
        chain.findings += [
            Finding("FILE_EXTRA", entry.path, "no file that the chain does not reach", f"{entry.size_bytes} bytes")
            for entry in source.entries()
            if is_superseded_path(entry.path) and entry.path not in chain.files
        ]
    return chain


def _follow(
    source: Source, target: Target, supersedes: Superseded, revoked: Collection[CheckpointRoot], chain: Chain
) -> Superseded | None:
    """Add one link to the chain, and return the next, if there is one; raises `_Ended` where it cannot be followed."""
    path = _path(supersedes)
    entry = next((entry for entry in source.entries() if entry.path == path), None)
    if entry is None:
        raise _Ended("HISTORY_MISSING", path, "the attestation that was superseded", "no such file")
    if entry.kind is not EntryKind.FILE or entry.size_bytes > MAX_BUNDLE_BYTES:
        raise _Ended("HISTORY_MISMATCH", path, "a bundle", entry.detail or f"{entry.size_bytes} bytes")
    data = read_whole(source, path, max_bytes=MAX_BUNDLE_BYTES)
    chain.files[path] = data
    digest = FileDigest(hashlib.sha256(data).digest())
    if digest != supersedes.bundle_digest:
        raise _Ended("HISTORY_MISMATCH", path, supersedes.bundle_digest.text, digest.text)
    try:
        signed = open_bundle(data)
        check = check_signature(signed, target.same_signer[0], target.trust)
        if not check.holds:
            # Nothing of it is read, so nothing is known of what it took the place of.
            chain.lines.append(_line(path, supersedes, counted=False))
            raise _Ended("HISTORY_SIGNER", path, "the same signer", claimed_signer(signed))
        if not is_statement(signed):
            raise MalformedDocument("PAYLOAD_TYPE_WRONG", "no statement", rule="statement §4.3")
        statement = read_statement(signed.payload)
    except MalformedDocument as error:
        raise _Ended("HISTORY_MISMATCH", path, "an attestation", f"{error.code}: {error.reason}") from error
    root = statement.model.checkpoint_root
    if root != supersedes.checkpoint_root:
        raise _Ended("HISTORY_MISMATCH", path, supersedes.checkpoint_root.text, root.text)
    chain.findings += [replace(finding, where=path) for finding in check.open_questions]
    is_known = not check.open_questions
    line = _line(path, supersedes, counted=is_known, statement=statement, check=check, is_revoked=root in revoked)
    chain.lines.append(line)
    return statement.supersedes


def _path(supersedes: Superseded) -> str:
    return superseded_path(supersedes.bundle_digest)


def _line(
    path: str,
    supersedes: Superseded,
    *,
    counted: bool,
    statement: Statement | None = None,
    check: SignatureCheck | None = None,
    is_revoked: bool = False,
) -> ReportSuperseded:
    time = check.time if check is not None else None
    return ReportSuperseded(
        where=path,
        root=supersedes.checkpoint_root,
        reason=supersedes.reason,
        counted=counted,
        name=statement.model.name if statement is not None else None,
        version=statement.model.version if statement is not None else None,
        signed_before=utc_text(time.earliest.time) if time is not None else None,
        revoked=is_revoked,
    )
