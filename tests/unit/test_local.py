"""A local folder as a source: what it lists, follows and refuses. Spec: manifest §3.2."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from model_verify.errors import SourceChanged, SourceMissing, SourceUnreadable
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import EntryKind


def kinds(folder: Path) -> dict[str, EntryKind]:
    return {entry.path: entry.kind for entry in LocalFolder(folder).entries()}


def test_files_are_listed_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    for name in ["b", "a", "\U00010000", "\ufb33", "sub/c"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert list(kinds(tmp_path)) == ["a", "b", "sub/c", "\ufb33", "\U00010000"]


def test_a_link_inside_the_folder_is_a_file_and_one_out_of_it_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "real").write_bytes(b"x")
    (tmp_path / "outside").write_bytes(b"y")
    (folder / "inside").symlink_to("real")
    (folder / "out").symlink_to("../outside")
    (folder / "dangling").symlink_to("nothing")
    (folder / "loop").symlink_to("loop")
    (folder / "folder").symlink_to(".")
    found = kinds(folder)
    assert found["inside"] is EntryKind.FILE
    assert {found[name] for name in ("out", "dangling", "loop", "folder")} == {EntryKind.IRREGULAR}
    with pytest.raises(SourceUnreadable, match="out of the folder"), LocalFolder(folder).open("out"):
        pass


def test_links_into_the_hub_cache_entrys_own_blobs_are_followed(tmp_path: Path) -> None:
    cache = tmp_path / "models--org--name"
    snapshot = cache / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "blobs" / "1234").write_bytes(b"x")
    (snapshot / "config.json").symlink_to("../../blobs/1234")
    other = tmp_path / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    (other / "5678").write_bytes(b"y")
    (snapshot / "stolen.json").symlink_to("../../../models--org--other/blobs/5678")
    source = LocalFolder(snapshot)
    assert kinds(snapshot) == {"config.json": EntryKind.FILE, "stolen.json": EntryKind.IRREGULAR}
    assert source.repository == "pkg:huggingface/org/name"
    assert source.commit == "a" * 40


def test_an_ordinary_folder_names_no_repository(tmp_path: Path) -> None:
    assert LocalFolder(tmp_path).repository is None


def test_a_fifo_and_a_socket_are_irregular_and_opening_them_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert set(kinds(tmp_path).values()) == {EntryKind.IRREGULAR}
        with pytest.raises(SourceUnreadable, match="a FIFO"), LocalFolder(tmp_path).open("fifo"):
            pass


def test_what_is_never_covered_is_not_listed(tmp_path: Path) -> None:
    for name in [".git/config", ".attest/steps/001.json", ".cache/huggingface/x", ".cache/other", "sub/.git/config"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert set(kinds(tmp_path)) == {".cache/other", "sub/.git/config"}


def test_a_link_into_what_is_never_covered_is_irregular(tmp_path: Path) -> None:
    (tmp_path / ".attest").mkdir()
    (tmp_path / ".attest" / "hidden").write_bytes(b"x")
    (tmp_path / "shown").symlink_to(".attest/hidden")
    assert kinds(tmp_path)["shown"] is EntryKind.IRREGULAR


def test_a_link_named_like_a_folder_that_is_never_covered_is_irregular(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / ".cache").symlink_to("real")
    assert kinds(tmp_path)[".cache"] is EntryKind.IRREGULAR


def test_a_file_that_grows_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 10)
    with pytest.raises(SourceChanged, match="f changed while it was read"), LocalFolder(tmp_path).open("f"):
        (tmp_path / "f").write_bytes(b"x" * 11)


def test_a_file_that_is_truncated_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 10)
    opened = LocalFolder(tmp_path).open("f")
    file = opened.__enter__()
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(SourceChanged, match="f ended at byte 1 while it was read"):
        file.read(0, 10)
    with pytest.raises(SourceChanged, match="f changed while it was read"):
        opened.__exit__(None, None, None)


def test_a_file_of_the_same_size_and_another_content_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 10)
    with pytest.raises(SourceChanged), LocalFolder(tmp_path).open("f"):
        (tmp_path / "f").write_bytes(b"y" * 10)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceMissing):
        LocalFolder(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="gone: no such file"), LocalFolder(tmp_path).open("gone"):
        pass
