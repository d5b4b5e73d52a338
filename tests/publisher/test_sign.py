"""Signing a folder: what is there afterwards, and what is there when something goes wrong."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from model_attest import placement, sign
from model_attest.record import write_record
from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner, generate_key
from model_verify.errors import (
    CallerError,
    MalformedDocument,
    OutputError,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
)
from model_verify.models import StepRecord
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.publisher.conftest import expected_root, tree

ATTESTATION = {
    "attestation/leaves.sha256tree",
    "attestation/manifest.json",
    "attestation/pipeline.sigstore.json",
}


def statement(folder: Path) -> dict[str, Any]:
    bundle = json.loads((folder / "attestation" / "pipeline.sigstore.json").read_bytes())
    payload: dict[str, Any] = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    return payload


def train_record(output: str, *, step_id: str = "train", source: str = "base") -> StepRecord:
    return StepRecord.model_validate(
        {
            "schema": "https://model-attest.github.io/step-record/v1",
            "materials": [{"name": "base", "digest": {"model-attest-checkpoint-v1": "a" * 64}}],
            "step": {
                "id": step_id,
                "type": "train",
                "inputs": [source],
                "output": {"checkpointRoot": output},
                "trainable": "all",
            },
        }
    )


def test_a_signed_folder_has_three_more_files_and_nothing_else(model: Path, signer: KeySigner) -> None:
    before = tree(model)
    result = sign_folder(model, signer)
    after = tree(model)
    assert after.keys() - before.keys() == ATTESTATION
    assert {path: after[path] for path in before} == before
    assert not (model / ".attest").exists()
    assert result.checkpoint_root.text == expected_root(model / "model.safetensors")
    assert (result.name, result.tensor_count, result.file_count, result.steps) == ("model", 5, 4, ())
    assert result.size_bytes == sum(len(content) for content in before.values())
    assert result.signature.signer == signer.public_key
    assert result.bundle_path == model / "attestation" / "pipeline.sigstore.json"


def test_the_files_belong_together_and_are_canonical(model: Path, signer: KeySigner) -> None:
    result = sign_folder(model, signer, name="town", version="2", uri="pkg:huggingface/town/town")
    manifest = (model / "attestation" / "manifest.json").read_bytes()
    leaves = (model / "attestation" / "leaves.sha256tree").read_bytes()
    assert manifest == rfc8785.dumps(json.loads(manifest))
    digest = hashlib.sha256(manifest).hexdigest()
    assert result.manifest_digest.hex == statement(model)["subject"][0]["digest"]["sha256"] == digest
    assert json.loads(manifest)["leaves"]["file_digest"] == "sha256:" + hashlib.sha256(leaves).hexdigest()
    model_members = statement(model)["predicate"]["model"]
    assert (model_members["name"], model_members["version"]) == ("town", "2")
    assert model_members["uri"] == "pkg:huggingface/town/town"


def test_the_verifier_accepts_what_was_signed(model: Path, signer: KeySigner) -> None:
    sign_folder(model, signer)
    report = verify(Request(LocalFolder(model), expected_signer=signer.public_key))
    assert (report.verdict, report.level) == ("VERIFIED", 1)


def test_signing_again_replaces_the_attestation(model: Path, signer: KeySigner) -> None:
    sign_folder(model, signer)
    first = tree(model)
    (model / "config.json").write_text("{}")
    other = KeySigner(generate_key("ed25519"))
    sign_folder(model, other)
    assert tree(model).keys() == first.keys()
    assert verify(Request(LocalFolder(model), expected_signer=other.public_key)).verdict == "VERIFIED"
    assert verify(Request(LocalFolder(model), expected_signer=signer.public_key)).verdict == "REJECTED"


def test_recorded_steps_are_signed_and_their_records_stay(model: Path, signer: KeySigner) -> None:
    root = expected_root(model / "model.safetensors")
    write_record(model, train_record("sha256:" + "b" * 64, step_id="first"))
    write_record(model, train_record(root, step_id="second", source="first"))
    result = sign_folder(model, signer)
    assert [step.id for step in result.steps] == ["first", "second"]
    predicate = statement(model)["predicate"]
    assert [(step["id"], step["inputs"]) for step in predicate["steps"]] == [("first", ["base"]), ("second", ["first"])]
    assert [material["name"] for material in predicate["resolvedDependencies"]] == ["base"]
    assert sorted(path.name for path in (model / ".attest" / "steps").iterdir()) == ["001.json", "002.json"]
    assert sorted(path.name for path in (model / ".attest").iterdir()) == ["steps"]


def test_weights_that_the_steps_did_not_give_are_not_signed(model: Path, signer: KeySigner) -> None:
    recorded = "sha256:" + "b" * 64
    write_record(model, train_record(recorded))
    before = tree(model)
    with pytest.raises(CallerError) as raised:
        sign_folder(model, signer)
    assert recorded in raised.value.message
    assert expected_root(model / "model.safetensors") in raised.value.message
    assert raised.value.hint is not None
    assert "record that step too" in raised.value.hint
    assert tree(model) == before


def test_steps_that_lead_nowhere_are_refused_before_the_weights_are_read(model: Path, signer: KeySigner) -> None:
    root = expected_root(model / "model.safetensors")
    write_record(model, train_record(root, step_id="aside"))
    write_record(model, train_record(root))
    seen: list[int] = []
    with pytest.raises(MalformedDocument, match=r"\.attest/steps: aside: leads nowhere") as raised:
        sign_folder(model, signer, progress=seen.append)
    assert raised.value.code == "STEP_OFF_PATH"
    assert seen == []


def test_a_bad_uri_is_refused_before_the_weights_are_read(model: Path, signer: KeySigner) -> None:
    seen: list[int] = []
    with pytest.raises(CallerError, match="package URL"):
        sign_folder(model, signer, uri="https://example.com", progress=seen.append)
    assert seen == []


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path, signer: KeySigner) -> None:
    with pytest.raises(SourceMissing, match="does not exist"):
        sign_folder(tmp_path / "none", signer)


def test_a_fifo_in_the_folder_is_refused(model: Path, signer: KeySigner) -> None:
    os.mkfifo(model / "pipe")
    before = sorted(path.name for path in model.iterdir())
    with pytest.raises(SourceUnreadable, match="FIFO"):
        sign_folder(model, signer)
    assert sorted(path.name for path in model.iterdir()) == before


def test_an_attestation_folder_that_is_a_link_is_not_written_through(
    model: Path, tmp_path: Path, signer: KeySigner
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (model / "attestation").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceUnreadable, match="attestation"):
        sign_folder(model, signer)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_that_changes_meanwhile_leaves_nothing(model: Path, signer: KeySigner) -> None:
    def change(_: int) -> None:
        with (model / "model.safetensors").open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x07")

    with pytest.raises(SourceChanged):
        sign_folder(model, signer, progress=change)
    assert tree(model).keys().isdisjoint(ATTESTATION)


# Interruption: every call on the way to the disk fails once, in every way that it can fail.

FAILURES: dict[str, Callable[[], BaseException]] = {
    "no space": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "no permission": lambda: PermissionError(errno.EACCES, "Permission denied"),
    "interrupt": KeyboardInterrupt,
    "bug": lambda: RuntimeError("bug"),
}
# What each failure comes out as.
RAISED: dict[str, type[BaseException]] = {
    "no space": OutputError,
    "no permission": OutputError,
    "interrupt": KeyboardInterrupt,
    "bug": RuntimeError,
}


def fail_at(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, failure: Callable[[], BaseException]
) -> None:
    """Make the call number `call`, counted from 1, of a function raise."""
    real = getattr(owner, name)
    calls: list[None] = []

    def failing(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        if len(calls) == call:
            raise failure()
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, failing)


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize(
    ("owner", "name", "call", "has_old"),
    [
        (sign, "stage_folder", 1, True),
        (sign, "stage_folder", 1, False),
        (sign, "write_synced", 1, True),
        (sign, "write_synced", 1, False),
        (sign, "write_synced", 2, True),
        (sign, "write_synced", 2, False),
        (sign, "write_synced", 3, True),
        (sign, "write_synced", 3, False),
        (sign, "sync_folder", 1, True),
        (sign, "sync_folder", 1, False),
        (sign, "replace_folder", 1, True),
        (sign, "replace_folder", 1, False),
        (placement, "_rename", 1, True),
        (os, "fsync", 1, True),
        (os, "fsync", 1, False),
        (os, "fsync", 3, True),
        (os, "fsync", 3, False),
    ],
)
def test_a_failure_leaves_the_old_attestation_whole_and_nothing_beside_it(
    model: Path,
    signer: KeySigner,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    owner: object,
    name: str,
    call: int,
    has_old: bool,
) -> None:
    if has_old:
        sign_folder(model, signer)
    before = tree(model)
    fail_at(monkeypatch, owner, name, call, FAILURES[kind])
    with pytest.raises(RAISED[kind]):
        sign_folder(model, signer, name="new")
    assert tree(model) == before
    assert not (model / ".attest").exists()


def test_a_full_disk_says_where_and_what_to_do(model: Path, signer: KeySigner, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, os, "fsync", 2, FAILURES["no space"])
    with pytest.raises(OutputError, match="No space left on device") as raised:
        sign_folder(model, signer)
    assert str(model) in raised.value.message
    assert raised.value.hint == "free some space there and run it again"


def test_a_folder_that_may_not_be_written_is_refused_before_the_weights_are_read(
    model: Path, signer: KeySigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    seen: list[int] = []
    with pytest.raises(OutputError, match="not writable"):
        sign_folder(model, signer, progress=seen.append)
    assert seen == []


@pytest.fixture
def plain_renames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot exchange two names."""
    monkeypatch.setattr(placement, "_rename", lambda source, target, flags: False)


