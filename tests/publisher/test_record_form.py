"""`attest record form`: what was done is seen from both folders, replayed, and chained to the steps before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model_attest.record.form import record_form
from model_attest.record.steps import read_records, record_of, write_record
from model_verify.errors import CallerError, NotReproduced
from model_verify.models import Material, MaterialDigest, StepOutput, TrainStep
from model_verify.sources.local import LocalFolder
from tests.hostile.forging import root_of

Tensors = dict[str, torch.Tensor]


def tensors() -> Tensors:
    generator = torch.Generator().manual_seed(3)
    made = {name: torch.randn(8, 4, generator=generator) for name in ("embed", "layers.0", "layers.1")}
    return {**made, "ids": torch.arange(6)}


def folder(path: Path, made: Tensors) -> LocalFolder:
    path.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in made.items()}, path / "model.safetensors")
    return LocalFolder(path)


def kinds(path: Path) -> list[str]:
    return [record.step.type for record in read_records(path)]


def test_a_cast_is_seen_and_replayed(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", tensors())
    half = {name: t.to(torch.bfloat16) if t.is_floating_point() else t for name, t in tensors().items()}
    after = folder(tmp_path / "b", half)
    result = record_form(before, after)
    (record,) = result.records
    assert json.loads(record.canonical())["step"] == {
        "id": "cast",
        "type": "cast",
        "inputs": ["a"],
        "output": {"checkpointRoot": root_of(tmp_path / "b")},
        "tensors": "floating",
        "dtype": "BF16",
    }
    assert result.path == tmp_path / "b/.attest/steps/001.json"
    assert (result.within, result.no_effect) == ((), ())


def test_all_of_it_at_once_is_a_chain_of_steps(tmp_path: Path) -> None:
    made = tensors()
    before = folder(tmp_path / "a", made)
    after = {"model.embed": made["embed"], "layers.0": made["layers.0"].half(), "layers.1": made["layers.1"]}
    record_form(before, folder(tmp_path / "b", after))
    steps = [record.step for record in read_records(tmp_path / "b")]
    assert [step.type for step in steps] == ["drop", "rename", "cast"]
    assert [step.inputs for step in steps] == [["a"], ["drop"], ["rename"]]
    assert steps[-1].output.checkpoint_root.text == root_of(tmp_path / "b")
    members = [json.loads(record.canonical())["step"] for record in read_records(tmp_path / "b")]
    assert members[0]["tensors"] == ["ids"]
    assert members[1]["names"] == {"embed": "model.embed"}
    assert members[2]["tensors"] == ["layers.0"]
    middle = folder(tmp_path / "middle", {name: t for name, t in made.items() if name != "ids"})
    assert members[0]["output"]["checkpointRoot"] == root_of(middle.root)


def test_the_same_tensors_are_a_reshard(tmp_path: Path) -> None:
    before, after = folder(tmp_path / "a", tensors()), folder(tmp_path / "b", tensors())
    record_form(before, after)
    assert kinds(tmp_path / "b") == ["reshard"]


def test_equal_tensors_are_renamed_one_by_one(tmp_path: Path) -> None:
    zero = torch.zeros(3)
    before = folder(tmp_path / "a", {"x": zero, "y": zero.clone()})
    record_form(before, folder(tmp_path / "b", {"p": zero, "q": zero.clone()}))
    (record,) = read_records(tmp_path / "b")
    assert json.loads(record.canonical())["step"]["names"] == {"x": "p", "y": "q"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda made: made["layers.0"].__setitem__((0, 0), 7.0), "layers.0: first difference at byte 0"),
        (lambda made: made.__setitem__("layers.0", made["layers.0"].half() * 3), "layers.0: first difference"),
        (lambda made: made.__setitem__("other", torch.ones(3)), "other: no tensor left of"),
        (lambda made: made.__setitem__("layers.0", made["layers.0"].double()), "layers.0: F32 became F64"),
        (lambda made: made.__setitem__("embed", made["embed"].T), "embed: "),
    ],
)
def test_what_is_something_else_is_not_recorded(tmp_path: Path, change: object, says: str) -> None:
    before, made = folder(tmp_path / "a", tensors()), tensors()
    change(made)  # type: ignore[operator]
    with pytest.raises(NotReproduced, match=says):
        record_form(before, folder(tmp_path / "b", made))
    assert not (tmp_path / "b/.attest").exists()


def train_record(path: Path, root: str) -> None:
    material = Material(name="base", digest=MaterialDigest.read({"model-attest-checkpoint-v1": "11" * 32}))
    output = StepOutput.read({"checkpointRoot": root})
    step = TrainStep(id="tune", type="train", inputs=["base"], output=output, trainable="all")
    write_record(path, record_of(step, [material]))


def test_the_steps_before_come_along(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", tensors())
    train_record(before.root, root_of(before.root))
    half = {name: t.half() if t.is_floating_point() else t for name, t in tensors().items()}
    record_form(before, folder(tmp_path / "b", half))
    records = read_records(tmp_path / "b")
    assert [(r.step.id, r.step.inputs) for r in records] == [("tune", ["base"]), ("cast", ["tune"])]
    assert [m.name for r in records for m in r.materials] == ["base"]


def test_records_of_other_weights_are_refused(tmp_path: Path) -> None:
    before, after = folder(tmp_path / "a", tensors()), folder(tmp_path / "b", tensors())
    train_record(before.root, "sha256:" + "22" * 32)
    with pytest.raises(CallerError, match="of other weights"):
        record_form(before, after)
    assert not (tmp_path / "b/.attest").exists()
