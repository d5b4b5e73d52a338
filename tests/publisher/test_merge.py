"""Running recipes: the numbers, the files, and what is left when something goes wrong."""

from __future__ import annotations

import errno
import json
import os
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model_attest import merge as merging
from model_attest.merge import MergeResult, run_merge
from model_attest.parents import total_bytes
from model_attest.recipes import read_recipe
from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner
from model_verify.errors import (
    AmbiguousWeights,
    AttestError,
    CallerError,
    MalformedWeights,
    OperationRefused,
    OutputError,
    RecipeInvalid,
    SourceChanged,
    SourceUnreadable,
)
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.publisher.conftest import expected_root, make_model, tensors, tree

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def parents(tmp_path: Path) -> tuple[Path, Path]:
    return make_model(tmp_path / "a", seed=1), make_model(tmp_path / "b", seed=2)


def recipe_text(*, weights: tuple[str, str] = ("0.6", "0.4"), normalize: str = "false", extra: str = "") -> str:
    return (
        "merge_method: linear\nmodels:\n"
        f"  - model: a\n    parameters: {{weight: {weights[0]}}}\n"
        f"  - model: b\n    parameters: {{weight: {weights[1]}}}\n"
        f"parameters: {{normalize: {normalize}}}\n" + (extra or "attest: {copy_from: a}\n")
    )


def run(folder: Path, text: str | None = None, **options: Any) -> MergeResult:
    (folder / "recipe.yml").write_text(text or recipe_text())
    return run_merge(read_recipe(folder / "recipe.yml"), folder / "out", device="cpu", **options)


