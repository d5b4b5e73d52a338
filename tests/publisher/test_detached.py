"""An attestation to a folder of somebody else's: written elsewhere, and read from there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from model_attest import sign
from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner, generate_key
from model_verify.errors import CallerError, OutputError, SourceMissing
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.detached import DetachedAttestation
from model_verify.sources.local import LocalFolder
from tests.publisher.conftest import tree

FILES = {"leaves.sha256tree", "manifest.json", "pipeline.sigstore.json"}


def verified(folder: Path, signer: KeySigner, attestation: Path) -> Report:
    outside = DetachedAttestation(attestation)
    return verify(Request(LocalFolder(folder), expected_signer=signer.public_key, attestation=outside))


def test_the_folder_is_not_written_to(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    before = tree(model)
    result = sign_folder(model, signer, detached=tmp_path / "outside")
    assert tree(model) == before
    assert not (model / ".attest").exists()
    assert tree(tmp_path / "outside").keys() == FILES
    assert result.bundle_path == tmp_path / "outside" / "pipeline.sigstore.json"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "outside"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable_can_be_attested_to(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    model.chmod(0o500)
    try:
        sign_folder(model, signer, detached=tmp_path / "outside")
    finally:
        model.chmod(0o700)


def test_the_report_says_that_it_is_detached_and_by_whom(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    sign_folder(model, signer, detached=outside)
    report = verified(model, signer, outside)
    assert (report.verdict, report.level) == ("VERIFIED", 1)
    assert report.headline.endswith(f"; the attestation is detached, by key sha256:{signer.public_key.hint}")
    assert report.bundle is not None
    assert report.bundle.detached == str(outside)
    assert "what the repository itself attests" in [item.what for item in report.not_checked]


def test_the_publishers_own_attestation_is_neither_changed_nor_read(
    model: Path, signer: KeySigner, tmp_path: Path
) -> None:
    other = KeySigner(generate_key("ed25519"))
    sign_folder(model, other)
    before = tree(model)
    sign_folder(model, signer, detached=tmp_path / "outside")
    assert tree(model) == before
    assert verified(model, signer, tmp_path / "outside").verdict == "VERIFIED"
    assert verified(model, other, tmp_path / "outside").verdict == "REJECTED"
    own = verify(Request(LocalFolder(model), expected_signer=other.public_key))
    assert (own.verdict, own.bundle and own.bundle.detached) == ("VERIFIED", None)


def test_the_bundle_alone_can_be_named(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    sign_folder(model, signer, detached=outside)
    shutil.move(outside / "pipeline.sigstore.json", outside / "by-us.json")
    (tmp_path / "link").symlink_to(outside / "by-us.json")
    assert verified(model, signer, outside / "by-us.json").verdict == "VERIFIED"
    assert verified(model, signer, tmp_path / "link").verdict == "VERIFIED"


@pytest.mark.parametrize("name", ["model", "model/inside", "model/attestation"])
def test_it_cannot_lie_in_the_model(model: Path, signer: KeySigner, name: str) -> None:
    before = tree(model)
    with pytest.raises(CallerError, match="lies in the model's folder"):
        sign_folder(model, signer, detached=model.parent / name)
    assert tree(model) == before


def test_nothing_is_replaced_and_nothing_half_written(
    model: Path, signer: KeySigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir()
    with pytest.raises(OutputError, match="already there"):
        sign_folder(model, signer, detached=tmp_path / "outside")
    with pytest.raises(OutputError, match="no folder"):
        sign_folder(model, signer, detached=tmp_path / "nowhere" / "outside")

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sign, "replace_folder", full)
    with pytest.raises(OutputError, match="No space"):
        sign_folder(model, signer, detached=tmp_path / "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "outside"]


def test_what_is_no_bundle_outside_is_a_finding(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    sign_folder(model, signer, detached=outside)
    with pytest.raises(SourceMissing):
        DetachedAttestation(tmp_path / "nowhere")
    with pytest.raises(SourceMissing):
        DetachedAttestation(model)
    (outside / "pipeline.sigstore.json").unlink()
    os.mkfifo(outside / "pipeline.sigstore.json")
    assert [finding.code for finding in verified(model, signer, outside).findings] == ["BUNDLE_MALFORMED"]
    (outside / "pipeline.sigstore.json").unlink()
    (outside / "pipeline.sigstore.json").symlink_to(model / "config.json")
    assert [finding.code for finding in verified(model, signer, outside).findings] == ["BUNDLE_MALFORMED"]