@pytest.mark.usefixtures("plain_renames")
def test_without_exchange_the_attestation_is_replaced_by_two_renames(model: Path, signer: KeySigner) -> None:
    sign_folder(model, signer, name="old")
    sign_folder(model, signer, name="new")
    assert statement(model)["predicate"]["model"]["name"] == "new"
    assert not (model / ".attest").exists()


@pytest.mark.usefixtures("plain_renames")
@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("call", [1, 2])
def test_without_exchange_a_failed_rename_puts_the_old_one_back(
    model: Path, signer: KeySigner, monkeypatch: pytest.MonkeyPatch, kind: str, call: int
) -> None:
    sign_folder(model, signer)
    before = tree(model)
    fail_at(monkeypatch, Path, "rename", call, FAILURES[kind])
    with pytest.raises(RAISED[kind]):
        sign_folder(model, signer, name="new")
    assert tree(model) == before
    assert not (model / ".attest").exists()


@pytest.mark.parametrize("progress_call", [1, 2])
def test_keyboard_interrupt_while_hashing_leaves_nothing(model: Path, signer: KeySigner, progress_call: int) -> None:
    calls: list[int] = []

    def interrupt(done: int) -> None:
        calls.append(done)
        if len(calls) == progress_call:
            raise KeyboardInterrupt

    before = tree(model)
    with pytest.raises(KeyboardInterrupt):
        sign_folder(model, signer, progress=interrupt)
    assert tree(model) == before


