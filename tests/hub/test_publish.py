"""`attest publish`: what is on the Hub afterwards, and what is said where that is not what was signed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from model_attest import cli
from model_attest.publish import upload
from model_verify.sources.hub import connection
from tests.cli.conftest import Attest
from tests.cli.making import flip, tensors, write_model
from tests.hub.faults import Content, Status
from tests.hub.server import Hub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content")  # the client's own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "model", tensors(3))
    (folder / ".attest").mkdir()
    (folder / ".attest/note.txt").write_text("never published")
    return folder


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert cli.run(["keygen", "--out", f"{tmp_path}/lab"]) == 0
    return tmp_path / "lab"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_WAIT_S", 0.0)


def public(key: Path) -> Path:
    return key.with_suffix(".pub")


def on_the_hub(hub: Hub, commit: str, name: str = "town/model") -> dict[str, bytes]:
    files = hub.storage.repositories[name].commits[commit].files
    return {path: hub.storage.path_of(file.blob).read_bytes() for path, file in files.items()}


def test_a_folder_is_published_as_it_was_signed(attest: Attest, hub: Hub, folder: Path, key: Path) -> None:
    run = attest("publish", folder, "town/model", "--key", key, "--json")
    document = run.document
    assert (run.code, document["action"], document["repository"]) == (0, "published", "pkg:huggingface/town/model")
    there = on_the_hub(hub, document["commit"])
    assert there.keys() - {".gitattributes"} == {
        "README.md",
        "attestation/leaves.sha256tree",
        "attestation/manifest.json",
        "attestation/pipeline.sigstore.json",
        "config.json",
        "model.safetensors",
    }
    assert all((folder / path).read_bytes() == data for path, data in there.items() if path != ".gitattributes")
    assert document["report"]["depth"] == "hub"
    verified = attest("verify", f"town/model@{document['commit']}", "--key", public(key), "--json")
    assert (verified.code, verified.document["verdict"]) == (0, "VERIFIED")


def test_the_text_says_what_was_done(attest: Attest, hub: Hub, folder: Path, key: Path) -> None:
    run = attest("publish", folder, "town/model", "--key", key)
    commit = hub.storage.repositories["town/model"].branches["main"]
    assert run.out.splitlines()[0] == f"published  {folder} as town/model@{commit}"
    assert "the Hub's digests are those that were signed" in run.out


def test_a_model_sig_goes_with_it_and_an_older_one_does_not(attest: Attest, hub: Hub, folder: Path, key: Path) -> None:
    (folder / "model.sig").write_text("{}")
    refused = attest("publish", folder, "town/model", "--key", key)
    assert (refused.code, hub.storage.repositories) == (2, {})
    run = attest("publish", folder, "town/model", "--key", key, "--oms", "--json")
    assert run.code == 0
    assert on_the_hub(hub, run.document["commit"])["model.sig"] == (folder / "model.sig").read_bytes()
    verified = attest("verify", f"town/model@{run.document['commit']}", "--key", public(key), "--json")
    assert (verified.code, verified.document["verdict"]) == (0, "VERIFIED")
    assert verified.document["model_sig"]["binds"]


def test_every_byte_can_be_read_back(attest: Attest, hub: Hub, folder: Path, key: Path) -> None:
    run = attest("publish", folder, "town/model", "--key", key, "--depth", "full", "--json")
    assert (run.code, run.document["report"]["verdict"], run.document["report"]["depth"]) == (0, "VERIFIED", "full")


def test_a_dry_run_changes_nothing(attest: Attest, hub: Hub, folder: Path, key: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run = attest("publish", folder, "town/model", "--key", key, "--dry-run", "--json")
    assert (run.code, run.document["action"], run.document["commit"]) == (0, "would-publish", None)
    assert set(run.document["sent"]) == {"README.md", "config.json", "model.safetensors"}
    assert hub.storage.repositories == {}
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert {asked.method for asked in hub.asked} == {"GET"}


def test_publishing_again_sends_no_weights_that_are_there(attest: Attest, hub: Hub, folder: Path, key: Path) -> None:
    first = attest("publish", folder, "town/model", "--key", key, "--json").document
    (folder / "config.json").write_text('{"a": 2}')
    hub.asked.clear()
    run = attest("publish", folder, "town/model", "--key", key, "--json")
    assert (run.code, run.document["parent_commit"], run.document["there"]) == (
        0,
        first["commit"],
        ["model.safetensors"],
    )
    assert not [asked for asked in hub.asked if "/lfs-upload/" in asked.path and "safetensors" in asked.path]
    assert on_the_hub(hub, run.document["commit"])["config.json"] == b'{"a": 2}'


def test_files_that_nobody_signs_are_removed_only_on_request(
    attest: Attest, hub: Hub, folder: Path, key: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "evil.py").write_text("1")
    before = hub.storage.add_folder("town/model", other)
    run = attest("publish", folder, "town/model", "--key", key, "--json")
    assert (run.code, run.error["code"]) == (2, "CALLER_ERROR")
    assert "`evil.py`" in run.error["message"]
    assert hub.storage.repositories["town/model"].branches["main"] == before
    assert not (folder / "attestation").exists()
    run = attest("publish", folder, "town/model", "--key", key, "--remove-others", "--json")
    assert (run.code, run.document["removed"]) == (0, ["evil.py"])
    assert "evil.py" not in on_the_hub(hub, run.document["commit"])


def test_a_wrong_upload_is_shouted(
    attest: Attest, hub: Hub, folder: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrong checkpoint goes up: what this command is for."""

    def wrong(root: Path, *arguments: object, **options: object) -> str:
        flip(root / "model.safetensors", -100)
        return upload(root, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("model_attest.publish.upload", wrong)
    run = attest("publish", folder, "town/model", "--key", key)
    commit = hub.storage.repositories["town/model"].branches["main"]
    assert run.code == 1
    assert run.out.splitlines()[0] == f"WRONG  town/model@{commit}: what the Hub has is not what was signed"
    assert "FILE_MISMATCH  model.safetensors" in run.out


def test_a_hub_that_gives_back_other_bytes_is_found_out_at_depth_full(
    attest: Attest, hub: Hub, folder: Path, key: Path
) -> None:
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    hub.faults.add(Content((folder / "model.safetensors").stat().st_size - 5), f"/objects/{sha256}", times=100)
    assert attest("publish", folder, "town/model", "--key", key).code == 0
    run = attest("publish", folder, "town/model", "--key", key, "--depth", "full", "--json")
    assert (run.code, run.document["report"]["verdict"]) == (1, "REJECTED")


def test_a_hub_that_refuses_leaves_nothing_published(attest: Attest, hub: Hub, folder: Path, key: Path) -> None:
    hub.faults.add(Status(403), "/commit/", method="POST", times=100)
    run = attest("publish", folder, "town/model", "--key", key, "--json")
    assert (run.code, run.error["code"]) == (2, "OUTPUT_ERROR")
    assert "nothing was committed" in run.error["hint"]
    assert list(on_the_hub(hub, hub.storage.repositories["town/model"].branches["main"])) == [".gitattributes"]


def test_what_cannot_be_looked_at_afterwards_says_that_it_is_published(
    attest: Attest, hub: Hub, folder: Path, key: Path
) -> None:
    hub.faults.add(Status(500), "/tree/", times=100)
    run = attest("publish", folder, "town/model", "--key", key, "--json")
    commit = hub.storage.repositories["town/model"].branches["main"]
    assert run.code == 2
    assert run.error["hint"] == f"it is published: `attest verify town/model@{commit}` checks it"


@pytest.mark.parametrize("repository", ["model", "town/model@" + "0" * 40, "./town"])
def test_what_is_no_branch_of_a_repository_is_refused(
    attest: Attest, hub: Hub, folder: Path, key: Path, repository: str
) -> None:
    run = attest("publish", folder, repository, "--key", key, "--json")
    assert (run.code, run.error["code"]) == (2, "CALLER_ERROR")
    assert hub.asked == []
