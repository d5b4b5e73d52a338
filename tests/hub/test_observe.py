"""`attest observe` of repositories on the Hub, and what `attest verify` makes of it."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download

from tests.cli.conftest import Attest
from tests.cli.making import flip, tensors, write_model
from tests.hub.faults import Content, Cut
from tests.hub.releases import Release
from tests.hub.server import Hub
from tests.hub.test_verify import codes
from tests.hub.test_verify import impatient as impatient  # fixtures
from tests.hub.test_verify import made as made
from tests.hub.test_verify import released as released
from tests.publisher.conftest import expected_root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "model", tensors(1))
    (folder / "README.md").write_text("# A model\n")
    return folder


@pytest.fixture
def key(attest: Attest, tmp_path: Path) -> Path:
    assert attest("keygen", "--out", tmp_path / "office").code == 0
    return tmp_path / "office"


def predicate(out: Path) -> dict[str, Any]:
    payload = json.loads((out / "observation.sigstore.json").read_bytes())["dsseEnvelope"]["payload"]
    found: dict[str, Any] = json.loads(base64.b64decode(payload))["predicate"]
    return found


@pytest.mark.parametrize("written", ["lab/a", "lab/a@main", "lab/a@{commit}", "hf:lab/a", "{url}/lab/a/tree/main"])
def test_a_reference_is_observed_at_its_commit_and_nothing_is_stored(
    attest: Attest, hub: Hub, folder: Path, key: Path, tmp_path: Path, written: str
) -> None:
    commit = hub.storage.add_folder("lab/a", folder)
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "seen"
    run = attest("observe", written.format(commit=commit, url=hub.url), "--key", key, "--out", out, "--json")
    assert run.code == 0, run.err
    root = expected_root(folder / "model.safetensors")
    assert (run.document["uri"], run.document["checkpoint_root"]) == (f"pkg:huggingface/lab/a@{commit}", root)
    assert predicate(out)["uri"] == f"pkg:huggingface/lab/a@{commit}"
    assert predicate(out)["checkpointRoot"] == root
    listed = {file["path"]: file["file_digest"] for file in json.loads((out / "manifest.json").read_bytes())["files"]}
    files = [path for path in folder.iterdir() if path.is_file()]
    assert listed == {path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files}
    written_now = [out, *(out / name for name in ("leaves.sha256tree", "manifest.json", "observation.sigstore.json"))]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, *written_now])


def test_the_text_says_by_whose_word(attest: Attest, hub: Hub, folder: Path, key: Path, tmp_path: Path) -> None:
    commit = hub.storage.add_folder("lab/a", folder)
    run = attest("observe", "lab/a", "--key", key, "--out", tmp_path / "seen")
    assert run.out.splitlines()[0] == f"observed  lab/a: pkg:huggingface/lab/a@{commit} by the word of {hub.url}"


def test_a_branch_that_moves_meanwhile_is_observed_at_one_commit(
    attest: Attest, hub: Hub, folder: Path, key: Path, tmp_path: Path
) -> None:
    commit = hub.storage.add_folder("lab/a", folder)
    root = expected_root(folder / "model.safetensors")

    def move(method: str, path: str, byte_range: str | None) -> None:
        if "/tree/" in path and not moved:
            flip(folder / "model.safetensors", -1)
            moved.append(hub.storage.add_folder("lab/a", folder))

    moved: list[str] = []
    hub.faults.otherwise = move
    run = attest("observe", "lab/a", "--key", key, "--out", tmp_path / "seen", "--json")
    assert (run.document["uri"], run.document["checkpoint_root"]) == (f"pkg:huggingface/lab/a@{commit}", root)
    assert moved not in ([], [commit])
    assert len([one for one in hub.asked if "/revision/" in one.path]) == 1


def test_a_cut_connection_changes_nothing(attest: Attest, hub: Hub, folder: Path, key: Path, tmp_path: Path) -> None:
    hub.storage.add_folder("lab/a", folder)
    hub.faults.add(Cut(10_000), "/objects/", times=3)
    run = attest("observe", "lab/a", "--key", key, "--out", tmp_path / "seen", "--json")
    assert run.document["checkpoint_root"] == expected_root(folder / "model.safetensors")


def test_bytes_that_the_hub_does_not_list_are_not_observed(
    attest: Attest, hub: Hub, folder: Path, key: Path, tmp_path: Path
) -> None:
    hub.storage.add_folder("lab/a", folder)
    last = (folder / "model.safetensors").stat().st_size - 1
    hub.faults.add(Content(last), "/objects/", times=100)
    run = attest("observe", "lab/a", "--key", key, "--out", tmp_path / "seen", "--json")
    assert (run.code, run.error["code"]) == (2, "SOURCE_UNREADABLE")
    assert "lab/a: model.safetensors: sha256:" in run.error["message"]
    assert "the Hub lists sha256:" in run.error["message"]
    assert not (tmp_path / "seen").exists()


def test_what_anybody_can_have_proposed_is_not_observed(
    attest: Attest, hub: Hub, folder: Path, key: Path, tmp_path: Path
) -> None:
    hub.storage.add_folder("lab/a", folder)
    flip(folder / "model.safetensors", -1)
    proposed = hub.storage.add_folder("lab/a", folder, ref="refs/pr/1")
    hub.asked.clear()
    run = attest("observe", f"lab/a@{proposed}", "--key", key, "--out", tmp_path / "seen", "--json")
    assert (run.code, run.error["code"]) == (2, "CALLER_ERROR")
    assert "anybody can have proposed it" in run.error["message"]
    assert (hub.downloads(), (tmp_path / "seen").exists()) == ([], False)


def test_another_uri_than_the_reference_is_refused(
    attest: Attest, hub: Hub, folder: Path, key: Path, tmp_path: Path
) -> None:
    hub.storage.add_folder("lab/a", folder)
    other = f"pkg:huggingface/lab/b@{'0' * 40}"
    run = attest("observe", "lab/a", "--uri", other, "--key", key, "--out", tmp_path / "seen", "--json")
    assert (run.code, run.error["code"]) == (2, "CALLER_ERROR")
    assert hub.downloads() == []


def test_others_take_it_as_the_root_that_was_there(
    attest: Attest, hub: Hub, key: Path, tmp_path: Path, released: Release
) -> None:
    commit, seen = released.parents["a"], tmp_path / "seen"
    assert attest("observe", f"lab/a@{commit}", "--key", key, "--out", seen).code == 0
    given = [f"--parent={name}={released.folder.parent / name}" for name in "ab"]
    taken = ["--observation", seen, "--observer-key", f"{key}.pub"]
    run = attest("verify", released.folder, "--key", released.key, "--device", "cpu", *given, *taken, "--json")
    assert run.document["verdict"] == "VERIFIED"
    assert {one["id"]: one["origin"] for one in run.document["materials"]} == {"a": "observed", "b": "unknown"}
    assert "OBSERVED_ELSEWHERE" not in codes(run.document)


def test_offline_the_cache_is_observed(
    attest: Attest, hub: Hub, folder: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.storage.add_folder("lab/a", folder)
    snapshot_download("lab/a")
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    run = attest("observe", "lab/a", "--key", key, "--out", tmp_path / "seen", "--json")
    root = expected_root(folder / "model.safetensors")
    assert (run.document["uri"], run.document["checkpoint_root"]) == (f"pkg:huggingface/lab/a@{commit}", root)
    assert hub.asked == []
