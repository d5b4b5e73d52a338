"""`attest record mergekit`: what mergekit made is found again, and what it did not make is not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_attest.recipes import read_recipe
from model_attest.record import trials
from model_attest.record.form import record_form
from model_attest.record.mergekit import RecordedMerge, record_merge
from model_attest.sign import sign_folder
from model_verify.errors import AmbiguousWeights, CallerError, MalformedWeights, RecipeInvalid
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.cli.making import attest
from tests.mergekit.oracle import Mergekit
from tests.mergekit.shapes import write_model
from tests.models import new_signer
from tests.publisher.conftest import expected_root

LINEAR = """\
merge_method: linear
models:
  - model: {a}
    parameters: {{weight: 0.6}}
  - model: {b}
    parameters: {{weight: 0.3}}
dtype: bfloat16
"""
TIES = """\
merge_method: ties
base_model: {base}
models:
  - {{model: {a}, parameters: {{weight: 0.5, density: 0.5}}}}
  - {{model: {b}, parameters: {{weight: 0.3, density: 0.4}}}}
parameters: {{normalize: true, int8_mask: true}}
dtype: bfloat16
"""


@dataclass(frozen=True)
class Merged:
    """Parents `a`, `b` and `base`, and what mergekit made of them in `out`."""

    root: Path

    @property
    def out(self) -> Path:
        return self.root / "out"

    def config(self, text: str) -> str:
        return text.format(**{name: self.root / name for name in ("a", "b", "base")})

    def record(self, text: str, **options: Any) -> RecordedMerge:
        (self.root / "config.yml").write_text(self.config(text))
        recipe = read_recipe(self.root / "config.yml", made_by_mergekit=True)
        return record_merge(recipe, self.out, device="cpu", **options)

    def sign_and_verify(self, parents: Sequence[str] = ("a", "b")) -> Report:
        signer = new_signer()
        sign_folder(self.out, signer, name="merged", version=None, uri=None)
        folders = {name: LocalFolder(self.root / name) for name in parents}
        return verify(Request(LocalFolder(self.out), expected_signer=signer.public_key, parents=folders, device="cpu"))


@pytest.fixture(scope="module")
def made(mergekit: Mergekit, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Merged]:
    """What mergekit 0.1.5 makes of the two configurations."""
    found: dict[str, Merged] = {}
    for name, text in (("linear", LINEAR), ("ties", TIES)):
        merged = Merged(tmp_path_factory.mktemp(name))
        base = write_model(merged.root / "base", "llama", layers=3, seed=0)
        for seed, model in enumerate(("a", "b"), start=1):
            write_model(merged.root / model, "llama", layers=3, seed=seed, near=base)
        mergekit.merge(merged.config(text), merged.out, write_model_card=False)
        found[name] = merged
    return found


@pytest.fixture
def linear(made: dict[str, Merged], tmp_path: Path) -> Merged:
    return Merged(shutil.copytree(made["linear"].root, tmp_path / "linear"))


@pytest.fixture
def ties(made: dict[str, Merged], tmp_path: Path) -> Merged:
    return Merged(shutil.copytree(made["ties"].root, tmp_path / "ties"))


def test_the_profile_is_found_and_the_record_is_complete(linear: Merged) -> None:
    found = linear.record(LINEAR)
    assert (found.matches, found.best.profile, found.best.outcome.exact) == (True, "mergekit-0.1.5/fma", 30)
    assert [trial.profile for trial in found.trials if not trial.outcome.different] == [
        "mergekit-0.1.5/fma",
        "mergekit-0.1.5/nofma",  # the two differ in larger models
    ]
    record = json.loads((linear.out / ".attest/steps/001.json").read_bytes())
    assert record["materials"] == [
        {
            "name": name,
            "digest": {"model-attest-checkpoint-v1": expected_root(linear.root / name / "model.safetensors")[7:]},
        }
        for name in ("a", "b")
    ]
    assert record["step"] == {
        "id": "merge",
        "type": "merge",
        "profile": "mergekit-0.1.5/fma",
        "inputs": ["a", "b"],
        "output": {"checkpointRoot": expected_root(linear.out / "model.safetensors")},
        "operations": [
            {
                "op": "linear",
                "tensors": "rest",
                "dtype": "BF16",
                "computeDtype": "BF16",
                "parameters": {"normalize": True},
                "inputParameters": [{"weight": "0.6"}, {"weight": "0.3"}],
            }
        ],
    }


def test_a_recorded_merge_is_signed_and_verified_at_level_3(ties: Merged) -> None:
    assert ties.record(TIES).matches
    report = ties.sign_and_verify(("a", "b", "base"))
    assert (report.verdict, report.level, [step.verdict for step in report.steps]) == ("VERIFIED", 3, ["reproduced"])


def test_a_version_in_the_index_is_a_hint_alone(linear: Merged, mergekit: Mergekit) -> None:
    shutil.rmtree(linear.out)
    mergekit.merge(linear.config(LINEAR), linear.out, write_model_card=False, out_shard_size=1000)
    path = linear.out / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    assert index["metadata"]["mergekit_version"] == "0.1.5"
    index["metadata"]["mergekit_version"] = "0.1.4"
    path.write_text(json.dumps(index))
    found = linear.record(LINEAR)
    assert (found.matches, found.best.profile) == (True, "mergekit-0.1.5/fma")


def test_a_declared_profile_is_the_only_one_tried(linear: Merged) -> None:
    found = linear.record(LINEAR, profile="mergekit-0.1.4")
    assert ([trial.profile for trial in found.trials], found.matches) == (["mergekit-0.1.4"], False)
    assert "first difference at byte" in str(found.best.outcome.problem)
    assert linear.record(LINEAR + "attest: {{profile: mergekit-0.1.5/fma}}\n").matches
    with pytest.raises(CallerError, match=r"`--profile mergekit-0\.1\.4`, and .* declares mergekit-0\.1\.5/fma"):
        linear.record(LINEAR + "attest: {{profile: mergekit-0.1.5/fma}}\n", profile="mergekit-0.1.4")


def test_recording_again_replaces_the_record(linear: Merged) -> None:
    linear.record(LINEAR)
    linear.record(LINEAR)
    assert sorted(path.name for path in (linear.out / ".attest/steps").iterdir()) == ["001.json"]


# What looks like success to whoever does not look.


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("weight: 0.6", "weight: 0.61", "first difference at byte"),
        ("weight: 0.3", "weight: [0.3, 0.31]", "first difference at byte"),
        ("dtype: bfloat16", "dtype: float16", r"is BF16 \[16, 8\], and comes out as F16"),
        ("dtype: bfloat16", "dtype: bfloat16\nparameters: {{normalize: false}}", "first difference at byte"),
        ("dtype: bfloat16", "dtype: float32\nout_dtype: bfloat16\nparameters: {{normalize: false}}", "first diff"),
        ("model: {b}", "model: {base}", "first difference at byte"),
        ("linear", "nearswap\nbase_model: {a}\nparameters: {{t: 0.3}}", "first difference at byte"),
    ],
)
def test_another_configuration_is_not_recorded(linear: Merged, old: str, new: str, problem: str) -> None:
    assert old in LINEAR
    found = linear.record(LINEAR.replace(old, new))
    assert re.search(problem, str(found.best.outcome.problem))
    assert (found.matches, found.record_path) == (False, None)
    assert not (linear.out / ".attest").exists()


def test_models_in_another_order_are_not_recorded(linear: Merged) -> None:
    swapped = LINEAR.replace("{a}", "{c}").replace("{b}", "{a}").replace("{c}", "{b}")
    found = linear.record(swapped)
    assert (found.matches, found.best.outcome.exact) == (False, 0)


def change(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(name, None)
    save_file(tensors if tensor is None else {**tensors, name: tensor}, folder / "model.safetensors")


NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("where", ["a", "b", "out"])
def test_one_changed_element_is_found_and_its_tensor_named(linear: Merged, where: str) -> None:
    tensor = load_file(linear.root / where / "model.safetensors")[NAME]
    tensor[3, 5] += 1
    change(linear.root / where, NAME, tensor)
    found = linear.record(LINEAR)
    assert (found.matches, found.best.outcome.exact, found.best.outcome.different) == (False, 29, 1)
    assert str(found.best.outcome.problem).startswith(f"{NAME}: first difference at byte 58, 1 element differs")


@pytest.mark.parametrize(
    ("where", "tensor", "problem"),
    [
        (
            "b",
            torch.zeros(12, 9).bfloat16(),
            rf'"{NAME}" cannot be blended: its shape is \[12, 8\] in a and \[12, 9\] in b',
        ),
        ("b", torch.zeros(12, 8).double(), rf'"{NAME}" is F64 in b and cannot be blended'),
        ("b", torch.zeros(12, 8).int(), rf'"{NAME}" is I32 in b and cannot be blended'),
        ("out", None, f"the output has no tensor '{NAME}', which the recipe gives"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    linear: Merged, where: str, tensor: torch.Tensor | None, problem: str
) -> None:
    change(linear.root / where, NAME, tensor)
    with pytest.raises(RecipeInvalid, match=problem):
        linear.record(LINEAR)


def test_an_output_of_another_shape_is_found_by_name(linear: Merged) -> None:
    change(linear.out, NAME, torch.zeros(12, 9).bfloat16())
    found = linear.record(LINEAR)
    assert found.best.outcome.problem == f"{NAME}: is BF16 [12, 9], and comes out as BF16 [12, 8]"


def test_a_parent_that_lacks_a_tensor_gives_other_bits(linear: Merged) -> None:
    """mergekit itself would have stopped, as its table asks for this tensor."""
    change(linear.root / "b", NAME, None)
    found = linear.record(LINEAR)
    assert (found.matches, found.best.outcome.different) == (False, 1)
    assert str(found.best.outcome.problem).startswith(NAME)


def test_a_parent_of_another_dtype_gives_other_bits_where_no_dtype_is_declared(linear: Merged) -> None:
    tensors = load_file(linear.root / "b" / "model.safetensors")
    save_file({name: t.float() for name, t in tensors.items()}, linear.root / "b" / "model.safetensors")
    found = linear.record(LINEAR.replace("dtype: bfloat16\n", ""))
    assert "is BF16 [16, 8], and comes out as F32 [16, 8]" in str(found.best.outcome.problem)
    assert linear.record(LINEAR).matches  # rounding it back gives what it was


def test_a_parent_listed_twice_is_refused(linear: Merged) -> None:
    with pytest.raises(RecipeInvalid, match=r"line 5: .* is the model of line 3 again"):
        linear.record(LINEAR.replace("{b}", "{a}"))


def test_a_parent_without_effect_is_named(ties: Merged, mergekit: Mergekit) -> None:
    text = TIES.replace("weight: 0.3", "weight: 0.0")
    shutil.rmtree(ties.out)
    mergekit.merge(ties.config(text), ties.out, write_model_card=False)
    assert ties.record(text).no_effect == ("b",)


def test_what_nobody_can_read_is_an_error(linear: Merged) -> None:
    (linear.out / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(MalformedWeights, match=r"out: model\.safetensors"):
        linear.record(LINEAR)
    (linear.out / "model.safetensors").unlink()
    with pytest.raises(AmbiguousWeights, match="out"):
        linear.record(LINEAR)


def test_an_unmatched_step_is_recorded_only_on_request_and_contradicted(linear: Merged) -> None:
    found = linear.record(LINEAR.replace("0.6", "0.61"), unmatched=True)
    assert (found.matches, found.record_path) == (False, linear.out / ".attest/steps/001.json")
    report = linear.sign_and_verify()
    assert (report.verdict, [step.verdict for step in report.steps]) == ("REJECTED", ["contradicted"])
    assert any(finding.code == "REPLAY_MISMATCH" for finding in report.findings)


def test_a_large_model_is_tried_on_a_sample_first(linear: Merged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "SAMPLE_BYTES", 64)
    found = linear.record(LINEAR)
    totals = [t.outcome.exact + t.outcome.different for t in found.trials]
    assert (found.matches, totals[0]) == (True, 30)
    assert all(0 < total < 30 for total in totals[1:])
    assert found.checkpoint_root.text == expected_root(linear.out / "model.safetensors")


# The command.


def attest_record(merged: Merged, text: str, *arguments: str) -> Any:
    (merged.root / "config.yml").write_text(merged.config(text))
    return attest("record", "mergekit", "config.yml", "out", *arguments, cwd=merged.root)


def test_the_command_says_what_matched(linear: Merged) -> None:
    done = attest_record(linear, LINEAR)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "RECORDED  out: linear of mergekit-0.1.5/fma, 30 tensors to the bit"
    assert "recorded in out/.attest/steps/001.json" in done.stdout
    assert re.search("^note: not mergekit-0.1.4: [0-9]+ of 30 tensors differ, first ", done.stderr, re.MULTILINE)


def test_the_command_says_where_nothing_matches(linear: Merged) -> None:
    done = attest_record(linear, LINEAR.replace("0.6", "0.61"))
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "DIFFERENT  out: no profile of linear gives these weights"
    assert (
        len(re.findall("^  FAIL  mergekit-.* tensors differ, first .*first difference at byte", done.stdout, re.M)) == 3
    )
    assert "nothing was recorded" in done.stderr
    done = attest_record(linear, LINEAR.replace("0.6", "0.61"), "--unmatched", "--profile", "mergekit-0.1.4", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["profile"], answer["record"]) == (1, None, "out/.attest/steps/001.json")
    assert [tried["standing"] for tried in answer["tried"]] == ["different"]


def test_models_are_found_where_the_caller_says(linear: Merged) -> None:
    text = LINEAR.replace("{b}", "lab/b-7b")
    done = attest_record(linear, text)
    assert (done.returncode, "there is no model `lab/b-7b`" in done.stderr) == (2, True)
    assert attest_record(linear, text, "--parent", "lab/b-7b=b").returncode == 0
    done = attest_record(linear, text, "--parent", "lab/b-7b=b", "--parent", "lab/c=b")
    assert (done.returncode, "names no model `lab/c`" in done.stderr) == (2, True)


def test_a_parents_own_steps_come_along(linear: Merged) -> None:
    """`a` is a cast of another model: the statement begins with that one."""
    tensors = load_file(linear.root / "a" / "model.safetensors")
    (linear.root / "wide").mkdir()
    save_file({name: tensor.float() for name, tensor in tensors.items()}, linear.root / "wide" / "model.safetensors")
    record_form(LocalFolder(linear.root / "wide"), LocalFolder(linear.root / "a"), device="cpu")
    assert linear.record(LINEAR).matches
    records = [json.loads(path.read_bytes()) for path in sorted((linear.out / ".attest/steps").iterdir())]
    assert [(r["step"]["id"], r["step"]["inputs"], [m["name"] for m in r["materials"]]) for r in records] == [
        ("a", ["wide"], ["wide"]),
        ("merge", ["a", "b"], ["b"]),
    ]
    report = linear.sign_and_verify(parents=("wide", "b"))
    assert (report.verdict, report.level) == ("VERIFIED", 3), report.findings
    assert [(step.id, step.verdict) for step in report.steps] == [("a", "reproduced"), ("merge", "reproduced")]


def test_steps_of_weights_that_are_no_longer_there_do_not_come_along(linear: Merged) -> None:
    tensors = load_file(linear.root / "a" / "model.safetensors")
    (linear.root / "wide").mkdir()
    save_file({name: tensor.float() for name, tensor in tensors.items()}, linear.root / "wide" / "model.safetensors")
    record_form(LocalFolder(linear.root / "wide"), LocalFolder(linear.root / "a"), device="cpu")
    change(linear.root / "a", NAME, tensors[NAME] + 1)
    linear.record(LINEAR, unmatched=True)
    (record,) = [json.loads(path.read_bytes()) for path in (linear.out / ".attest/steps").iterdir()]
    assert [material["name"] for material in record["materials"]] == ["a", "b"]
