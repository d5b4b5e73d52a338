"""A model folder on this machine. Spec: manifest §3.2."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from model_verify.digest import FileDigest
from model_verify.errors import SourceChanged, SourceMissing, SourceUnreadable
from model_verify.sources.source import Entry, EntryKind, Reach

_NEVER_COVERED = (".git", ".cache/huggingface", ".attest")
_HUB_CACHE_REPO = re.compile(r"models--([^/]+?)--([^/]+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class LocalFile:
    """An open regular file, read by position so that threads can share it.

    There is no memory map: truncating a mapped file kills the process, and bytes could differ between two looks.
    """

    def __init__(self, path: str, descriptor: int, status: os.stat_result) -> None:
        self.path = path
        self.size_bytes = status.st_size
        self._descriptor = descriptor
        self._identity = _identity(status)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return exactly `size_bytes` bytes from `offset` on; raises `SourceChanged` where the file is shorter."""
        buffer = bytearray(size_bytes)
        self.read_into(memoryview(buffer), offset)
        return bytes(buffer)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        filled = 0
        while filled < len(buffer):
            try:
                count = os.preadv(self._descriptor, [buffer[filled:]], offset + filled)
            except OSError as error:
                raise SourceUnreadable(f"{self.path}: {error.strerror}") from error
            if count == 0:
                raise SourceChanged(f"{self.path} ended at byte {offset + filled} while it was read")
            filled += count

    def check_unchanged(self) -> None:
        if _identity(os.fstat(self._descriptor)) != self._identity:
            raise _changed(self.path)


def _changed(path: str) -> SourceChanged:
    return SourceChanged(f"{path} changed while it was read", hint="run it again when nothing writes there")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class LocalFolder:
    """A folder of model files. Links are followed inside it, and into the blobs of its own Hub cache entry."""

    def __init__(self, path: Path) -> None:
        """Raises `SourceMissing` where there is no folder at `path`."""
        if not path.is_dir():
            found = "is not a folder" if path.exists() else "does not exist"
            raise SourceMissing(f"{path} {found}")
        self._label = str(path)
        self.root = path.resolve()
        self._allowed = [self.root]
        self._repository: str | None = None
        self._commit: str | None = None
        self._opened: dict[str, tuple[int, ...]] = {}
        snapshots = self.root.parent
        blobs = snapshots.parent / "blobs"
        # Blobs that are a link would let a folder name any place of the machine as its own.
        if snapshots.name == "snapshots" and blobs.is_dir() and not blobs.is_symlink():
            self._allowed.append(blobs)
            if match := _HUB_CACHE_REPO.fullmatch(snapshots.parent.name):
                self._repository = f"pkg:huggingface/{match[1]}/{match[2]}"
                self._commit = self.root.name if _COMMIT.fullmatch(self.root.name) else None

    @property
    def label(self) -> str:
        return self._label

    @property
    def repository(self) -> str | None:
        return self._repository

    @property
    def commit(self) -> str | None:
        return self._commit

    @property
    def hub(self) -> None:
        """None: what a folder says of its place on the Hub is not the Hub's word."""
        return None

    def reach(self) -> Reach:
        return Reach.UNKNOWN

    def commit_date(self) -> None:
        """Return None: no Hub is asked."""

    def entries(self) -> Sequence[Entry]:
        """Return every file of the folder, irregular ones included, ordered by path.

        What manifest §4.4 never covers is left out. Raises `SourceUnreadable` where a folder cannot be listed.
        """
        return sorted(self._walk(), key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))

    def stated_digests(self) -> Mapping[str, FileDigest]:
        """Return nothing: here is only what can be read."""
        return {}

    def _walk(self) -> Iterator[Entry]:
        pending = [""]  # not the call stack: folders can nest deeper than that
        while pending:
            prefix = pending.pop()
            try:
                with os.scandir(self.root / prefix) as listing:
                    found = list(listing)
            except OSError as error:
                raise SourceUnreadable(f"{prefix or self._label}: {error.strerror}") from error
            for item in found:
                path = prefix + item.name
                if path in _NEVER_COVERED:
                    continue
                if item.is_dir(follow_symlinks=False):
                    pending.append(path + "/")
                else:
                    yield self._entry(Path(item.path), path)

    def entry(self, path: str) -> Entry | None:
        """Return what is at one path, or None where there is nothing; nothing else is listed."""
        absolute = self.root / path
        return self._entry(absolute, path) if os.path.lexists(absolute) else None

    def _entry(self, absolute: Path, path: str) -> Entry:
        try:
            target = absolute.resolve(strict=True)
            status = target.stat()
        except (OSError, RuntimeError):
            return Entry(path, EntryKind.IRREGULAR, 0, "a link to nothing")
        if not any(target.is_relative_to(allowed) for allowed in self._allowed):
            return Entry(path, EntryKind.IRREGULAR, 0, "a link out of the folder")
        if any(target.is_relative_to(self.root / name) for name in _NEVER_COVERED):
            return Entry(path, EntryKind.IRREGULAR, 0, "a link to what is never covered")
        if not stat.S_ISREG(status.st_mode):
            return Entry(path, EntryKind.IRREGULAR, 0, _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file"))
        return Entry(path, EntryKind.FILE, status.st_size)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[LocalFile]:
        """Yield the open file at `path`, and check at the end that it did not change.

        What is opened again must be the same file still: a header and the data behind it are read at two times.
        Raises `SourceMissing`, `SourceUnreadable`, and `SourceChanged`, also on leaving.
        """
        entry = self._entry(self.root / path, path)
        if entry.kind is EntryKind.IRREGULAR:
            missing = not os.path.lexists(self.root / path)
            raise (SourceMissing if missing else SourceUnreadable)(
                f"{path}: {'no such file' if missing else entry.detail}"
            )
        try:
            # O_NONBLOCK: a FIFO put there since the look above must not hang us.
            descriptor = os.open((self.root / path).resolve(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceUnreadable(f"{path}: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SourceUnreadable(f"{path}: not a regular file")
            if self._opened.setdefault(path, _identity(status)) != _identity(status):
                raise _changed(path)
            file = LocalFile(path, descriptor, status)
            yield file
            file.check_unchanged()
        finally:
            os.close(descriptor)


_KINDS = {
    stat.S_IFDIR: "a link to a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
