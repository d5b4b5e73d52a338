"""What lies beside an attestation, under a certificate; also one of which nobody knows whether it was revoked."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from model_attest.observe import observe_model
from model_attest.signers.certificate import CertificateSigner
from model_attest.signers.key import KeySigner
from model_verify.envelope import ExpectedCertificate, TimeTrust
from model_verify.observation import load_observation, observe_materials
from model_verify.report import ReportMaterial
from model_verify.sources.local import LocalFolder
from tests.cli.conftest import Attest
from tests.trust.office import NAME, Office, new_key, written


@pytest.fixture
def office() -> Office:
    return Office.new()


@pytest.fixture
def other(office: Office) -> Office:
    """Another office below the same root, whose lists the caller does not have."""
    return office.second()


def signing(office: Office, folder: Path) -> list[str | Path]:
    folder.mkdir()
    key = new_key("p256")
    files = written(office, key, office.certify(key), folder)
    return ["--key", files.key, "--certificate", files.chain, "--certificate-root", files.root]


@pytest.fixture
def whom(office: Office, tmp_path: Path) -> list[str | Path]:
    """Whom the caller expects, with revocation lists of the root and of the first office."""
    (tmp_path / "own.crl").write_bytes(office.crl())
    (tmp_path / "root.crl").write_bytes(office.crl(of_root=True))
    root = tmp_path / "trusted.pem"
    root.write_bytes(office.root_pem)
    return ["--identity", NAME, "--certificate-root", root,
            "--crl", tmp_path / "own.crl", "--crl", tmp_path / "root.crl"]  # fmt: skip


def test_a_commitment_does_not_count(
    attest: Attest, model: Path, office: Office, other: Office, whom: list[str | Path], tmp_path: Path
) -> None:
    assert attest("commit", model, *signing(other, tmp_path / "a")).code == 0
    assert attest("sign", model, *signing(office, tmp_path / "b")).code == 0
    run = attest("verify", model, *whom, "--json").document
    assert {one["code"]: one["where"] for one in run["findings"]} == {
        "NO_STEPS": "",
        "REVOCATION_UNKNOWN": "attestation/commit.sigstore.json",
    }
    assert (run["verdict"], run["history"]["commitment"]["counted"]) == ("INCOMPLETE", False)


def test_an_office_observes_under_its_certificate(attest: Attest, model: Path, office: Office, tmp_path: Path) -> None:
    uri = f"pkg:huggingface/lab/a-7b@{'0' * 40}"
    run = attest("observe", model, "--uri", uri, "--out", tmp_path / "seen", *signing(office, tmp_path / "a"))
    assert run.code == 0, run.err
    assert NAME in run.out


def test_an_observation_is_refused(office: Office, other: Office, model: Path, tmp_path: Path) -> None:
    observed: dict[str, ReportMaterial] = {}
    for name, by in (("known", office), ("unknown", other)):
        key = new_key("p256")
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signer = CertificateSigner(KeySigner(key), [by.certify(key), by.certificate], office.root_pem)
        observation = observe_model(
            LocalFolder(model), tmp_path / name, signer, uri=f"pkg:huggingface/lab/a-7b@{'0' * 40}"
        )
        material = ReportMaterial(id="a", uri=None, root=observation.observation.checkpoint_root, status="matched")
        observer = ExpectedCertificate(NAME, office.root_pem, (office.crl(), office.crl(of_root=True)))
        ((observed[name],), findings) = observe_materials(
            [material], [load_observation(tmp_path / name)], [observer], TimeTrust()
        )
        assert [finding.code for finding in findings] == ([] if name == "known" else ["OBSERVATION_REFUSED"])
    assert (observed["known"].origin, observed["unknown"].origin) == ("observed", "unknown")


def test_a_link_does_not_count(
    attest: Attest, model: Path, office: Office, other: Office, whom: list[str | Path], tmp_path: Path
) -> None:
    assert attest("sign", model, *signing(other, tmp_path / "a")).code == 0
    (model / "README.md").write_text("# Corrected\n")
    superseding = ["--reason", "the card was wrong"]
    run = attest("sign", model, *signing(office, tmp_path / "b"), *superseding)
    assert run.code == 0, run.err
    document = attest("verify", model, *whom, "--json").document
    (link,) = document["history"]["supersedes"]
    assert {one["code"]: one["where"] for one in document["findings"]} == {
        "NO_STEPS": "",
        "REVOCATION_UNKNOWN": link["where"],
    }
    assert (document["verdict"], link["counted"]) == ("INCOMPLETE", False)
