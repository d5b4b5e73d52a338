"""A Hub on this machine for each test, and the real client pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import close_session

from tests.cli.conftest import attest  # noqa: F401
from tests.hub.server import TOKEN, Hub, Running


def start(root: Path, patch: pytest.MonkeyPatch) -> Running:
    """Return a running Hub that this process takes for the one there is, with a token and a cache of its own."""
    running = Running(root / "hub")
    patch.setenv("HF_TOKEN", TOKEN)
    patch.setenv("NO_PROXY", "127.0.0.1,localhost")
    patch.setattr(constants, "ENDPOINT", running.hub.url)
    template = running.hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_CACHE", str(root / "cache"))
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    return running


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    running = start(tmp_path, monkeypatch)
    yield running.hub
    close_session()
    running.stop()


@pytest.fixture
def client(hub: Hub) -> HfApi:
    """The real client."""
    return HfApi(endpoint=hub.url, token=TOKEN)
