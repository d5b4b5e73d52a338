"""One signed merge for all tests, and the command line in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model_attest import cli
from tests.cli.making import RECIPE, tensors, write_model


@dataclass(frozen=True)
class Run:
    """What one command line gave."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    @property
    def error(self) -> dict[str, Any]:
        error = self.document["error"]
        assert isinstance(error, dict)
        return error


Attest = Callable[..., Run]


@pytest.fixture
def attest(capsys: pytest.CaptureFixture[str]) -> Attest:
    """Run a command line in this process. It never prints a traceback."""

    def run(*arguments: str | Path) -> Run:
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Run(code, captured.out, captured.err)

    return run


@dataclass(frozen=True)
class Workplace:
    """Parents `a` and `b`, their signed merge `merged`, and keys `lab`, `other` and `locked` (password `secret`)."""

    root: Path

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    @property
    def parents(self) -> list[str]:
        return ["--parent", f"a={self / 'a'}", "--parent", f"b={self / 'b'}"]

    @property
    def key(self) -> list[str]:
        return ["--key", str(self / "lab.pub")]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Made once by the commands themselves; nobody writes here."""
    root = tmp_path_factory.mktemp("made")
    for seed, name in enumerate("ab"):
        write_model(root / name, tensors(10 * seed))
    (root / "recipe.yaml").write_text(RECIPE)
    (root / "password").write_text("secret\n")
    for arguments in (
        ["keygen", "--out", f"{root}/lab"],
        ["keygen", "--out", f"{root}/other", "--type", "ed25519"],
        ["keygen", "--out", f"{root}/locked", "--type", "p384", "--password-file", f"{root}/password"],
        ["merge", f"{root}/recipe.yaml", f"{root}/merged", "--device", "cpu"],
        ["sign", f"{root}/merged", "--key", f"{root}/lab", "--name", "town-7b", "--version", "1.0"],
    ):
        assert cli.run(arguments) == 0, arguments
    return Workplace(root)


@pytest.fixture
def merged(made: Workplace, tmp_path: Path) -> Path:
    """A copy of the signed merge, to be tampered with."""
    return Path(shutil.copytree(made / "merged", tmp_path / "merged"))
