"""Documents as tests see them: fenced blocks, the files that they show, and the sessions that they show.

A block whose info string names a file (```` ```yaml recipe.yaml ````) is that file. A block of language `console` is a
session: a line that begins with `$ ` is a command, the lines below are what it printed. A line that is `…` alone stands
for any lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120

_FENCE = re.compile(r"^```(?P<language>[a-z]*)[ ]*(?P<file>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "--- end of command ---"
_ANY_LINES = "…"
_VARYING = re.compile(r"(?P<digest>\b[0-9a-f]{64}\b)|(?P<estimate>-?\b\d+\.\d{4,}\b)")
"""Digests, because keys are new in every run, and estimates, whose last decimals depend on the machine."""


@dataclass(frozen=True)
class Block:
    """A fenced block; `file` is the path of the file that it shows, or empty."""

    language: str
    file: str
    text: str


@dataclass(frozen=True)
class Shown:
    """A command of a session, and the lines that the document shows below it."""

    command: str
    lines: tuple[str, ...]


def blocks(document: Path) -> list[Block]:
    text = document.read_text("utf-8")
    return [Block(match["language"], match["file"].strip(), match["text"]) for match in _FENCE.finditer(text)]


def prose(document: Path) -> str:
    """Return the text without its fenced blocks."""
    return _FENCE.sub("", document.read_text("utf-8"))


def session(block: Block) -> list[Shown]:
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return [Shown(command, tuple(lines)) for command, lines in found]


def follow(document: Path, folder: Path) -> Iterator[tuple[Shown, str]]:
    """Do in `folder` what a reader of the document would do; yield each command with what it printed."""
    for block in blocks(document):
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            shown = session(block)
            yield from zip(shown, run_session([step.command for step in shown], folder), strict=True)


def run_session(commands: list[str], folder: Path) -> list[str]:
    """Return what each command printed on either stream, run one after the other in one shell in `folder`."""
    script = "".join(f"{command}\n__status=$?; echo '{_MARK}'; (exit $__status)\n" for command in commands)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    *outputs, rest = done.stdout.split(f"{_MARK}\n")
    assert (len(outputs), rest) == (len(commands), ""), done.stdout
    return outputs


def is_as_shown(output: str, shown: Shown) -> bool:
    """Return whether a command printed the lines that the document shows, digests and estimates aside."""
    parts = ["(?:.*\n)*?" if line == _ANY_LINES else re.escape(_constant(line)) + "\n" for line in shown.lines]
    return re.fullmatch("".join(parts), _constant(output)) is not None


def _constant(text: str) -> str:
    return _VARYING.sub(lambda match: f"<{match.lastgroup}>", text)