# The self-check.


class _Tampering(KeySigner):
    """A signer whose bundles are spoilt on the way."""

    def __init__(self, spoil: Callable[[KeySigner, bytes], bytes]) -> None:
        super().__init__(generate_key("p256"))
        self._spoil = spoil

    def sign(self, statement: bytes) -> bytes:
        return self._spoil(KeySigner(self._key), statement)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda signer, data: KeySigner(generate_key("p256")).sign(data), "signature is not valid"),
        (lambda signer, data: signer.sign(data + b" "), "another payload"),
        (lambda signer, data: signer.sign(data)[:-1], "own verification"),
        (lambda signer, data: b"{}", "own verification"),
    ],
)
def test_a_bundle_that_would_not_verify_is_never_written(
    model: Path, spoil: Callable[[KeySigner, bytes], bytes], problem: str
) -> None:
    before = tree(model)
    with pytest.raises(OutputError, match=problem):
        sign_folder(model, _Tampering(spoil))
    assert tree(model) == before


@pytest.mark.parametrize("spoilt", ["manifest", "leaves", "statement"])
def test_the_self_check_sees_one_flipped_bit(model: Path, signer: KeySigner, spoilt: str) -> None:
    sign_folder(model, signer)
    parts = {
        "manifest": (model / "attestation" / "manifest.json").read_bytes(),
        "leaves": (model / "attestation" / "leaves.sha256tree").read_bytes(),
        "statement": rfc8785.dumps(statement(model)),
    }
    bundle = (model / "attestation" / "pipeline.sigstore.json").read_bytes()

    def check() -> None:
        sign.check_attestation(parts["manifest"], parts["leaves"], bundle, signer=signer, statement=parts["statement"])

    check()
    parts[spoilt] = bytes([parts[spoilt][0] ^ 1]) + parts[spoilt][1:]
    with pytest.raises(OutputError, match="own verification"):
        check()


def test_a_folder_in_the_hub_cache_is_signed_through_its_links(model: Path, tmp_path: Path, signer: KeySigner) -> None:
    entry = tmp_path / "models--lab--a"
    snapshot = entry / "snapshots" / ("0" * 40)
    (entry / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        shutil.copy(model / name, entry / "blobs" / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    result = sign_folder(snapshot, signer, name="a")
    assert result.checkpoint_root.text == expected_root(model / "model.safetensors")
    assert statement(snapshot)["predicate"]["model"]["uri"] == "pkg:huggingface/lab/a"
    assert verify(Request(LocalFolder(snapshot), expected_signer=signer.public_key)).verdict == "VERIFIED"
