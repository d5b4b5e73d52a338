"""Workers of mergekit, one per version and session, and folders of tiny models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.mergekit.oracle import Mergekit, interpreter_0_1_4, interpreter_0_1_5


@pytest.fixture(scope="session")
def mergekit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mergekit]:
    """mergekit 0.1.5."""
    pytest.importorskip("mergekit", reason="mergekit is not installed")
    with Mergekit(interpreter_0_1_5(), tmp_path_factory.mktemp("mergekit") / "log") as worker:
        yield worker


@pytest.fixture(scope="session")
def mergekit_0_1_4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mergekit]:
    """mergekit 0.1.4, which needs an environment of its own."""
    python = interpreter_0_1_4()
    if python is None:
        pytest.skip("MERGEKIT_0_1_4_PYTHON names no interpreter that has mergekit 0.1.4")
    with Mergekit(python, tmp_path_factory.mktemp("mergekit") / "log") as worker:
        yield worker


_COUNTS = pytest.StashKey[Counter[str]]()


@pytest.fixture(scope="session")
def matrix_counts(pytestconfig: pytest.Config) -> Counter[str]:
    """How many merges of the matrix were replayed, and how their tensors stand; printed at the end."""
    return pytestconfig.stash.setdefault(_COUNTS, Counter())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if counts := config.stash.get(_COUNTS, None):
        terminalreporter.write_line(
            f"mergekit matrix: {counts['merges']} merges replayed, {counts['exact']} tensors to the bit, "
            f"{counts['within']} within their bound, {counts['examined']} examined"
        )
