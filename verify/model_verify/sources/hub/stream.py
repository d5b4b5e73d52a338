"""Bytes of one file of the Hub in order, through as few requests as it takes, going on after whatever cuts them.

A stream asks for spans of the file, each larger than the one before, so that reading from front to back is a handful of
requests, and a read elsewhere costs little. Every answer is held against what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from model_verify.digest import FileDigest
from model_verify.errors import SourceChanged
from model_verify.sources.hub.connection import Answer, Connection, Interrupted, Patience

FIRST_SPAN_BYTES = 16 << 20
"""More than a file that is not in LFS has: such a one is asked for whole, without a range."""
SPAN_GROWTH = 4
PROGRESS_BYTES = 1 << 20
"""So much must come before failures are counted anew; else a server could feed one byte a try, for ever."""
SLOWEST_BYTES_PER_S = 1024
WATCHED_S = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file: where it is, and what the Hub's list says of it."""

    label: str
    path: str
    url: str
    size_bytes: int
    digest: FileDigest | None
    git_oid: str


class Stream:
    """The bytes of a file from some place on. For one thread at a time."""

    def __init__(self, connection: Connection, wanted: Wanted, offset: int, *, most_bytes: int | None = None) -> None:
        """Begin at `offset`; the first request asks for `most_bytes`, where the caller knows how many it needs."""
        self.offset = offset
        self._connection = connection
        self._wanted = wanted
        self._patience = Patience(connection.clock)
        self._since_progress = 0
        self._span_bytes = FIRST_SPAN_BYTES if most_bytes is None else most_bytes
        self._stop = offset
        self._answer: Answer | None = None
        self._rest = memoryview(b"")
        self._watched_from_s = 0.0
        self._watched_bytes = 0

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` with what comes next. Raises `SourceError`."""
        filled = 0
        while filled < len(buffer):
            if not self._rest:
                self._rest = memoryview(self._next_block())
            count = min(len(buffer) - filled, len(self._rest))
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
            self.offset += count

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _next_block(self) -> bytes:
        """Return bytes from `offset` on, at least one."""
        while True:
            try:
                if self._answer is None:
                    self._answer = self._open()
                    self._watched_from_s, self._watched_bytes = self._connection.clock.now_s(), 0
                block = next(self._answer.blocks, b"")
                self._check_block(block)
            except Interrupted as interrupted:
                self.close()
                self._patience.wait(interrupted, self._wanted.url)
                continue
            self._count(len(block))
            return block

    def _check_block(self, block: bytes) -> None:
        left = self._stop - self.offset
        if len(block) > left:
            raise Interrupted(f"{len(block) - left} bytes more than asked for came")
        if not block:
            raise Interrupted(f"the answer ended {left} bytes early")
        if len(block) == left:
            self._finish_span()

    def _finish_span(self) -> None:
        """Let go of an answer that was read to its end; what comes behind it is a lie about its length."""
        assert self._answer is not None
        surplus = next(self._answer.blocks, b"")
        self.close()
        if surplus:
            raise Interrupted("more bytes than asked for came")
        self._span_bytes *= SPAN_GROWTH

    def _count(self, size_bytes: int) -> None:
        self._connection.throttle.passed(size_bytes)
        self._since_progress += size_bytes
        if self._since_progress >= PROGRESS_BYTES:
            self._since_progress = 0
            self._patience.progressed()
        self._watch(size_bytes)

    def _watch(self, size_bytes: int) -> None:
        """Give up an answer that drips: each byte is in time, and all of them would never be."""
        self._watched_bytes += size_bytes
        now_s = self._connection.clock.now_s()
        if now_s - self._watched_from_s < WATCHED_S:
            return
        if self._watched_bytes < SLOWEST_BYTES_PER_S * (now_s - self._watched_from_s):
            self.close()
            self._patience.wait(Interrupted("the bytes only drip"), self._wanted.url)
        self._watched_from_s, self._watched_bytes = now_s, 0

    def _open(self) -> Answer:
        """Return an answer that begins at `offset`. Raises `Interrupted` for one that is not what was asked for."""
        size = self._wanted.size_bytes
        if self.offset == self._stop:  # else this goes on with a span that was cut
            self._stop = min(self.offset + self._span_bytes, size)
        is_whole = self.offset == 0 and self._stop == size
        asked = None if is_whole else f"bytes={self.offset}-{self._stop - 1}"
        answer = self._connection.open(self._wanted.url, byte_range=asked, leaves_endpoint=True)
        try:
            self._connection.check_status(answer, f"{self._wanted.label}: the Hub does not give {self._wanted.path}")
            self._check_same(answer)
            self._check_headers(answer, is_whole=is_whole)
        except BaseException:
            answer.close()
            raise
        return answer

    def _check_same(self, answer: Answer) -> None:
        """Raise `SourceChanged` where the Hub names another content than its list of files does."""
        expected = {self._wanted.git_oid}
        stated = _unquoted(answer.first.get("etag", ""))
        if self._wanted.digest is not None:
            expected = {self._wanted.digest.hex}
            stated = _unquoted(answer.first.get("x-linked-etag", ""))
        if _is_name_of_content(stated) and stated not in expected:
            self._changed(f"it is {stated} now, and {', '.join(expected)} in the list of files")

    def _check_headers(self, answer: Answer, *, is_whole: bool) -> None:
        coding = answer.headers.get("content-encoding", "identity").casefold()
        if coding != "identity":
            raise Interrupted(f"the answer is coded as {coding[:40]}")
        length = answer.headers.get("content-length")
        if length is not None and length != str(self._stop - self.offset):
            if not is_whole and answer.status == 206:
                raise Interrupted(f"a range of {length[:20]} bytes came, asked for {self._stop - self.offset}")
            if is_whole:
                self._changed(f"it has {length[:20]} bytes, and {self._wanted.size_bytes} in the list of files")
        if is_whole:
            return
        if answer.status != 206:
            raise Interrupted("the server ignores ranges")
        content_range = f"bytes {self.offset}-{self._stop - 1}/{self._wanted.size_bytes}"
        if answer.headers.get("content-range") != content_range:
            given = answer.headers.get("content-range", "none")
            raise Interrupted(f"asked for {content_range}, the range {given[:80]} came")

    def _changed(self, what: str) -> NoReturn:
        raise SourceChanged(f"{self._wanted.label}: {self._wanted.path}: {what}")


def _unquoted(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _is_name_of_content(text: str) -> bool:
    """Return whether an entity tag is a digest, as the Hub's own are; a mirror may have others."""
    return len(text) in (40, 64) and not text.strip("0123456789abcdef")
