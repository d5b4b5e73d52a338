"""The real huggingface_hub client takes the loopback Hub for one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import get_session

from tests.hub.faults import Content, Cut, Status
from tests.hub.server import TOKEN, Hub

WEIGHTS = bytes(range(256)) * 40
README = b"---\nlicense: mit\nbase_model: [lab/a, lab/b]\n---\n# A model\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "README.md").write_bytes(README)
    (folder / "sub/config.json").write_bytes(b"{}")
    return folder


@pytest.fixture
def commit(hub: Hub, folder: Path) -> str:
    return hub.storage.add_folder("lab/model", folder)


def test_a_branch_leads_to_a_commit(client: HfApi, commit: str) -> None:
    info = client.model_info("lab/model", files_metadata=True)
    assert info.sha == commit
    by_path = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    assert by_path["model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert by_path["README.md"].lfs is None
    assert by_path["README.md"].blob_id == hashlib.sha1(b"blob %d\0" % len(README) + README).hexdigest()
    assert info.card_data.base_model == ["lab/a", "lab/b"]


@pytest.mark.parametrize("page_entries", [1, 2, 1000])
def test_the_tree_is_whole_however_many_pages_it_has(hub: Hub, client: HfApi, commit: str, page_entries: int) -> None:
    hub.page_entries = page_entries
    entries = list(client.list_repo_tree("lab/model", recursive=True, revision=commit))
    assert [entry.path for entry in entries] == [
        ".gitattributes",
        "README.md",
        "model.safetensors",
        "sub",
        "sub/config.json",
    ]


def test_paths_are_looked_up(client: HfApi, commit: str) -> None:
    found = client.get_paths_info("lab/model", ["model.safetensors", "sub", "none"], revision=commit)
    assert [(entry.path, getattr(entry, "size", None)) for entry in found] == [
        ("model.safetensors", 10240),
        ("sub", None),
    ]


def test_refs_name_branches_tags_and_proposals(hub: Hub, client: HfApi, folder: Path, commit: str) -> None:
    proposed = hub.storage.add_folder("lab/model", folder, ref="refs/pr/1")
    hub.storage.repositories["lab/model"].tags["v1"] = commit
    refs = client.list_repo_refs("lab/model", include_pull_requests=True)
    assert [(ref.ref, ref.target_commit) for ref in refs.branches] == [("refs/heads/main", commit)]
    assert [(ref.ref, ref.target_commit) for ref in refs.tags] == [("refs/tags/v1", commit)]
    assert [(ref.ref, ref.target_commit) for ref in refs.pull_requests or ()] == [("refs/pr/1", proposed)]
    assert next(iter(client.list_repo_commits("lab/model"))).commit_id == commit
    assert client.model_info("lab/model", revision="refs/pr/1").sha == proposed


def test_a_download_is_whole_and_the_token_stays_with_the_hub(hub: Hub, commit: str) -> None:
    path = snapshot_download("lab/model", endpoint=hub.url, token=TOKEN)
    assert Path(path).name == commit
    assert Path(path, "model.safetensors").read_bytes() == WEIGHTS
    assert Path(path, "sub/config.json").read_bytes() == b"{}"
    from_cdn = [asked for asked in hub.asked if asked.host == "cdn"]
    assert from_cdn
    assert {asked.authorization for asked in from_cdn} == {None}
    assert {asked.authorization for asked in hub.asked if asked.host == "hub"} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [("bytes=10-19", 206, WEIGHTS[10:20]), ("bytes=10230-", 206, WEIGHTS[10230:]), ("bytes=10240-", 416, b"{}")],
)
def test_ranges(hub: Hub, commit: str, header: str, status: int, expected: bytes) -> None:
    url = f"{hub.cdn_url}/objects/{hashlib.sha256(WEIGHTS).hexdigest()}?Signature=0"
    answer = get_session().get(url, headers={"Range": header})
    assert (answer.status_code, answer.content) == (status, expected)
    assert answer.headers["Content-Range"].endswith("/10240")


def test_a_signed_url_expires(hub: Hub, commit: str) -> None:
    url = f"{hub.cdn_url}/objects/{hashlib.sha256(WEIGHTS).hexdigest()}?Signature=0"
    hub.expire_urls()
    assert get_session().get(url).status_code == 403


def test_private_repositories_need_the_token(hub: Hub, client: HfApi, folder: Path) -> None:
    hub.storage.add_folder("lab/secret", folder, is_private=True)
    assert client.model_info("lab/secret").private
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.url).model_info("lab/secret", token=False)


@pytest.mark.filterwarnings("ignore:Use 'content")  # the client's own
@pytest.mark.parametrize("part_bytes", [0, 4096])
def test_an_upload_arrives_as_it_was(hub: Hub, client: HfApi, folder: Path, part_bytes: int) -> None:
    hub.part_bytes = part_bytes
    client.create_repo("tester/up")
    made = client.upload_folder(repo_id="tester/up", folder_path=folder, commit_message="first")
    files = hub.storage.repositories["tester/up"].commits[made.oid].files
    assert files["model.safetensors"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert hub.storage.path_of(files["model.safetensors"].blob).read_bytes() == WEIGHTS
    assert hub.storage.path_of(files["README.md"].blob).read_bytes() == README
    assert client.model_info("tester/up").sha == made.oid


def test_a_commit_on_top_of_another_one_is_refused(hub: Hub, client: HfApi, folder: Path, commit: str) -> None:
    hub.storage.add_folder("lab/model", folder)
    with pytest.raises(HfHubHTTPError, match="412"):
        client.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="lab/model", parent_commit=commit)


def test_the_client_takes_a_flipped_bit_for_the_file(hub: Hub, commit: str) -> None:
    """The reason why everything is hashed here: the client looks at the size alone."""
    hub.faults.add(Content(7), "/objects/")
    path = hf_hub_download("lab/model", "model.safetensors", endpoint=hub.url)
    data = Path(path).read_bytes()
    assert (len(data), data[7], data[8]) == (10240, 6, 8)


def test_the_client_goes_on_after_a_cut(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.faults.add(Cut(1000), "/objects/")
    path = hf_hub_download("lab/model", "model.safetensors", endpoint=hub.url)
    assert Path(path).read_bytes() == WEIGHTS
    assert len(hub.downloads("/objects/")) == 2


def test_the_client_sees_a_refusal(hub: Hub, client: HfApi, commit: str) -> None:
    hub.faults.add(Status(503), "/api/models/lab/model")
    with pytest.raises(HfHubHTTPError, match="503"):
        client.model_info("lab/model")
