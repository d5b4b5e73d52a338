"""What a server can do wrong, and when it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Status:
    """Another answer than the right one."""

    code: int
    retry_after: str | None = None


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of the body, whatever length was declared."""

    after_bytes: int


@dataclass(frozen=True)
class Drip:
    """The body comes `step_bytes` at a time, with a pause before each."""

    step_bytes: int
    pause_s: float


@dataclass(frozen=True)
class Length:
    """The declared length differs from the true one by so many bytes."""

    more_bytes: int


@dataclass(frozen=True)
class Range:
    """Ranges are ignored, or other ones are given than were asked for, by so many bytes."""

    mode: Literal["ignored", "shifted", "mislabelled"]


@dataclass(frozen=True)
class Content:
    """The byte at `offset` of the file is another one, where the answer has it."""

    offset: int


@dataclass(frozen=True)
class Redirect:
    """The answer is a redirect to there."""

    location: str


@dataclass(frozen=True)
class Compressed:
    """The body is compressed, which nobody asked for."""


Fault = Status | Cut | Drip | Length | Range | Content | Redirect | Compressed


@dataclass
class Rule:
    """A fault for requests whose path holds `path`; `times` counts down, `skip` lets so many pass before."""

    fault: Fault
    path: str
    method: str
    times: int
    skip: int
    host: str | None


class Faults:
    """The rules that a server follows, in the order in which they were added."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self.otherwise: Callable[[str, str, str | None], Fault | None] | None = None
        """Asked for requests that no rule is for, with method, path and the range that was asked for."""

    def add(
        self,
        fault: Fault,
        path: str = "",
        *,
        method: str = "GET",
        times: int = 1,
        skip: int = 0,
        host: str | None = None,
    ) -> None:
        self._rules.append(Rule(fault, path, method, times, skip, host))

    def clear(self) -> None:
        self._rules.clear()

    def take(self, method: str, path: str, host: str, byte_range: str | None = None) -> Fault | None:
        """Return the fault for a request, or None where it is answered as it should be."""
        with self._lock:
            for rule in self._rules:
                if rule.times > 0 and rule.method == method and rule.path in path and rule.host in (None, host):
                    if rule.skip > 0:
                        rule.skip -= 1
                        continue
                    rule.times -= 1
                    return rule.fault
            return None if self.otherwise is None else self.otherwise(method, path, byte_range)
