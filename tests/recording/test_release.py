"""A release from end to end: a merge, a real training of it, a cast; and what is found where nothing was trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from model_attest import cli
from model_attest.record import AttestCallback
from tests.recording.tiny import new_model, rows

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:(torch|transformers|accelerate)"),
]

Attest = Callable[..., tuple[int, dict[str, Any]]]

RECIPE = """
merge_method: linear
models:
  - model: ./base
    parameters: {weight: 0.6}
  - model: ./other
    parameters: {weight: 0.4}
parameters: {normalize: false}
attest: {copy_from: base}
"""


@pytest.fixture
def attest(capsys: pytest.CaptureFixture[str]) -> Attest:
    """Run a command with `--json` in this process; return its exit code and answer."""

    def run(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = cli.run([*(str(argument) for argument in arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def train(start: Path, out: Path) -> None:
    """Train a model for a few steps with transformers, recorded by the callback."""
    settings = TrainingArguments(
        output_dir=str(out),
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    model = AutoModelForCausalLM.from_pretrained(start)
    trainer = Trainer(model, settings, train_dataset=rows(), callbacks=[AttestCallback(start, data=[])])  # type: ignore[arg-type]
    trainer.train()
    trainer.save_model(str(out))


def cast(source: Path, out: Path) -> None:
    """Write the model in bfloat16 with other tools than ours."""
    out.mkdir()
    tensors = load_file(source / "model.safetensors")
    halved = {name: t.to(torch.bfloat16) if t.is_floating_point() else t for name, t in tensors.items()}
    save_file(halved, out / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(source / "config.json", out)


@pytest.fixture
def release(base: Path, home: Path, attest: Attest) -> Path:
    """Return the folder with `base`, `other`, `merged`, `trained`, the `release` with its records, and keys."""
    new_model(seed=11).save_pretrained(home / "other")
    (home / "recipe.yaml").write_text(RECIPE)
    if base != home / "base":
        shutil.copytree(base, home / "base")
    assert attest("keygen", "--out", home / "key")[0] == 0
    assert attest("merge", home / "recipe.yaml", home / "merged")[0] == 0
    train(home / "merged", home / "trained")
    for left_over in (home / "trained").glob("checkpoint-*"):
        shutil.rmtree(left_over)
    cast(home / "trained", home / "release")
    assert attest("record", "form", home / "trained", home / "release")[0] == 0
    return home


def parents(home: Path, *, trained: bool = True) -> list[str | Path]:
    given: list[str | Path] = ["--parent", f"base={home / 'base'}", "--parent", f"other={home / 'other'}"]
    return [*given, "--parent", f"train={home / 'trained'}"] if trained else given


def test_every_step_of_a_release_has_its_verdict(release: Path, attest: Attest) -> None:
    assert attest("sign", release / "release", "--key", release / "key")[0] == 0
    verify = ("verify", release / "release", "--key", release / "key.pub")
    code, report = attest(*verify, *parents(release))
    assert (code, report["verdict"], report["level"]) == (0, "VERIFIED", 2)
    assert [(step["type"], step["verdict"]) for step in report["steps"]] == [
        ("merge", "reproduced"),
        ("train", "attested"),
        ("cast", "reproduced"),
    ]
    assert report["headline"] == "VERIFIED level 2: training is the signer's word"
    assert report["steps"][1]["moved_elements"] > 0
    # Who does not have what came out of the training can check all steps but what follows it.
    code, report = attest(*verify, *parents(release, trained=False))
    assert (code, report["verdict"]) == (3, "INCOMPLETE")
    assert [step["verdict"] for step in report["steps"]] == ["reproduced", "attested", "unchecked"]


def test_a_wrong_upload_contradicts_the_training(release: Path, attest: Attest) -> None:
    """The published weights are the merge, cast; the record says that it was trained in between."""
    shutil.rmtree(release / "release")
    cast(release / "merged", release / "release")
    shutil.copytree(release / "trained/.attest", release / "release/.attest")
    code, answer = attest("sign", release / "release", "--key", release / "key")
    assert (code, answer["error"]["code"]) == (2, "CALLER_ERROR")  # the publisher's own tool sees it first


def test_a_release_whose_training_was_left_out_is_contradicted_before_the_cast(release: Path, attest: Attest) -> None:
    """Merge, training, cast are declared; what was cast is the merge, which the training is then said to have given."""
    shutil.copytree(release / "merged", release / "claimed")
    record = json.loads((release / "trained/.attest/steps/002.json").read_text())
    merge = json.loads((release / "merged/.attest/steps/001.json").read_text())
    record["step"]["output"] = merge["step"]["output"]
    record["step"].pop("record", None)
    (release / "claimed/.attest/steps/002.json").write_text(json.dumps(record))
    shutil.rmtree(release / "release")
    cast(release / "claimed", release / "release")
    assert attest("record", "form", release / "claimed", release / "release")[0] == 0
    assert attest("sign", release / "release", "--key", release / "key")[0] == 0
    verify = ("verify", release / "release", "--key", release / "key.pub", *parents(release, trained=False))
    for claimed in ([], ["--parent", f"train={release / 'claimed'}"]):
        code, report = attest(*verify, *claimed)
        assert (code, report["verdict"]) == (1, "REJECTED")
        assert [(step["type"], step["verdict"]) for step in report["steps"]] == [
            ("merge", "reproduced"),
            ("train", "contradicted"),
            ("cast", "unchecked"),  # of weights that nothing gave as it is said
        ]
        failures = {finding["code"] for finding in report["findings"] if finding["severity"] == "fail"}
        assert failures == {"TRAINING_NO_EFFECT"}


def test_a_merge_that_is_declared_as_trained_is_contradicted(release: Path, attest: Attest) -> None:
    """Somebody makes a record of a training that never happened: the output is the merge."""
    shutil.copytree(release / "merged", release / "claimed", ignore=shutil.ignore_patterns(".attest"))
    description = {"base": str(release / "merged"), "trainable": "all", "method": {"name": "full"}}
    (release / "training.json").write_text(json.dumps(description))
    code, _ = attest("record", "train", release / "training.json", release / "claimed")
    if code == 0:
        assert attest("sign", release / "claimed", "--key", release / "key")[0] == 0
    else:  # refused when it is recorded; so it is stated by hand
        record = json.loads((release / "trained/.attest/steps/002.json").read_text())
        merge = (release / "merged/.attest/steps/001.json").read_text()
        record["step"]["output"] = json.loads(merge)["step"]["output"]
        record["step"].pop("record", None)
        (release / "claimed/.attest/steps").mkdir(parents=True)
        (release / "claimed/.attest/steps/001.json").write_text(merge)
        (release / "claimed/.attest/steps/002.json").write_text(json.dumps(record))
        assert attest("sign", release / "claimed", "--key", release / "key")[0] == 0
    code, report = attest("verify", release / "claimed", "--key", release / "key.pub", *parents(release, trained=False))
    assert (code, report["verdict"]) == (1, "REJECTED")
    assert [step["verdict"] for step in report["steps"]] == ["reproduced", "contradicted"]
    assert {finding["code"] for finding in report["findings"] if finding["severity"] == "fail"} == {
        "TRAINING_NO_EFFECT"
    }
