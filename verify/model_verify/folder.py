"""A model folder against its manifest: everything but the data of its tensors. Spec: verification V7, V8."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from model_verify import files
from model_verify.digest import FileDigest
from model_verify.findings import Finding, limited
from model_verify.manifest import info, primary
from model_verify.models import Manifest, ManifestFile, ManifestWeightSet
from model_verify.sources.source import Entry, EntryKind, Source, read_whole
from model_verify.weight_sets import FolderWeights, read_weight_sets
from model_verify.weights import StoredTensor, WeightFile

_BLOCK_BYTES = 4 << 20
_MAX_CONFIG_BYTES = 64 << 20
_MOST_HUB_FILES = 4
"""Read at once over the network, where more streams are not faster."""


@dataclass(slots=True)
class FolderCheck:
    """What V7 and the header part of V8 found, and where the signed tensors lie."""

    findings: list[Finding] = field(default_factory=list)
    tensors: dict[str, dict[str, StoredTensor]] = field(default_factory=dict)
    """By set prefix and tensor name: what is there under the name, dtype and shape that were signed."""
    weight_files: Mapping[str, WeightFile] = field(default_factory=dict)
    as_signed: Mapping[str, FileDigest] = field(default_factory=dict)
    """The files that were read whole and are as the manifest has them."""
    files_hashed: int = 0
    files_stated: int = 0
    """Files whose digest was compared as somebody else states it, without reading them."""
    bytes_hashed: int = 0


def check_folder(source: Source, manifest: Manifest) -> FolderCheck:
    """Return every difference between a folder and its manifest that shows without reading tensor data."""
    check = FolderCheck()
    present = _check_listing(check, source, manifest)
    plain = [file for file in manifest.files if file.path in present and not files.has_tensors(file.path)]
    _check_contents(check, source, plain, present)
    check.findings += limited(redirections(source, present, primary(manifest)))
    check.findings += limited(_pickles(manifest))
    weights = read_weight_sets(source)
    check.weight_files = weights.files
    check.findings += limited(_weights(weights, present, manifest, check))
    return check


def check_stated(source: Source, manifest: Manifest) -> FolderCheck:
    """Return every difference between a repository and its manifest by the digests that its keeper states.

    Only files for which none is stated are read and hashed. Spec: hub §4.
    """
    check = FolderCheck()
    present = _check_listing(check, source, manifest)
    stated = source.stated_digests()
    there = [file for file in manifest.files if file.path in present]
    check.files_stated = sum(file.path in stated for file in there)
    check.findings += limited(
        _differing(file.path, "FILE_MISMATCH", file.file_digest.text, stated[file.path].text)
        for file in there
        if file.path in stated and file.file_digest != stated[file.path]
    )
    _check_contents(check, source, [file for file in there if file.path not in stated], present)
    check.findings += limited(redirections(source, present, primary(manifest)))
    check.findings += limited(_pickles(manifest))
    return check


def _check_listing(check: FolderCheck, source: Source, manifest: Manifest) -> dict[str, Entry]:
    """Compare the names of files with those of the manifest, and return the files that are there."""
    entries = source.entries()
    check.findings += limited(_listing(source, entries, {file.path: file for file in manifest.files}))
    return {entry.path: entry for entry in entries if entry.kind is EntryKind.FILE}


def _check_contents(
    check: FolderCheck, source: Source, plain: Sequence[ManifestFile], present: Mapping[str, Entry]
) -> None:
    """Hash files whole, several at once."""
    interrupted = threading.Event()
    with ThreadPoolExecutor(None if source.hub is None else _MOST_HUB_FILES) as pool:
        try:
            contents = list(pool.map(lambda file: _content(source, file, interrupted), plain))
        except BaseException:
            interrupted.set()  # leaving waits for the threads, and a file can take minutes
            raise
    check.findings += limited(found for found in contents if found is not None)
    check.as_signed = {
        file.path: file.file_digest for file, found in zip(plain, contents, strict=True) if found is None
    }
    check.files_hashed = len(plain)
    check.bytes_hashed = sum(present[file.path].size_bytes for file in plain)


def _listing(source: Source, entries: Sequence[Entry], listed: Mapping[str, ManifestFile]) -> Iterator[Finding]:
    there: set[str] = set()
    for entry in entries:
        if files.is_exempt(entry.path) and entry.kind is EntryKind.FILE:
            continue
        there.add(entry.path)
        if problem := files.path_problem(entry.path):
            yield Finding("FILE_PATH_UNSAFE", entry.path, actual=problem)
        elif entry.kind is EntryKind.IRREGULAR:
            yield Finding("FILE_NOT_REGULAR", entry.path, "a regular file", entry.detail)
        elif entry.path not in listed and not _is_lfs_only(source, entry):
            yield _differing(entry.path, "FILE_EXTRA", "no such file", f"{entry.size_bytes} bytes")
    for path, file in listed.items():
        if path not in there:
            yield _differing(path, "FILE_MISSING", f"{file.size_bytes} bytes", "no such file")
    for one, other in files.colliding_paths(sorted(there)):
        yield Finding("FILE_PATH_UNSAFE", other, actual=f"equal to {json.dumps(one)} after case folding")


def _is_lfs_only(source: Source, entry: Entry) -> bool:
    """Return whether this is the one file that is exempt for what it holds. Spec: manifest §4.3."""
    if entry.path != files.GITATTRIBUTES_PATH or entry.size_bytes > files.MAX_GITATTRIBUTES_BYTES:
        return False
    return files.has_only_lfs_attributes(read_whole(source, entry.path, max_bytes=files.MAX_GITATTRIBUTES_BYTES))


def _differing(path: str, code: str, expected: str, actual: str) -> Finding:
    # Beside an attestation nothing is documentation. Spec: manifest §4.1.
    is_documentation = files.file_class(path) == "documentation" and not files.is_reserved(path)
    return Finding("DOCUMENTATION_CHANGED" if is_documentation else code, path, expected, actual)


def _content(source: Source, file: ManifestFile, interrupted: threading.Event) -> Finding | None:
    """Return how a file's bytes differ from the manifest's, reading them once; nothing that counts if interrupted."""
    buffer = bytearray(_BLOCK_BYTES)
    state = hashlib.sha256()
    with source.open(file.path) as opened:
        if opened.size_bytes != file.size_bytes:
            sizes = (f"{file.size_bytes} bytes", f"{opened.size_bytes} bytes")
            return _differing(file.path, "FILE_MISMATCH", *sizes)
        for offset in range(0, opened.size_bytes, _BLOCK_BYTES):
            if interrupted.is_set():
                return None
            view = memoryview(buffer)[: min(_BLOCK_BYTES, opened.size_bytes - offset)]
            opened.read_into(view, offset)
            state.update(view)
    digest = FileDigest(state.digest())
    if digest == file.file_digest:
        return None
    return _differing(file.path, "FILE_MISMATCH", file.file_digest.text, digest.text)


def redirections(source: Source, present: Mapping[str, Entry], weights: ManifestWeightSet) -> Iterator[Finding]:
    """Yield what would make a loader take something else than was verified. Spec: verification V7."""
    configurations = {path: entry for path, entry in present.items() if path.endswith("config.json")}
    for path, entry in configurations.items():
        if entry.size_bytes > _MAX_CONFIG_BYTES:
            found = f"{entry.size_bytes} bytes: what they make a loader do is not looked into"
            yield Finding("WEIGHTS_REDIRECTED", path, f"at most {_MAX_CONFIG_BYTES} bytes", found)
    present = {path: entry for path, entry in present.items() if entry.size_bytes <= _MAX_CONFIG_BYTES}
    for path in sorted(path for path in present if path.rsplit("/", 1)[-1] == "config.json"):
        config = _members(source, path)
        named = config.get("transformers_weights")
        folder = path[: -len("config.json")]
        # One shard of a set would load alone, without the others.
        if named is not None and (not isinstance(named, str) or [folder + named] != weights.files):
            yield Finding("WEIGHTS_REDIRECTED", path, ", ".join(weights.files)[:200], json.dumps(named)[:200])
    for path in sorted(path for path in present if path.endswith("config.json")):
        yield from _remote_code(path, _members(source, path))
    if "adapter_config.json" in present:
        base = json.dumps(_members(source, "adapter_config.json").get("base_model_name_or_path"))[:200]
        if weights.prefix == "adapter_model":
            yield Finding("ADAPTER_BASE_ELSEWHERE", "adapter_config.json", "a base that is in the folder", base)
        else:
            yield Finding(
                "WEIGHTS_REDIRECTED", "adapter_config.json", f"{weights.prefix} is what loads", f"base {base}"
            )


def _members(source: Source, path: str) -> dict[str, Any]:
    """Return a configuration's members as a loader sees them: Python's own parser, the last of two equal names.

    What that parser refuses, no loader reads either.
    """
    try:
        config = json.loads(read_whole(source, path, max_bytes=_MAX_CONFIG_BYTES))
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _remote_code(path: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the code of other repositories that a configuration names, in those of its parts (`text_config`) too."""
    elsewhere: set[str] = set()
    pending: list[tuple[Any, bool]] = [(config, False)]
    while pending:
        value, is_mapped = pending.pop()
        if isinstance(value, dict):
            pending += [(member, is_mapped or name == "auto_map") for name, member in value.items()]
        elif isinstance(value, list):
            pending += [(item, is_mapped) for item in value]
        elif is_mapped and isinstance(value, str) and "--" in value:
            elsewhere.add(value)
    for name in sorted(elsewhere):
        yield Finding("CODE_ELSEWHERE", path, "code in this folder", json.dumps(name)[:200])


