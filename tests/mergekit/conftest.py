"""Workers of mergekit, one per version and session, and folders of tiny models."""

from __future__ import annotations

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
