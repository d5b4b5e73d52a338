"""Trainings described in files: what is taken, what is hashed, and everything that is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model_attest.record import read_records
from model_attest.record.training_file import record_training_file
from model_attest.sign import sign_folder
from model_verify.errors import AttestError, CallerError, RecipeInvalid, SourceError
from model_verify.models import TrainingRecord, TrainStep
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.models import new_signer, small_tensors, write_model
from tests.publisher.conftest import expected_root, tree

YAML = """\
# What the laboratory wrote down.
id: tune
base: {id: town, path: base}
teachers: {wise: big}
trainable: [norm.weight, embed.weight]
record:
  method: {name: lora, rank: 16, alpha: 32, targets: [q_proj, "v_proj"]}
  objective: distillation
  data:
    - {path: letters.jsonl, uri: "https://town.example/letters.jsonl"}
    - {name: minutes, revision: "3", rows: 12}
  code: {commit: 0123456789abcdef0123456789abcdef01234567, diff: none}
  hyperparameters: {learning_rate: 2e-5, warmup: 0.10, steps: 200, bf16: true, note: "yes"}
  seeds: {torch: 42, numpy: "18446744073709551615"}
  software: {megatron: 0.12.1, python: 3}
  hardware: {devices: [{name: NVIDIA H100, count: 64}], processes: 64}
  started: 2026-05-01T08:00:00Z
  finished: 2026-05-01T09:00:00Z
  checkpoints:
    - {step: 100, path: half}
    - {step: 150, checkpointRoot: "sha256:1111111111111111111111111111111111111111111111111111111111111111"}
  loss:
    points: [{step: 10, loss: 2.50}, {step: 20, loss: 2}, {step: 30, loss: nan}]
