"""The settings that users of huggingface_hub have are kept to: endpoint and proxy. Without it, folders are verified."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from model_verify.errors import HubMissing
from model_verify.sources.hub import Connection, HubReference, HubSource, endpoints
from tests.cli.conftest import Attest
from tests.hub.clocks import FakeClock
from tests.hub.server import TOKEN, Hub

LOCAL = """
import sys
from model_attest import cli
code = cli.run(["verify", sys.argv[1], "--json"])
sys.exit(code if "huggingface_hub" not in sys.modules else 99)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.md").write_bytes(b"# A model\n")
    return folder


def test_a_proxy_is_gone_through(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub on this machine is the proxy; the name that it stands for leads nowhere."""
    hub.storage.add_folder("lab/model", folder)
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    close_session()
    source = HubSource(Connection(clock=FakeClock()), HubReference("lab/model"))
    with source.open("README.md") as file:
        assert file.read(0, file.size_bytes) == b"# A model\n"
    assert source.hub.endpoint == "http://hub.invalid"
    assert {asked.path.split("/")[2] for asked in hub.asked} == {"hub.invalid"}
    ours = [asked for asked in hub.asked if "lab/model" in asked.path]  # the client asks for things of its own, too
    assert len(ours) >= 3
    assert {asked.authorization for asked in ours} == {f"Bearer {TOKEN}"}


def test_both_the_endpoint_that_is_set_and_the_one_there_is_can_be_written(hub: Hub) -> None:
    assert endpoints() == (hub.url, "https://huggingface.co")


def test_without_the_software_there_is_a_hint(
    hub: Hub, attest: Attest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("huggingface_hub", "huggingface_hub.constants"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(HubMissing):
        Connection()
    run = attest("verify", "lab/model", "--json")
    assert (run.code, run.error["code"]) == (2, "NO_HUB")
    assert run.error["message"].startswith("there is no folder `lab/model`, and ")
    assert run.error["hint"] == "`pip install 'model-attest[hub]'`"


def test_a_folder_is_verified_without_it(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOCAL, folder], capture_output=True, check=False)
    assert done.returncode == 3