def _pickles(manifest: Manifest) -> Iterator[Finding]:
    for weight_set in manifest.weight_sets:
        if weight_set.format in files.PICKLE_FORMATS:
            yield Finding(
                "PICKLE_WEIGHTS", weight_set.prefix, "weights that run no code when loaded", weight_set.format
            )


def _weights(
    there: FolderWeights, present: Mapping[str, Entry], manifest: Manifest, check: FolderCheck
) -> Iterator[Finding]:
    """Yield what is wrong with the weight files' structure, and fill `check.tensors`. Spec: verification V8."""
    for problem in there.problems:
        error = problem.error
        yield Finding(error.code, error.where, error.rule, error.reason)
    listed = {file.path: file for file in manifest.files}
    for path, file in there.files.items():
        if path in listed and file.header_digest != listed[path].header_digest:
            yield Finding("HEADER_MISMATCH", path, str(listed[path].header_digest), file.header_digest.text)
        elif path in listed and file.size_bytes != listed[path].size_bytes:
            # The header fixes the size, so the manifest never told the truth about it.
            yield Finding("FILE_MISMATCH", path, f"{listed[path].size_bytes} bytes", f"{file.size_bytes} bytes")
    for weight_set in manifest.weight_sets:
        if weight_set.tensors is not None:
            check.tensors[weight_set.prefix] = {}
            yield from _tensors(weight_set, there.files, check.tensors[weight_set.prefix])
    if not there.problems and all(path in present for path in listed):
        yield from _other_sets(there, manifest)


