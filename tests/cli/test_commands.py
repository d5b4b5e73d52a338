from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from model_attest.commands.diff_documents import DiffAnswer
from model_attest.commands.documents import HashAnswer, InspectAnswer, KeygenAnswer, MergeAnswer, SignAnswer
from model_attest.demo.play import DemoResult
from model_verify.models import BUNDLE_PATH, LEAVES_PATH, MANIFEST_PATH
from tests.cli.conftest import Attest, Workplace
from tests.cli.making import bfloat16, flip, tensors, weight_file, write_model

HOSTILE = "layers\x1b[2K\r\n\u202eweight"
SHOWN = r"layers\x1b[2K\x0d\x0a\u202eweight"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    return write_model(tmp_path / "hostile", {HOSTILE: ("U8", [3], b"abc")})


def root_of_abc(name: str) -> str:
    """Return the checkpoint root of one U8 tensor `abc`, by the formulas of tensor-tree §2 to §4."""
    root = hashlib.sha256(b"\x00abc").hexdigest()
    entry = f'{{"dtype":"U8","name":"{name}","root":"sha256:{root}","shape":[3]}}'.encode()
    head = hashlib.sha256(b"\x00" + entry).digest()
    return "sha256:" + hashlib.sha256(b"model-attest/v1/checkpoint\n" + bytes(7) + b"\x01" + head).hexdigest()


# hash


def test_hash_gives_the_root_of_a_folder_a_file_and_an_index(attest: Attest, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "one", {"x": ("U8", [3], b"abc")})
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "model-00001-of-00001.safetensors").write_bytes(weight_file({"x": ("U8", [3], b"abc")}))
    index = shards / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"x": "model-00001-of-00001.safetensors"}}')
    for path in (folder, folder / "model.safetensors", shards, index):
        assert attest("hash", path).out == f"{root_of_abc('x')}  {path}\n"


def test_hash_lists_every_tensor_on_request(attest: Attest, made: Workplace) -> None:
    run = attest("hash", made / "a", "--tensors", "--threads", "1", "--json")
    answer = HashAnswer.model_validate(run.document)
    assert [tensor.name for tensor in answer.tensors or ()] == sorted(tensors(0))
    assert answer.tensor_count == 3
    assert attest("hash", made / "a", "--json").document["tensors"] is None


def test_hash_says_what_is_not_in_the_root(attest: Attest, hostile: Path) -> None:
    (hostile / "model.bin").write_bytes(b"")
    run = attest("hash", hostile)
    assert run.err == "note: model.bin is a weight set of its own and not in this root\n"


def test_hostile_tensor_names_do_not_reach_the_terminal(attest: Attest, hostile: Path, tmp_path: Path) -> None:
    run = attest("hash", hostile, "--tensors")
    assert run.out.splitlines()[1].endswith(f"U8 [3]  {SHOWN}")
    other = write_model(tmp_path / "other", {HOSTILE: ("U8", [3], b"abd")})
    run = attest("diff", hostile, other)
    assert SHOWN in run.out
    assert attest("diff", hostile, other, "--json").document["tensors"][0]["name"] == HOSTILE
    for shown in (run, attest("hash", hostile, "--tensors")):
        assert not any(c in shown.out for c in "\x1b\r\u202e")


def test_hostile_names_in_findings_do_not_reach_the_terminal(attest: Attest, made: Workplace, hostile: Path) -> None:
    assert attest("sign", hostile, "--key", made / "lab", "--name", "x\x1b[1m\u202ey").code == 0
    flip(hostile / "model.safetensors", -1)
    (hostile / "evil\x1b]0;x\x07\u202e.py").write_text("")
    run = attest("verify", hostile, *made.key)
    assert run.code == 1
    assert rf"TENSOR_MISMATCH  model.safetensors: {SHOWN}" in run.out
    assert r"evil\x1b]0;x\x07\u202e.py" in run.out
    assert r"x\x1b[1m\u202ey" in run.out
    inspected = attest("inspect", hostile)
    assert r"x\x1b[1m\u202ey" in inspected.out
    for shown in (run, inspected):
        assert not any(c in shown.out + shown.err for c in "\x1b\r\x07\u202e")


def test_file_names_that_are_no_unicode_are_shown_and_in_the_json(
    attest: Attest, made: Workplace, merged: Path
) -> None:
    (merged / "bad\udcff.txt").write_text("")
    run = attest("verify", merged, *made.key, *made.parents)
    assert run.code == 1
    assert r"FILE_PATH_UNSAFE  bad\udcff.txt" in run.out
    as_json = attest("verify", merged, *made.key, *made.parents, "--json")
    assert "bad\udcff.txt" in [finding["where"] for finding in as_json.document["findings"]]


