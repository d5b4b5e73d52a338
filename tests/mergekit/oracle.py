"""The real mergekit, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WORKER = Path(__file__).with_name("worker.py")


class MergekitRefused(Exception):
    """What mergekit raised."""


class Mergekit:
    """A worker that has mergekit loaded; `python` is the interpreter that has it."""

    def __init__(self, python: str, log: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [python, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**environment, "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def ask(self, do: str, config: str, **members: Any) -> Any:
        """Return the worker's answer; raises `MergekitRefused`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, "config": config, **members}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"mergekit ended: {Path(self._log.name).read_text()[-2000:]}"
        result = json.loads(line)
        if "error" in result:
            raise MergekitRefused(f"{result['error']}\n{result['traceback']}")
        return result["answer"]

    def plan(self, config: str) -> list[dict[str, Any]]:
        plan: list[dict[str, Any]] = self.ask("plan", config)
        return plan

    def tables(self) -> dict[str, dict[str, list[Any]]]:
        tables: dict[str, dict[str, list[Any]]] = self.ask("tables", "")
        return tables

    def merge(self, config: str, out: Path, **options: Any) -> None:
        self.ask("merge", config, out=str(out), options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)
        self._log.close()


def interpreter_0_1_5() -> str:
    return sys.executable


def interpreter_0_1_4() -> str | None:
    """Return the interpreter of an environment that has mergekit 0.1.4, if the caller names one."""
    return os.environ.get("MERGEKIT_0_1_4_PYTHON")