def _tensors(
    weight_set: ManifestWeightSet, weight_files: Mapping[str, WeightFile], found: dict[str, StoredTensor]
) -> Iterator[Finding]:
    held = {
        path: {t.info.name: t for t in weight_files[path].tensors} for path in weight_set.files if path in weight_files
    }
    signed: dict[str, set[str]] = {path: set() for path in held}
    for tensor in weight_set.tensors or ():
        if tensor.file not in held:
            continue  # the file is missing or malformed, which has a finding
        signed[tensor.file].add(tensor.name)
        stored = held[tensor.file].get(tensor.name)
        where = f"{tensor.file}: {tensor.name}"
        expected = info(tensor)
        if stored is None:
            yield Finding("TENSOR_MISSING", where, f"{tensor.dtype} {tensor.shape}", "no such tensor")
            continue
        if stored.info.dtype != expected.dtype:
            yield Finding("TENSOR_DTYPE_MISMATCH", where, expected.dtype, stored.info.dtype)
        if stored.info.shape != expected.shape:
            yield Finding("TENSOR_SHAPE_MISMATCH", where, str(list(expected.shape)), str(list(stored.info.shape)))
        if stored.info == expected:
            found[tensor.name] = stored
    for path, tensors in held.items():
        for name in sorted(tensors.keys() - signed[path]):
            extra = tensors[name].info
            yield Finding("TENSOR_EXTRA", f"{path}: {name}", "no such tensor", f"{extra.dtype} {list(extra.shape)}")


def _other_sets(there: FolderWeights, manifest: Manifest) -> Iterator[Finding]:
    """Yield where the manifest groups the files otherwise than a loader would, all files being there."""
    actual = {(s.prefix, s.format, s.primary, s.files, s.index) for s in there.sets}
    stated = {(s.prefix, s.format, s.primary, tuple(s.files), s.index) for s in manifest.weight_sets}
    listed = {file.path for file in manifest.files}
    for prefix, form, is_primary, paths, _ in sorted(actual - stated, key=str):
        if set(paths) <= listed:
            kind = "primary " if is_primary else ""
            yield Finding(
                "WEIGHTS_AMBIGUOUS", prefix, "the weight sets of the manifest", f"a {kind}{form} set loads here"
            )
