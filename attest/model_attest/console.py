"""The only module that prints: answers to stdout, everything else to stderr.

What is printed may come from a folder that somebody else made: names of files and tensors, texts of a statement. So
every line passes through `escape` here, where no command can forget it, and colour is put on afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from model_verify.errors import OutputError

MAX_LINE_CHARACTERS = 4000
_SECONDS_BETWEEN_UPDATES = 0.1

_PAINTED = re.compile(r"(?P<indent> {2})(?P<status>ok|FAIL|skip|warn)(?= {2,})|^(?P<verdict>[A-Z]{4,}(?: [A-Z]+)?)\b")
_COLOURS = {
    "ok": "32", "FAIL": "1;31", "skip": "33", "warn": "33",
    "VERIFIED": "1;32", "SAME": "1;32", "REJECTED": "1;31", "DIFFERENT": "1;31",
    "INCOMPLETE": "1;33", "CLAIMED ONLY": "1;33",
    "SUMMARY ACCEPTED": "1;32", "SUMMARY REJECTED": "1;31", "SUMMARY INCOMPLETE": "1;33",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found out: as lines for people, as a document for programs, and as an exit code."""

    lines: Sequence[str]
    document: object
    exit_code: int = 0
    notes: Sequence[str] = ()
    """Goes to stderr, whatever form the answer has."""


def escape(text: str) -> str:
    r"""Return `text` as one printable line: control, format, separator and surrogate characters as \xNN or \uNNNN."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)
    if len(text) > MAX_LINE_CHARACTERS:
        text = f"{text[:MAX_LINE_CHARACTERS]}… ({len(text) - MAX_LINE_CHARACTERS} more characters)"
    return text


def _escaped(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def deliver(answer: Answer, *, as_json: bool) -> None:
    """Print an answer to stdout, whole; raises `OutputError` where that fails.

    A reader that has gone away is no failure: it has seen what it wanted, and the exit code stays.
    """
    if as_json:
        _write_answer(json_text(answer.document))
    elif answer.lines:
        show(*answer.lines)
    for note in answer.notes:
        say(note)


def show(*lines: str) -> None:
    """Print lines of an answer to stdout, for one that comes bit by bit; raises `OutputError` where that fails."""
    colour = _has_colour(sys.stdout)
    _write_answer("".join(f"{_paint(escape(line)) if colour else escape(line)}\n" for line in lines))


def say(line: str) -> None:
    """Print a line to stderr."""
    _write_stderr(f"{escape(line)}\n")


def deliver_error(code: str, message: str, hint: str | None, *, as_json: bool) -> None:
    """Say why there is no answer: on stderr, or as JSON on stdout."""
    if as_json:
        error = {"code": code, "message": message, "hint": hint}
        with contextlib.suppress(OutputError):
            _write_answer(json_text({"error": error}))
            return
    say(f"error: {message}")
    if hint is not None:
        say(f"hint: {hint}")


def print_traceback(error: BaseException) -> None:
    """For whoever looks for a bug of ours."""
    _write_stderr("".join(traceback.format_exception(error)))


def json_text(document: object) -> str:
    """Return JSON of ASCII without control characters, with a line end."""
    return json.dumps(document, ensure_ascii=True, indent=2).replace("\x7f", "\\u007f") + "\n"


def _write_answer(text: str) -> None:
    if sys.stdout is None:
        raise OutputError("there is no standard output to write the answer to")
    try:
        sys.stdout.write(_encodable(text, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError as error:
        silence_stdout()
        raise OutputError(f"the answer could not be written: {error.strerror}") from error


def flush() -> None:
    """Let go of what others, such as the help, have printed and left in a buffer."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()


def silence_stdout() -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not complain of it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_stderr(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(_encodable(text, sys.stderr))
        sys.stderr.flush()


def _encodable(text: str, stream: TextIO) -> str:
    """Return `text` with what the stream's encoding lacks written as escapes."""
    encoding = stream.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _has_colour(stream: TextIO | None) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and stream is not None and stream.isatty()


def _paint(line: str) -> str:
    def painted(match: re.Match[str]) -> str:
        word = match["status"] or match["verdict"]
        colour = _COLOURS.get(word)
        return f"{match['indent'] or ''}\x1b[{colour}m{word}\x1b[0m" if colour else match[0]

    match = _PAINTED.match(line)
    return painted(match) + line[match.end() :] if match else line


# Progress.


def size_text(size_bytes: float) -> str:
    """Return a size for people, in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" or size_bytes >= 100 else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


@contextlib.contextmanager
def progress(what: str, total_bytes: Callable[[], int]) -> Iterator[Callable[[int], None] | None]:
    """Yield what takes the bytes done so far and shows them; None where nobody would see it.

    It shows only on a terminal, and is gone when the block ends.
    """
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    bar = _Progress(what, total_bytes())
    try:
        yield bar.update
    finally:
        bar.clear()


class _Progress:
    def __init__(self, what: str, total_bytes: int) -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._started = time.monotonic()
        self._shown_at = 0.0
        self._width = 0

    def update(self, done_bytes: int) -> None:
        now = time.monotonic()
        if now - self._shown_at >= _SECONDS_BETWEEN_UPDATES:
            self._shown_at = now
            self._show(self.text(done_bytes, now - self._started))

    def text(self, done_bytes: int, elapsed_s: float) -> str:
        """Return bytes, rate and time left as one line."""
        rate = done_bytes / elapsed_s if elapsed_s > 0 else 0.0
        parts = [f"{self._what}  {size_text(done_bytes)} of {size_text(self._total_bytes)}", f"{size_text(rate)}/s"]
        if rate > 0:
            left_s = max(0, self._total_bytes - done_bytes) / rate
            parts.append(f"{left_s / 60:.0f} min left" if left_s >= 120 else f"{left_s:.0f} s left")
        return "  ".join(parts)

    def clear(self) -> None:
        if self._width:
            self._show("")
            _write_stderr("\r")

    def _show(self, text: str) -> None:
        _write_stderr("\r" + text.ljust(self._width))
        self._width = len(text)
