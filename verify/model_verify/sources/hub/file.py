"""An open file of the Hub: threads that read near each other share a stream. Memory is bounded whatever its size."""

from __future__ import annotations

import threading
from collections import OrderedDict

from model_verify.sources.hub.connection import Connection
from model_verify.sources.hub.stream import Stream, Wanted

MOST_STREAMS = 2
SKIPPED_BYTES = 64 << 20
"""What a stream may run through to get to a place ahead; it is kept for whoever asks for it next."""
KEPT_BYTES = 96 << 20
BLOCK_BYTES = 1 << 20
PROBE_BYTES = 1 << 20
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
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        """By offset: what was passed and not asked for yet, oldest first."""
        self._kept_bytes = 0
        self._probe = (0, b"")

    @property
    def path(self) -> str:
        return self._wanted.path

    @property
    def size_bytes(self) -> int:
        return self._wanted.size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return exactly `size_bytes` bytes from `offset` on. Raises `SourceError`."""
        with self._lock:
            start, probe = self._probe
            if not start <= offset <= offset + size_bytes <= start + len(probe):
                buffer = bytearray(min(max(size_bytes, PROBE_BYTES), self.size_bytes - offset))
                stream = Stream(self._connection, self._wanted, offset, most_bytes=len(buffer))
                try:
                    stream.read_into(memoryview(buffer))
                finally:
                    stream.close()
                start, probe = self._probe = (offset, bytes(buffer))
            return probe[offset - start : offset - start + size_bytes]

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with the bytes from `offset` on. Raises `SourceError`."""
        with self._lock:
            filled = self._take_kept(buffer, offset)
            if filled < len(buffer):
                stream = self._stream_to(offset + filled)
                stream.read_into(buffer[filled:])
                if stream.offset == self.size_bytes:
                    self._drop(stream)

    def check_unchanged(self) -> None:
        """Return: every answer was held against the digest in the list of files at this commit."""

    def close(self) -> None:
        with self._lock:
            while self._streams:
                self._drop(self._streams[0])
            self._kept.clear()
            self._kept_bytes = 0

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
            self._kept[start] = bytes(block)
            self._kept_bytes += len(block)
            while self._kept_bytes > KEPT_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped)

    def _take_kept(self, buffer: memoryview, offset: int) -> int:
        """Fill the front of `buffer` with what was kept from `offset` on, and return how much that is."""
        filled = 0
        while filled < len(buffer) and self._kept:
            at = offset + filled
            start = next((start for start, block in self._kept.items() if start <= at < start + len(block)), None)
            if start is None:
                break
            block = self._kept.pop(start)
            self._kept_bytes -= len(block)
            count = min(len(block) - (at - start), len(buffer) - filled)
            buffer[filled : filled + count] = block[at - start : at - start + count]
            for rest_start, rest in ((start, block[: at - start]), (at + count, block[at - start + count :])):
                if rest:
                    self._kept[rest_start] = rest
                    self._kept_bytes += len(rest)
            filled += count
        return filled
