"""Declarations that a publisher's tool refuses or warns of, and that a verifier reads with care."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_attest.record import write_record
from model_attest.sign import sign_folder
from model_verify import merkle
from model_verify.canonical import dumps
from model_verify.digest import CheckpointRoot
from model_verify.errors import CallerError, MalformedDocument
from model_verify.models import Material, MaterialDigest, StepOutput, StepRecord, TrainStep
from model_verify.sources.local import LocalFolder
from model_verify.statement import read_statement
from model_verify.weight_sets import read_weight_sets
from tests.models import SignedMerge, new_signer, small_tensors, write_model


def root_of(folder: Path) -> CheckpointRoot:
    source = LocalFolder(folder)
    pairs = []
    for tensor in read_weight_sets(source).require().tensors:
        with source.open(tensor.path) as file:
            data = file.read(tensor.offset, tensor.info.size_bytes)
        pairs.append((tensor.info, merkle.tensor_root(merkle.chunk_leaves(data))))
    return merkle.checkpoint_root(pairs)


def declare_training(folder: Path, before: Path, trainable: list[str] | str) -> None:
    step = TrainStep(
        id="train",
        type="train",
        inputs=["base"],
        output=StepOutput(checkpoint_root=root_of(folder)),
        trainable=trainable,  # type: ignore[arg-type]
    )
    base = Material(name="base", digest=MaterialDigest(checkpoint_root=root_of(before)))
    schema = "https://model-attest.github.io/step-record/v1"
    write_record(folder, StepRecord(schema=schema, materials=[base], step=step))


def test_signing_refuses_a_trainable_tensor_that_is_not_there(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", small_tensors(2))
    declare_training(model, write_model(tmp_path / "base", small_tensors(1)), ["embed.weight", "gone.weight"])
    with pytest.raises(CallerError, match=r"trainable that is not there: gone\.weight"):
        sign_folder(model, new_signer(), name="model", version=None, uri=None)
    assert not (model / "attestation").exists()


def test_signing_again_without_the_record_says_how_many_steps_are_lost(signed_copy: SignedMerge) -> None:
    (signed_copy.merged / ".attest" / "steps" / "001.json").unlink()
    result = sign_folder(signed_copy.merged, new_signer(), name="again", version=None, uri=None)
    assert (result.replaced_steps, len(result.steps)) == (1, 0)


def test_a_candidate_that_cannot_be_tried_is_not_passed_over(tmp_path: Path) -> None:
    signer = new_signer()
    base = write_model(tmp_path / "base", small_tensors(1))
    model = write_model(tmp_path / "model", small_tensors(2))
    declare_training(model, base, "all")
    sign_folder(model, signer, name="model", version=None, uri=None)
    candidate = LocalFolder(write_model(tmp_path / "other", small_tensors(3, elements=25)))
    merge = SignedMerge(tmp_path, signer.public_key)
    (tmp_path / "merged").symlink_to(model)
    report = merge.verify(parents={"base": LocalFolder(base)}, candidates=[candidate])
    (finding,) = [finding for finding in report.findings if finding.code == "CANDIDATE_NOT_TRIED"]
    assert (finding.expected, finding.actual) == (
        "blends with candidate 1",
        "not in a form to be blended: embed.weight",
    )
    assert report.level == 2


def test_a_configuration_too_large_to_look_into_is_rejected(signed_copy: SignedMerge) -> None:
    with (signed_copy.merged / "config.json").open("wb") as file:
        file.truncate((64 << 20) + 1)
    codes = {finding.code for finding in signed_copy.verify().findings}
    assert codes == {"FILE_MISMATCH", "WEIGHTS_REDIRECTED"}


@pytest.mark.parametrize("members", [{"transformers_weights": "other.safetensors"}, None])
def test_signing_refuses_what_a_loader_would_take_from_elsewhere(
    tmp_path: Path, members: dict[str, str] | None
) -> None:
    model = write_model(tmp_path / "model", small_tensors(2))
    if members is None:
        (model / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    else:
        (model / "config.json").write_text(json.dumps(members))
    with pytest.raises(CallerError, match="a loader would take other weights"):
        sign_folder(model, new_signer(), name="model", version=None, uri=None)
    assert not (model / "attestation").exists()


def test_members_under_the_names_of_our_own_code_are_not_read() -> None:
    zero = {"sha256": "0" * 64}
    statement = {
        "statement_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "attestation/manifest.json", "digest": zero}],
        "predicate_type": "https://model-attest.github.io/pipeline/v1",
        "predicate": {"model": {"name": "x", "checkpoint_root": "sha256:" + "0" * 64}},
    }
    with pytest.raises(MalformedDocument):
        read_statement(dumps(statement))  # type: ignore[arg-type]
