"""`attest record` as people type it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model_attest.record import record_training
from tests.cli.conftest import Attest, Workplace
from tests.cli.making import flip


@pytest.fixture
def lab(made: Workplace, tmp_path: Path) -> Path:
    """`a` as the base, and `tuned`, which differs from it in one bit."""
    for name in ("a", "tuned"):
        shutil.copytree(made / "a", tmp_path / name)
    flip(tmp_path / "tuned" / "model.safetensors", -40_000)
    (tmp_path / "training.yaml").write_text("base: a\nrecord: {method: {name: full}, seeds: {torch: 42}}\n")
    return tmp_path


def test_a_training_is_recorded_signed_shown_and_verified(attest: Attest, made: Workplace, lab: Path) -> None:
    done = attest("record", "train", lab / "training.yaml", lab / "tuned")
    assert (done.code, done.err) == (0, "")
    root, step, material, where = done.out.splitlines()
    assert root.endswith(str(lab / "tuned"))
    assert step == "  by step train: train of a"
    assert material.startswith("  from a  sha256:")
    assert where == (
        f"  recorded in {lab}/tuned/.attest/steps/001.json: `attest sign {lab}/tuned --key KEY` absorbs it"
    )
    assert attest("sign", lab / "tuned", "--key", made / "lab").code == 0
    shown = attest("inspect", lab / "tuned").out
    assert "train on a, free to change: all tensors" in shown
    assert "seeds       torch 42" in shown
    report = attest("verify", lab / "tuned", *made.key, "--parent", f"a={lab / 'a'}")
    assert (report.code, report.out.splitlines()[0].split("  ")[0]) == (0, "VERIFIED level 2")
    assert "not checked: what is recorded of step train: data, code, settings, checkpoints, loss" in report.out


def test_the_answer_as_json(attest: Attest, lab: Path) -> None:
    document = attest("record", "train", lab / "training.yaml", lab / "tuned", "--json").document
    assert document["steps"][0]["record"]["seeds"] == {"torch": "42"}
    assert document["materials"][0]["name"] == "a"
    assert Path(document["record"]).exists()


def test_signing_past_an_unfinished_training_warns(attest: Attest, made: Workplace, lab: Path) -> None:
    record_training(lab / "tuned", lab / "a").log(1, 1.0)
    done = attest("sign", lab / "tuned", "--key", made / "lab")
    assert done.code == 0
    assert "warning: a training on record in" in done.err
    assert "steps     none" in done.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["record"], "missing command"),
        (["record", "nope"], "no such command `nope`"),
        (["record", "train"], "missing argument"),
        (["record", "train", "nowhere.yaml", "{lab}/tuned"], "no such file"),
        (["record", "train", "{lab}/training.yaml", "nowhere"], "does not exist"),
        (["record", "train", "{lab}/training.yaml", "{lab}/a"], "changed nothing"),
    ],
)
def test_what_cannot_be_recorded_is_an_error(attest: Attest, lab: Path, arguments: list[str], problem: str) -> None:
    done = attest(*(argument.format(lab=lab) for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert problem in done.err
