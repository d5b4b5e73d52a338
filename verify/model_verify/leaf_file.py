"""The leaf file against the manifest. Spec: manifest §6; verification V6."""

from __future__ import annotations

import hashlib

from model_verify import merkle
from model_verify.digest import FileDigest
from model_verify.findings import Finding
from model_verify.manifest import leaf_tensors
from model_verify.models import LEAVES_PATH, MANIFEST_PATH, Manifest
from model_verify.sources.source import EntryKind, Source, read_whole

MAX_LEAF_FILE_BYTES = 1 << 30


def check_leaf_file(source: Source, manifest: Manifest) -> memoryview | Finding:
    """Return the signed leaves, in the order of the leaf file, or why it is not the one that was signed."""
    count = sum(info.chunk_count for _, info, _ in leaf_tensors(manifest))
    if manifest.leaves.count != count:
        return Finding("LEAVES_MISMATCH", MANIFEST_PATH, f"{count} leaves", f"{manifest.leaves.count} leaves")
    size = merkle.LEAF_BYTES * count
    if size > MAX_LEAF_FILE_BYTES:
        return Finding("LEAVES_MISMATCH", LEAVES_PATH, f"at most {MAX_LEAF_FILE_BYTES} bytes", str(size))
    entry = next((entry for entry in source.entries() if entry.path == LEAVES_PATH), None)
    if entry is None or entry.kind is EntryKind.IRREGULAR or entry.size_bytes != size:
        found = "no such file" if entry is None else entry.detail or f"{entry.size_bytes} bytes"
        return Finding("LEAVES_MISMATCH", LEAVES_PATH, f"{size} bytes", found)
    data = memoryview(read_whole(source, LEAVES_PATH, max_bytes=size))
    digest = FileDigest(hashlib.sha256(data).digest())
    if digest != manifest.leaves.file_digest:
        return Finding("LEAVES_MISMATCH", LEAVES_PATH, manifest.leaves.file_digest.text, digest.text)
    place = 0
    for _, info, root in leaf_tensors(manifest):
        leaves = merkle.split_leaves(data[place : place + merkle.LEAF_BYTES * info.chunk_count])
        place += merkle.LEAF_BYTES * info.chunk_count
        if merkle.tensor_root(leaves) != root:
            return Finding("LEAVES_MISMATCH", f"{LEAVES_PATH}: {info.name}", root.text)
    return data
