"""A repository of the Hub as a place that holds a model. Spec: hub §2, §3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property

from model_verify.digest import FileDigest
from model_verify.errors import SourceMissing, SourceUnreadable
from model_verify.files import is_never_covered, path_problem
from model_verify.sources.hub.connection import Connection
from model_verify.sources.hub.file import HubFile
from model_verify.sources.hub.reference import HubReference
from model_verify.sources.hub.repository import ListedFile, Repository
from model_verify.sources.hub.stream import Wanted
from model_verify.sources.source import Entry, EntryKind, HubPlace, Reach


class HubSource:
    """A repository at one commit, read over the network and stored nowhere."""

    def __init__(self, connection: Connection, reference: HubReference) -> None:
        """Raises `SourceMissing` and other `SourceError`."""
        self._repository = Repository(connection, reference)
        self._connection = connection

    @property
    def label(self) -> str:
        return str(self._repository.reference)

    @property
    def repository(self) -> str:
        return self._repository.reference.purl

    @property
    def commit(self) -> str:
        return self._repository.commit

    @property
    def hub(self) -> HubPlace:
        return HubPlace(self._connection.endpoint, self._repository.reference.revision or "main")

    def reach(self) -> Reach:
        """Return what leads to the commit, by the Hub's word. Raises `SourceError`."""
        return self._reach

    @cached_property
    def _reach(self) -> Reach:
        return self._repository.reach()

    def commit_date(self) -> datetime | None:
        """Return the date of the commit, by the Hub's word. Raises `SourceError`."""
        return self._repository.commit_date()

    @cached_property
    def _listed(self) -> Mapping[str, ListedFile]:
        files = self._repository.files()
        return {path: file for path, file in files.items() if not is_never_covered(path)}

    @cached_property
    def _entries(self) -> Sequence[Entry]:
        return sorted((file.entry for file in self._listed.values()), key=lambda entry: entry.path.encode("utf-8"))

    def entries(self) -> Sequence[Entry]:
        """Return every file, ordered by path. Raises `SourceError`."""
        return self._entries

    def stated_digests(self) -> Mapping[str, FileDigest]:
        """Return the SHA-256 of files by the Hub's word, for all that it keeps in LFS."""
        return {path: file.digest for path, file in self._listed.items() if file.digest is not None}

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[HubFile]:
        """Yield the file at `path`. Raises `SourceMissing`, `SourceUnreadable`."""
        listed = self._listed.get(path)
        if listed is None:
            raise SourceMissing(f"{path}: no such file")
        if listed.entry.kind is EntryKind.IRREGULAR or path_problem(path):
            raise SourceUnreadable(f"{path}: {listed.entry.detail or path_problem(path)}")
        wanted = Wanted(
            label=self.label,
            path=path,
            url=self._repository.content_url(path),
            size_bytes=listed.entry.size_bytes,
            digest=listed.digest,
            git_oid=listed.git_oid,
        )
        file = HubFile(self._connection, wanted)
        try:
            yield file
        finally:
            file.close()
