"""Signed folders that say "training": contradicted where they are blends to the bit, and never otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file

from model_attest.inventory import take_inventory
from model_attest.record import write_record
from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner, generate_key
from model_verify.models import (
    Coefficient,
    LinearOperation,
    Material,
    MaterialDigest,
    MergeStep,
    StepOutput,
    StepRecord,
    TrainStep,
)
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.lineage.weights import Tensors, blend, random_model, sibling

BASE = random_model(1, "BF16")
PARENT = sibling(BASE, 2, 0.05)
OTHER = sibling(BASE, 3, 0.05)
SCHEMA: Literal["https://model-attest.github.io/step-record/v1"] = "https://model-attest.github.io/step-record/v1"


def verify_as_training(
    tmp_path: Path,
    child: Tensors,
    *,
    parent: Tensors = PARENT,
    candidates: tuple[Tensors, ...] = (OTHER,),
    trainable: Literal["all"] | list[str] = "all",
) -> Report:
    """Sign `child` as training of `parent`, and return what a verifier says who has the candidates."""
    models = {"child": child, "parent": parent, **{f"candidate-{i}": model for i, model in enumerate(candidates)}}
    for name, tensors in models.items():
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    sources = {name: LocalFolder(tmp_path / name) for name in models}
    roots = {name: take_inventory(sources[name]).checkpoint_root for name in ("child", "parent")}
    step = TrainStep(
        id="train",
        type="train",
        inputs=["parent"],
        output=StepOutput(checkpoint_root=roots["child"]),
        trainable=trainable,
    )
    material = Material(name="parent", digest=MaterialDigest(checkpoint_root=roots["parent"]))
    write_record(tmp_path / "child", StepRecord(document_schema=SCHEMA, materials=[material], step=step))
    signer = KeySigner(generate_key("ed25519"))
    sign_folder(tmp_path / "child", signer)
    return verify(
        Request(
            source=sources["child"],
            expected_signer=signer.public_key,
            parents={"parent": sources["parent"]},
            candidates=[sources[name] for name in sources if name.startswith("candidate")],
            device="cpu",
        )
    )


def contradiction(report: Report) -> str:
    assert (report.verdict, report.steps[0].verdict) == ("REJECTED", "contradicted")
    (finding,) = [finding for finding in report.findings if finding.severity == "fail"]
    assert finding.code == "TRAINING_EQUALS_BLEND"
    return finding.actual


def assert_attested(report: Report) -> None:
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert report.steps[0].verdict == "attested"
    assert not any(trial.equal for trial in report.steps[0].trials)


def test_a_blend_is_named_with_its_coefficients(tmp_path: Path) -> None:
    report = verify_as_training(tmp_path, blend([PARENT, OTHER], ["0.6", "0.4"]))
    assert contradiction(report) == "0.6·parent + 0.4·candidate 1, to the bit"
    assert [trial.coefficients for trial in report.steps[0].trials] == [["0.6", "0.4"]]


def test_a_blend_with_coefficients_for_each_part_is_named_part_by_part(tmp_path: Path) -> None:
    child = blend([PARENT, OTHER], ["0.6", "0.4"]) | {"head": OTHER["head"]}
    report = verify_as_training(tmp_path, child)
    assert contradiction(report) == (
        "0.6·parent + 0.4·candidate 1 in 4 tensors; 0·parent + 1·candidate 1 in 1 tensor, to the bit"
    )
    assert [trial.coefficients for trial in report.steps[0].trials] == [["0.6", "0.4"], ["0", "1"]]


def test_a_normalized_blend_is_named_as_one(tmp_path: Path) -> None:
    models = [{name: weights_E.float() for name, weights_E in model.items()} for model in (PARENT, OTHER)]
    child = blend(models, ["1", "2"], normalize=True)
    report = verify_as_training(tmp_path, child, parent=models[0], candidates=(models[1],))
    assert contradiction(report) == "1·parent + 2·candidate 1, normalized, to the bit"


def test_a_blend_of_two_candidates_and_the_input_is_found(tmp_path: Path) -> None:
    third = sibling(BASE, 4, 0.05)
    child = blend([PARENT, OTHER, third], ["0.5", "0.3", "0.2"])
    report = verify_as_training(tmp_path, child, candidates=(OTHER, third))
    assert contradiction(report) == "0.5·parent + 0.3·candidate 1 + 0.2·candidate 2, to the bit"


def test_a_candidate_of_the_same_weights_is_said_and_accuses_nobody(tmp_path: Path) -> None:
    report = verify_as_training(tmp_path, OTHER)
    assert_attested(report)
    (finding,) = [finding for finding in report.findings if finding.code == "CANDIDATE_NOT_TRIED"]
    assert finding.actual == "it has the same weights, which does not say whose they are"


@pytest.mark.parametrize("name", ["embedding", "layers.0.norm"])
def test_a_blend_with_one_other_bit_is_attested(tmp_path: Path, name: str) -> None:
    child = blend([PARENT, OTHER], ["0.6", "0.4"])
    child[name].view(torch.int16)[-1] ^= 1
    assert_attested(verify_as_training(tmp_path, child))


def test_a_sibling_is_attested(tmp_path: Path) -> None:
    assert_attested(verify_as_training(tmp_path, sibling(BASE, 4, 0.05)))


def test_training_of_a_few_elements_is_attested(tmp_path: Path) -> None:
    """One trained number lies on the line through any two others, and says nothing of a merge."""
    scales = [model | {"scale": torch.tensor([value])} for model, value in ((PARENT, 1.0), (OTHER, 1.0625))]
    child = scales[0] | {"scale": torch.tensor([1.1875])}
    report = verify_as_training(tmp_path, child, parent=scales[0], candidates=(scales[1],), trainable=["scale"])
    assert_attested(report)
    assert (report.steps[0].moved_elements, report.steps[0].elements) == (1, 1)


def test_integers_that_changed_cannot_come_from_a_blend(tmp_path: Path) -> None:
    """Only the input's own integers are what a blend would have left."""
    steps = [{"steps": torch.tensor([number])} for number in (1, 2, 2)]
    parent, other, child = (
        model | count
        for model, count in zip((PARENT, OTHER, blend([PARENT, OTHER], ["0.6", "0.4"])), steps, strict=True)
    )
    assert_attested(verify_as_training(tmp_path, child, parent=parent, candidates=(other,)))
    (tmp_path / "again").mkdir()
    same = child | {"steps": parent["steps"]}
    assert "0.6·parent" in contradiction(
        verify_as_training(tmp_path / "again", same, parent=parent, candidates=(other,))
    )


