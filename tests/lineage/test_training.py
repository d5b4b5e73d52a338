"""Signed folders that say "training": contradicted where they are blends to the bit, and never otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

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
    TrainingMethod,
    TrainingRecord,
    TrainStep,
)
from model_verify.procedure import Request, verify
from model_verify.report import Report, ReportCell
from model_verify.sources.local import LocalFolder
from tests.lineage.trainer import train
from tests.lineage.weights import DTYPES, Tensors, blend, float32_of, random_model, sibling

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
    method: TrainingMethod | None = None,
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
        record=None if method is None else TrainingRecord(method=method),
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


def warnings_of(report: Report) -> list[str]:
    return [finding.code for finding in report.findings if finding.severity == "warn"]


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
def test_a_blend_with_one_other_bit_is_no_contradiction_and_no_evidence(tmp_path: Path, name: str) -> None:
    child = blend([PARENT, OTHER], ["0.6", "0.4"])
    child[name].view(torch.int16)[-1] ^= 1
    assert_no_evidence(verify_as_training(tmp_path, child))


def assert_no_evidence(report: Report) -> ReportCell:
    assert (report.verdict, report.steps[0].verdict) == ("INCOMPLETE", "unsupported")
    assert [finding.code for finding in report.findings if finding.severity == "incomplete"] == ["NO_TRAINING_EVIDENCE"]
    (cell,) = [trial.cell for trial in report.steps[0].trials if trial.cell is not None]
    return cell


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_a_blend_by_a_tool_that_nobody_knows_is_no_evidence_of_training(tmp_path: Path, dtype: str) -> None:
    """One model and a share of the way to the other, which no profile computes like that; in two elements, not even."""
    one, other = (sibling(random_model(1, dtype), seed, 0.05) for seed in (2, 3))
    child = {
        name: (one[name].float() + 0.381966012 * (other[name].float() - one[name].float())).to(DTYPES[dtype])
        for name in one
    }
    child["head"][7] *= 1.5
    child["embedding"][9] *= 1.5
    report = verify_as_training(tmp_path, child, parent=one, candidates=(other,))
    cell = assert_no_evidence(report)
    assert cell.coefficients is not None
    assert [float(text) for text in cell.coefficients] == pytest.approx([0.618034, 0.381966], abs=1e-4)
    assert cell.elements == 112_224
    assert cell.elements - 20 <= cell.inside <= cell.elements - 2
    assert cell.moved - 20 <= cell.moved_inside <= cell.moved - 2
    assert cell.moved_inside_mirrored < 0.01 * cell.moved
    (finding,) = [finding for finding in report.findings if finding.code == "NO_TRAINING_EVIDENCE"]
    assert finding.actual.startswith("99.99 % of the trainable elements lie within rounding of 0.618")


@pytest.mark.parametrize("distance", [0.01, 0.05])
def test_in_float32_a_candidate_may_as_well_be_made_from_the_blend(tmp_path: Path, distance: float) -> None:
    """Float32 sums in any order reach further than the rounding that would show which of the two came first."""
    one, other = (sibling(random_model(1, "F32"), seed, distance) for seed in (2, 3))
    child = {name: one[name] + 0.381966012 * (other[name] - one[name]) for name in one}
    child["head"][7] *= 1.5
    report = verify_as_training(tmp_path, child, parent=one, candidates=(other,))
    assert_attested(report)
    assert warnings_of(report) == ["CANDIDATE_NOT_TRIED"]


@pytest.mark.parametrize(
    ("dtype", "merged_dtype"), [("BF16", "BF16"), ("F16", "F16"), ("F32", "F32"), ("BF16", "F32"), ("F16", "F32")]
)
@pytest.mark.parametrize("share", [0.25, 0.4, 0.5, 0.9, 1.0, 1.2, 1.5, 2.0])
def test_real_training_is_never_held_against_what_was_made_from_it(
    tmp_path: Path, dtype: str, merged_dtype: str, share: float
) -> None:
    """A later merge of the trained model with what it began with, or an extrapolation, points back at it."""
    before = random_model(1, dtype)
    after = train(before, dtype, "adamw", 1e-4, steps=5, master=True)
    merged = {
        name: ((1 - share) * before[name].double() + share * after[name].double()).to(DTYPES[merged_dtype])
        for name in before
    }
    report = verify_as_training(tmp_path, after, parent=before, candidates=(merged,))
    assert (report.verdict, report.level, report.steps[0].verdict) == ("VERIFIED", 2, "attested")
    if merged_dtype != dtype or share >= 1:
        assert warnings_of(report) == ["CANDIDATE_NOT_TRIED"]


def test_a_candidate_of_finer_dtype_contradicts_where_it_has_bits_of_its_own(tmp_path: Path) -> None:
    """From 0.6 and 0.4 of two models, rounded to BF16, nobody can compute the second one in float32."""
    finer = sibling({name: weights_E.float() for name, weights_E in OTHER.items()}, 5, 1e-4)
    weights = float32_of("0.6"), float32_of("0.4")
    child = {
        name: (weights[0] * PARENT[name].double() + weights[1] * finer[name].double()).float().bfloat16()
        for name in PARENT
    }
    report = verify_as_training(tmp_path, child, candidates=(finer,))
    assert contradiction(report) == "0.6·parent + 0.4·candidate 1, to the bit"


def test_twenty_steps_of_light_sgd_on_an_undeclared_blend_are_unsupported_and_not_contradicted(tmp_path: Path) -> None:
    """A rate of 1e-5 moves a weight in a thousand, which can be training as well as a tool's other rounding."""
    merged = blend([PARENT, OTHER], ["0.6", "0.4"])
    child = train(merged, "BF16", "sgd", 1e-5, steps=20, master=True)
    moved = sum(int((child[name] != merged[name]).sum()) for name in child)
    assert 0 < moved < 200
    cell = assert_no_evidence(verify_as_training(tmp_path, child))
    assert 0.998 * cell.elements < cell.inside < cell.elements


