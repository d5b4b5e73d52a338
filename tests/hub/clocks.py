"""Time that passes when somebody sleeps, and otherwise as much as a test says."""

from __future__ import annotations

import threading


class FakeClock:
    """Each look at it takes `step_s`."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.time_s = 0.0
        self.step_s = step_s
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def now_s(self) -> float:
        with self._lock:
            self.time_s += self.step_s
            return self.time_s

    def sleep_s(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.time_s += seconds
