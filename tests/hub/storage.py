"""Repositories as a Hub keeps them: blobs by digest, commits that list files, and refs that name commits."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".npz", ".h5")
LFS_BYTES = 10 << 20
INITIAL = "initial commit"
DATE = "2026-01-02T03:04:05.000Z"


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit. `oid` is what git has of it: for an LFS file, of its pointer."""

    oid: str
    size_bytes: int
    blob: str
    sha256: str | None = None
    pointer_bytes: int = 0


@dataclass(frozen=True)
class Commit:
    sha: str
    title: str
    parent: str | None
    files: Mapping[str, StoredFile]


@dataclass
class Repository:
    name: str
    is_private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    proposals: dict[str, str] = field(default_factory=dict)
    """Refs of pull requests, `refs/pr/1`, which anybody can write."""
    date: object = DATE
    """What is listed as the date of its commits; tests state others."""

    def resolve(self, revision: str) -> str | None:
        """Return the commit that a branch, a tag, a pull request's ref or a commit's name leads to."""
        for refs in (self.branches, self.tags, self.proposals):
            if revision in refs:
                return refs[revision]
        return revision if revision in self.commits else None

    def history(self, sha: str) -> Iterator[Commit]:
        """Yield a commit and its ancestors, newest first."""
        at: str | None = sha
        while at is not None:
            yield self.commits[at]
            at = self.commits[at].parent


class Storage:
    def __init__(self, root: Path) -> None:
        self.blobs = root / "blobs"
        self.blobs.mkdir(parents=True)
        self.repositories: dict[str, Repository] = {}

    def path_of(self, blob: str) -> Path:
        return self.blobs / blob

    def create(self, name: str, *, is_private: bool = False) -> Repository:
        """Return a new repository with the one commit that every new one has."""
        repository = self.repositories[name] = Repository(name, is_private)
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
        self.commit(repository, {".gitattributes": self.regular(attributes.encode())}, INITIAL)
        return repository

    def regular(self, data: bytes) -> StoredFile:
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        self.path_of(oid).write_bytes(data)
        return StoredFile(oid, len(data), oid)

    def large(self, sha256: str, size_bytes: int) -> StoredFile:
        """Return an LFS file whose blob is stored already."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n".encode()
        oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
        return StoredFile(oid, size_bytes, sha256, sha256, len(pointer))

    def file(self, path: Path) -> StoredFile:
        """Return a file of this machine as the Hub would store it."""
        size_bytes = path.stat().st_size
        if not path.name.endswith(LFS_SUFFIXES) and size_bytes <= LFS_BYTES:
            return self.regular(path.read_bytes())
        with path.open("rb") as data:
            sha256 = hashlib.file_digest(data, "sha256").hexdigest()
        if not self.path_of(sha256).exists():
            shutil.copyfile(path, self.path_of(sha256))
        return self.large(sha256, size_bytes)

    def commit(self, repository: Repository, files: Mapping[str, StoredFile], title: str, *, ref: str = "main") -> str:
        """Return the new commit's name; `ref` leads to it from now on."""
        refs = repository.proposals if ref.startswith("refs/pr/") else repository.branches
        parent = refs.get(ref) or repository.branches.get("main")
        listed = sorted((path, file.oid) for path, file in files.items())
        content = json.dumps([repository.name, listed, title, parent, len(repository.commits)])
        sha = hashlib.sha1(content.encode()).hexdigest()
        repository.commits[sha] = Commit(sha, title, parent, dict(files))
        refs[ref] = sha
        return sha

    def add_folder(self, name: str, folder: Path, *, ref: str = "main", is_private: bool = False) -> str:
        """Return the commit that holds what a folder holds, in a repository that is made where there is none."""
        repository = self.repositories.get(name) or self.create(name, is_private=is_private)
        files = {
            path.relative_to(folder).as_posix(): self.file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and ".attest" not in path.relative_to(folder).parts
        }
        attributes = repository.commits[repository.branches["main"]].files[".gitattributes"]
        return self.commit(repository, {".gitattributes": attributes, **files}, f"add {folder.name}", ref=ref)
