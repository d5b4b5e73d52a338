"""`record_training` in loops of every kind: ended, interrupted, resumed, distributed, threaded, and lied to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model_attest import placement
from model_attest.merge import run_merge
from model_attest.recipes.mergekit import read_recipe
from model_attest.record import data_set, read_records, record_training, write_record
from model_attest.record.progress import PROGRESS_PATH
from model_attest.sign import sign_folder
from model_verify.errors import CallerError, MalformedDocument, OutputError, SourceError
from model_verify.models import LoraTraining, TrainingRecord, TrainStep
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.models import RECIPE, new_signer, small_tensors, write_model
from tests.publisher.conftest import expected_root, tree


@pytest.fixture
def base(home: Path) -> Path:
    return write_model(home / "base", small_tensors(1))


def trained(folder: Path, *, steps: int = 1, name: str = "embed.weight", source: str = "base") -> Path:
    """Save the model as it is after some steps of a training."""
    tensors = load_file(folder.parent / source / "model.safetensors") if source else {}
    tensors[name] = tensors[name] + np.float32(steps)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def the_step(folder: Path) -> TrainStep:
    step = read_records(folder)[-1].step
    assert isinstance(step, TrainStep)
    return step


def the_record(folder: Path) -> TrainingRecord:
    record = the_step(folder).record
    assert record is not None
    return record


def test_a_loop_is_recorded(base: Path, home: Path) -> None:
    (home / "letters.jsonl").write_text("{}\n")
    method = LoraTraining(name="lora", rank=2, alpha="4", targets=["embed"])
    with record_training(
        "tuned", "base", method=method, objective="supervised", trainable=["norm.weight", "embed.weight"],
        data=["letters.jsonl", data_set(home / "base", name="a folder", revision="v1")],
        hyperparameters={"learning_rate": 2e-5, "betas": (0.9, 0.999), "warmup": None, "hub_token": "hf_" + "x" * 30},
        seeds={"torch": 2**64 - 1}, processes=4,
    ) as run:  # fmt: skip
        assert (home / "tuned" / PROGRESS_PATH).exists()
        assert read_records(home / "tuned") == []
        for step in (1, 2, 3):
            run.log(step, 1 / step)
        root = run.checkpoint(3, trained(home / "c3", steps=3))
        run.log(4, 0.25)
        trained(home / "tuned", steps=4)
    step, record = the_step(home / "tuned"), the_record(home / "tuned")
    assert step.inputs == ["base"]
    assert step.trainable == ["embed.weight", "norm.weight"]
    assert step.output.checkpoint_root.text == expected_root(home / "tuned" / "model.safetensors")
    assert [(one.step, one.checkpoint_root) for one in record.checkpoints or ()] == [
        (3, root),
        (4, step.output.checkpoint_root),
    ]
    assert record.loss is not None
    assert [(point.step, point.loss) for point in record.loss.points] == [
        (1, "1.0"), (2, "0.5"), (3, "0.3333333333333333"), (4, "0.25"),
    ]  # fmt: skip
    assert record.hyperparameters == {"learning_rate": "2e-05", "betas": "0.9, 0.999"}
    assert record.seeds == {"torch": "18446744073709551615"}
    assert record.method == method
    assert [(data.name, data.digest_of, data.revision) for data in record.data or ()] == [
        ("letters.jsonl", "file", None), ("a folder", "files", "v1"),
    ]  # fmt: skip
    assert record.hardware is not None
    assert record.hardware.processes == 4
    assert not (home / "tuned" / PROGRESS_PATH).exists()


def test_what_was_recorded_signs_and_verifies(base: Path, home: Path) -> None:
    with record_training("tuned", "base") as run:
        run.log(1, float("nan"))
        trained(home / "tuned")
    signer = new_signer()
    sign_folder(home / "tuned", signer)
    report = verify(
        Request(
            LocalFolder(home / "tuned"),
            expected_signer=signer.public_key,
            parents={"base": LocalFolder(base)},
            device="cpu",
        )
    )
    assert (report.verdict, report.level) == ("VERIFIED", 2)


def test_the_steps_of_a_merge_come_along(home: Path) -> None:
    for seed, name in enumerate("ab"):
        write_model(home / name, small_tensors(seed))
    (home / "recipe.yaml").write_text(RECIPE)
    run_merge(read_recipe(home / "recipe.yaml"), home / "merged", device="cpu")
    with record_training("tuned", "merged") as run:
        run.log(1, 1.0)
        trained(home / "tuned", source="merged")
    records = read_records(home / "tuned")
    assert [(record.step.id, record.step.inputs) for record in records] == [("merge", ["a", "b"]), ("train", ["merge"])]
    assert [[material.name for material in record.materials] for record in records] == [["a", "b"], []]
    signer = new_signer()
    sign_folder(home / "tuned", signer)
    parents = {name: LocalFolder(home / name) for name in "ab"}
    report = verify(
        Request(LocalFolder(home / "tuned"), expected_signer=signer.public_key, parents=parents, device="cpu")
    )
    assert [step.verdict for step in report.steps] == ["reproduced", "attested"]


def test_steps_that_gave_other_weights_do_not_come_along(base: Path, home: Path) -> None:
    with record_training("tuned", "base") as run:
        run.log(1, 1.0)
        trained(home / "tuned")
    trained(home / "tuned", steps=9)
    with record_training("again", "tuned") as run:
        run.log(1, 1.0)
        trained(home / "again", source="tuned")
    assert [record.step.inputs for record in read_records(home / "again")] == [["tuned"]]


def test_teachers_are_inputs(base: Path, home: Path) -> None:
    write_model(home / "big", small_tensors(5, elements=40))
    write_model(home / "small", small_tensors(6))
    with record_training("tuned", "base", teachers={"wise": "big", "old": "small"}, objective="distillation") as run:
        run.log(1, 1.0)
        trained(home / "tuned")
    step = the_step(home / "tuned")
    assert (step.inputs, step.teachers) == (["base", "wise", "old"], ["wise", "old"])
    assert [material.name for material in read_records(home / "tuned")[0].materials] == ["base", "wise", "old"]


def test_an_error_in_the_loop_leaves_no_step_and_the_training_goes_on_later(base: Path, home: Path) -> None:
    def fail() -> None:
        with record_training("tuned", "base") as run:
            for step in range(1, 6):
                run.log(step, 1.0)
            run.checkpoint(5, trained(home / "c5", steps=5))
            run.log(6, 2.0)
            run.checkpoint(7, trained(home / "c7", steps=7))
            trained(home / "tuned", steps=8)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read_records(home / "tuned") == []
    before = json.loads((home / "tuned" / PROGRESS_PATH).read_bytes())
    with record_training("tuned", "base", resume_from=5) as run:
        assert run.last_checkpoint == 5
        run.log(6, 0.5)
        run.checkpoint(8, trained(home / "c8", steps=80))
        trained(home / "tuned", steps=90)
    record = the_record(home / "tuned")
    assert [one.step for one in record.checkpoints or ()] == [5, 8, 8]
    assert record.loss is not None
    assert (record.loss.logged, record.loss.points[-1].loss) == (6, "0.5")
    assert record.started == before["started"]
    assert [one.step for one in record.resumed or ()] == [5]


def test_a_process_that_is_killed_leaves_whole_files(base: Path, home: Path) -> None:
    """Killed at any moment, there is a progress that can be read, and no step."""
    script = """
