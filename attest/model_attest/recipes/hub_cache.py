"""Find a model in the Hugging Face cache of this machine. Reads names of files, never the network."""

from __future__ import annotations

import os
import re
from pathlib import Path

_REFERENCE = re.compile(r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(@(?P<revision>[\w.-]+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def cached_snapshot(reference: str) -> Path | None:
    """Return the folder of `OWNER/NAME`, which is its `main`, or of `OWNER/NAME@REVISION` in the cache, or None."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return None
    repository = _cache_folder() / f"models--{match['owner']}--{match['name']}"
    revision = match["revision"] or "main"
    commit = revision
    if _COMMIT.fullmatch(revision) is None:
        try:
            commit = (repository / "refs" / revision).read_text("ascii").strip()
        except (OSError, ValueError):
            return None
    snapshot = repository / "snapshots" / commit
    return snapshot if _COMMIT.fullmatch(commit) and snapshot.is_dir() else None


def _cache_folder() -> Path:
    """Return where huggingface_hub keeps its cache, by the same variables."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(variable):
            return Path(value).expanduser()
    if value := os.environ.get("HF_HOME"):
        return Path(value).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"