def test_a_candidate_of_another_shape_is_passed_over(tmp_path: Path) -> None:
    other = OTHER | {"head": OTHER["head"][:96]}
    report = verify_as_training(tmp_path, blend([PARENT, OTHER], ["0.6", "0.4"]), candidates=(other,))
    assert_attested(report)
    assert report.steps[0].trials == []


def merged_then(tmp_path: Path, child: Tensors, half: Tensors) -> Report:
    """Sign `child` as training of the merge of two parents at a half each, which is published nowhere."""
    folders = {"a": PARENT, "b": OTHER, "half": half, "child": child}
    for name, tensors in folders.items():
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    roots = {name: take_inventory(LocalFolder(tmp_path / name)).checkpoint_root for name in folders}
    merge = MergeStep(
        id="merge",
        type="merge",
        inputs=["a", "b"],
        output=StepOutput(checkpoint_root=roots["half"]),
        profile="linear/f64-v1",
        operations=[
            LinearOperation(
                op="linear",
                tensors="rest",
                dtype="BF16",
                normalize=False,
                coefficients=[Coefficient(decimal="0.5", float32="3f000000")] * 2,
            )
        ],
    )
    train = TrainStep(
        id="train", type="train", inputs=["merge"], output=StepOutput(checkpoint_root=roots["child"]), trainable="all"
    )
    materials = [Material(name=name, digest=MaterialDigest(checkpoint_root=roots[name])) for name in ("a", "b")]
    for step in (merge, train):
        record = StepRecord(document_schema=SCHEMA, materials=materials if step is merge else [], step=step)
        write_record(tmp_path / "child", record)
    signer = KeySigner(generate_key("ed25519"))
    sign_folder(tmp_path / "child", signer)
    sources = {name: LocalFolder(tmp_path / name) for name in folders}
    parents = {name: sources[name] for name in ("a", "b")}
    return verify(Request(source=sources["child"], expected_signer=signer.public_key, parents=parents, device="cpu"))


def test_a_blend_with_an_input_that_is_computed_is_found(tmp_path: Path) -> None:
    half = blend([PARENT, OTHER], ["0.5", "0.5"])
    report = merged_then(tmp_path, blend([half, OTHER], ["0.7", "0.3"]), half)
    assert [step.verdict for step in report.steps] == ["reproduced", "contradicted"]
    assert report.findings[0].actual == "0.7·merge + 0.3·b, to the bit"


def test_another_blend_of_the_materials_than_was_declared_is_found(tmp_path: Path) -> None:
    half = blend([PARENT, OTHER], ["0.5", "0.5"])
    report = merged_then(tmp_path, blend([PARENT, OTHER], ["0.6", "0.4"]), half)
    assert [step.verdict for step in report.steps] == ["reproduced", "contradicted"]
    assert report.findings[0].actual == "0.6·a + 0.4·b, to the bit"


def test_training_of_a_merge_is_attested(tmp_path: Path) -> None:
    half = blend([PARENT, OTHER], ["0.5", "0.5"])
    report = merged_then(tmp_path, sibling(half, 5, 0.001), half)
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert [step.verdict for step in report.steps] == ["reproduced", "attested"]