def test_twenty_steps_of_light_sgd_on_the_declared_input_are_attested(tmp_path: Path) -> None:
    child = train(PARENT, "BF16", "sgd", 1e-5, steps=20, master=True)
    assert_attested(verify_as_training(tmp_path, child))


def test_one_step_of_real_training_on_an_undeclared_blend_is_attested(tmp_path: Path) -> None:
    child = train(blend([PARENT, OTHER], ["0.6", "0.4"]), "BF16", "adamw", 1e-5, steps=1, master=False)
    assert_attested(verify_as_training(tmp_path, child))


def by_mergekit_014(models: list[Tensors], weights: list[float], dtype: str, *, normalize: bool) -> Tensors:
    """Return a linear merge as mergekit 0.1.4 does it: every operation rounds to its `dtype`."""
    weights_P = torch.tensor(weights, dtype=DTYPES[dtype])
    made: Tensors = {}
    for name, weights_E in models[0].items():
        stack_PE = torch.stack([model[name].to(DTYPES[dtype]) for model in models])
        sum_E = (weights_P[:, None] * stack_PE).sum(dim=0)
        made[name] = (sum_E / weights_P.sum(dim=0) if normalize else sum_E).to(weights_E.dtype)
    return made


def by_mergekit_015(models: list[Tensors], weights: list[float], dtype: str, *, normalize: bool) -> Tensors:
    """Return a linear merge as mergekit 0.1.5 does it where nothing is fused: a sum in float32."""
    weights_P = torch.tensor(weights, dtype=torch.float32)
    made: Tensors = {}
    for name, weights_E in models[0].items():
        sum_E = torch.zeros(weights_E.shape)
        for model, weight in zip(models, weights_P, strict=True):
            sum_E = sum_E + model[name].to(DTYPES[dtype]).float() * weight
        sum_E = sum_E / weights_P.sum() if normalize else sum_E
        made[name] = sum_E.to(DTYPES[dtype]).to(weights_E.dtype)
    return made


@pytest.mark.parametrize("held", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("computed", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("tool", "profile"), [(by_mergekit_014, "mergekit-0.1.4"), (by_mergekit_015, "mergekit-0.1.5")]
)
@pytest.mark.parametrize("weights", [[0.6, 0.4], [0.25, 0.35], [2.0, 1.0]])
def test_a_merge_by_mergekit_is_found_whatever_it_computed_in(
    tmp_path: Path, held: str, computed: str, normalize: bool, tool: Any, profile: str, weights: list[float]
) -> None:
    models = [{name: weights_E.to(DTYPES[held]) for name, weights_E in model.items()} for model in (PARENT, OTHER)]
    child = tool(models, weights, computed, normalize=normalize)
    report = verify_as_training(tmp_path, child, parent=models[0], candidates=(models[1],))
    assert contradiction(report).endswith("to the bit")
    formulas = {(trial.profile, trial.compute_dtype, trial.normalize) for trial in report.steps[0].trials}
    if (held, computed, tool, weights) == ("BF16", "BF16", by_mergekit_014, [0.6, 0.4]):
        assert {(profile, "BF16")} == {formula[:2] for formula in formulas}


def test_a_copy_of_a_candidate_is_found_with_its_signed_zeros(tmp_path: Path) -> None:
    """A blend at 0 and 1 has no minus zero where the first parent is not negative."""
    other = {name: weights_E.clone() for name, weights_E in OTHER.items()}
    other["embedding"][:50] = -0.0
    models = {"embedding": PARENT["embedding"].abs()}
    parent = PARENT | models
    child = {name: weights_E.clone() for name, weights_E in other.items()}
    child["extra"] = torch.ones(4)
    report = verify_as_training(
        tmp_path,
        child,
        parent=parent | {"extra": torch.zeros(4)},
        candidates=(other | {"extra": torch.ones(4), "more": torch.ones(1)},),
    )
    assert contradiction(report) == "1·candidate 1, to the bit"


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