# diff


def test_equal_models_are_the_same_however_they_are_sharded(attest: Attest, made: Workplace, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    weight_map: dict[str, str] = {}
    for number, (name, tensor) in enumerate(tensors(0).items(), start=1):
        weight_map[name] = f"model-0000{number}-of-00003.safetensors"
        (shards / weight_map[name]).write_bytes(weight_file({name: tensor}))
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    run = attest("diff", made / "a", shards)
    assert run.code == 0
    assert run.out.startswith("SAME  ")


def test_diff_from_weights_names_chunks_elements_and_ulp(attest: Attest, made: Workplace, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made / "a", tmp_path / "copy"))
    data = len(weight_file(tensors(0))) - (2_400_000 + 1000 + 32)
    flip(copy / "model.safetensors", data + 1_048_576 + 2)  # the low byte of an element in the second chunk
    flip(copy / "model.safetensors", data + 2_399_998)  # and of the last element
    run = attest("diff", made / "a", copy, "--json")
    assert run.code == 1
    (change,) = DiffAnswer.model_validate(run.document).tensors
    assert change.name == "layers.0.up_proj.weight"
    assert [(r.first_byte, r.last_byte) for r in change.ranges or ()] == [(1_048_576, 2_399_999)]
    assert (change.first_byte, change.elements, change.ulp) == (1_048_578, 2, 1)
    text = attest("diff", made / "a", copy).out
    assert "first difference at byte 1048578, 2 elements differ, by up to 1 ULP" in text
    assert "in the chunks at bytes 1048576 to 2399999" in text


def test_diff_names_tensors_of_one_side_and_other_kinds(attest: Attest, tmp_path: Path) -> None:
    one = write_model(tmp_path / "one", {"x": ("U8", [3], b"abc"), "y": ("U8", [2], b"ab")})
    other = write_model(tmp_path / "other", {"y": ("I16", [1], b"ab"), "z": ("U8", [0], b"")})
    run = attest("diff", one, other)
    assert run.code == 1
    assert run.out.splitlines()[1:] == [
        "  only in A  x  U8 [3]",
        "  retyped    y  U8 [2] in A, I16 [1] in B",
        "  only in B  z  U8 [0]",
    ]


def test_diff_from_manifests_gives_ranges_and_says_that_it_took_their_word(
    attest: Attest, made: Workplace, merged: Path
) -> None:
    content = tensors(0)
    changed = content["layers.0.up_proj.weight"][2][:-1] + b"\x40"
    content["layers.0.up_proj.weight"] = ("BF16", [1200, 1000], changed)
    for folder, weights in ((merged, tensors(0)), (merged.parent / "other", content)):
        shutil.rmtree(folder, ignore_errors=True)
        write_model(folder, weights)
        assert attest("sign", folder, "--key", made / "lab").code == 0
        (folder / "model.safetensors").unlink()
    other = merged.parent / "other"
    for one, two in ((merged, other), (merged / MANIFEST_PATH, other / MANIFEST_PATH)):
        run = attest("diff", one, two, "--from", "manifest")
        assert run.code == 1
        assert "taken at their word" in run.out.splitlines()[0]
        assert run.out.count("no weight was read and no signature checked") == 2
        assert "in the chunks at bytes 2097152 to 2399999" in run.out
        assert "ULP" not in run.out
    (other / LEAVES_PATH).unlink()
    without = attest("diff", merged / MANIFEST_PATH, other / MANIFEST_PATH, "--json")
    assert without.code == 1
    assert without.document["tensors"][0]["ranges"] is None


def test_diff_holds_weights_against_a_manifest(attest: Attest, made: Workplace, merged: Path) -> None:
    manifest = merged / MANIFEST_PATH
    assert attest("diff", merged, manifest).code == 0
    flip(merged / "model.safetensors", -33)
    run = attest("diff", merged, manifest)
    assert run.code == 1
    assert "  changed    layers.0." in run.out
    assert run.out.count("taken at its word") == 1


def test_a_manifest_that_contradicts_itself_is_an_error(attest: Attest, merged: Path) -> None:
    manifest = merged / MANIFEST_PATH
    members = json.loads(manifest.read_text())
    members["weight_sets"][0]["checkpoint_root"] = "sha256:" + 64 * "0"
    manifest.write_text(json.dumps(members, separators=(",", ":"), sort_keys=True))
    run = attest("diff", manifest, manifest, "--json")
    assert (run.code, run.error["code"]) == (2, "CHECKPOINT_ROOT_MISMATCH")


def test_weights_cannot_be_read_from_a_manifest(attest: Attest, merged: Path) -> None:
    run = attest("diff", merged, merged / MANIFEST_PATH, "--from", "weights")
    assert run.code == 2


