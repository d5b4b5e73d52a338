"""The JSON Schemas, held against documents by the jsonschema package."""

from __future__ import annotations

import base64
import copy
import json
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from model_attest import schemas
from model_attest.commit import build_commitment
from model_attest.merge import run_merge
from model_attest.observe import build_observation
from model_attest.recipes import read_recipe
from model_attest.revoke import build_revocation, revoked_signer
from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner, generate_key
from model_attest.summary import SummaryTerms, write_summary
from model_verify.digest import CheckpointRoot, FileDigest
from model_verify.models import ModelIdentity
from model_verify.models.commitment import Commitment
from model_verify.models.observation import Observation
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from model_verify.summary import SummaryRequest, judge_summary
from tests.publisher.conftest import make_model

ROOT = CheckpointRoot(bytes(32))
OBSERVATION = Observation(
    uri="pkg:generic/a@1",
    checkpoint_root=ROOT,
    manifest_digest=FileDigest(bytes(32)),
    observed="2026-07-01T12:00:00Z",
)
Documents = dict[str, Any]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """One real document of every kind."""
    folder = tmp_path_factory.mktemp("schemas")
    for seed, name in enumerate("ab"):
        make_model(folder / name, seed=seed)
    (folder / "recipe.yml").write_text(
        "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5, normalize: false}\n"
        "attest: {copy_from: a}\n"
    )
    run_merge(read_recipe(folder / "recipe.yml"), folder / "out", device="cpu")
    signer = KeySigner(generate_key("p256"))
    sign_folder(folder / "out", signer, name="x", version="1", uri="pkg:huggingface/a/b")
    parents = {name: LocalFolder(folder / name) for name in "ab"}
    report = verify(Request(LocalFolder(folder / "out"), signer.public_key, parents, device="cpu"))
    terms = SummaryTerms("urn:agency", "urn:model", datetime.now(UTC), expires_days=1)
    write_summary(report, terms, signer, folder / "summary.json")
    summary = (folder / "summary.json").read_bytes()
    asked = SummaryRequest(summary, "summary.json", [signer.public_key], datetime.now(UTC), resource="urn:model")
    bundle = json.loads((folder / "out" / "attestation" / "pipeline.sigstore.json").read_bytes())
    return {
        "manifest": json.loads((folder / "out" / "attestation" / "manifest.json").read_bytes()),
        "bundle": bundle,
        "statement": json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"])),
        "step-record": json.loads((folder / "out" / ".attest" / "steps" / "001.json").read_bytes()),
        "report": report.model_dump(mode="json", by_alias=True),
        "summary": json.loads(base64.b64decode(json.loads(summary)["dsseEnvelope"]["payload"])),
        "summary-report": judge_summary(asked).model_dump(mode="json", by_alias=True),
        "policy": tomllib.loads((schemas.FOLDER.parents[1] / "docs" / "policies" / "procurement.toml").read_text()),
        "commit": json.loads(build_commitment(Commitment(model=ModelIdentity(name="x", checkpoint_root=ROOT)))),
        "observation": json.loads(build_observation(OBSERVATION)),
        "revocation": json.loads(build_revocation(revoked_signer("0" * 64, None), "lost")),
    }


def problems(document: str, instance: Any) -> list[str]:
    path = schemas.FOLDER / f"{document}.schema.json"
    return [error.message for error in Draft202012Validator(json.loads(path.read_bytes())).iter_errors(instance)]


KINDS = [
    "manifest", "statement", "bundle", "step-record", "report", "policy", "revocation", "commit", "observation",
    "summary", "summary-report",
]  # fmt: skip


def test_the_schemas_are_those_of_the_wire_models() -> None:
    on_disk = {path.name: path.read_bytes() for path in schemas.FOLDER.iterdir()}
    assert on_disk == schemas.schema_files(), "run `make schemas`"
    assert sorted(on_disk) == sorted(f"{kind}.schema.json" for kind in KINDS)


