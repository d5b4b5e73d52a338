"""Three lies about a model, and one truth that looks like a lie."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from decimal import Decimal

from model_attest.demo import models
from model_attest.demo.publishing import MERGED, PARENTS, WEIGHTS, Published, new_signer, sign, weights_path
from model_attest.demo.show import Check, Question, Show, codes_are, step_is, verdict_is
from model_attest.demo.texts import MOBY_DICK
from model_attest.inventory import take_inventory
from model_attest.record import write_record
from model_attest.signers.key import KeySigner
from model_verify.models import FullTraining, Material, StepOutput, StepRecord, TrainingRecord, TrainStep
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from model_verify.tensors import DTYPE_BITS
from model_verify.weight_sets import read_weight_sets
from model_verify.weights import StoredTensor

VENDOR = "vendor"
_SMALL_LEARNING_RATE = 3e-4
_NEAR = 0.02
"""How near to the true coefficients an estimate must come that is spoilt by a step of training."""


def flip_one_bit(show: Show, published: Published, chance: random.Random) -> None:
    """The lowest bit of one weight is flipped after signing."""
    folder = "flipped-bit"
    shutil.copytree(show.stage / MERGED, show.stage / folder)
    tensors = [tensor for tensor in _tensors(show, folder).values() if tensor.info.dtype == "BF16"]
    tensor = chance.choice(tensors)
    element = chance.randrange(tensor.info.elements)
    first_byte = element * DTYPE_BITS[tensor.info.dtype] // 8
    with weights_path(show, folder).open("r+b") as file:
        file.seek(tensor.offset + first_byte)
        low_byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([low_byte ^ 1]))
    show.heading("attack 1: one bit of the signed model is flipped")
    show.did(f"flipped the lowest bit of element {element} of {tensor.info.name}, in a copy called {folder}")
    where = f"{WEIGHTS}: {tensor.info.name}"
    what = f"first difference at byte {first_byte}, 1 element differs, by up to 1 ULP"

    def expected(report: Report) -> list[Check]:
        mismatches = [(f.where, f.actual) for f in report.findings if f.severity == "fail"]
        return [
            verdict_is(report, "REJECTED"),
            codes_are(report, "fail", {"TENSOR_MISMATCH"}),
            Check(f"the one finding is {where}: {what}", mismatches == [(where, what)]),
        ]

    show.ask("flipped bit", published.question(folder), expected, good="caught: this tensor, this byte, this one bit")


def call_blend_training(show: Show, published: Published) -> KeySigner:
    """The blend is published as one parent, trained further; returns who signed that."""
    folder = "claimed-training"
    show.heading(f"attack 2: the blend is declared as training of {PARENTS[0]}")
    _copy_model(show, MERGED, folder)
    readme = f"# {folder}\n\nPost-trained in-house: 100 steps on {PARENTS[0]}.\n"
    (show.stage / folder / "README.md").write_text(readme, encoding="utf-8")
    _declare_training(show, folder, _material(published, PARENTS[0]), steps=100)
    show.did(f"put the blend's weights into {folder}, recorded them as 100 steps of training on {PARENTS[0]}")
    signer = new_signer(show, VENDOR)
    sign(show, folder, VENDOR, signer)

    def believed(report: Report) -> list[Check]:
        said = {finding.code for finding in report.findings if finding.severity == "note"}
        return [
            verdict_is(report, "VERIFIED", 2),
            step_is(report, 0, "train", "attested"),
            Check("it says that no other parent was tested", "UNDECLARED_PARENTS_NOT_TESTED" in said),
            Check("it says whose word training is", "training is the signer's word" in report.headline),
        ]

    def exposed(report: Report) -> list[Check]:
        equal = [trial for step in report.steps for trial in step.trials if trial.equal]
        found = [[Decimal(text) for text in trial.coefficients or ()] for trial in equal]
        return [
            verdict_is(report, "REJECTED"),
            codes_are(report, "fail", {"TRAINING_EQUALS_BLEND"}),
            step_is(report, 0, "train", "contradicted"),
            Check(
                f"the coefficients found are {' and '.join(published.coefficients)}",
                found == [[Decimal(text) for text in published.coefficients]],
            ),
        ]

    alone = Question(folder, VENDOR, signer.public_key, parents=PARENTS[:1])
    show.ask(
        "claimed training", alone, believed, good="not caught, and level 2 says so: nothing to compare with was given"
    )
    suspected = Question(folder, VENDOR, signer.public_key, parents=PARENTS[:1], candidates=PARENTS[1:])
    show.ask("exposed training", suspected, exposed, good="caught: these are the coefficients that were drawn")
    return signer


def really_train(show: Show, published: Published, signer: KeySigner) -> None:
    """The control: after one real step of training on the blend, nothing is contradicted."""
    folder = "real-step"
    show.heading("control: one real step of training on the blend is not contradicted")
    model = models.load_model(show.stage / MERGED)
    before = models.loss(model, MOBY_DICK)
    models.train(model, MOBY_DICK, steps=1, seed=0, learning_rate=_SMALL_LEARNING_RATE)
    after = models.loss(model, MOBY_DICK)
    models.save_model(model, show.stage / folder, readme="# real-step\n\nA blend, and one step of AdamW.\n")
    show.did(f"took one step of AdamW on the blend (loss on Moby-Dick {before:.4f} -> {after:.4f})")
    _declare_training(show, folder, _material(published, PARENTS[0]), steps=1)
    show.did(f"declared {folder} as in attack 2: training of {PARENTS[0]}")
    sign(show, folder, VENDOR, signer)

    def uncontradicted(report: Report) -> list[Check]:
        trials = [trial for step in report.steps for trial in step.trials]
        near = [
            abs(float(e) - float(c)) < _NEAR
            for t in trials
            for e, c in zip(t.estimated, published.coefficients, strict=True)
        ]
        return [
            verdict_is(report, "VERIFIED", 2),
            step_is(report, 0, "train", "attested"),
            Check("the blend was tried", len(trials) == 1 and all(near)),
            Check("no blend equals the weights", not any(trial.equal for trial in trials)),
        ]

    question = Question(folder, VENDOR, signer.public_key, parents=PARENTS[:1], candidates=PARENTS[1:])
    show.ask(
        "real step", question, uncontradicted, good="near a blend is not a blend: only equal bits contradict training"
    )


def declare_honestly(show: Show, published: Published, signer: KeySigner) -> None:
    """The same weights under their true history: the merge is replayed, the training is the signer's word."""
    folder = "honest-history"
    show.heading("and the same weights, declared as what they are: a merge, then training")
    _copy_model(show, "real-step", folder)
    merge = published.merge
    record = StepRecord(
        document_schema="https://model-attest.github.io/step-record/v1",
        materials=list(merge.materials),
        step=merge.step,
    )
    write_record(show.stage / folder, record)
    _declare_training(show, folder, merge.step.id, steps=1)
    show.did(f"recorded the merge of {' and '.join(PARENTS)}, then one step of training")
    sign(show, folder, VENDOR, signer)

    def two_steps(report: Report) -> list[Check]:
        return [
            verdict_is(report, "VERIFIED", 2),
            step_is(report, 0, "merge", "reproduced"),
            step_is(report, 1, "train", "attested"),
        ]

    question = Question(folder, VENDOR, signer.public_key, parents=PARENTS)
    show.ask(
        "honest history", question, two_steps, good="what can be replayed was; the rest is named as somebody's word"
    )


