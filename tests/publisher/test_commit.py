"""Commitments, and what `attest sign` makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_attest.commit import commit_folder
from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner, generate_key
from model_verify.digest import CheckpointRoot
from model_verify.errors import CallerError
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.cli.making import attest
from tests.publisher.conftest import expected_root

COMMITMENT = "attestation/commit.sigstore.json"


def root(model: Path) -> CheckpointRoot:
    return CheckpointRoot.parse(expected_root(model / "model.safetensors"))


def change(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def checked(model: Path, signer: KeySigner) -> Report:
    return verify(Request(LocalFolder(model), expected_signer=signer.public_key))


def test_a_commitment_stays_when_the_model_is_signed(model: Path, signer: KeySigner) -> None:
    commit_folder(model, root(model), signer, name="town", version="1")
    before = (model / COMMITMENT).read_bytes()
    for _ in range(2):
        sign_folder(model, signer, name="town", version="1")
        assert (model / COMMITMENT).read_bytes() == before
    report = checked(model, signer)
    assert (report.verdict, {finding.code for finding in report.findings}) == ("VERIFIED", {"NO_STEPS"})
    assert report.history is not None
    assert report.history.commitment is not None
    assert (report.history.commitment.counted, report.history.freshness) == (True, "unknown")
    assert "freshness" in {item.what for item in report.not_checked}


@pytest.mark.parametrize("fresh", [False, True])
def test_something_else_is_not_signed_over_a_commitment(model: Path, signer: KeySigner, *, fresh: bool) -> None:
    commit_folder(model, root(model), signer, name="town")
    if not fresh:
        with pytest.raises(CallerError, match="the commitment that is here is to another name: town"):
            sign_folder(model, signer, name="city")
        return
    sign_folder(model, signer, name="city", fresh=True)
    assert not (model / COMMITMENT).exists()


def test_a_strangers_commitment_is_not_signed_over(model: Path, signer: KeySigner) -> None:
    commit_folder(model, root(model), KeySigner(generate_key("p384")))
    with pytest.raises(CallerError, match="by another signer"):
        sign_folder(model, signer)


def test_the_commitment_to_a_superseded_model_goes_with_it(model: Path, signer: KeySigner) -> None:
    commit_folder(model, root(model), signer)
    sign_folder(model, signer)
    change(model)
    sign_folder(model, signer, reason="retrained")
    assert not (model / COMMITMENT).exists()
    assert checked(model, signer).verdict == "VERIFIED"


def test_a_new_model_can_be_committed_to_in_the_folder_of_the_old_one(model: Path, signer: KeySigner) -> None:
    commit_folder(model, root(model), signer)
    sign_folder(model, signer)
    change(model)
    result = commit_folder(model, root(model), signer)
    assert result.commitment.manifest_digest is None
    sign_folder(model, signer, reason="retrained")
    report = checked(model, signer)
    assert report.verdict == "VERIFIED"
    assert report.history is not None
    assert report.history.commitment is not None


def test_a_commitment_is_not_made_anew(model: Path, signer: KeySigner) -> None:
    commit_folder(model, root(model), signer)
    before = (model / COMMITMENT).read_bytes()
    with pytest.raises(CallerError, match="there is a commitment to this"):
        commit_folder(model, root(model), signer)
    assert (model / COMMITMENT).read_bytes() == before


def test_a_commitment_beside_an_attestation_has_its_manifest(model: Path, signer: KeySigner) -> None:
    signed = sign_folder(model, signer)
    assert commit_folder(model, root(model), signer).commitment.manifest_digest == signed.manifest_digest
    assert checked(model, signer).verdict == "VERIFIED"


def test_the_command_reads_the_root_itself(model: Path) -> None:
    attest("keygen", "--out", "lab", cwd=model.parent)
    done = attest("commit", "model", "--key", "lab", "--version", "1.0", "--json", cwd=model.parent)
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert (answer["name"], answer["version"], answer["time"]) == ("model", "1.0", None)
    assert answer["checkpoint_root"] == expected_root(model / "model.safetensors")
    assert "nothing shows when this was signed" in done.stderr


@pytest.mark.parametrize("time", ["yesterday", "2026-07-01T12:00:00"])
def test_a_time_of_publication_has_to_be_one(model: Path, time: str) -> None:
    done = attest("verify", "model", "--published", time, cwd=model.parent)
    assert done.returncode == 2
    assert "--published" in done.stderr
