"""The answers of the Hub's interface for models, as JSON documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import yaml

from tests.hub.storage import DATE, Commit, Repository, Storage, StoredFile


def model_info(storage: Storage, repository: Repository, commit: Commit, *, with_blobs: bool) -> dict[str, object]:
    return {
        "_id": hashlib.md5(repository.name.encode()).hexdigest()[:24],
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.name.split("/")[0],
        "sha": commit.sha,
        "lastModified": DATE,
        "createdAt": DATE,
        "private": repository.is_private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "cardData": _card(storage, commit),
        "siblings": [_sibling(path, file, with_blobs) for path, file in sorted(commit.files.items())],
        "usedStorage": 0,
    }


def _sibling(path: str, file: StoredFile, with_blobs: bool) -> dict[str, object]:
    sibling: dict[str, object] = {"rfilename": path}
    if with_blobs:
        sibling |= {"size": file.size_bytes, "blobId": file.oid}
        if file.sha256 is not None:
            sibling["lfs"] = {"sha256": file.sha256, "size": file.size_bytes, "pointerSize": file.pointer_bytes}
    return sibling


def _card(storage: Storage, commit: Commit) -> object:
    readme = commit.files.get("README.md")
    if readme is None:
        return {}
    parts = storage.path_of(readme.blob).read_text().split("---\n")
    return yaml.safe_load(parts[1]) if len(parts) > 2 and not parts[0] else {}


def tree(commit: Commit, folder: str, *, recursive: bool) -> list[dict[str, object]]:
    """Return the entries below a folder, folders among them, ordered by path."""
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, object]] = {}
    for path, file in commit.files.items():
        if not path.startswith(prefix):
            continue
        segments = path.removeprefix(prefix).split("/")
        for depth in range(1, len(segments)) if recursive else [1] * (len(segments) > 1):
            above = prefix + "/".join(segments[:depth])
            entries[above] = _folder(above)
        if recursive or len(segments) == 1:
            entries[path] = _entry(path, file)
    return [entries[path] for path in sorted(entries)]


def paths_info(commit: Commit, paths: list[str]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for path in paths:
        if path in commit.files:
            found.append(_entry(path, commit.files[path]))
        elif any(other.startswith(f"{path.rstrip('/')}/") for other in commit.files):
            found.append(_folder(path))
    return found


def _folder(path: str) -> dict[str, object]:
    return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}


def _entry(path: str, file: StoredFile) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "oid": file.oid, "size": file.size_bytes, "path": path}
    if file.sha256 is not None:
        entry["lfs"] = {"oid": file.sha256, "size": file.size_bytes, "pointerSize": file.pointer_bytes}
    return entry


def refs(repository: Repository, *, with_proposals: bool) -> dict[str, object]:
    listed: dict[str, object] = {
        "branches": list(_refs("refs/heads/", repository.branches)),
        "tags": list(_refs("refs/tags/", repository.tags)),
        "converts": [],
    }
    if with_proposals:
        listed["pullRequests"] = list(_refs("", repository.proposals))
    return listed


def _refs(before: str, named: Mapping[str, str]) -> Iterator[dict[str, str]]:
    for name, sha in named.items():
        yield {"name": name, "ref": f"{before}{name}", "targetCommit": sha}


def history(repository: Repository, sha: str) -> list[dict[str, object]]:
    return [
        {
            "id": commit.sha,
            "title": commit.title,
            "message": "",
            "authors": [{"user": "tester"}],
            "date": repository.date,
        }
        for commit in repository.history(sha)
    ]