def upload_wrong_checkpoint(show: Show, published: Published) -> None:
    """The merge was signed, and a parent's weights were uploaded."""
    folder = "wrong-upload"
    show.heading("attack 3: the wrong checkpoint is uploaded")
    shutil.copytree(show.stage / MERGED, show.stage / folder)
    shutil.copyfile(weights_path(show, PARENTS[0]), weights_path(show, folder))
    show.did(f"put the weights of {PARENTS[0]} into {folder}, beside the merge's attestation")
    actual = take_inventory(LocalFolder(show.stage / folder)).checkpoint_root
    parent_root = _material(published, PARENTS[0]).digest.checkpoint_root

    def rejected(report: Report) -> list[Check]:
        signed = report.roots.checkpoint if report.roots else None
        return [
            verdict_is(report, "REJECTED"),
            Check("tensors are not as signed", any(f.code == "TENSOR_MISMATCH" for f in report.findings)),
            Check(f"what lies there is {PARENTS[0]}, and what was signed is not", actual == parent_root != signed),
        ]

    show.ask("wrong upload", published.question(folder), rejected, good="caught: other weights than were signed")
    show.ran("attest", "hash", folder)
    show.more(f"{actual}, the root of {PARENTS[0]}")


def _tensors(show: Show, folder: str) -> Mapping[str, StoredTensor]:
    weights = read_weight_sets(LocalFolder(show.stage / folder)).require()
    return {tensor.info.name: tensor for tensor in weights.tensors}


def _copy_model(show: Show, folder: str, copy: str) -> None:
    """Copy a model without what was attested and recorded of it."""
    shutil.copytree(show.stage / folder, show.stage / copy, ignore=shutil.ignore_patterns("attestation", ".attest"))


def _material(published: Published, name: str) -> Material:
    return next(material for material in published.merge.materials if material.name == name)


def _declare_training(show: Show, folder: str, before: Material | str, *, steps: int) -> None:
    """Record what lies in `folder` as training of a material, or of the step of that name."""
    root = take_inventory(LocalFolder(show.stage / folder)).checkpoint_root
    step = TrainStep(
        id="train",
        type="train",
        inputs=[before if isinstance(before, str) else before.name],
        output=StepOutput(checkpoint_root=root),
        trainable="all",
        record=TrainingRecord(method=FullTraining(name="full"), hyperparameters={"optimizer": "AdamW", "steps": steps}),
    )
    materials = [] if isinstance(before, str) else [before]
    record = StepRecord(document_schema="https://model-attest.github.io/step-record/v1", materials=materials, step=step)
    write_record(show.stage / folder, record)