"""


@pytest.fixture
def lab(home: Path) -> Path:
    """Base, teacher, a checkpoint on the way, and the trained model."""
    write_model(home / "base", small_tensors(1))
    write_model(home / "big", small_tensors(2, elements=40))
    (home / "letters.jsonl").write_bytes(b"abc")
    for name, value in (("half", 0.5), ("tuned", 1.0)):
        tensors = load_file(home / "base" / "model.safetensors")
        tensors["embed.weight"] = tensors["embed.weight"] + np.float32(value)
        (home / name).mkdir()
        save_file(tensors, home / name / "model.safetensors")
    return home


def record(lab: Path, content: str | dict[str, Any], name: str = "training.yaml") -> TrainStep:
    (lab / name).write_text(content if isinstance(content, str) else json.dumps(content))
    step = record_training_file(lab / name, lab / "tuned").last.step
    assert isinstance(step, TrainStep)
    return step


def test_a_file_is_the_step_with_what_lies_at_its_paths(lab: Path) -> None:
    step = record(lab, YAML)
    assert (step.id, step.inputs, step.teachers) == ("tune", ["town", "wise"], ["wise"])
    assert step.trainable == ["embed.weight", "norm.weight"]
    assert step.output.checkpoint_root.text == expected_root(lab / "tuned" / "model.safetensors")
    stated = step.record
    assert stated is not None
    assert stated.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"checkpoints"}) == {
        "method": {"name": "lora", "rank": 16, "alpha": "32", "targets": ["q_proj", "v_proj"]},
        "objective": "distillation",
        "data": [
            {
                "name": "letters.jsonl",
                "uri": "https://town.example/letters.jsonl",
                "digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "digestOf": "file",
            },
            {"name": "minutes", "revision": "3", "rows": 12},
        ],
        "code": {"commit": "0123456789abcdef0123456789abcdef01234567", "diff": "none"},
        "hyperparameters": {"learning_rate": "2e-5", "warmup": "0.10", "steps": 200, "bf16": True, "note": "yes"},
        "seeds": {"torch": "42", "numpy": "18446744073709551615"},
        "software": {"megatron": "0.12.1", "python": "3"},
        "hardware": {"devices": [{"name": "NVIDIA H100", "count": 64}], "processes": 64},
        "started": "2026-05-01T08:00:00Z",
        "finished": "2026-05-01T09:00:00Z",
        "loss": {
            "logged": 3,
            "stride": 1,
            "points": [{"step": 10, "loss": "2.50"}, {"step": 20, "loss": "2"}, {"step": 30, "loss": "nan"}],
        },
    }
    assert [(one.step, one.checkpoint_root.text) for one in stated.checkpoints or ()] == [
        (100, expected_root(lab / "half" / "model.safetensors")),
        (150, "sha256:" + "1" * 64),
        (150, expected_root(lab / "tuned" / "model.safetensors")),
    ]
    assert [material.name for material in read_records(lab / "tuned")[0].materials] == ["town", "wise"]


def test_what_a_file_says_signs_and_verifies(lab: Path) -> None:
    record(lab, YAML)
    signer = new_signer()
    sign_folder(lab / "tuned", signer)
    parents = {"town": LocalFolder(lab / "base"), "wise": LocalFolder(lab / "big")}
    report = verify(
        Request(LocalFolder(lab / "tuned"), expected_signer=signer.public_key, parents=parents, device="cpu")
    )
    assert (report.verdict, report.level) == ("VERIFIED", 2)


def test_json_says_the_same_as_yaml(lab: Path) -> None:
    members = {"base": "base", "record": {"method": {"name": "full"}, "seeds": {"a": 1}, "loss": {"points": []}}}
    one = record(lab, members, "training.json")
    other = record(
        lab, "base: base\nrecord: {method: {name: full}, seeds: {a: 1}, loss: {points: []}}\n", "training.yml"
    )
    assert one == other


def test_the_least_that_can_be_said(lab: Path) -> None:
    step = record(lab, {"base": "base"}, "training.json")
    assert (step.id, step.inputs, step.trainable, step.record) == ("train", ["base"], "all", None)


def test_a_curve_of_any_length_is_thinned(lab: Path) -> None:
    points = [{"step": number, "loss": "1"} for number in range(5000)]
    step = record(lab, {"base": "base", "record": {"method": {"name": "full"}, "loss": {"points": points}}}, "t.json")
    assert isinstance(step.record, TrainingRecord)
    assert step.record.loss is not None
    assert (step.record.loss.logged, step.record.loss.stride, len(step.record.loss.points)) == (5000, 8, 626)


def minimal(**record: Any) -> dict[str, Any]:
    return {"base": "base", "record": {"method": {"name": "full"}, **record}}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "no `base`"),
        ([], "not an object"),
        ({"base": 1}, "`base` is not an object"),
        ({"base": {"path": "base", "root": "x"}}, "`base/root` has no meaning"),
        ({"base": {"id": "a"}}, "no `path`"),
        ({"base": {"id": "a b", "path": "base"}}, "no identifier"),
        ({"base": "nowhere"}, "neither a path nor a model"),
        ({"base": ""}, "empty path"),
        ({"base": "base", "inputs": ["a"]}, "`inputs` has no meaning"),
        ({"base": "base", "id": 7}, "`id` is not text"),
        ({"base": "base", "id": "x" * 65}, "no identifier"),
        ({"base": "base", "teachers": ["big"]}, "`teachers` is not an object"),
        ({"base": "base", "teachers": {"big": 1}}, "`teachers/big` is not text"),
        ({"base": "base", "teachers": {"base": "big"}}, "base"),
        ({"base": "base", "trainable": 7}, "trainable"),
        ({"base": "base", "trainable": []}, "trainable"),
        ({"base": "base", "trainable": ["nope"]}, "`nope` is called trainable"),
        ({"base": "base", "trainable": ["norm.weight"]}, "`embed.weight` has changed"),
        ({"base": "base", "record": []}, "`record` is not an object"),
        ({"base": "base", "record": {}}, "record/method"),
        (minimal(mood="good"), "`record/mood` has no meaning"),
        (minimal(method={"name": "full", "rank": 1}), "`record/method/rank` has no meaning"),
        (minimal(method={"name": "magic"}), "record/method"),
        (minimal(objective="distillation"), "a distillation without a teacher"),
        (minimal(data={"name": "x"}), "`record/data` is not a list"),
        (minimal(data=["x"]), "`record/data` is not an object"),
        (minimal(data=[{"name": "x", "path": "nowhere"}]), "does not exist"),
        (minimal(data=[{"path": "letters.jsonl", "digest": "sha256:" + "0" * 64}]), "both a path and a digest"),
        (minimal(data=[{"name": "x", "rwos": 1}]), "`record/data/1/rwos` has no meaning"),
        (minimal(data=[{"name": "x"}] * 1025), "record/data"),
        (minimal(code={"path": "base"}), "is in no repository"),
        (minimal(code="main"), "`record/code` is not an object"),
        (minimal(hyperparameters={"x": []}), "record/hyperparameters"),
        (minimal(hyperparameters={"x": "y" * 5000}), "record/hyperparameters"),
        (minimal(seeds=[1]), "`record/seeds` is not an object"),
        (minimal(seeds={"a": "x"}), "record/seeds"),
        (minimal(checkpoints={"step": 1}), "`record/checkpoints` is not a list"),
        (minimal(checkpoints=[{"step": 1}]), "either a `path` or a `checkpointRoot`"),
        (minimal(checkpoints=[{"step": "1", "path": "half"}]), "not a whole number"),
        (minimal(checkpoints=[{"step": True, "path": "half"}]), "not a whole number"),
        (minimal(checkpoints=[{"step": 1, "path": "half", "chain": "x"}]), "`record/checkpoints/chain` has no meaning"),
        (minimal(checkpoints=[{"step": 1, "path": "nowhere"}]), "does not exist"),
        (minimal(checkpoints=[{"step": 1, "checkpointRoot": "x"}]), "a digest is"),
        (minimal(checkpoints=[{"step": 2**53, "path": "half"}]), "2\\^53"),
        (minimal(checkpoints=[{"step": 2, "path": "half"}, {"step": 1, "path": "half"}]), "not in the order"),
        (minimal(loss={}), "no `points`"),
        (minimal(loss={"points": [{"step": 1, "loss": "x"}]}), "record/loss/points"),
        (minimal(loss={"points": [{"step": 1, "loss": "1", "x": 1}]}), "`record/loss/points/x` has no meaning"),
        (minimal(loss={"points": [{"step": 2, "loss": "1"}, {"step": 1, "loss": "1"}]}), "loss curve"),
        (minimal(loss={"points": [1]}), "`record/loss/points` is not an object"),
        (minimal(started="yesterday"), "record/started"),
        (minimal(started="2026-05-02T00:00:00Z", finished="2026-05-01T00:00:00Z"), "times"),
    ],
)
def test_what_a_file_gets_wrong_is_named(lab: Path, content: Any, problem: str) -> None:
    (lab / "training.json").write_text(json.dumps(content))
    before = tree(lab)
    with pytest.raises((CallerError, SourceError, AttestError), match=problem):
        record_training_file(lab / "training.json", lab / "tuned")
    assert tree(lab) == before


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("base: base\nbase: base\n", "line 2: `base` is there twice"),
        ("base: &x base\n", "anchors"),
        ("base: !!str base\n", "tags"),
        ("base: base\nrecord: {method: {name: full}, hyperparameters: {bf16: yes}}\n", "line 2: `yes` can be read"),
        ("base: base\nrecord: {method: {name: full}, hyperparameters: {lr: 1:30}}\n", "`1:30` can be read in two ways"),
        ("base: base\nrecord: {method: {name: full}, hyperparameters: {lr: 012}}\n", "`012` can be read in two ways"),
        ("base: base\nrecord:\n", "line 2: nothing is written"),
        ("", "empty"),
        ("- base\n", "not an object"),
        ("base: [" * 20, "nested deeper"),
        ("{\n", "line"),
    ],
)
def test_yaml_that_is_read_in_two_ways_is_refused(lab: Path, content: str, problem: str) -> None:
    with pytest.raises(RecipeInvalid, match=problem):
        record(lab, content)


@pytest.mark.parametrize("content", ["", "{", '{"base": 0.5}', '{"base": "\\ud800"}', '{"a": 1, "a": 1}', "[" * 100])
def test_json_that_is_none_is_refused(lab: Path, content: str) -> None:
    with pytest.raises(RecipeInvalid, match=r"training\.json"):
        record(lab, content, "training.json")


def test_a_file_of_another_kind_is_refused(lab: Path) -> None:
    (lab / "training.toml").write_text("")
    with pytest.raises(CallerError, match=r"let it end|neither JSON nor YAML"):
        record_training_file(lab / "training.toml", lab / "tuned")


def test_paths_are_relative_to_the_file(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab / "elsewhere").mkdir()
    monkeypatch.chdir(lab / "elsewhere")
    (lab / "training.yaml").write_text(YAML)
    record_training_file(lab / "training.yaml", lab / "tuned")