def replace_weights(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    save_file(dict(weights), folder / "model.safetensors")


def blend(one: torch.Tensor, other: torch.Tensor, weights: tuple[float, float]) -> torch.Tensor:
    """merge §2 in torch: float32 coefficients, a float64 sum, rounded to float32 and then to the dtype."""
    w = torch.tensor(weights, dtype=torch.float32).double()
    return (w[0] * one.double() + w[1] * other.double()).float().to(one.dtype)


def test_blended_tensors_have_the_bits_that_torch_gives(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    result = run(tmp_path)
    merged, a, b = load_file(tmp_path / "out" / "model.safetensors"), tensors(1), tensors(2)
    assert merged.keys() == a.keys()
    for name in ("layers.0.weight", "layers.0.norm", "layers.0.bias"):
        expected = blend(a[name], b[name], (0.6, 0.4))
        assert (merged[name].dtype, merged[name].shape) == (expected.dtype, expected.shape)
        assert torch.equal(merged[name].view(torch.uint8), expected.view(torch.uint8))
    assert torch.equal(merged["positions"], torch.arange(10))
    assert merged["empty"].shape == (0, 3)
    assert (result.blended_tensors, result.copied_tensors, result.no_effect) == (4, 1, ())
    assert result.checkpoint_root.text == expected_root(tmp_path / "out" / "model.safetensors")


def test_the_record_says_what_was_done(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    result = run(tmp_path)
    record = json.loads((tmp_path / "out" / ".attest" / "steps" / "001.json").read_bytes())
    assert result.record_path == tmp_path / "out" / ".attest" / "steps" / "001.json"
    assert record["materials"] == [
        {
            "name": name,
            "digest": {"model-attest-checkpoint-v1": expected_root(tmp_path / name / "model.safetensors")[7:]},
        }
        for name in ("a", "b")
    ]
    coefficients = [{"decimal": "0.6", "float32": "3f19999a"}, {"decimal": "0.4", "float32": "3ecccccd"}]
    linear = {"op": "linear", "normalize": False, "coefficients": coefficients}
    assert record["step"] == {
        "id": "merge",
        "type": "merge",
        "profile": "linear/f64-v1",
        "inputs": ["a", "b"],
        "output": {"checkpointRoot": expected_root(tmp_path / "out" / "model.safetensors")},
        "operations": [
            linear | {"tensors": "rest", "dtype": "F32"},
            linear | {"tensors": ["layers.0.bias"], "dtype": "F16"},
            linear | {"tensors": ["layers.0.weight"], "dtype": "BF16"},
            {"op": "copy", "tensors": ["positions"], "from": "a"},
        ],
    }


def test_a_merge_is_signed_and_verified_at_level_3(
    tmp_path: Path, parents: tuple[Path, Path], signer: KeySigner
) -> None:
    run(tmp_path, max_shard_bytes=1_000_000)
    sign_folder(tmp_path / "out", signer)
    request = Request(
        LocalFolder(tmp_path / "out"),
        expected_signer=signer.public_key,
        parents={"a": LocalFolder(tmp_path / "a"), "b": LocalFolder(tmp_path / "b")},
        device="cpu",
    )
    report = verify(request)
    assert (report.verdict, report.level, report.findings) == ("VERIFIED", 3, [])


def test_every_byte_of_the_parents_is_read_once(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    seen: list[int] = []
    result = run(tmp_path, progress=seen.append)
    data_bytes = sum(tensor.nbytes for tensor in tensors(1).values())
    assert result.bytes_read == seen[-1] == 2 * data_bytes == total_bytes(read_recipe(tmp_path / "recipe.yml"))
    assert seen == sorted(seen)


def test_the_other_files_come_from_the_named_parent_alone(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    for name in (
        "attestation/manifest.json",
        ".attest/notes.json",
        ".git/config",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "onnx/model.onnx",
        "model.sig",
        "tokenizer.json",
    ):
        (parents[1] / name).parent.mkdir(parents=True, exist_ok=True)
        (parents[1] / name).write_text("x")
    result = run(tmp_path, recipe_text(extra="attest: {copy_from: b}\n"))
    out = tree(tmp_path / "out")
    assert sorted(out) == [
        ".attest/steps/001.json",
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert out["config.json"] == b'{"seed": 2}'
    assert result.copied_files == ("1_Pooling/config.json", "README.md", "config.json", "tokenizer.json")


def test_other_files_without_copy_from_are_an_error(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    for parent in parents:
        replace_weights(parent, {"w": torch.ones(3)})
    with pytest.raises(RecipeInvalid, match="a has files beside its weights") as raised:
        run(tmp_path, recipe_text(extra="\n"))
    assert raised.value.hint == "say whose go with the result: `attest: {copy_from: a}`"


def test_bare_weights_need_no_copy_from(tmp_path: Path) -> None:
    for name, value in [("a", 1.0), ("b", 2.0)]:
        (tmp_path / name).mkdir()
        save_file({"w": torch.full((3,), value)}, tmp_path / name / "model.safetensors")
    run(tmp_path, recipe_text(weights=("0.5", "0.5"), extra="\n"))
    assert load_file(tmp_path / "out" / "model.safetensors")["w"].tolist() == [1.5, 1.5, 1.5]


def test_conditions_and_out_dtype_choose_each_tensors_arithmetic(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    conditional = "[{filter: norm, value: 1}, {value: 0.25}]"
    extra = "attest: {copy_from: a}\nout_dtype: float32\n"
    run(tmp_path, recipe_text(weights=(conditional, "0.5"), normalize="true", extra=extra))
    merged, a, b = load_file(tmp_path / "out" / "model.safetensors"), tensors(1), tensors(2)
    norm = ((a["layers.0.norm"].double() + 0.5 * b["layers.0.norm"].double()) / 1.5).float()
    assert torch.equal(merged["layers.0.norm"], norm)
    weight = ((0.25 * a["layers.0.weight"].double() + 0.5 * b["layers.0.weight"].double()) / 0.75).float()
    assert torch.equal(merged["layers.0.weight"], weight)


def test_shards_have_an_index_and_the_same_root(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    whole = run(tmp_path)
    (tmp_path / "out").rename(tmp_path / "whole")
    sharded = run(tmp_path, max_shard_bytes=2000)
    files = [f"model-{number:05}-of-00004.safetensors" for number in (1, 2, 3, 4)]
    assert sharded.weight_files == tuple(files)
    assert sharded.checkpoint_root == whole.checkpoint_root
    assert expected_root(*(tmp_path / "out" / name for name in files)) == whole.checkpoint_root.text
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_bytes())
    stored = {name: file for file in files for name in load_file(tmp_path / "out" / file)}
    assert index["weight_map"] == stored
    assert index["metadata"] == {"total_size": sum(tensor.nbytes for tensor in tensors(1).values())}


def test_the_safetensors_library_reads_the_header_as_usual(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    run(tmp_path)
    path = tmp_path / "out" / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert sorted(file.keys()) == sorted(tensors(1))
    header_bytes = int.from_bytes(path.read_bytes()[:8], "little")
    assert header_bytes % 8 == 0


def test_the_output_does_not_depend_on_threads(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    one = run(tmp_path, threads=1)
    (tmp_path / "out").rename(tmp_path / "one")
    run(tmp_path, threads=5)
    assert tree(tmp_path / "one") == tree(tmp_path / "out")
    assert one.backend == "numba"


def test_three_parents_in_shards_of_their_own(tmp_path: Path) -> None:
    values = {"a": 1.0, "b": 2.0, "c": 4.0}
    for name, value in values.items():
        (tmp_path / name).mkdir()
        file = f"model-00001-of-0000{1 if name == 'b' else 2}.safetensors"
        save_file({"x": torch.full((300_000,), value)}, tmp_path / name / file)
        weight_map = {"x": file}
        if name != "b":
            save_file({"y": torch.full((5,), value)}, tmp_path / name / "model-00002-of-00002.safetensors")
            weight_map["y"] = "model-00002-of-00002.safetensors"
        else:
            save_file({"x": torch.full((300_000,), value), "y": torch.full((5,), value)}, tmp_path / name / file)
            weight_map["y"] = file
        (tmp_path / name / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    models = "".join(f"  - {{model: {name}, parameters: {{weight: 0.5}}}}\n" for name in values)
    result = run(tmp_path, f"merge_method: linear\nmodels:\n{models}parameters: {{normalize: false}}\n")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert (merged["x"].unique().tolist(), merged["y"].tolist()) == ([3.5], [3.5] * 5)
    assert [material.name for material in result.materials] == ["a", "b", "c"]


def test_a_parent_without_effect_is_named(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    result = run(tmp_path, recipe_text(weights=("1", "1e-60"), extra="attest: {copy_from: a}\n"))
    assert result.no_effect == ("b",)


def test_a_parent_called_merge_does_not_take_the_steps_name(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    parents[0].rename(tmp_path / "merge")
    text = recipe_text(extra="attest: {copy_from: merge}\n").replace("model: a", "model: merge")
    assert run(tmp_path, text).step.id == "merge-2"


def test_a_hub_snapshot_is_recorded_with_its_commit(
    tmp_path: Path, parents: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    entry = tmp_path / "hub" / "models--lab--base"
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text("1" * 40)
    (entry / "blobs").mkdir()
    (entry / "snapshots" / ("1" * 40)).mkdir(parents=True)
    (parents[0] / "model.safetensors").rename(entry / "blobs" / "weights")
    (entry / "snapshots" / ("1" * 40) / "model.safetensors").symlink_to("../../blobs/weights")
    text = recipe_text(extra="attest: {copy_from: b}\n").replace("model: a", "model: lab/base")
    materials = run(tmp_path, text).materials
    assert [(m.name, m.uri) for m in materials] == [("base", "pkg:huggingface/lab/base@" + "1" * 40), ("b", None)]


# What cannot be merged.


def without(name: str, seed: int = 2) -> Tensors:
    return {other: tensor for other, tensor in tensors(seed).items() if other != name}


@pytest.mark.parametrize(
    ("weights", "problem", "hint"),
    [
        (without("layers.0.norm"), r'"layers.0.norm" is missing from b', "copy_tensors"),
        (tensors(2) | {"extra": torch.zeros(1)}, '"extra" is missing from a', "copy_tensors"),
        (tensors(2) | {"layers.0.norm": torch.zeros(701)}, r"its shape is \[700\] in a and \[701\] in b", None),
        (tensors(2) | {"layers.0.norm": torch.zeros(700).int()}, "is I32 in b and cannot be blended", "copy_tensors"),
        (tensors(2) | {"layers.0.norm": torch.zeros(700).double()}, "is F64 in b and cannot", "copy_tensors"),
    ],
)
def test_parents_that_do_not_fit_are_an_error_that_names_the_tensor(
    tmp_path: Path, parents: tuple[Path, Path], weights: Tensors, problem: str, hint: str | None
) -> None:
    replace_weights(parents[1], weights)
    with pytest.raises(RecipeInvalid, match=problem) as raised:
        run(tmp_path)
    assert hint is None or hint in str(raised.value.hint)
    assert not (tmp_path / "out").exists()


def test_named_tensors_are_copied_whatever_the_other_parent_has(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    replace_weights(parents[1], without("layers.0.norm") | {"positions": torch.arange(12, dtype=torch.int32)})
    result = run(tmp_path, recipe_text(extra="attest: {copy_from: a, copy_tensors: [layers.0.norm]}\n"))
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(merged["layers.0.norm"], tensors(1)["layers.0.norm"])
    assert torch.equal(merged["positions"], torch.arange(10))
    assert result.copied_tensors == 2
    digest = result.materials[1].digest.checkpoint_root.text
    assert digest == expected_root(parents[1] / "model.safetensors")


def test_a_named_tensor_that_is_not_there_is_an_error(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    with pytest.raises(RecipeInvalid, match=r'"none" of `copy_tensors` is not in a'):
        run(tmp_path, recipe_text(extra="attest: {copy_from: a, copy_tensors: [none]}\n"))


def test_integers_without_copy_from_are_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        replace_weights(tmp_path / name, {"ids": torch.arange(3), "w": torch.ones(3)})
    with pytest.raises(RecipeInvalid, match=r'"ids" is I64 and cannot be blended') as raised:
        run(tmp_path, recipe_text(extra="\n"))
    assert "attest: copy_from" in str(raised.value.hint)


def test_parents_with_nothing_to_blend_are_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        replace_weights(tmp_path / name, {"ids": torch.arange(3)})
    with pytest.raises(RecipeInvalid, match="no tensor that can be blended"):
        run(tmp_path)


def test_a_tensor_without_a_weight_is_an_error(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    with pytest.raises(RecipeInvalid, match=r'"empty" has no weight for a') as raised:
        run(tmp_path, recipe_text(weights=("[{filter: layers, value: 1}]", "1")))
    assert "no `filter`" in str(raised.value.hint)


def test_weights_that_add_up_to_nothing_cannot_normalize(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    with pytest.raises(RecipeInvalid, match="add up to 0"):
        run(tmp_path, recipe_text(weights=("0.5", "-0.5"), normalize="true"))


@pytest.mark.parametrize(
    ("value", "weight", "code"), [(float("inf"), "0.6", "NONFINITE_INPUT"), (3e38, "2", "NONFINITE_OUTPUT")]
)
def test_weights_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, parents: tuple[Path, Path], value: float, weight: str, code: str
) -> None:
    replace_weights(parents[0], tensors(1) | {"layers.0.norm": torch.full((700,), value)})
    with pytest.raises(OperationRefused, match=r"layers\.0\.norm") as raised:
        run(tmp_path, recipe_text(weights=(weight, "0.4")))
    assert raised.value.code == code
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda a: os.truncate(a / "model.safetensors", 1000), MalformedWeights),
        (lambda a: (a / "model.safetensors").unlink(), AmbiguousWeights),
        (lambda a: (a / "other.safetensors").write_bytes(b""), MalformedWeights),
        (lambda a: (a / "model.safetensors.index.json").write_text("{}"), AmbiguousWeights),
        (lambda a: os.mkfifo(a / "pipe"), SourceUnreadable),
        (lambda a: (a / "link").symlink_to("/etc/passwd"), SourceUnreadable),
        (lambda a: (a / "back\\slash").touch(), AttestError),
        (lambda a: ((a / ".attest/steps").mkdir(parents=True), (a / ".attest/steps/001.json").touch()), AttestError),
    ],
)
def test_a_parent_that_cannot_be_read_is_named(
    tmp_path: Path, parents: tuple[Path, Path], spoil: Callable[[Path], object], error: type[AttestError]
) -> None:
    spoil(parents[0])
    with pytest.raises(error, match=r"\ba: "):
        run(tmp_path)
    assert_nothing_left(tmp_path)


# OUT, and interruption.


def assert_nothing_left(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "recipe.yml"]


def test_an_empty_folder_is_filled(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    (tmp_path / "out").mkdir()
    run(tmp_path)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out", "recipe.yml"]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(OutputError, match="already there"):
        run(tmp_path)
    assert tree(tmp_path / "out") == {"mine": b"x"}


def test_a_parents_own_folder_is_no_place_for_the_output(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    (tmp_path / "recipe.yml").write_text(recipe_text())
    with pytest.raises(CallerError, match="lies in the folder of the parent a"):
        run_merge(read_recipe(tmp_path / "recipe.yml"), tmp_path / "a" / "out", device="cpu")


def test_a_folder_that_does_not_exist_is_not_made_for_out(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    (tmp_path / "recipe.yml").write_text(recipe_text())
    with pytest.raises(OutputError, match="No such file or directory"):
        run_merge(read_recipe(tmp_path / "recipe.yml"), tmp_path / "none" / "out", device="cpu")


def test_keyboard_interrupt_leaves_nothing(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=interrupt)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("name", ["posix_fallocate", "pwrite", "fsync"])
def test_a_full_disk_leaves_nothing_and_names_the_place(
    tmp_path: Path, parents: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(OutputError, match=r"model\.safetensors: No space left on device") as raised:
        run(tmp_path)
    monkeypatch.undo()
    assert raised.value.hint == "free some space there and run it again"
    assert_nothing_left(tmp_path)


def test_a_file_system_that_cannot_promise_space_is_used_all_the_same(
    tmp_path: Path, parents: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    result = run(tmp_path)
    assert expected_root(tmp_path / "out" / "model.safetensors") == result.checkpoint_root.text


@pytest.mark.parametrize("name", ["_copy_files", "write_record", "sync_tree"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_a_failure_after_the_weights_leaves_nothing(
    tmp_path: Path,
    parents: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    failure: type[BaseException],
) -> None:
    def fail(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(merging, name, fail)
    with pytest.raises(failure):
        run(tmp_path)
    assert_nothing_left(tmp_path)


def test_a_parent_that_changes_meanwhile_leaves_nothing(tmp_path: Path, parents: tuple[Path, Path]) -> None:
    def change(_: int) -> None:
        with (parents[1] / "model.safetensors").open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x07")

    with pytest.raises(SourceChanged, match=r"model\.safetensors"):
        run(tmp_path, progress=change)
    assert_nothing_left(tmp_path)


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    size_bytes = 64 << 20
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        members = {"w": {"dtype": "BF16", "shape": [size_bytes // 2], "data_offsets": [0, size_bytes]}}
        header = json.dumps(members).encode()
        with (tmp_path / name / "model.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + size_bytes)  # sparse
    run(tmp_path, recipe_text(extra="\n"))  # once, so that compiled code does not count
    for path in sorted((tmp_path / "out").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    tracemalloc.start()
    try:
        run(tmp_path, recipe_text(extra="\n"), threads=2)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 24 << 20
