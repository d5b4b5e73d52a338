"""The demo is real: its verdicts come from folders, and it notices a verifier that is wrong."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest

from model_attest import cli
from model_attest.demo import run_demo
from model_attest.demo.play import DemoResult, draw_coefficients, play
from model_verify import procedure
from model_verify.errors import AttestError, OutputError
from model_verify.report import Report

SEED = 20260


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "kept"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def result(stage: Path, lines: list[str]) -> DemoResult:
    return play(stage, seed=SEED, write=lines.append)


def report_of(result: DemoResult, name: str) -> Report:
    (report,) = [outcome.report for outcome in result.outcomes if outcome.name == name]
    return report


def failures(report: Report) -> list[str]:
    return [finding.code for finding in report.findings if finding.severity == "fail"]


def test_the_merge_is_verified_at_level_3(result: DemoResult) -> None:
    report = report_of(result, "merge")
    assert (report.verdict, report.level, report.exit_code) == ("VERIFIED", 3, 0)
    assert [step.verdict for step in report.steps] == ["reproduced"]
    assert report.coverage is not None
    assert report.coverage.bytes_reproduced == report.coverage.bytes > 400_000


def test_the_flipped_bit_is_found_in_its_place(result: DemoResult, stage: Path) -> None:
    report = report_of(result, "flipped bit")
    assert report.verdict == "REJECTED"
    assert failures(report) == ["TENSOR_MISMATCH"]
    (finding,) = [finding for finding in report.findings if finding.severity == "fail"]
    assert re.search(r"first difference at byte \d+, 1 element differs, by up to 1 ULP$", finding.actual)
    signed, flipped = ((stage / name / "model.safetensors").read_bytes() for name in ("merged", "flipped-bit"))
    changed = [one ^ other for one, other in zip(signed, flipped, strict=True) if one != other]
    assert changed == [1]


def test_the_blend_is_believed_to_be_training_where_nothing_is_compared(result: DemoResult) -> None:
    report = report_of(result, "claimed training")
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert "training is the signer's word" in report.headline
    assert "UNDECLARED_PARENTS_NOT_TESTED" in {finding.code for finding in report.findings}


def test_the_blend_is_exposed_with_the_coefficients_in_the_recipe(result: DemoResult, stage: Path) -> None:
    report = report_of(result, "exposed training")
    assert report.verdict == "REJECTED"
    assert failures(report) == ["TRAINING_EQUALS_BLEND"]
    (trial,) = report.steps[0].trials
    assert trial.equal
    written = re.findall(r"weight: (0\.\d\d)", (stage / "recipe.yaml").read_text())
    assert [Decimal(text) for text in trial.coefficients or []] == [Decimal(text) for text in written]
    assert written == list(result.coefficients)


def test_a_real_step_of_training_on_the_blend_is_not_contradicted(result: DemoResult) -> None:
    report = report_of(result, "real step")
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    (trial,) = report.steps[0].trials
    assert (trial.coefficients, trial.equal) == (None, False)
    assert [float(text) for text in trial.estimated] == pytest.approx([float(c) for c in result.coefficients], abs=0.02)


def test_the_real_step_declared_as_it_was_replays_the_merge(result: DemoResult) -> None:
    report = report_of(result, "honest history")
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert [(step.type, step.verdict) for step in report.steps] == [("merge", "reproduced"), ("train", "attested")]
    assert (report.steps[1].moved_elements or 0) > 1000


def test_the_wrong_checkpoint_is_rejected(result: DemoResult, stage: Path) -> None:
    report = report_of(result, "wrong upload")
    assert report.verdict == "REJECTED"
    assert failures(report).count("TENSOR_MISMATCH") > 20
    weights = [(stage / name / "model.safetensors").read_bytes() for name in ("wrong-upload", "parent-a")]
    assert weights[0] == weights[1]


def test_everything_was_as_expected_and_said_so(result: DemoResult, lines: list[str]) -> None:
    assert result.exit_code == 0
    assert len(result.outcomes) == 7
    assert any(line.startswith("all 7 verdicts as expected") for line in lines)
    assert not any("FAIL" in line for line in lines)
    for outcome in result.outcomes:
        assert f"  says  {outcome.report.headline}" in lines


def test_training_made_each_parent_better_at_its_text_than_the_base(result: DemoResult, lines: list[str]) -> None:
    found = {
        line.split()[1]: [float(number) for number in re.findall(r"\d\.\d\d", line)]
        for line in lines
        if line.startswith("  did   ") and "loss on Alice" in line
    }
    assert found["base"][1] < found["base"][0] - 1
    assert found["parent-a"][1] < found["base"][1] - 0.2
    assert found["parent-b"][3] < found["base"][3] - 0.2


def test_the_commands_it_prints_give_the_same_verdicts(
    result: DemoResult, stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stage)
    for outcome in result.outcomes:
        words = shlex.split(outcome.command)
        assert words[:2] == ["attest", "verify"]
        assert cli.run(words[1:]) == outcome.report.exit_code


def test_a_seed_gives_the_same_models_and_coefficients_again(result: DemoResult, stage: Path, tmp_path: Path) -> None:
    again = play(tmp_path, seed=SEED, write=lambda line: None)
    assert again.coefficients == result.coefficients
    for name in ("parent-a", "parent-b", "merged", "flipped-bit"):
        assert (tmp_path / name / "model.safetensors").read_bytes() == (stage / name / "model.safetensors").read_bytes()


def test_coefficients_are_drawn_from_the_whole_range() -> None:
    import random

    drawn = {draw_coefficients(random.Random(seed)) for seed in range(2000)}
    assert len(drawn) == 61
    assert min(drawn) == ("0.20", "0.80")
    assert max(drawn) == ("0.80", "0.20")


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of something else than training."""
    monkeypatch.setattr("model_attest.demo.publishing._BASE_STEPS", 10)
    monkeypatch.setattr("model_attest.demo.publishing._PARENT_STEPS", 20)


