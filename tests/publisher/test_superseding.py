"""What `attest sign` makes of an attestation that is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from model_attest.commit import commit_folder
from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner, generate_key
from model_verify.errors import CallerError
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.detached import DetachedAttestation
from model_verify.sources.local import LocalFolder
from tests.publisher.conftest import expected_root

BUNDLE = "attestation/pipeline.sigstore.json"


def checked(model: Path, signer: KeySigner) -> Report:
    return verify(Request(LocalFolder(model), expected_signer=signer.public_key))


def history(model: Path) -> set[str]:
    folder = model / "attestation" / "history"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def name_of(bundle: bytes) -> str:
    return f"{hashlib.sha256(bundle).hexdigest()}.sigstore.json"


def test_an_attestation_of_ones_own_stays_in_the_history(model: Path, signer: KeySigner) -> None:
    sign_folder(model, signer, version="1")
    first, root = (model / BUNDLE).read_bytes(), expected_root(model / "model.safetensors")
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:-1] + b"\x01")
    sign_folder(model, signer, version="2", reason="a byte was wrong")
    second = (model / BUNDLE).read_bytes()
    sign_folder(model, signer, version="3")
    assert history(model) == {name_of(first), name_of(second)}
    report = checked(model, signer)
    assert (report.verdict, report.level) == ("VERIFIED", 1)
    assert report.history is not None
    found = [(line.version, line.reason, line.counted) for line in report.history.supersedes]
    assert found == [("2", None, True), ("1", "a byte was wrong", True)]
    assert report.history.supersedes[1].root.text == root


def test_an_attestation_by_another_is_not_superseded(model: Path, signer: KeySigner) -> None:
    sign_folder(model, KeySigner(generate_key("ed25519")))
    sign_folder(model, signer)
    assert history(model) == set()
    assert {finding.code for finding in checked(model, signer).findings} == {"NO_STEPS"}
    with pytest.raises(CallerError, match="`--reason`"):
        sign_folder(model, KeySigner(generate_key("ed25519")), reason="mine now")


def test_a_fresh_attestation_forgets_the_history(model: Path, signer: KeySigner) -> None:
    sign_folder(model, signer)
    sign_folder(model, signer)
    assert len(history(model)) == 1
    sign_folder(model, signer, fresh=True)
    assert history(model) == set()
    assert checked(model, signer).verdict == "VERIFIED"


def test_a_broken_history_is_not_signed_over(model: Path, signer: KeySigner) -> None:
    sign_folder(model, signer)
    sign_folder(model, signer)
    (earlier,) = (model / "attestation" / "history").iterdir()
    earlier.write_bytes(earlier.read_bytes() + b"\n")
    before = (model / BUNDLE).read_bytes()
    with pytest.raises(CallerError, match="HISTORY_MISMATCH") as raised:
        sign_folder(model, signer)
    assert raised.value.hint is not None
    assert "--fresh" in raised.value.hint
    assert (model / BUNDLE).read_bytes() == before


def test_the_publishers_history_is_none_of_a_detached_attestation(
    model: Path, signer: KeySigner, tmp_path: Path
) -> None:
    """It counts under the publisher alone, and is neither read nor in the way of somebody else's word."""
    root = sign_folder(model, signer).checkpoint_root
    commit_folder(model, root, signer)
    sign_folder(model, signer)
    office = KeySigner(generate_key("p256"))
    sign_folder(model, office, detached=tmp_path / "outside")
    outside = DetachedAttestation(tmp_path / "outside")
    report = verify(Request(LocalFolder(model), expected_signer=office.public_key, attestation=outside))
    assert (report.verdict, {finding.code for finding in report.findings}) == ("VERIFIED", {"NO_STEPS"})
    assert report.history is not None
    assert (report.history.commitment, report.history.supersedes) == (None, [])


def test_what_is_there_and_is_no_bundle_is_replaced(model: Path, signer: KeySigner) -> None:
    (model / "attestation").mkdir()
    (model / BUNDLE).write_bytes(b"{}")
    sign_folder(model, signer)
    assert checked(model, signer).verdict == "VERIFIED"
