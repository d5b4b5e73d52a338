"""Summaries that are signed under certificates of private roots, by ML-DSA keys, and dated by an authority."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Attest
from tests.sigstore.instance import Sigstore
from tests.trust.office import Office, new_key, written
from tests.trust.test_certificates import NAME
from tests.trust.test_timestamps import url

RESOURCE = "urn:town-7b"
NAMES = ["--summary-verifier", "https://agency.example", "--summary-resource", RESOURCE]


@pytest.fixture
def signed(attest: Attest, model: Path, key: Path) -> Path:
    assert attest("sign", model, "--key", key).code == 0
    return model


def test_a_certified_key_signs_a_summary_and_an_authority_dates_it(
    attest: Attest, signed: Path, key: Path, tsa: Path, authority: Sigstore, tmp_path: Path
) -> None:
    office, agency = Office.new(), new_key("p256")
    files = written(office, agency, office.certify(agency), tmp_path)
    signing = ["--summary-key", files.key, "--summary-certificate", files.chain]
    signing += ["--summary-certificate-root", files.root, "--summary-timestamp-url", url(authority)]
    out = tmp_path / "s.json"
    whom = ["--key", f"{key}.pub", "--tsa", tsa]
    run = attest("verify", signed, *whom, "--summary", out, *signing, *NAMES)
    assert run.code == 0, run.err
    expected = ["--identity", NAME, "--certificate-root", files.root, "--resource", RESOURCE]
    run = attest("verify-summary", out, signed, *expected, "--tsa", tsa, "--json")
    assert run.code == 0, run.out
    assert (run.document["signer"]["identity"], run.document["signer"]["kind"]) == (NAME, "certificate")
    assert run.document["time"]["evidence"][0]["source"] == "timestamp"
    other = ["--identity", "somebody@else.example", "--certificate-root", files.root, "--resource", RESOURCE]
    run = attest("verify-summary", out, signed, *other, "--tsa", tsa, "--json")
    assert (run.code, run.document["findings"][0]["code"]) == (1, "IDENTITY_MISMATCH")


def test_a_revoked_certificate_signs_no_summary_that_is_taken(
    attest: Attest, signed: Path, key: Path, tmp_path: Path
) -> None:
    office, agency = Office.new(), new_key("p256")
    certificate = office.certify(agency)
    files = written(office, agency, certificate, tmp_path)
    signing = ["--summary-key", files.key, "--summary-certificate", files.chain]
    out = tmp_path / "s.json"
    run = attest(
        "verify", signed, "--key", f"{key}.pub", "--summary", out, *signing,
        "--summary-certificate-root", files.root, *NAMES,
    )  # fmt: skip
    assert run.code == 0, run.err
    (tmp_path / "leaf.crl").write_bytes(office.crl(certificate))
    (tmp_path / "root.crl").write_bytes(office.crl(of_root=True))
    expected = ["--identity", NAME, "--certificate-root", files.root, "--resource", RESOURCE]
    assert attest("verify-summary", out, signed, *expected).code == 0
    lists = ["--crl", tmp_path / "leaf.crl", "--crl", tmp_path / "root.crl"]
    run = attest("verify-summary", out, signed, *expected, *lists, "--json")
    assert (run.code, run.document["findings"][0]["code"], run.document["summary"]) == (1, "CERTIFICATE_REVOKED", None)


def test_an_ml_dsa_key_signs_a_summary(attest: Attest, signed: Path, key: Path, tmp_path: Path) -> None:
    assert attest("keygen", "--out", tmp_path / "quantum", "--type", "ml-dsa-65").code == 0
    out = tmp_path / "s.json"
    options = ["--summary", out, "--summary-key", tmp_path / "quantum", *NAMES]
    assert attest("verify", signed, "--key", f"{key}.pub", *options).code == 0
    read = ["--key", tmp_path / "quantum.pub", "--resource", RESOURCE]
    assert attest("verify-summary", out, signed, *read).code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--summary-certificate", "x"], "`--summary-certificate` without `--summary-certificate-root`"),
        (["--summary-kms", "hsm:2", "--summary-key", "x"], "`--summary-kms` and `--summary-key`"),
        (["--summary-key", "lab", "--summary-identity-token", "x"], "a key and an identity"),
    ],
)
def test_what_signs_for_nobody_is_said_of_the_summarys_options(
    attest: Attest, signed: Path, key: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    monkeypatch.chdir(key.parent)
    run = attest("verify", signed, "--key", f"{key}.pub", "--summary", "s.json", *options, *NAMES)
    assert (run.code, said in run.err) == (2, True), run.err
