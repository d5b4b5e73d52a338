"""What a `model.sig` lists against what is in the folder. Spec: oms §4."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from model_verify import files
from model_verify.digest import FileDigest
from model_verify.findings import Finding, limited
from model_verify.oms.hashes import new_hash
from model_verify.oms.listing import Listing, Resource
from model_verify.sources.source import Entry, EntryKind, Source, read_whole

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Attested:
    """What the attestation in the folder has shown already."""

    listed: frozenset[str]
    """The paths that its manifest lists."""
    as_signed: Mapping[str, FileDigest]
    """Files that were read whole and are as the manifest has them."""


@dataclass(frozen=True, slots=True)
class ContentCheck:
    """How a folder differs from a listing."""

    findings: list[Finding]
    files_matched: int
    left_out: int
    """Files that nothing is said of."""


def check_content(
    source: Source, listing: Listing, attested: Attested | None, *, threads: int | None = None
) -> ContentCheck:
    """Return every difference, reading what is listed once, except what was read already.

    Raises `SourceError` where files cannot be read or change meanwhile, and `MalformedDocument` with `OMS_UNSUPPORTED`
    where the hash cannot be computed here.
    """
    new_hash(listing.hash_type)  # before anything is read
    entries = source.entries()
    by_path = {entry.path: entry for entry in entries}
    findings = limited(_not_there(listing, by_path))
    there = [
        resource
        for path, resources in listing.files.items()
        if path in by_path and by_path[path].kind is EntryKind.FILE
        for resource in resources
    ]
    differing = _differing(source, listing, there, {} if attested is None else attested.as_signed, threads)
    changed = {finding.where for finding in differing}
    findings += limited(differing)
    others = [entry for entry in entries if entry.path not in listing.files and entry.path != files.OMS_SIGNATURE_PATH]
    left_out, found = _not_covered(source, listing, others, attested)
    return ContentCheck(
        findings=[*findings, *limited(found)],
        files_matched=len({resource.path for resource in there} - changed),
        left_out=left_out,
    )


def _not_there(listing: Listing, by_path: Mapping[str, Entry]) -> Iterator[Finding]:
    for path in listing.files:
        entry = by_path.get(path)
        if entry is None and files.is_never_covered(path):
            yield Finding("OMS_UNSUPPORTED", path, "a place that is looked at", "it never is (manifest §4.4)")
        elif entry is None:
            yield Finding("OMS_FILE_MISSING", path, "a file", "no such file")
        elif entry.kind is EntryKind.IRREGULAR:
            yield Finding("OMS_FILE_NOT_REGULAR", path, "a regular file", entry.detail)


def _differing(
    source: Source,
    listing: Listing,
    resources: Sequence[Resource],
    known: Mapping[str, FileDigest],
    threads: int | None,
) -> list[Finding]:
    """Return a finding for each file that is not as listed."""
    interrupted = threading.Event()
    reused = known if listing.hash_type == "sha256" and listing.shard_bytes is None else {}

    def problem(resource: Resource) -> Finding | None:
        if resource.path in reused:
            return _unless_equal(resource, reused[resource.path].raw)
        return _read(source, listing, resource, interrupted)

    last = {resources[-1].path: resources[-1].end for resources in listing.files.values()}
    found: dict[str, Finding] = {}
    with ThreadPoolExecutor(threads) as pool:
        try:
            for finding in pool.map(problem, resources):
                if finding is not None:
                    found.setdefault(finding.where, finding)
        except BaseException:
            interrupted.set()  # leaving waits for the threads, and a file can take minutes
            raise
    for path in {resource.path for resource in resources} - found.keys():
        if (end := last[path]) is not None:
            with source.open(path) as file:
                if file.size_bytes != end:
                    found[path] = Finding("OMS_FILE_MISMATCH", path, f"{end} bytes", f"{file.size_bytes} bytes")
    return list(found.values())


def _read(source: Source, listing: Listing, resource: Resource, interrupted: threading.Event) -> Finding | None:
    """Return how a file, or a part of one, differs; nothing that counts if interrupted."""
    state = new_hash(listing.hash_type)
    with source.open(resource.path) as file:
        end = file.size_bytes if resource.end is None else resource.end
        if end > file.size_bytes:
            return Finding("OMS_FILE_MISMATCH", resource.path, f"at least {end} bytes", f"{file.size_bytes} bytes")
        buffer = memoryview(bytearray(min(_BLOCK_BYTES, end - resource.start)))
        for offset in range(resource.start, end, _BLOCK_BYTES):
            if interrupted.is_set():
                return None
            block = buffer[: min(_BLOCK_BYTES, end - offset)]
            file.read_into(block, offset)
            state.update(block)
    return _unless_equal(resource, state.digest())


def _unless_equal(resource: Resource, digest: bytes) -> Finding | None:
    if digest == resource.digest:
        return None
    part = "" if resource.end is None else f"bytes {resource.start} to {resource.end - 1}: "
    return Finding("OMS_FILE_MISMATCH", resource.path, part + resource.digest.hex(), part + digest.hex())


def _not_covered(
    source: Source, listing: Listing, others: Sequence[Entry], attested: Attested | None
) -> tuple[int, list[Finding]]:
    """Return how many files nothing is said of, and the findings about what is not listed."""
    left_out = 0
    findings: list[Finding] = []
    beside: list[str] = []
    for entry in others:
        is_left_out = listing.leaves_out(entry.path) or (
            listing.skips_empty_files and entry.kind is EntryKind.FILE and entry.size_bytes == 0
        )
        if is_left_out:
            left_out += 1
            is_bound = attested is not None and (entry.path in attested.listed or files.is_exempt(entry.path))
            if not is_bound and not _is_lfs_only(source, entry):
                findings.append(Finding("OMS_FILE_LEFT_OUT", entry.path, "a file that it covers", "left out"))
        elif attested is not None and files.is_exempt(entry.path) and entry.kind is EntryKind.FILE:
            beside.append(entry.path)
        elif not _is_lfs_only(source, entry):
            found = entry.detail if entry.kind is EntryKind.IRREGULAR else f"{entry.size_bytes} bytes"
            findings.append(Finding("OMS_FILE_NOT_COVERED", entry.path, "no such file", found))
    if beside:
        findings.append(Finding("OMS_ATTESTATION_NOT_COVERED", beside[0], "listed", f"{len(beside)} files are not"))
    return left_out, findings


def _is_lfs_only(source: Source, entry: Entry) -> bool:
    """Return whether this is the one file that the Hub itself puts into repositories. Spec: manifest §4.3."""
    if entry.path != files.GITATTRIBUTES_PATH or entry.kind is not EntryKind.FILE:
        return False
    if entry.size_bytes > files.MAX_GITATTRIBUTES_BYTES:
        return False
    return files.has_only_lfs_attributes(read_whole(source, entry.path, max_bytes=files.MAX_GITATTRIBUTES_BYTES))
