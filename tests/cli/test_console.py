from __future__ import annotations

import io
import json
import sys

import pytest

from model_attest import console
from model_attest.console import Answer
from model_verify.errors import OutputError

HOSTILE = "a\x1b[2K\r\nb\u202ec\u2028d\x9b31me\udc80\U000e0041\x7f"


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def test_what_could_move_the_cursor_is_written_as_an_escape() -> None:
    assert console.escape(HOSTILE) == r"a\x1b[2K\x0d\x0ab\u202ec\u2028d\x9b31me\udc80\U000e0041\x7f"


def test_ordinary_text_of_any_language_stays() -> None:
    assert console.escape("poids 重み · вес-7b 0.6") == "poids 重み · вес-7b 0.6"


def test_a_line_of_a_million_characters_is_cut_and_says_so() -> None:
    assert console.escape("x" * 1_000_000) == "x" * 4000 + "… (996000 more characters)"


def test_every_line_of_an_answer_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    console.deliver(Answer([f"one {HOSTILE}", "two"], None, notes=[f"note {HOSTILE}"]), as_json=False)
    captured = capsys.readouterr()
    assert captured.out == r"one a\x1b[2K\x0d\x0ab\u202ec\u2028d\x9b31me\udc80\U000e0041\x7f" + "\ntwo\n"
    assert captured.err.count("\n") == 1
    assert "\x1b" not in captured.err


def test_json_is_ascii_without_control_characters_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    console.deliver(Answer([], {"name": HOSTILE}), as_json=True)
    out = capsys.readouterr().out
    assert all(" " <= c <= "~" or c == "\n" for c in out)
    assert json.loads(out) == {"name": HOSTILE}


def test_errors_are_escaped_too(capsys: pytest.CaptureFixture[str]) -> None:
    console.deliver_error("CODE", "no\x1b[1m", "do\nthis", as_json=False)
    assert capsys.readouterr().err == "error: no\\x1b[1m\nhint: do\\x0athis\n"


def test_characters_that_a_terminal_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    console.deliver(Answer(["0.6·a"], None), as_json=False)
    assert out.buffer.getvalue() == b"0.6\\xb7a\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_goes_to_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    answer = Answer(["REJECTED  ./m: no", "  FAIL  weights", "  ok    files", "  ok  files  FAIL  x"], None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    console.deliver(answer, as_json=False)
    assert terminal.getvalue().startswith("\x1b[1;31mREJECTED\x1b[0m  ./m: no\n  \x1b[1;31mFAIL\x1b[0m  weights\n")
    assert terminal.getvalue().endswith("  \x1b[32mok\x1b[0m  files  FAIL  x\n")
    monkeypatch.setenv(variable, value)
    plain = Terminal()
    monkeypatch.setattr(sys, "stdout", plain)
    console.deliver(answer, as_json=False)
    assert plain.getvalue() == "".join(f"{line}\n" for line in answer.lines)


def test_progress_shows_bytes_rate_and_time_left_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress("reading", lambda: 4_000_000_000) as advance:
        assert advance is not None
        advance(1_000_000_000)
    shown, *rest = terminal.getvalue().split("\r")[1:]
    assert shown.startswith("reading  1.0 GB of 4.0 GB  ")
    assert shown.endswith(" left")
    assert [text.strip() for text in rest] == ["", ""]


def test_progress_of_half_in_two_seconds_has_two_seconds_left() -> None:
    text = console._Progress("reading", 2_000_000).text(1_000_000, 2.0)
    assert text == "reading  1.0 MB of 2.0 MB  500 kB/s  2 s left"


def test_there_is_no_progress_where_nobody_looks() -> None:
    def count() -> int:
        raise AssertionError("counting costs time")

    with console.progress("reading", count) as advance:
        assert advance is None


def test_a_missing_stdout_is_an_error_and_not_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError):
        console.deliver(Answer(["x"], None), as_json=False)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (123_456_789, "123 MB"), (2e15, "2000.0 TB")],
)
def test_sizes_are_decimal(size: float, text: str) -> None:
    assert console.size_text(size) == text
