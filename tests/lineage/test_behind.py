"""A step behind a training that the weights do not support is judged where its input is at hand. Spec: pipeline §5."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from model_attest.inventory import take_inventory
from model_attest.record import write_record
from model_attest.sign import sign_folder
from model_verify.digest import CheckpointRoot
from model_verify.models import CastStep, Material, MaterialDigest, StepOutput, StepRecord, TrainStep
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.lineage.test_training import OTHER, PARENT, SCHEMA
from tests.lineage.trainer import train
from tests.lineage.weights import Tensors, blend
from tests.models import new_signer


def verify_cast_of(trained: Tensors, folder: Path, *, claimed: Tensors | None = None) -> Report:
    """Sign "training of the parent, then a cast to F32", and return what somebody says who has all of it.

    What was cast is `claimed`, if that is not what was trained.
    """
    cast = {name: weights_E.float() for name, weights_E in (claimed or trained).items()}
    models = {"parent": PARENT, "other": OTHER, "trained": trained, "cast": cast}
    roots: dict[str, CheckpointRoot] = {}
    for name, tensors in models.items():
        (folder / name).mkdir()
        save_file(tensors, folder / name / "model.safetensors")
        roots[name] = take_inventory(LocalFolder(folder / name)).checkpoint_root
    training = TrainStep(
        id="train",
        type="train",
        inputs=["parent"],
        output=StepOutput(checkpoint_root=roots["trained"]),
        trainable="all",
    )
    casting = CastStep(
        id="cast",
        type="cast",
        inputs=["train"],
        output=StepOutput(checkpoint_root=roots["cast"]),
        tensors="floating",
        dtype="F32",
    )
    material = Material(name="parent", digest=MaterialDigest(checkpoint_root=roots["parent"]))
    write_record(folder / "cast", StepRecord(document_schema=SCHEMA, materials=[material], step=training))
    write_record(folder / "cast", StepRecord(document_schema=SCHEMA, materials=[], step=casting))
    signer = new_signer()
    sign_folder(folder / "cast", signer)
    return verify(
        Request(
            source=LocalFolder(folder / "cast"),
            expected_signer=signer.public_key,
            parents={"parent": LocalFolder(folder / "parent"), "train": LocalFolder(folder / "trained")},
            candidates=[LocalFolder(folder / "other")],
            device="cpu",
        )
    )


def outcome(report: Report) -> tuple[str, list[str]]:
    return report.verdict, [step.verdict for step in report.steps]


def test_the_cast_of_an_unsupported_training_is_reproduced(tmp_path: Path) -> None:
    trained = train(blend([PARENT, OTHER], ["0.6", "0.4"]), "BF16", "sgd", 1e-5, steps=20, master=True)
    assert outcome(verify_cast_of(trained, tmp_path)) == ("INCOMPLETE", ["unsupported", "reproduced"])


def test_another_cast_of_an_unsupported_training_is_contradicted(tmp_path: Path) -> None:
    trained = train(blend([PARENT, OTHER], ["0.6", "0.4"]), "BF16", "sgd", 1e-5, steps=20, master=True)
    report = verify_cast_of(trained, tmp_path, claimed=OTHER)
    assert outcome(report) == ("REJECTED", ["unsupported", "contradicted"])


def test_the_cast_of_a_blend_that_is_no_training_is_not_judged(tmp_path: Path) -> None:
    report = verify_cast_of(blend([PARENT, OTHER], ["0.6", "0.4"]), tmp_path)
    assert outcome(report) == ("REJECTED", ["contradicted", "unchecked"])
