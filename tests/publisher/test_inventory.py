"""From a folder to its manifest. Spec: manifest."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import tracemalloc
from pathlib import Path

import pytest
import rfc8785
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from model_attest.hashing import ChunkHasher
from model_attest.inventory import take_inventory, total_bytes
from model_verify.digest import FileDigest
from model_verify.errors import AmbiguousWeights, MalformedInput, MalformedWeights, SourceChanged, SourceUnreadable
from model_verify.manifest import read_manifest
from model_verify.sources.local import LocalFolder
from model_verify.weights import WeightFile, parse_header
from tests.publisher.conftest import expected_root, file_digest, leaves_of, stored_tensors, tensors


def paths(folder: Path) -> list[str]:
    return [file.path for file in take_inventory(LocalFolder(folder)).manifest.files]


def test_the_root_is_that_of_another_implementation(model: Path) -> None:
    inventory = take_inventory(LocalFolder(model))
    assert inventory.checkpoint_root.text == expected_root(model / "model.safetensors")


def test_the_manifest_is_canonical_and_passes_the_verifier(model: Path) -> None:
    data = take_inventory(LocalFolder(model)).manifest.canonical()
    assert data == rfc8785.dumps(json.loads(data))
    assert read_manifest(data).canonical() == data


def test_files_have_their_class_size_and_digest(model: Path) -> None:
    (model / "modeling.py").write_text("pass")
    (model / "LICENSE").write_text("free")
    (model / "tokenizer.json").write_text("{}")
    (model / "empty.txt").touch()
    listed = {file.path: file for file in take_inventory(LocalFolder(model)).manifest.files}
    assert {path: file.file_class for path, file in listed.items()} == {
        "1_Pooling/config.json": "config",
        "LICENSE": "other",
        "README.md": "documentation",
        "config.json": "config",
        "empty.txt": "other",
        "model.safetensors": "weights",
        "modeling.py": "code",
        "tokenizer.json": "tokenizer",
    }
    for path, file in listed.items():
        assert (file.size_bytes, file.file_digest.text) == ((model / path).stat().st_size, file_digest(model / path))
    content = (model / "model.safetensors").read_bytes()
    header = content[: 8 + int.from_bytes(content[:8], "little")]
    assert {path: file.header_digest for path, file in listed.items() if file.header_digest} == {
        "model.safetensors": FileDigest(hashlib.sha256(header).digest())
    }


def test_leaves_lie_in_the_order_of_sets_names_and_chunks(model: Path) -> None:
    (model / "aux").mkdir()
    save_file({"z": torch.ones(600_000), "a": torch.zeros(5)}, model / "aux" / "extra.safetensors")
    inventory = take_inventory(LocalFolder(model))
    expected = b""
    for file in ["aux/extra.safetensors", "model.safetensors"]:
        stored = stored_tensors(model / file)
        for name in sorted(stored, key=str.encode):
            expected += b"".join(leaves_of(stored[name][2]))
    assert inventory.leaves == expected
    assert inventory.manifest.leaves.count == len(expected) // 32 == 11
    assert inventory.manifest.leaves.file_digest.raw == hashlib.sha256(expected).digest()


def test_sharding_changes_the_manifest_and_not_the_root(model: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    weight_map: dict[str, str] = {}
    for number, (name, tensor) in enumerate(tensors(1).items(), 1):
        file = f"model-{number:05}-of-00005.safetensors"
        save_file({name: tensor}, twin / file)
        weight_map[name] = file
    (twin / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    one, other = take_inventory(LocalFolder(model)), take_inventory(LocalFolder(twin))
    assert one.checkpoint_root == other.checkpoint_root
    (weight_set,) = other.manifest.weight_sets
    assert (weight_set.prefix, weight_set.index) == ("model", "model.safetensors.index.json")
    assert len(weight_set.files) == 5


def test_weights_of_other_formats_are_sets_without_tensors(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    sets = {s.prefix: s for s in take_inventory(LocalFolder(model)).manifest.weight_sets}
    assert (sets["model"].primary, sets["pytorch_model.bin"].primary) == (True, False)
    assert sets["pytorch_model.bin"].tensors is None
    assert sets["pytorch_model.bin"].format == "bin"


def test_what_is_never_covered_is_not_listed(model: Path) -> None:
    before = paths(model)
    for path in [".git/config", ".cache/huggingface/x", ".attest/steps/001.json", "attestation/manifest.json"]:
        (model / path).parent.mkdir(parents=True)
        (model / path).write_text("x")
    (model / "model.sig").write_text("x")
    assert paths(model) == before


@pytest.mark.parametrize(
    ("content", "is_listed"),
    [
        ("*.bin filter=lfs diff=lfs merge=lfs -text\n# comment\n\n", False),
        ("*.bin filter=lfs diff=lfs merge=lfs -text\r\n", False),
        ("*.py text\n", True),
        ("*.bin filter=lfs diff=lfs merge=lfs -text eol=lf\n", True),
    ],
)
def test_gitattributes_are_exempt_only_for_lfs(model: Path, content: str, is_listed: bool) -> None:
    (model / ".gitattributes").write_bytes(content.encode())
    assert (".gitattributes" in paths(model)) is is_listed


def test_a_fifo_cannot_be_signed(model: Path) -> None:
    os.mkfifo(model / "pipe")
    with pytest.raises(SourceUnreadable, match='"pipe": a FIFO'):
        take_inventory(LocalFolder(model))


def test_a_link_out_of_the_folder_cannot_be_signed(model: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (model / "link.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceUnreadable, match=r'"link\.txt": a link out of the folder'):
        take_inventory(LocalFolder(model))


def test_a_link_inside_the_folder_is_signed_as_what_it_shows(model: Path) -> None:
    (model / "copy.json").symlink_to("config.json")
    listed = {file.path: file for file in take_inventory(LocalFolder(model)).manifest.files}
    assert listed["copy.json"].file_digest == listed["config.json"].file_digest


@pytest.mark.parametrize(
    "name", ["back\\slash", "new\nline", "bidi\u202egnp.txt", "e\u0301.txt", "/".join(["d" * 200] * 6)]
)
def test_paths_that_the_manifest_cannot_hold_are_refused(model: Path, name: str) -> None:
    (model / name).parent.mkdir(parents=True, exist_ok=True)
    (model / name).write_text("x")
    with pytest.raises(MalformedInput, match="the path"):
        take_inventory(LocalFolder(model))


def test_a_name_that_is_not_unicode_is_refused(model: Path) -> None:
    (model / os.fsdecode(b"\xff\xfe")).touch()
    with pytest.raises(MalformedInput, match="not Unicode"):
        take_inventory(LocalFolder(model))


@pytest.mark.parametrize(("one", "other"), [("a.txt", "A.txt"), ("straße", "STRASSE"), ("ﬁle", "file")])
def test_names_that_differ_only_in_case_or_form_are_refused(model: Path, one: str, other: str) -> None:
    (model / one).write_text("x")
    (model / other).write_text("y")
    with pytest.raises(MalformedInput, match="one name"):
        take_inventory(LocalFolder(model))


@pytest.mark.parametrize(
    "path", ["attestation/notes.txt", "attestation/sub/manifest.json", "Attestation/x", "attestation"]
)
def test_nothing_else_may_be_in_the_attestation_folder(model: Path, path: str) -> None:
    (model / path).parent.mkdir(parents=True, exist_ok=True)
    (model / path).write_text("x")
    with pytest.raises(MalformedInput, match="nothing else may be in that folder"):
        take_inventory(LocalFolder(model))


def test_a_folder_without_safetensors_cannot_be_signed(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(AmbiguousWeights, match="no safetensors weights"):
        take_inventory(LocalFolder(tmp_path))


def test_ambiguous_weights_cannot_be_signed(model: Path) -> None:
    save_file({"a": torch.zeros(1)}, model / "model-00001-of-00002.safetensors")
    with pytest.raises(AmbiguousWeights, match=r"model-00001-of-00002\.safetensors"):
        take_inventory(LocalFolder(model))


def test_truncated_weights_cannot_be_signed(model: Path) -> None:
    path = model / "model.safetensors"
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(MalformedWeights, match=r"model\.safetensors"):
        take_inventory(LocalFolder(model))


def test_a_file_that_grows_while_it_is_read_is_an_error(model: Path) -> None:
    def grow(_: int) -> None:
        with (model / "model.safetensors").open("ab") as file:
            file.write(b"x")

    with pytest.raises(SourceChanged, match=r"model\.safetensors"):
        take_inventory(LocalFolder(model), progress=grow)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3_000_000)}, tmp_path / "model.safetensors")

    def shrink(_: int) -> None:
        os.truncate(tmp_path / "model.safetensors", 5_000_000)

    with pytest.raises(SourceChanged, match=r"model\.safetensors"):
        take_inventory(LocalFolder(tmp_path), progress=shrink)


def test_a_file_that_appears_or_is_replaced_meanwhile_is_an_error(model: Path) -> None:
    def replace(_: int) -> None:
        (model / "new").write_text('{"seed": 1}')
        (model / "new").replace(model / "config.json")

    with pytest.raises(SourceChanged, match=r"config\.json"):
        take_inventory(LocalFolder(model), progress=replace)


def test_keyboard_interrupt_ends_every_thread(model: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_inventory(LocalFolder(model), progress=interrupt)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("files", "leaves"))] == []


def test_progress_counts_every_byte_once(model: Path) -> None:
    seen: list[int] = []
    take_inventory(LocalFolder(model), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == sum(p.stat().st_size for p in model.rglob("*") if p.is_file()) == total_bytes(LocalFolder(model))


def test_memory_does_not_grow_with_the_weights(tmp_path: Path) -> None:
    size_bytes = 160 << 20
    header = json.dumps({"a": {"dtype": "U8", "shape": [size_bytes], "data_offsets": [0, size_bytes]}}).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size_bytes)  # sparse: zeros that take no space
    tracemalloc.start()
    try:
        inventory = take_inventory(LocalFolder(tmp_path))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert inventory.leaves == hashlib.sha256(b"\0" * ((1 << 20) + 1)).digest() * 160
    assert peak_bytes < 24 << 20


@given(st.lists(st.integers(1, 2_500_000), max_size=8), st.lists(st.integers(0, 2_200_000), min_size=1, max_size=3))
def test_leaves_do_not_depend_on_how_a_file_is_cut(cuts: list[int], sizes: list[int]) -> None:
    data = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    members: dict[str, object] = {}
    end = 0
    for number, size in enumerate(sizes):
        members[f"t{number}"] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(members).encode()
    content = len(header).to_bytes(8, "little") + header + b"".join(data)
    start = 8 + len(header)
    stored = parse_header(header, path="x", data_start=start, data_bytes=end)
    hasher = ChunkHasher(WeightFile("x", len(content), FileDigest(hashlib.sha256(content[:start]).digest()), stored))
    view = memoryview(content)
    for cut in cuts:
        hasher.update(view[:cut])
        view = view[cut:]
    hasher.update(view)
    assert hasher.header_digest.raw == hashlib.sha256(content[:start]).digest()
    assert hasher.leaves() == {f"t{number}": b"".join(leaves_of(part)) for number, part in enumerate(data)}
