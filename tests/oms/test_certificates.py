"""Chains of certificates: the reference's under our rules, ours under its rules, and where it is too lenient."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from model_attest.sign import sign_folder
from model_attest.signers.certificate import CertificateSigner
from model_attest.signers.key import KeySigner
from model_verify.envelope import ExpectedCertificate
from model_verify.errors import CallerError
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.cli.conftest import Attest
from tests.cli.conftest import attest as attest  # the fixture
from tests.oms.conftest import codes
from tests.oms.reference import Serialization, problem_with_certificate, sign_with_certificate
from tests.sigstore.certificates import now
from tests.trust.office import DAY, NAME, Files, Office, new_key, written


@pytest.fixture(scope="module")
def office() -> Office:
    return Office.new()


def made(office: Office, folder: Path, kind: str = "p256", *, start: int = -1, days: int = 30) -> Files:
    """Write a signer's files, and its certificate and those above it as the reference wants them."""
    key = new_key(kind)
    certificate = office.certify(key, start=now() + start * DAY, days=days)
    files = written(office, key, certificate, folder)
    (folder / "leaf.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "office.pem").write_bytes(office.certificate.public_bytes(Encoding.PEM))
    return files


def reference_signs(model: Path, files: Files, *, with_root: bool, how: Serialization | None = None) -> None:
    folder = files.key.parent
    above = [folder / "office.pem", *([files.root] if with_root else [])]
    sign_with_certificate(model, files.key, folder / "leaf.pem", above, how or Serialization())


def checked(model: Path, files: Files, name: str = NAME) -> Report:
    expected = ExpectedCertificate(name, files.root.read_bytes())
    return verify(Request(LocalFolder(model), expected_signer=expected, device="cpu"))


@pytest.mark.parametrize("kind", ["p256", "p384"])
@pytest.mark.parametrize("with_root", [True, False])
def test_what_the_reference_signs_binds_the_bytes(
    model: Path, tmp_path: Path, office: Office, kind: str, with_root: bool
) -> None:
    files = made(office, tmp_path, kind)
    reference_signs(model, files, with_root=with_root)
    report = checked(model, files)
    assert codes(report).keys() == {"ATTESTATION_MISSING"}
    assert f"`model.sig` binds every byte to {NAME} by CN=Root,O=Town, and says" in report.headline
    (model / "config.json").write_text("{}")
    assert codes(checked(model, files))["OMS_FILE_MISMATCH"] == "config.json"


def test_in_shards_too(model: Path, tmp_path: Path, office: Office) -> None:
    files = made(office, tmp_path)
    reference_signs(model, files, with_root=True, how=Serialization("blake2", shard_bytes=100))
    assert checked(model, files).exit_code == 3


def test_the_root_that_a_folder_brings_counts_for_nothing(model: Path, tmp_path: Path, office: Office) -> None:
    files = made(office, tmp_path)
    reference_signs(model, files, with_root=True)
    strangers = Office.new().root.public_bytes(Encoding.PEM)
    expected = ExpectedCertificate(NAME, strangers)
    report = verify(Request(LocalFolder(model), expected_signer=expected, device="cpu"))
    assert report.exit_code == 1
    assert codes(report).keys() == {"ATTESTATION_MISSING", "OMS_SIGNATURE_INVALID"}


def test_another_name_is_another_signer(model: Path, tmp_path: Path, office: Office) -> None:
    files = made(office, tmp_path)
    reference_signs(model, files, with_root=True)
    report = checked(model, files, "release@lab.example")
    assert codes(report).keys() == {"ATTESTATION_MISSING", "OMS_SIGNER_OTHER"}


@pytest.mark.parametrize(("start", "days"), [(-40, 30), (1, 30)], ids=["expired", "not yet valid"])
def test_a_certificate_that_is_not_valid_is_refused_where_the_reference_takes_it(
    model: Path, tmp_path: Path, office: Office, start: int, days: int
) -> None:
    files = made(office, tmp_path, start=start, days=days)
    reference_signs(model, files, with_root=True)
    assert problem_with_certificate(model, files.root) is None  # the hole: it sets its clock to the certificate's start
    report = checked(model, files)
    assert report.exit_code == 1
    (finding,) = [finding for finding in report.findings if finding.code == "OMS_SIGNATURE_INVALID"]
    assert finding.actual.startswith("CERTIFICATE_EXPIRED: ")


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_what_we_sign_the_reference_takes(
    model: Path, tmp_path: Path, office: Office, attest: Attest, kind: str
) -> None:
    files = made(office, tmp_path, kind)
    arguments = ("--key", files.key, "--certificate", files.chain, "--certificate-root", files.root)
    signed = attest("sign", model, *arguments, "--name", "town-7b", "--oms")
    assert signed.code == 0, signed.err
    assert problem_with_certificate(model, files.root) is None
    verified = attest("verify", model, "--identity", NAME, "--certificate-root", files.root, "--json")
    assert (verified.code, verified.document["model_sig"]["binds"]) == (0, True)


@pytest.mark.parametrize("kind", ["rsa3072", "ed25519"])
def test_keys_that_oms_does_not_have_are_refused(
    model: Path, tmp_path: Path, office: Office, attest: Attest, kind: str
) -> None:
    files = made(office, tmp_path, kind)
    arguments = ("--key", files.key, "--certificate", files.chain, "--certificate-root", files.root)
    assert attest("sign", model, *arguments, "--oms").code == 2
    key = new_key(kind)
    signer = CertificateSigner(KeySigner(key), [office.certify(key), office.certificate], files.root.read_bytes())
    with pytest.raises(CallerError):
        sign_folder(model, signer, name="town-7b", oms=True)
    assert not (model / "model.sig").exists()
