"""Folders that are no plain folders: pipes, sockets, links, depth, names that are no text, files that change."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_attest.sign import sign_folder
from model_verify.errors import AttestError, SourceError, SourceUnreadable
from model_verify.models import BUNDLE_PATH, LEAVES_PATH, MANIFEST_PATH
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFile, LocalFolder
from tests.hostile.forging import codes
from tests.models import SignedMerge, new_signer


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bind(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, Callable[[Path], None]] = {
    "a pipe": pipe,
    "a socket": bind,
    "a folder": lambda path: path.mkdir(),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a folder": lambda path: path.symlink_to(path.parent),
    "a link out": lambda path: path.symlink_to("/etc/hostname"),
}
PLACES = [
    "model.safetensors",
    "config.json",
    BUNDLE_PATH,
    MANIFEST_PATH,
    LEAVES_PATH,
    "new.bin",
    "model.sig",
    ".gitattributes",
]
HARMLESS = {("a folder", "new.bin"), ("a folder", "model.sig"), ("a folder", ".gitattributes")}
"""An empty folder holds nothing."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_never_verified_and_never_waited_for(
    signed_copy: SignedMerge, kind: str, place: str
) -> None:
    path = signed_copy.merged / place
    path.unlink(missing_ok=True)
    KINDS[kind](path)
    report = signed_copy.verify()
    assert (report.verdict == "VERIFIED") is ((kind, place) in HARMLESS)
    if kind != "a folder" or place == "model.safetensors":
        with pytest.raises(AttestError):
            sign_folder(signed_copy.merged, new_signer(), name="x")


@pytest.mark.parametrize("kind", KINDS)
def test_a_parent_that_is_no_regular_file_is_malformed(signed_copy: SignedMerge, kind: str) -> None:
    path = signed_copy.root / "a" / "model.safetensors"
    path.unlink()
    KINDS[kind](path)
    assert codes(signed_copy.verify()) == {"MATERIAL_MALFORMED"}


NAMES = [
    b"\xff.safetensors",
    b"\xff.bin",
    b"\xff.png",
    b"\xed\xa0\x80.json",
    b"a\nVERIFIED level 3.txt",
    b"\x1b[2J\x1b[H.py",
    "\u202egnp.exe".encode(),
    "e\u0301.txt".encode(),
    b"back\\slash",
    b"-rf",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", [b"", b"\xfe/"])
def test_a_name_that_is_no_plain_text_is_a_finding(signed_copy: SignedMerge, folder: bytes, name: bytes) -> None:
    path = signed_copy.merged / os.fsdecode(folder + name)
    path.parent.mkdir(exist_ok=True)
    shutil.copy(signed_copy.merged / "model.safetensors", path)
    report = signed_copy.verify()
    assert report.verdict == "REJECTED"
    json.dumps(report.model_dump(mode="json", by_alias=True))


def test_an_index_below_a_folder_that_is_no_text_is_a_finding(signed_copy: SignedMerge) -> None:
    folder = signed_copy.merged / os.fsdecode(b"\xff")
    folder.mkdir()
    shutil.copy(signed_copy.merged / "model.safetensors", folder / "x.safetensors")
    weight_map = dict.fromkeys(["embed.weight", "norm.weight", "position_ids"], "x.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert signed_copy.verify().verdict == "REJECTED"


@contextmanager
def deep_folder(top: Path, depth: int, name: str) -> Iterator[None]:
    """Nest folders too deep for one path to name, and take them away again from the inside."""
    here = Path.cwd()
    os.chdir(top)
    try:
        for _ in range(depth):
            Path(name).mkdir()
            os.chdir(name)
        Path("x.bin").write_bytes(b"x")
        os.chdir(here)
        yield
        os.chdir(top)
        for _ in range(depth):
            os.chdir(name)
        Path("x.bin").unlink()
        for _ in range(depth):
            os.chdir("..")
            Path(name).rmdir()
    finally:
        os.chdir(here)


def test_a_folder_nested_deeper_than_the_call_stack_is_rejected(signed_copy: SignedMerge) -> None:
    with deep_folder(signed_copy.merged, 1200, "d"):
        assert "FILE_PATH_UNSAFE" in codes(signed_copy.verify())


def test_a_folder_nested_deeper_than_a_path_can_name_gives_no_verdict(signed_copy: SignedMerge) -> None:
    with deep_folder(signed_copy.merged, 30, "d" * 200), pytest.raises(SourceUnreadable):
        signed_copy.verify()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "manifest.json", "leaves.sha256tree"])