def test_the_check_sees_drift_and_writing_repairs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "FOLDER", tmp_path / "v1")
    with pytest.raises(SystemExit, match=r"manifest\.schema\.json"):
        schemas.main(["--check"])
    schemas.main([])
    schemas.main(["--check"])
    (tmp_path / "v1" / "old.schema.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"old\.schema\.json"):
        schemas.main(["--check"])
    schemas.main([])
    assert not (tmp_path / "v1" / "old.schema.json").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one_and_has_its_address(kind: str) -> None:
    schema = json.loads((schemas.FOLDER / f"{kind}.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"https://model-attest.github.io/schemas/v1/{kind}.schema.json"


@pytest.mark.parametrize("kind", KINDS)
def test_real_documents_are_valid(documents: Documents, kind: str) -> None:
    assert problems(kind, documents[kind]) == []


def edited(document: Any, edit: Callable[[Any], object]) -> Any:
    changed = copy.deepcopy(document)
    edit(changed)
    return changed


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("manifest", lambda d: d.update(extra=1)),
        ("manifest", lambda d: d.pop("leaves")),
        ("manifest", lambda d: d.update(schema="https://model-attest.github.io/manifest/v2")),
        ("manifest", lambda d: d["files"][0].update(size_bytes=-1)),
        ("manifest", lambda d: d["files"][0].update(size_bytes=2**53)),
        ("manifest", lambda d: d["files"][0].update(size_bytes="1")),
        ("manifest", lambda d: d["files"][0].update(file_digest="sha256:" + "A" * 64)),
        ("manifest", lambda d: d["files"][0].update({"class": "secret"})),
        ("manifest", lambda d: d["weight_sets"][0].update(index=None)),
        ("statement", lambda d: d.update(_type="https://in-toto.io/Statement/v0.1")),
        ("statement", lambda d: d.update(predicateType="https://slsa.dev/provenance/v1")),
        ("statement", lambda d: d["subject"].clear()),
        ("statement", lambda d: d["subject"][0].update(name="other")),
        ("statement", lambda d: d["subject"][0]["digest"].update(sha512="00")),
        ("statement", lambda d: d["subject"][1]["digest"].update(sha256="00")),
        ("statement", lambda d: d["predicate"]["model"].pop("name")),
        ("statement", lambda d: d["predicate"]["model"].update(version=None)),
        ("statement", lambda d: d["predicate"].pop("steps")),
        ("statement", lambda d: d["predicate"]["resolvedDependencies"][0].update(name="-x")),
        ("statement", lambda d: d["predicate"]["resolvedDependencies"][0]["digest"].update(sha256="0" * 64)),
        ("statement", lambda d: d["predicate"]["steps"][0].pop("operations")),
        ("statement", lambda d: d["predicate"]["steps"][0].pop("profile")),
        ("statement", lambda d: d["predicate"]["steps"][0].update(inputs=[])),
        ("statement", lambda d: d["predicate"]["steps"][0]["operations"][0].pop("normalize")),
        ("statement", lambda d: d["predicate"]["steps"][0]["operations"][0].update(dtype="F64")),
        ("statement", lambda d: d["predicate"]["steps"][0].update(type="train")),
        ("bundle", lambda d: d.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json")),
        ("bundle", lambda d: d["dsseEnvelope"]["signatures"].append(d["dsseEnvelope"]["signatures"][0])),
        ("bundle", lambda d: d["dsseEnvelope"]["signatures"].clear()),
        ("bundle", lambda d: d["verificationMaterial"].update(certificate={})),
        ("bundle", lambda d: d["verificationMaterial"]["tlogEntries"].append({})),
        ("step-record", lambda d: d.update(extra=1)),
        ("step-record", lambda d: d["step"].update(type="magic")),
        ("policy", lambda d: d.update({"minimum-levle": 3})),
        ("policy", lambda d: d["files"].update(forbidden=["pickles"])),
        ("observation", lambda d: d["predicate"].update(uri="pkg:huggingface/a/b")),
        ("observation", lambda d: d["predicate"].pop("observed")),
        ("commit", lambda d: d["predicate"].pop("model")),
        ("commit", lambda d: d["predicate"].update(manifestDigest="0" * 64)),
        ("revocation", lambda d: d.update(predicateType="https://model-attest.github.io/pipeline/v1")),
        ("revocation", lambda d: d["predicate"]["revokes"].update(checkpointRoot="sha256:" + "0" * 64)),
        ("revocation", lambda d: d["predicate"].update(reason="")),
        ("revocation", lambda d: d["predicate"].pop("issued")),
        ("summary", lambda d: d.update(predicateType="https://slsa.dev/verification_summary/v2")),
        ("summary", lambda d: d["predicate"].pop("verifier")),
        ("summary", lambda d: d["predicate"].update(verificationResult="VERIFIED")),
        ("summary", lambda d: d["predicate"].update(timeVerified="today")),
        ("summary", lambda d: d["predicate"]["https://model-attest.github.io/summary/v1"].pop("verdict")),
        ("summary-report", lambda d: d.update(verdict="VERIFIED")),
        ("summary-report", lambda d: d.pop("summary")),
        ("report", lambda d: d.update(verdict="FINE")),
        ("report", lambda d: d.update(level=4)),
        ("report", lambda d: d.pop("level")),
    ],
)
def test_bad_documents_are_invalid(documents: Documents, kind: str, edit: Callable[[Any], object]) -> None:
    assert problems(kind, edited(documents[kind], edit)) != []


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["predicate"].update(later="x"),
        lambda d: d["predicate"].update(card={"text": "x"}),
        lambda d: d["predicate"]["steps"][0].update(type="distil", profile="linear/f64-v1", operations=1),
        lambda d: d["predicate"]["steps"][0].update(profile="ties/v1", operations=[{"op": "ties"}]),
        lambda d: d["predicate"]["steps"][0].update(type="train", trainable=["x"], parameters={"lr": "1e-5"}),
        lambda d: d["predicate"].update(steps=[], resolvedDependencies=[]),
        lambda d: d["subject"].__delitem__(1),
    ],
)
def test_what_a_verifier_passes_over_or_does_not_know_is_valid(
    documents: Documents, edit: Callable[[Any], object]
) -> None:
    assert problems("statement", edited(documents["statement"], edit)) == []
