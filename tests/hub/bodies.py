"""How a file is sent: whole or a range of it, as it should be or with a fault."""

from __future__ import annotations

import re
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.hub.faults import Compressed, Content, Cut, Drip, Fault, Length, Range

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Span:
    """The bytes from `start` to before `stop` of a file of `size_bytes`."""

    start: int
    stop: int
    size_bytes: int
    is_partial: bool

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.stop - 1}/{self.size_bytes}"


def asked_span(header: str | None, size_bytes: int) -> Span | None:
    """Return the span that a Range header asks for; None where nothing of the file is in it."""
    match = _RANGE.fullmatch(header or "")
    if match is None:
        return Span(0, size_bytes, size_bytes, False)
    start, stop = int(match[1]), min(int(match[2]) + 1 if match[2] else size_bytes, size_bytes)
    return Span(start, stop, size_bytes, True) if start < stop else None


@dataclass(frozen=True)
class Body:
    """What is sent after the status line: headers, and the bytes of a span with what is wrong with them."""

    path: Path
    span: Span
    fault: Fault | None

    @property
    def status(self) -> int:
        return 206 if self.sent.is_partial else 200

    @property
    def sent(self) -> Span:
        """The span that is really sent."""
        span = self.span
        match self.fault:
            case Range("ignored"):
                return Span(0, span.size_bytes, span.size_bytes, False)
            case Range("shifted" | "mislabelled") if span.is_partial:
                return Span(span.start + 1, span.stop, span.size_bytes, True)
        return span

    def headers(self) -> Iterator[tuple[str, str]]:
        sent, length = self.sent, self.sent.stop - self.sent.start
        if isinstance(self.fault, Length):
            length += self.fault.more_bytes
        if isinstance(self.fault, Compressed):
            length = len(self._compressed())
            yield "Content-Encoding", "deflate"
        if sent.is_partial:
            yield "Content-Range", self.span.content_range if self.fault == Range("mislabelled") else sent.content_range
        yield "Accept-Ranges", "bytes"
        yield "Content-Type", "application/octet-stream"
        yield "Content-Length", str(length)

    def _compressed(self) -> bytes:
        return zlib.compress(self.path.read_bytes()[self.sent.start : self.sent.stop])

    def send(self, out: BinaryIO, connection: socket.socket) -> bool:
        """Send the bytes; return whether the connection can be used again."""
        span = self.sent
        match self.fault:
            case None | Range():
                self._send_file(connection, span)
                return True
            case Compressed():
                out.write(self._compressed())
                return True
            case Content(offset):
                data = bytearray(self.path.read_bytes()[span.start : span.stop])
                if span.start <= offset < span.stop:
                    data[offset - span.start] ^= 1
                out.write(data)
                return True
            case Cut(after_bytes):
                self._send_file(connection, Span(span.start, min(span.start + after_bytes, span.stop), 0, False))
            case Drip(step_bytes, pause_s):
                for start in range(span.start, span.stop, step_bytes):
                    time.sleep(pause_s)
                    self._send_file(connection, Span(start, min(start + step_bytes, span.stop), 0, False))
                return True
            case Length(more_bytes):
                self._send_file(connection, Span(span.start, span.stop + min(more_bytes, 0), 0, False))
        return False

    def _send_file(self, connection: socket.socket, span: Span) -> None:
        if span.start < span.stop:
            with self.path.open("rb") as data:
                connection.sendfile(data, span.start, span.stop - span.start)
