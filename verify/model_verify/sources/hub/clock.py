"""Time as the connection sees it, so that tests need not wait."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    def now_s(self) -> float:
        """Return seconds since some fixed time."""
        ...

    def sleep_s(self, seconds: float) -> None: ...


class MachineClock:
    def now_s(self) -> float:
        return time.monotonic()

    def sleep_s(self, seconds: float) -> None:
        time.sleep(seconds)


class Throttle:
    """Lets through so many bytes in a second, over all streams; any number where `bytes_per_s` is None."""

    def __init__(self, bytes_per_s: int | None, clock: Clock) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._free_at_s = clock.now_s()
        self._lock = threading.Lock()

    def passed(self, size_bytes: int) -> None:
        """Wait until `size_bytes` more are allowed to have come."""
        if self._bytes_per_s is None:
            return
        with self._lock:
            now_s = self._clock.now_s()
            self._free_at_s = max(self._free_at_s, now_s) + size_bytes / self._bytes_per_s
            wait_s = self._free_at_s - now_s
        if wait_s > 0:
            self._clock.sleep_s(wait_s)
