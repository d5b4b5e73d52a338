"""`attest verify` of repositories on the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download
from huggingface_hub.utils import close_session

from model_verify.sources.hub import connection
from tests.cli.conftest import Attest
from tests.cli.making import flip
from tests.hub.conftest import start
from tests.hub.faults import Content, Cut, Length, Range, Status
from tests.hub.releases import Release, again, release
from tests.hub.server import TOKEN, Hub


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Made once; names of commits follow from what is in them."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        running = start(root, patch)
        yield release(running.hub, root / "release")
        close_session()
        running.stop()


@pytest.fixture
def released(made: Release, hub: Hub, tmp_path: Path) -> Release:
    """The same release on this test's own Hub, to be tampered with."""
    return again(made, hub, tmp_path / "release")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_WAIT_S", 0.0)


def codes(document: dict[str, object]) -> set[str]:
    findings = document["findings"]
    assert isinstance(findings, list)
    return {finding["code"] for finding in findings}


def test_a_release_is_verified_with_its_parents_and_nothing_is_stored(
    attest: Attest, released: Release, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu", "--json")
    report = run.document
    assert (run.code, report["verdict"], report["level"]) == (0, "VERIFIED", 3)
    assert (report["reference"], report["commit"], report["depth"]) == ("town/merged", released.commit, "full")
    assert report["hub"] == {
        "endpoint": released.hub.url,
        "repository": "pkg:huggingface/town/merged",
        "revision": "main",
        "commit": released.commit,
        "reach": "branch",
    }
    for material in report["materials"]:
        stated = f"pkg:huggingface/lab/{material['id']}@{released.parents[material['id']]}"
        assert (material["status"], material["origin"]) == ("matched", "hub")
        assert (material["uri"], material["read_from"]) == (stated, stated)
    assert not [item for item in report["not_checked"] if "origin" in item["what"] or "repository" in item["what"]]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_text_names_repository_and_commit(attest: Attest, released: Release) -> None:
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu")
    assert run.out.splitlines()[0] == "VERIFIED level 3  town/merged: every step was reproduced bit for bit"
    assert f"pkg:huggingface/town/merged@{released.commit}, `main`, by the word of {released.hub.url}" in run.out
    assert "which is its origin by the Hub's word" in run.out


@pytest.mark.parametrize(
    "written",
    [
        "town/merged@main",
        "hf:town/merged",
        "hf:town/merged@{commit}",
        "{url}/town/merged",
        "{url}/town/merged/tree/main",
    ],
)
def test_every_way_to_write_it_leads_there(attest: Attest, released: Release, written: str) -> None:
    reference = written.format(commit=released.commit, url=released.hub.url)
    run = attest("verify", reference, "--key", released.key, "--device", "cpu", "--json")
    assert (run.code, run.document["commit"]) == (0, released.commit)


def test_a_folder_comes_before_a_repository(attest: Attest, released: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(released.folder.parent)
    Path("town").mkdir()
    Path("town/merged").symlink_to(released.folder)
    assert attest("verify", "town/merged", "--key", released.key, "--json").document["hub"] is None
    assert released.hub.asked == []
    run = attest("verify", "hf:town/merged", "--key", released.key, "--json")
    assert run.document["commit"] == released.commit


def test_a_parent_can_be_named_as_a_reference_and_a_folder_fetches_none(attest: Attest, released: Release) -> None:
    local = attest("verify", released.folder, "--key", released.key, "--device", "cpu", "--json")
    assert (local.code, codes(local.document)) == (3, {"MATERIAL_MISSING"})
    assert released.hub.asked == []
    given = [f"--parent={name}=hf:lab/{name}@{commit}" for name, commit in released.parents.items()]
    named = attest("verify", released.folder, "--key", released.key, "--device", "cpu", "--json", *given)
    assert (named.code, named.document["level"]) == (0, 3)
    fetched = attest("verify", released.folder, "--key", released.key, "--device", "cpu", "--json", "--fetch-parents")
    assert (fetched.code, fetched.document["materials"]) == (0, named.document["materials"])


def test_another_repository_as_a_parent_has_no_origin(attest: Attest, released: Release, tmp_path: Path) -> None:
    released.hub.storage.add_folder("mirror/a", released.folder.parent / "a")
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu", "--json", "--parent", "a=mirror/a")
    (first, second) = run.document["materials"]
    assert (run.code, first["status"], first["origin"], second["origin"]) == (0, "matched", "unknown", "hub")
    assert "origin of material a" in [item["what"] for item in run.document["not_checked"]]


def test_a_parent_that_is_gone_is_missing(attest: Attest, released: Release) -> None:
    del released.hub.storage.repositories["lab/a"]
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu", "--json")
    assert (run.code, codes(run.document)) == (3, {"MATERIAL_MISSING"})


def test_an_attestation_of_another_repository_is_rejected(attest: Attest, hub: Hub, tmp_path: Path) -> None:
    elsewhere = release(hub, tmp_path / "release", uri="pkg:huggingface/town/other")
    run = attest("verify", "town/merged", "--key", elsewhere.key, "--device", "cpu", "--json")
    assert (run.code, codes(run.document)) == (1, {"ATTESTED_FOR_OTHER_REPO"})


def test_a_commit_that_anybody_may_have_proposed_is_said(attest: Attest, released: Release) -> None:
    proposed = released.publish(ref="refs/pr/7")
    for reference in ("town/merged@refs/pr/7", f"town/merged@{proposed}"):
        run = attest("verify", reference, "--key", released.key, "--device", "cpu", "--json")
        assert (run.code, run.document["hub"]["reach"]) == (0, "proposal")
        assert "COMMIT_NOT_ON_BRANCH" in codes(run.document)
        assert "no branch or tag leads to this commit" in run.document["headline"]
    text = attest("verify", "town/merged@refs/pr/7", "--key", released.key, "--device", "cpu").out
    assert "  warn  repository" in text


def test_a_parent_at_a_proposed_commit_has_no_origin(attest: Attest, released: Release) -> None:
    proposed = released.hub.storage.add_folder("lab/a", released.folder.parent / "a", ref="refs/pr/1")
    given = ["--parent", f"a=lab/a@{proposed}"]
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu", "--json", *given)
    assert (run.code, codes(run.document)) == (0, {"MATERIAL_NOT_ON_BRANCH"})
    assert run.document["materials"][0]["origin"] == "unknown"


def test_a_branch_that_moves_meanwhile_changes_nothing(attest: Attest, released: Release) -> None:
    flip(released.folder / "model.safetensors", -100)
    newer = released.publish()
    run = attest("verify", f"town/merged@{released.commit}", "--key", released.key, "--device", "cpu", "--json")
    assert run.code == 0
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu", "--json")
    assert (run.code, run.document["commit"], codes(run.document)) == (1, newer, {"TENSOR_MISMATCH"})


def test_private_repositories_need_no_more_than_the_users_token(attest: Attest, released: Release) -> None:
    for repository in released.hub.storage.repositories.values():
        repository.is_private = True
    assert attest("verify", "town/merged", "--key", released.key, "--device", "cpu").code == 0
    assert {asked.authorization for asked in released.hub.asked if asked.host == "cdn"} == {None}
    assert {asked.authorization for asked in released.hub.asked if asked.host == "hub"} == {f"Bearer {TOKEN}"}


def test_a_repository_that_is_not_there_is_an_error(attest: Attest, released: Release) -> None:
    run = attest("verify", "town/none", "--json")
    assert (run.code, run.error["code"]) == (2, "SOURCE_MISSING")
    assert "there is no folder `town/none` either" in run.error["hint"]


def test_offline_the_cache_is_looked_at(attest: Attest, released: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert attest("verify", "town/merged", "--key", released.key, "--json").error["code"] == "SOURCE_MISSING"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    snapshot_download("town/merged")
    released.hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for reference in ("town/merged", f"hf:town/merged@{released.commit}"):
        run = attest("verify", reference, "--key", released.key, "--json")
        assert (run.code, run.document["commit"], codes(run.document)) == (3, released.commit, {"MATERIAL_MISSING"})
    assert released.hub.asked == []


# Servers that fail, and servers that lie.


@pytest.mark.parametrize(
    "fault", [Cut(200_000), Cut(0), Status(503), Status(429, "0"), Range("ignored"), Range("shifted")], ids=repr
)
def test_faults_that_pass_change_no_verdict(attest: Attest, released: Release, fault: object) -> None:
    released.hub.faults.add(fault, "/objects/", times=3)  # type: ignore[arg-type]
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu", "--json", "--threads", "2")
    assert (run.code, run.document["level"]) == (0, 3)


@pytest.mark.parametrize(
    ("fault", "exit_code"),
    [
        (Content(2_000_000), 1),
        (Range("ignored"), 2),
        (Range("shifted"), 2),
        (Length(-1), 2),
        (Length(1), 2),
        (Status(500), 2),
        (Cut(3), 2),
    ],
    ids=repr,
)
def test_a_server_that_lies_is_never_verified(
    attest: Attest, released: Release, fault: object, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_verify.sources.hub.stream.FIRST_SPAN_BYTES", 100_000)
    released.hub.faults.add(fault, "/objects/", times=10_000)  # type: ignore[arg-type]
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu", "--json")
    assert run.code == exit_code
    assert {asked.authorization for asked in released.hub.asked if asked.host == "cdn"} == {None}


@pytest.mark.parametrize(("offset", "request_number"), [(3, 0), (3, 1), (20, 0), (20, 1), (-5, 2)])
def test_bytes_that_change_from_one_read_to_the_next_are_never_verified(
    attest: Attest, released: Release, offset: int, request_number: int
) -> None:
    """The header is read twice and the data once; each of these requests gives another byte, once."""
    weights = released.hub.storage.repositories["town/merged"].commits[released.commit].files["model.safetensors"]
    fault = Content(offset % weights.size_bytes)
    released.hub.faults.add(fault, f"/objects/{weights.blob}", skip=request_number)
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu", "--json")
    assert run.code in (1, 2)


# Depth hub.


def test_at_depth_hub_no_weights_are_read(attest: Attest, released: Release) -> None:
    run = attest("verify", "town/merged", "--key", released.key, "--depth", "hub", "--json")
    report = run.document
    assert (run.code, report["verdict"], report["depth"]) == (3, "INCOMPLETE", "hub")
    assert codes(report) == {"WEIGHTS_NOT_READ"}
    assert report["files"] == {"listed": 3, "hashed": 2, "stated": 1}
    assert report["coverage"]["tensors_hashed"] == 0
    assert {step["verdict"] for step in report["steps"]} == {"unchecked"}
    assert released.hub.downloads("/objects/") == []
    text = attest("verify", "town/merged", "--key", released.key, "--depth", "hub").out
    assert "at depth hub no weights are read, and the Hub is trusted for content" in text
    assert "1 by the Hub's digest alone" in text


def test_at_depth_hub_other_weights_are_rejected_by_their_digest(attest: Attest, released: Release) -> None:
    flip(released.folder / "model.safetensors", -100)
    released.publish()
    run = attest("verify", "town/merged", "--key", released.key, "--depth", "hub", "--json")
    assert (run.code, codes(run.document)) == (1, {"FILE_MISMATCH", "WEIGHTS_NOT_READ"})
    assert released.hub.downloads("/objects/") == []


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("config.json", '{"a": 1}', "FILE_MISMATCH"),
        ("more.py", "1", "FILE_EXTRA"),
        ("README.md", "# other", "DOCUMENTATION_CHANGED"),
        ("more.safetensors", "x", "FILE_EXTRA"),
    ],
)
def test_at_depth_hub_small_files_are_read(
    attest: Attest, released: Release, name: str, content: str, code: str
) -> None:
    (released.folder / name).write_text(content)
    released.publish()
    run = attest("verify", "town/merged", "--key", released.key, "--depth", "hub", "--json")
    assert codes(run.document) == {code, "WEIGHTS_NOT_READ"}
    assert run.code == (3 if code == "DOCUMENTATION_CHANGED" else 1)


def test_at_depth_hub_a_signature_still_has_to_hold(attest: Attest, released: Release) -> None:
    bundle = released.folder / "attestation/pipeline.sigstore.json"
    document = json.loads(bundle.read_text())
    signature = document["dsseEnvelope"]["signatures"][0]
    signature["sig"] = signature["sig"][:-8] + "AAAAAAA="
    bundle.write_text(json.dumps(document))
    released.publish()
    run = attest("verify", "town/merged", "--key", released.key, "--depth", "hub", "--json")
    assert (run.code, codes(run.document)) == (1, {"SIGNATURE_INVALID"})


def test_depths_that_cannot_be_had_are_refused(attest: Attest, released: Release) -> None:
    sampled = attest("verify", "town/merged", "--depth", "sample", "--json")
    assert (sampled.code, sampled.error["code"]) == (2, "CALLER_ERROR")
    assert "`--depth sample` is not there yet" in sampled.error["message"]
    local = attest("verify", released.folder, "--depth", "hub", "--json")
    assert (local.code, local.error["code"]) == (2, "CALLER_ERROR")
