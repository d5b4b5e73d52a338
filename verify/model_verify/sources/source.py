"""What a verifier needs of a place that holds a model: a list of files, and ranges of their bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from model_verify.digest import FileDigest
from model_verify.errors import SourceError


class EntryKind(Enum):
    FILE = "file"
    IRREGULAR = "irregular"
    """A FIFO, socket or device, a link to a folder, or a link that leaves the model."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a model folder; `path` is relative, with `/` between segments."""

    path: str
    kind: EntryKind
    size_bytes: int
    detail: str = ""


class Reach(Enum):
    """What leads to a commit, by the word of the Hub. Spec: hub §1."""

    BRANCH = "branch"
    """A branch or a tag, which only those can write who may write to the repository."""
    PROPOSAL = "proposal"
    """Neither: at most the ref of a pull request, which anybody can write."""
    UNKNOWN = "unknown"
    """Nobody can say, or there were too many commits to look through."""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """Where on a Hub a source is: the Hub's endpoint, and the revision that was asked for."""

    endpoint: str
    revision: str


class File(Protocol):
    """An open file. Every read gives what was asked for or raises `SourceError`; the file must not change meanwhile."""

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    def read(self, offset: int, size_bytes: int) -> bytes: ...

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with the bytes from `offset` on. May be called from several threads at once."""
        ...

    def check_unchanged(self) -> None:
        """Raise `SourceChanged` if the file is not what it was when it was opened."""
        ...


class Source(Protocol):
    """A model folder, wherever it is."""

    @property
    def label(self) -> str: ...

    @property
    def repository(self) -> str | None:
        """The package URL of the repository, where the source itself knows it. Spec: statement §3.2."""
        ...

    @property
    def commit(self) -> str | None: ...

    @property
    def hub(self) -> HubPlace | None:
        """Where on the Hub that is; None for what is not read from there."""
        ...

    def reach(self) -> Reach:
        """Return what leads to the commit. Raises `SourceError`."""
        ...

    def commit_date(self) -> datetime | None:
        """Return the date of the commit by the word of the Hub; None where it states none. Raises `SourceError`."""
        ...

    def entries(self) -> Sequence[Entry]: ...

    def stated_digests(self) -> Mapping[str, FileDigest]:
        """Return the SHA-256 of files by the word of whoever keeps them; of none where nobody says."""
        ...

    def open(self, path: str) -> AbstractContextManager[File]: ...


def read_whole(source: Source, path: str, *, max_bytes: int) -> bytes:
    """Return the bytes of a file of at most `max_bytes`; raises `SourceError`."""
    with source.open(path) as file:
        if file.size_bytes > max_bytes:
            raise SourceError(f"{path}: {file.size_bytes} bytes, over the limit of {max_bytes}")
        return file.read(0, file.size_bytes)