def test_a_file_that_the_machine_refuses_gives_no_verdict(
    signed_merge: SignedMerge, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    open_file = os.open

    def refuse(path: str | Path, *arguments: int) -> int:
        if Path(path).name == name:
            raise OSError(code, os.strerror(code), str(path))
        return open_file(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceError):
        signed_merge.verify()


def test_a_read_that_fails_half_way_gives_no_verdict(
    signed_merge: SignedMerge, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(1000))
    preadv = os.preadv

    def fail(*arguments: object) -> int:
        if next(calls) == 12:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(SourceError):
        signed_merge.verify()


class Restless(LocalFolder):
    """A folder in which somebody puts another file at `path` right before it is opened for the nth time."""

    def __init__(self, root: Path, path: str, twin: bytes, turn: int) -> None:
        super().__init__(root)
        self.restless, self.twin, self.turn = path, twin, turn

    @contextmanager
    def open(self, path: str) -> Iterator[LocalFile]:
        if path == self.restless:
            self.turn -= 1
            if self.turn == 0:
                beside = self.root.parent / "twin"
                beside.write_bytes(self.twin)
                beside.replace(self.root / path)
        with super().open(path) as file:
            yield file


def exchanged_names(weights: bytes) -> bytes:
    """Return the file with another header of the same length: every byte of data stays where it is."""
    return weights.replace(b'"embed.weight"', b'"embed.w3ight"')


@pytest.mark.parametrize("turn", range(1, 6))
def test_weights_that_are_exchanged_between_two_readings_are_never_verified(
    signed_copy: SignedMerge, turn: int
) -> None:
    twin = exchanged_names((signed_copy.merged / "model.safetensors").read_bytes())
    source = Restless(signed_copy.merged, "model.safetensors", twin, turn)
    parents = {name: LocalFolder(signed_copy.root / name) for name in ("a", "b")}
    try:
        report = verify(Request(source, expected_signer=signed_copy.key, parents=parents, device="cpu"))
    except SourceError:
        return
    assert report.verdict == "REJECTED" or source.turn > 0


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_parent_that_is_exchanged_between_two_readings_matches_nothing(signed_copy: SignedMerge, turn: int) -> None:
    twin = exchanged_names((signed_copy.root / "a" / "model.safetensors").read_bytes())
    parents = {
        "a": Restless(signed_copy.root / "a", "model.safetensors", twin, turn),
        "b": LocalFolder(signed_copy.root / "b"),
    }
    try:
        report = signed_copy.verify(parents=parents)
    except SourceError:
        return
    assert report.verdict == "REJECTED" or parents["a"].turn > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("turn", range(1, 5))
def test_a_config_that_is_exchanged_after_it_was_hashed_is_never_verified(signed_copy: SignedMerge, turn: int) -> None:
    config = signed_copy.merged / "config.json"
    twin = config.read_bytes().replace(b" ", b"\t")
    source = Restless(signed_copy.merged, "config.json", twin, turn)
    parents = {name: LocalFolder(signed_copy.root / name) for name in ("a", "b")}
    try:
        report = verify(Request(source, expected_signer=signed_copy.key, parents=parents, device="cpu"))
    except SourceError:
        return
    assert report.verdict == "REJECTED" or source.turn > 0
