"""From a manifest to the signed bytes. Spec: statement §2, §3."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rfc8785

from model_attest.inventory import take_inventory
from model_attest.statement import build_statement, describe_model
from model_verify.digest import CheckpointRoot, FileDigest
from model_verify.errors import CallerError
from model_verify.models import FullTraining, Material, MaterialDigest, StepOutput, TrainingRecord, TrainStep
from model_verify.sources.local import LocalFolder
from tests.publisher.conftest import expected_root, file_digest

ROOT = CheckpointRoot(b"\xab" * 32)


def test_a_statement_is_exactly_this(model: Path) -> None:
    inventory = take_inventory(LocalFolder(model))
    identity = describe_model("town", inventory.checkpoint_root, version="1.0", uri="pkg:huggingface/town/town-7b")
    material = Material(
        name="base", digest=MaterialDigest(checkpoint_root=ROOT), uri="pkg:huggingface/lab/a@" + "0" * 40
    )
    step = TrainStep(
        id="train",
        type="train",
        inputs=["base"],
        output=StepOutput(checkpoint_root=inventory.checkpoint_root),
        trainable="all",
        record=TrainingRecord(method=FullTraining(name="full"), hyperparameters={"lr": "1e-5", "bf16": True}),
    )
    data = build_statement(inventory.manifest, FileDigest(b"\xcd" * 32), identity, [material], [step])
    assert data == rfc8785.dumps(json.loads(data))
    root = expected_root(model / "model.safetensors")
    assert json.loads(data) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "attestation/manifest.json", "digest": {"sha256": "cd" * 32}},
            {
                "name": "model.safetensors",
                "digest": {"sha256": file_digest(model / "model.safetensors").removeprefix("sha256:")},
            },
        ],
        "predicateType": "https://model-attest.github.io/pipeline/v1",
        "predicate": {
            "model": {
                "name": "town",
                "version": "1.0",
                "uri": "pkg:huggingface/town/town-7b",
                "checkpointRoot": root,
            },
            "resolvedDependencies": [
                {
                    "name": "base",
                    "uri": "pkg:huggingface/lab/a@" + "0" * 40,
                    "digest": {"model-attest-checkpoint-v1": "ab" * 32},
                }
            ],
            "steps": [
                {
                    "id": "train",
                    "type": "train",
                    "inputs": ["base"],
                    "output": {"checkpointRoot": root},
                    "trainable": "all",
                    "record": {"method": {"name": "full"}, "hyperparameters": {"lr": "1e-5", "bf16": True}},
                }
            ],
        },
    }


@pytest.mark.parametrize(
    ("name", "version", "uri", "problem"),
    [
        ("", None, None, "name"),
        ("x" * 257, None, None, "name"),
        ("x", "", None, "version"),
        ("x", None, "", "package URL"),
        ("x", None, "https://huggingface.co/a/b", "package URL"),
        ("x", None, "pkg:huggingface/a/b@" + "0" * 40, "package URL"),
        ("x", None, "pkg:huggingface/a b", "package URL"),
        ("x", None, "pkg:huggingface/" + "a" * 2048, "uri"),
    ],
)
def test_an_identity_that_cannot_be_stated_is_refused(
    name: str, version: str | None, uri: str | None, problem: str
) -> None:
    with pytest.raises(CallerError, match=problem):
        describe_model(name, ROOT, version=version, uri=uri)
