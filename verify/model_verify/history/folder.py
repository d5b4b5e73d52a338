"""Files of the history in a model's folder, and bundles that a caller has. Spec: history §1.1; manifest §4.1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_verify.errors import CallerError
from model_verify.files import REVOCATIONS_FOLDER, is_revocation_path
from model_verify.findings import Finding
from model_verify.small_file import read_small
from model_verify.sources.source import EntryKind, Source, read_whole

MAX_REVOCATION_BYTES = 256 << 10
MAX_REVOCATIONS = 256
"""In a model's folder."""
MAX_REVOCATIONS_OF_CALLER = 4096
_SUFFIX = ".sigstore.json"


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A bundle, unread, and what to call it."""

    label: str
    data: bytes


def revocations_in(source: Source) -> tuple[list[BundleFile], list[Finding]]:
    """Return the revocations that lie in a model's folder, and findings about those that are too large or too many."""
    files: list[BundleFile] = []
    findings: list[Finding] = []
    entries = [entry for entry in source.entries() if is_revocation_path(entry.path) and entry.kind is EntryKind.FILE]
    if len(entries) > MAX_REVOCATIONS:
        found = Finding("REVOCATION_MALFORMED", REVOCATIONS_FOLDER, f"at most {MAX_REVOCATIONS}", str(len(entries)))
        return [], [found]
    for entry in sorted(entries, key=lambda entry: entry.path):
        if entry.size_bytes > MAX_REVOCATION_BYTES:
            size = f"at most {MAX_REVOCATION_BYTES} bytes"
            findings.append(Finding("REVOCATION_MALFORMED", entry.path, size, str(entry.size_bytes)))
            continue
        files.append(BundleFile(entry.path, read_whole(source, entry.path, max_bytes=MAX_REVOCATION_BYTES)))
    return files, findings


def load_revocations(path: Path) -> Sequence[BundleFile]:
    """Return the revocations that a caller has: a file, or a folder's files whose names end in `.sigstore.json`.

    Raises `CallerError` for what cannot be read, is too large or too many, and for a folder without any.
    """
    if not path.is_dir():
        return [BundleFile(str(path), read_small(path, MAX_REVOCATION_BYTES))]
    try:
        paths = sorted(found for found in path.iterdir() if found.name.endswith(_SUFFIX))
    except OSError as error:
        raise CallerError(f"{path}: {error.strerror}") from error
    if not paths:
        raise CallerError(f"{path}: no revocation there", hint=f"names of revocations end in `{_SUFFIX}`")
    if len(paths) > MAX_REVOCATIONS_OF_CALLER:
        raise CallerError(f"{path}: {len(paths)} revocations, at most {MAX_REVOCATIONS_OF_CALLER} are read")
    return [BundleFile(str(found), read_small(found, MAX_REVOCATION_BYTES)) for found in paths]