import os, signal, sys
from model_attest.record import record_training
run = record_training("tuned", "base", code=None)
print("begun", flush=True)
for step in range(1, 10**9):
    run.log(step, 1 / step)
    run.checkpoint(step, "base")
"""
    for delay_lines in range(3):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        threading.Event().wait(0.05 + 0.07 * delay_lines)
        child.kill()
        child.wait()
        child.stdout.close()
        members = json.loads((home / "tuned" / PROGRESS_PATH).read_bytes())
        last = members["checkpoints"][-1]["step"] if members["checkpoints"] else 0
        run = record_training("tuned", "base", resume_from=max(last, 1), code=None)
        assert run.last_checkpoint in (last, None)
        assert read_records(home / "tuned") == []


def test_only_the_first_process_records(base: Path, home: Path) -> None:
    script = """
from model_attest.record import record_training
with record_training("tuned", "base", code=None) as run:
    run.log(1, 1.0)
    assert (run.checkpoint(1, "c1") is None) is not run.is_writer
"""
    trained(home / "tuned")
    trained(home / "c1")
    for rank in ("1", "3", "0"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "RANK": rank, "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert (home / "tuned" / ".attest").exists() is (rank == "0")
    assert len(read_records(home / "tuned")) == 1


def test_losses_may_come_from_several_threads(base: Path, home: Path) -> None:
    run = record_training("tuned", "base")
    threads = [threading.Thread(target=lambda: [run.log(1, 1.0) for _ in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trained(home / "tuned")
    run.finish()
    loss = the_record(home / "tuned").loss
    assert loss is not None
    assert loss.logged == 16_000
    assert len(loss.points) <= 1024


def test_one_training_saved_in_two_folders_is_recorded_in_both(base: Path, home: Path) -> None:
    with record_training("tuned", "base") as run:
        run.log(3, 1.0)
        trained(home / "tuned")
        trained(home / "copy")
        run.finish()
        run.finish("copy")
    assert read_records(home / "tuned") == read_records(home / "copy")


def test_nothing_follows_the_end(base: Path, home: Path) -> None:
    run = record_training("tuned", "base")
    run.log(1, 1.0)
    trained(home / "tuned")
    run.finish()
    for act in (lambda: run.log(2, 1.0), lambda: run.checkpoint(2, "tuned")):
        with pytest.raises(CallerError, match="recorded already"):
            act()


def test_steps_do_not_go_back(base: Path, home: Path) -> None:
    run = record_training("tuned", "base")
    run.log(10, 1.0)
    with pytest.raises(CallerError, match="step 9 after step 10"):
        run.log(9, 1.0)


@pytest.mark.parametrize("step", [-1, 2**53, 1.5, "1", True, None])
def test_what_is_no_number_of_steps_is_refused(base: Path, home: Path, step: Any) -> None:
    with pytest.raises(CallerError, match="no number of steps"):
        record_training("tuned", "base").log(step, 1.0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"norm.weight": None}, "changed nothing"),
        ({"norm.weight": np.zeros(4, np.float32)}, "`norm.weight` has changed and is not called trainable"),
        ({"norm.weight": np.zeros(4, np.int16)}, r"`norm.weight` was F16 \[4\] and is I16 \[4\]"),
        ({"norm.weight": np.zeros(5, np.float16)}, r"`norm.weight` was F16 \[4\] and is F16 \[5\]"),
        ({"embed.weight": np.zeros((25, 4), np.float32)}, r"`embed.weight` was F32 \[24, 4\] and is F32 \[25, 4\]"),
        ({"more": np.zeros(1, np.float32)}, "`more` was no such tensor"),
        ({"norm.weight": np.zeros(4, np.float16)}, "`norm.weight` has changed and is not called trainable"),
        ({}, "changed nothing"),
    ],
)
def test_what_no_training_gives_is_refused_by_name(
    base: Path, home: Path, change: dict[str, Any], problem: str
) -> None:
    tensors = {**load_file(base / "model.safetensors"), **change}
    (home / "tuned").mkdir()
    save_file({name: data for name, data in tensors.items() if data is not None}, "tuned/model.safetensors")
    run = record_training("tuned", "base", trainable=["embed.weight"])
    run.log(1, 1.0)
    with pytest.raises(CallerError, match=problem):
        run.finish()
    assert read_records(home / "tuned") == []
    trained(home / "tuned")
    run.finish()  # what was recorded is still there
    assert len(read_records(home / "tuned")) == 1


def test_what_loading_did_to_the_base_are_steps_of_their_own(base: Path, home: Path) -> None:
    """A tensor that the model does not have, and everything in another format: drop and cast, and then the training."""
    tensors = load_file(base / "model.safetensors")
    del tensors["position_ids"]
    tensors = {name: data.astype(np.float32) for name, data in tensors.items()}
    with record_training("tuned", "base", trainable=["norm.weight"], name="tune") as run:
        assert run.chain is None
        run.checkpoint(0, saved(home / "start", tensors))
        first = run.chain
        tensors["norm.weight"] += np.float32(0.1)
        saved(home / "tuned", tensors)
    records = read_records(home / "tuned")
    assert [(record.step.id, record.step.inputs) for record in records] == [
        ("drop", ["base"]), ("cast", ["drop"]), ("tune", ["cast"]),
    ]  # fmt: skip
    assert records[1].step.output.checkpoint_root.text == expected_root(home / "start" / "model.safetensors")
    checkpoints = the_record(home / "tuned").checkpoints or []
    assert checkpoints[0].chain.text == first
    signer = new_signer()
    sign_folder(home / "tuned", signer)
    given = {"base": LocalFolder(base)}
    report = verify(Request(LocalFolder(home / "tuned"), signer.public_key, parents=given, device="cpu"))
    assert [step.verdict for step in report.steps] == ["reproduced", "reproduced", "attested"]


def saved(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_a_base_in_the_hubs_cache_is_named_by_its_commit(
    base: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = home / "cache" / "models--lab--town-7b"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(base, repository / "snapshots" / commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "cache"))
    for reference in ("lab/town-7b", f"lab/town-7b@{commit}"):
        with record_training("tuned", reference) as run:
            run.log(1, 1.0)
            trained(home / "tuned")
        (material,) = read_records(home / "tuned")[0].materials
        assert (material.name, material.uri) == ("town-7b", f"pkg:huggingface/lab/town-7b@{commit}")


def test_a_distillation_without_a_teacher_does_not_begin(base: Path, home: Path) -> None:
    with pytest.raises(CallerError, match="names its teacher"):
        record_training("tuned", "base", objective="distillation")


def test_an_adapter_shares_no_tensor_with_its_base(base: Path, home: Path) -> None:
    trained(home / "tuned")
    with pytest.raises(CallerError, match=r"`embed\.weight` is in the adapter and in what it was trained on"):
        record_training("tuned", "base", trainable="adapter").finish()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"base": "nowhere"}, "neither a path nor a model"),
        ({"base": ""}, "empty path"),
        ({"base": "letters.txt"}, "no folder, no safetensors or GGUF file"),
        ({"name": "a b"}, "no identifier"),
        ({"base_name": "x" * 65}, "no identifier"),
        ({"teachers": ["nowhere"]}, "neither a path"),
        ({"data": "nowhere.jsonl"}, "does not exist"),
    ],
)
def test_what_cannot_be_recorded_is_said_before_the_training(
    base: Path, home: Path, arguments: dict[str, Any], problem: str
) -> None:
    (home / "letters.txt").write_text("x")
    before = tree(home)
    with pytest.raises((CallerError, SourceError), match=problem):
        record_training("tuned", **{"base": "base", **arguments})
    assert tree(home) == before


def test_two_inputs_of_one_name_are_refused(base: Path, home: Path) -> None:
    write_model(home / "other" / "base", small_tensors(3))
    trained(home / "tuned")
    with pytest.raises((CallerError, MalformedDocument), match="base"):
        record_training("tuned", "base", teachers=["other/base"]).finish()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"schema": "https://model-attest.github.io/training-progress/v1"}', b"\xff", b"[" * 100],
)
def test_a_progress_that_is_none_is_named(base: Path, home: Path, content: bytes) -> None:
    path = home / "tuned" / PROGRESS_PATH
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(MalformedDocument, match=r"training\.json"):
        record_training("tuned", "base", resume_from=3)
    record_training("tuned", "base")  # anew, it does not matter


def test_a_full_disk_is_said_and_what_was_there_stays(base: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = record_training("tuned", "base")
    before = tree(home / "tuned")

    def fail(path: Path, data: bytes, *, mode: int = 0o666) -> None:
        path.write_bytes(data[:3])
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(placement, "write_synced", fail)
    monkeypatch.setattr("model_attest.record.progress.write_synced", fail)
    with pytest.raises(OutputError, match="No space left"):
        run.checkpoint(1, base)
    assert tree(home / "tuned") == before


def test_records_of_weights_that_were_there_before_are_set_aside(base: Path, home: Path) -> None:
    with record_training("elsewhere", "base") as run:
        run.log(1, 1.0)
        trained(home / "elsewhere", steps=5)
    (home / "tuned").mkdir()
    write_record(home / "tuned", read_records(home / "elsewhere")[0])
    with record_training("tuned", "base", name="anew") as run:
        run.log(1, 1.0)
        trained(home / "tuned")
    assert [record.step.id for record in read_records(home / "tuned")] == ["anew"]
    (aside,) = (home / "tuned" / ".attest").glob("replaced-*")
    assert (aside / "001.json").exists()


def test_settings_of_any_kind_are_recorded_safely(base: Path, home: Path) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    hyperparameters = {
        "surrogate": "a\ud800b", "nul": "\x00", "long": "x" * 10_000, "huge": 10**400, "nan": float("nan"),
        "odd": Odd(), "nested": {"a": {"b": 1}}, "list": [1, 2.5, None], "bytes": b"\xff", "key\ud800": True,
        "numpy": np.float32(0.1), "": "nameless", **{f"many{number}": number for number in range(2000)},
    }  # fmt: skip
    with record_training("tuned", "base", hyperparameters=hyperparameters) as run:
        run.log(1, 1.0)
        trained(home / "tuned")
    found = the_record(home / "tuned").hyperparameters or {}
    assert len(found) == 1024
    assert found["surrogate"] == "a\\ud800b"
    assert found["key\\ud800"] is True
    assert found["nan"] == "nan"
    assert found["odd"] == "a Odd that has no text"
    assert found["nested.a.b"] == 1
    assert str(found["long"]).endswith("x…")
    assert len(str(found["long"])) == 4096
    assert found["list"] == "1, 2.5, None"
