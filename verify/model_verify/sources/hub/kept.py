"""Bytes that a stream has passed and that somebody else will ask for: within one bound for all files together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable


class Kept:
    """Blocks by their file and offset. Where there are too many, the oldest are let go: they can be asked for again."""

    def __init__(self, most_bytes: int) -> None:
        self.size_bytes = 0
        self._most_bytes = most_bytes
        self._blocks: OrderedDict[tuple[Hashable, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, file: Hashable, start: int, block: bytes) -> None:
        with self._lock:
            self._put(file, start, block)
            while self.size_bytes > self._most_bytes:
                _, dropped = self._blocks.popitem(last=False)
                self.size_bytes -= len(dropped)

    def take(self, file: Hashable, buffer: memoryview, offset: int) -> int:
        """Fill the front of `buffer` with what there is from `offset` on; return how much that is. It is then gone."""
        filled = 0
        with self._lock:
            while filled < len(buffer):
                at = offset + filled
                start = self._holding(file, at)
                if start is None:
                    break
                block = self._blocks.pop((file, start))
                self.size_bytes -= len(block)
                count = min(len(block) - (at - start), len(buffer) - filled)
                buffer[filled : filled + count] = block[at - start : at - start + count]
                self._put(file, start, block[: at - start])
                self._put(file, at + count, block[at - start + count :])
                filled += count
        return filled

    def drop(self, file: Hashable) -> None:
        """Let go of everything of a file."""
        with self._lock:
            for key in [key for key in self._blocks if key[0] == file]:
                self.size_bytes -= len(self._blocks.pop(key))

    def _put(self, file: Hashable, start: int, block: bytes) -> None:
        if block:
            self._blocks[file, start] = block
            self.size_bytes += len(block)

    def _holding(self, file: Hashable, at: int) -> int | None:
        """Return where the block of a file begins that holds the byte `at`."""
        held = ((start, block) for (owner, start), block in self._blocks.items() if owner == file)
        return next((start for start, block in held if start <= at < start + len(block)), None)