# keygen, merge, sign, inspect


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519"])
def test_keygen_writes_a_pair_and_replaces_nothing(attest: Attest, tmp_path: Path, kind: str) -> None:
    run = attest("keygen", "--out", tmp_path / "key", "--type", kind, "--json")
    answer = KeygenAnswer.model_validate(run.document)
    assert (answer.type, answer.encrypted, len(answer.hint)) == (kind, False, 64)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "key").read_bytes()
    assert attest("keygen", "--out", tmp_path / "key").code == 2
    assert (tmp_path / "key").read_bytes() == before


def test_an_encrypted_key_signs_with_its_password(attest: Attest, made: Workplace, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", {"x": ("U8", [3], b"abc")})
    run = attest("sign", folder, "--key", made / "locked", "--password-file", made / "password", "--json")
    assert SignAnswer.model_validate(run.document).checkpoint_root.text == root_of_abc("x")
    assert attest("verify", folder, "--key", made / "locked.pub").code == 0


def test_merge_answers_with_step_and_root(attest: Attest, made: Workplace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = attest("merge", made / "recipe.yaml", out, "--max-shard-size", "1MB", "--device", "cpu", "--json")
    answer = MergeAnswer.model_validate(run.document)
    assert (answer.blended_tensors, answer.copied_tensors) == (2, 1)
    assert len(answer.weight_files) > 1
    assert attest("hash", out).out.startswith(answer.checkpoint_root.text)
    assert attest("diff", out, made / "merged").code == 0
    again = attest("merge", made / "recipe.yaml", out)
    assert again.code == 2


@pytest.mark.parametrize("size", ["0", "five", "5XB", "-1GB", "1e9", "1.5GB"])
def test_a_shard_size_that_is_none_is_an_error(attest: Attest, made: Workplace, tmp_path: Path, size: str) -> None:
    run = attest("merge", made / "recipe.yaml", tmp_path / "out", f"--max-shard-size={size}")
    assert run.code == 2
    assert "is not a size" in run.err


def test_sign_says_what_it_signed(attest: Attest, made: Workplace, merged: Path) -> None:
    run = attest("sign", merged, "--key", made / "lab", "--uri", "pkg:huggingface/town/town-7b")
    assert run.code == 0
    assert run.out.startswith(f"signed  {merged}: merged\n")


def test_inspect_says_first_and_last_that_nothing_was_verified(attest: Attest, made: Workplace, merged: Path) -> None:
    flip(merged / "model.safetensors", -1)
    for path in (merged, merged / BUNDLE_PATH):
        run = attest("inspect", path)
        assert run.code == 0
        lines = run.out.splitlines()
        assert lines[0].startswith(f"CLAIMED ONLY  {path}: nothing was verified")
        assert lines[-1] == f"CLAIMED ONLY  nothing was verified: run `attest verify {merged} --key PUB`"
        assert "VERIFIED" not in run.out
        assert "  model     town-7b 1.0" in lines
        assert "              all other tensors: 0.6·a + 0.4·b, as BF16" in lines
    answer = InspectAnswer.model_validate(attest("inspect", merged, "--json").document)
    assert answer.verified is False
    assert answer.statement["predicate"]["model"]["name"] == "town-7b"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"a":1,"a":2}'])
def test_inspect_of_what_is_no_bundle_is_an_error_with_the_place(
    attest: Attest, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bundle.json").write_bytes(content)
    run = attest("inspect", tmp_path / "bundle.json")
    assert run.code == 2
    assert run.out == ""
    assert run.err.startswith(f"error: {tmp_path / 'bundle.json'}: ")


def test_bfloat16_of_the_tests_is_finite() -> None:
    high_bytes = bfloat16(10_000, 1)[1::2]
    assert max(byte & 0x7F for byte in high_bytes) < 0x7F


@pytest.mark.parametrize("code", [0, 1])
def test_demo_gives_its_lines_as_they_come_and_its_exit_code(
    attest: Attest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    def play(out: Path | None, *, seed: int | None, write: Callable[[str], None]) -> DemoResult:
        write(f"{out} {seed}")
        write("a\x1bb")
        return SimpleNamespace(exit_code=code, document=lambda: {"seed": seed})  # type: ignore[return-value]

    monkeypatch.setattr("model_attest.demo.run_demo", play)
    run = attest("demo", "--out", tmp_path, "--seed", "7")
    assert (run.code, run.out) == (code, f"{tmp_path} 7\na\\x1bb\n")
    run = attest("demo", "--json", "--seed", "7")
    assert (run.code, run.document) == (code, {"seed": 7})
