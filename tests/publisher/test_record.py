"""Working records of steps."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from model_attest import placement
from model_attest.record import merge_materials, read_records, write_record
from model_verify.errors import MalformedDocument, OutputError, SourceError
from model_verify.models import StepRecord
from tests.publisher.conftest import tree

ROOT = "a" * 64


def members(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema": "https://model-attest.github.io/step-record/v1",
        "materials": [{"name": "base", "digest": {"model-attest-checkpoint-v1": ROOT}}],
        "step": {
            "id": "train",
            "type": "train",
            "inputs": ["base"],
            "output": {"checkpointRoot": "sha256:" + "b" * 64},
            "trainable": "all",
        },
    }
    return document | changes


def recorded(**record: Any) -> dict[str, Any]:
    """Return a step record whose training has a record."""
    return members(step=members()["step"] | {"record": {"method": {"name": "full"}} | record})


def record(**changes: Any) -> StepRecord:
    return StepRecord.model_validate(members(**changes))


def put(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / ".attest" / "steps" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_records_are_numbered_and_read_in_order(tmp_path: Path) -> None:
    ids = [f"step-{number}" for number in range(12)]
    for step_id in ids:
        write_record(tmp_path, record(step=members()["step"] | {"id": step_id}))
    assert sorted(tree(tmp_path))[::11] == [".attest/steps/001.json", ".attest/steps/012.json"]
    assert [found.step.id for found in read_records(tmp_path)] == ids


def test_numbers_are_compared_as_numbers(tmp_path: Path) -> None:
    for number, step_id in [("1000", "last"), ("999", "middle"), ("002", "first")]:
        put(tmp_path, f"{number}.json", json.dumps(members(step=members()["step"] | {"id": step_id})))
    assert [found.step.id for found in read_records(tmp_path)] == ["first", "middle", "last"]
    assert write_record(tmp_path, record()).name == "1001.json"


def test_a_folder_without_records_has_none(tmp_path: Path) -> None:
    assert read_records(tmp_path) == []


def test_a_record_is_canonical_json_on_a_line(tmp_path: Path) -> None:
    path = write_record(tmp_path, record())
    assert path.read_bytes() == json.dumps(members(), sort_keys=True, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ('{"schema": 1, "schema": 1}', "twice"),
        ("[" * 100 + "]" * 100, "nested deeper"),
        (json.dumps(members(schema="x")), "schema"),
        (json.dumps(members(extra=1)), "extra"),
        (json.dumps(members(step=members()["step"] | {"type": "magic"})), "step"),
        (json.dumps(members(step=members()["step"] | {"note": "x"})), "does not know"),
        (json.dumps(members(materials=[members()["materials"][0] | {"licence": "MIT"}])), "does not know"),
        (json.dumps(members(step=members()["step"] | {"parameters": {"lr": "1"}})), "does not know: step/parameters"),
        (json.dumps(members(step=members()["step"] | {"record": {}})), "step/train/record/method"),
        (json.dumps(recorded(loss={"logged": 1, "stride": 1, "points": [{"step": 1, "loss": 2}]})), "loss"),
        (json.dumps(recorded(code={"diff": "none", "branch": "main"})), "does not know: step/record/code/branch"),
        (json.dumps(recorded(data=[{"name": "x"}, {"name": "y", "rwos": 1}])), "know: step/record/data/2/rwos"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, content: str | bytes, problem: str) -> None:
    put(tmp_path, "001.json", json.dumps(members()))
    put(tmp_path, "002.json", content)
    with pytest.raises(MalformedDocument, match=rf"\.attest/steps/002\.json: .*{problem}"):
        read_records(tmp_path)


@pytest.mark.parametrize("name", ["1.json", "x.json", "sub/001.json"])
def test_a_misnamed_record_is_not_passed_over(tmp_path: Path, name: str) -> None:
    put(tmp_path, "001.json", json.dumps(members()))
    (tmp_path / ".attest" / "steps" / name).parent.mkdir(exist_ok=True)
    put(tmp_path, name, json.dumps(members()))
    with pytest.raises(MalformedDocument, match=r"named like 001\.json"):
        read_records(tmp_path)


def test_what_an_editor_leaves_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "001.json", json.dumps(members()))
    put(tmp_path, "001.json~", "x")
    put(tmp_path, ".001.json.swp", "x")
    assert len(read_records(tmp_path)) == 1


def test_a_fifo_is_no_record(tmp_path: Path) -> None:
    put(tmp_path, "001.json", json.dumps(members()))
    os.mkfifo(tmp_path / ".attest" / "steps" / "002.json")
    with pytest.raises(MalformedDocument, match=r"002\.json"):
        read_records(tmp_path)


def test_a_huge_record_is_refused_unread(tmp_path: Path) -> None:
    put(tmp_path, "001.json", "")
    os.truncate(tmp_path / ".attest" / "steps" / "001.json", 1 << 40)
    with pytest.raises(SourceError, match="over the limit"):
        read_records(tmp_path)


def test_a_full_disk_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: bytes, *, mode: int = 0o666) -> None:
        path.write_bytes(data[:3])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(placement, "write_synced", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_record(tmp_path, record())
    assert tree(tmp_path) == {}


def material(name: str, root: str = ROOT, uri: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "digest": {"model-attest-checkpoint-v1": root}}
    return found if uri is None else found | {"uri": uri}


def test_materials_of_several_records_come_once_and_in_order() -> None:
    records = [record(materials=[material("b"), material("a")]), record(materials=[material("a", uri="pkg:x/y")])]
    merged = merge_materials(records)
    assert [(found.name, found.uri) for found in merged] == [("b", None), ("a", "pkg:x/y")]


def test_one_identifier_for_two_roots_is_an_error() -> None:
    with pytest.raises(MalformedDocument, match=f"material a is sha256:{ROOT} .* sha256:{'c' * 64}"):
        merge_materials([record(materials=[material("a")]), record(materials=[material("a", "c" * 64)])])


def test_one_identifier_for_two_uris_is_an_error() -> None:
    with pytest.raises(MalformedDocument, match="pkg:x/y in one record and pkg:x/z in another"):
        merge_materials([record(materials=[material("a", uri=f"pkg:x/{name}")]) for name in "yz"])
