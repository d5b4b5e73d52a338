"""An open file of the Hub: threads that read near each other share a stream. Memory is bounded whatever its size."""

from __future__ import annotations

import threading

from model_verify.errors import SourceChanged
from model_verify.sources.hub.connection import Connection
from model_verify.sources.hub.stream import FIRST_SPAN_BYTES, Stream, Wanted

MOST_STREAMS = 2
SKIPPED_BYTES = 64 << 20
"""What a stream may run through to get to a place ahead; it is kept for whoever asks for it next."""
BLOCK_BYTES = 1 << 20
PROBE_BYTES = 256 << 10
"""What a small read takes along: a header follows its length."""


class HubFile:
    """A file at a fixed commit, whose content the Hub cannot change without being found out.

    Bulk reads (`read_into`) run along streams. Several threads read units one after the other, in any order by a few
    units: what a stream passes on its way is kept until they come for it. Small reads (`read`) are requests of their
    own.
    """

    def __init__(self, connection: Connection, wanted: Wanted) -> None:
        self._connection = connection
        self._wanted = wanted
        self._lock = threading.Lock()
        self._streams: list[Stream] = []
        """The one that was used last stands last."""
        self._probe = (0, b"")
        """The last small read, and what came along."""

    @property
    def path(self) -> str:
        return self._wanted.path

    @property
    def size_bytes(self) -> int:
        return self._wanted.size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return exactly `size_bytes` bytes from `offset` on. Raises `SourceError`."""
        self._check_inside(offset, size_bytes)
        with self._lock:
            start, probe = self._probe
            if not start <= offset <= offset + size_bytes <= start + len(probe):
                start, probe = self._probe = self._fetch(offset, size_bytes)
            return probe[offset - start : offset - start + size_bytes]

    def _fetch(self, offset: int, size_bytes: int) -> tuple[int, bytes]:
        """Return a place and the bytes from there on, those that are asked for among them."""
        # What is not in LFS is asked for whole: a server need not know ranges of it.
        is_small = self._wanted.digest is None and self.size_bytes <= FIRST_SPAN_BYTES
        start, stop = (0, self.size_bytes) if is_small else (offset, offset + max(size_bytes, PROBE_BYTES))
        buffer = bytearray(min(stop, self.size_bytes) - start)
        stream = Stream(self._connection, self._wanted, start, most_bytes=len(buffer))
        try:
            stream.read_into(memoryview(buffer))
        finally:
            stream.close()
        return start, bytes(buffer)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with the bytes from `offset` on. Raises `SourceError`."""
        self._check_inside(offset, len(buffer))
        with self._lock:
            self._probe = (0, b"")  # headers have been read
            filled = self._connection.kept.take(self, buffer, offset)
            if filled < len(buffer):
                stream = self._stream_to(offset + filled)
                stream.read_into(buffer[filled:])
                if stream.offset == self.size_bytes:
                    self._drop(stream)

    def _check_inside(self, offset: int, size_bytes: int) -> None:
        if offset + size_bytes > self.size_bytes:
            raise SourceChanged(f"{self.path} ended at byte {self.size_bytes} while it was read")

    def check_unchanged(self) -> None:
        """Return: every answer was held against the digest in the list of files at this commit."""

    def close(self) -> None:
        with self._lock:
            while self._streams:
                self._drop(self._streams[0])
            self._connection.kept.drop(self)

    def _drop(self, stream: Stream) -> None:
        self._streams.remove(stream)
        stream.close()

    def _stream_to(self, offset: int) -> Stream:
        """Return a stream that stands at `offset`: one that comes by there, else a new one."""
        near = [stream for stream in self._streams if 0 <= offset - stream.offset <= SKIPPED_BYTES]
        if near:
            stream = max(near, key=lambda stream: stream.offset)
            self._streams.remove(stream)
            self._streams.append(stream)
            self._keep_until(stream, offset)
            return stream
        if len(self._streams) == MOST_STREAMS:
            self._drop(self._streams[0])
        stream = Stream(self._connection, self._wanted, offset)
        self._streams.append(stream)
        return stream

    def _keep_until(self, stream: Stream, offset: int) -> None:
        while stream.offset < offset:
            start = stream.offset
            block = bytearray(min(BLOCK_BYTES, offset - start))
            stream.read_into(memoryview(block))
            self._connection.kept.put(self, start, bytes(block))