@pytest.mark.usefixtures("short_training")
class TestLyingVerifiers:
    """Whatever a broken verifier says, the demo must not pass."""

    def play_with(self, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]) -> tuple[int, list[str]]:
        truthful = procedure.verify

        def lying(request: procedure.Request) -> Report:
            return truthful(request).model_copy(update=changes)

        monkeypatch.setattr(procedure, "verify", lying)
        lines: list[str] = []
        return run_demo(seed=SEED, write=lines.append).exit_code, lines

    def test_one_that_verifies_everything_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        code, lines = self.play_with(monkeypatch, {"verdict": "VERIFIED", "level": 3, "findings": []})
        assert code == 1
        assert "  FAIL  not as expected: the verdict is REJECTED" in lines
        assert any("NOT as expected" in line for line in lines)

    def test_one_that_rejects_everything_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        code, lines = self.play_with(monkeypatch, {"verdict": "REJECTED", "level": None})
        assert code == 1
        assert "  FAIL  not as expected: the verdict is VERIFIED level 3" in lines

    def test_one_that_rejects_without_a_reason_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        truthful = procedure.verify

        def lying(request: procedure.Request) -> Report:
            report = truthful(request)
            return report.model_copy(update={"findings": []}) if report.verdict == "REJECTED" else report

        monkeypatch.setattr(procedure, "verify", lying)
        assert run_demo(seed=SEED, write=lambda line: None).exit_code == 1


@pytest.mark.usefixtures("short_training")
def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lines: list[str] = []
    assert run_demo(seed=SEED, write=lines.append).exit_code == 0
    assert list(tmp_path.iterdir()) == []
    assert lines[-1].startswith("`attest demo --out DIR` keeps the folders")


def test_the_option_that_keeps_the_folders_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert cli.run(["demo", "--out", str(tmp_path)]) == 2
    assert "already there" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="already there"):
        run_demo(tmp_path, seed=SEED, write=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(AttestError) as caught:
        run_demo(write=lambda line: None)
    assert caught.value.hint == "`pip install 'model-attest[replay]'`"


@pytest.mark.usefixtures("short_training")
def test_an_attack_that_does_not_happen_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders are what counts: without the wrong upload the verifier rightly accepts, and nothing was caught."""
    copy = shutil.copyfile

    def withhold(source: str | Path, target: str | Path, *, follow_symlinks: bool = True) -> object:
        swaps = "parent-a" in str(source) and "wrong-upload" in str(target)
        return target if swaps else copy(source, target, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(shutil, "copyfile", withhold)
    lines: list[str] = []
    assert run_demo(seed=SEED, write=lines.append).exit_code == 1
    assert lines.count("  FAIL  not as expected: the verdict is REJECTED") == 1
    assert "1 of 7 verdicts NOT as expected" in lines[-2]


def test_the_result_as_a_document_has_every_report(result: DemoResult) -> None:
    document = json.loads(json.dumps(result.document()))
    assert document["as_expected"] is True
    assert [outcome["report"]["verdict"] for outcome in document["outcomes"]] == [
        "VERIFIED", "REJECTED", "VERIFIED", "REJECTED", "VERIFIED", "VERIFIED", "REJECTED",
    ]  # fmt: skip
