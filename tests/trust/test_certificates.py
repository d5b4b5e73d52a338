"""Signing and verifying under certificates of private authorities, and what OpenSSL says of the same chains."""

from __future__ import annotations

import base64
import datetime as dt
import json
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from model_verify.envelope import ExpectedCertificate, TimestampAuthority, open_bundle, pre_authentication_encoding
from model_verify.models import BUNDLE_PATH
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.cli.conftest import Attest, Run
from tests.sigstore.certificates import now
from tests.sigstore.instance import Sigstore
from tests.trust.office import DAY, NAME, Files, Office, new_key, written
from tests.vectors.vector import Vector, load

KINDS = ["p256", "p384", "ed25519", "rsa3072"]


@pytest.fixture(scope="module")
def office() -> Office:
    return Office.new()


@pytest.fixture
def files(office: Office, tmp_path: Path) -> Files:
    key = new_key("p256")
    return written(office, key, office.certify(key), tmp_path)


def sign(attest: Attest, model: Path, files: Files, *more: str | Path) -> Run:
    arguments = ["--key", files.key, "--certificate", files.chain, "--certificate-root", files.root]
    return attest("sign", model, *arguments, "--name", "town-7b", *more)


def check(attest: Attest, model: Path, files: Files, *more: str | Path) -> Run:
    return attest("verify", model, "--identity", NAME, "--certificate-root", files.root, *more)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("authorities", ["p384", "rsa2048"])
def test_a_certified_key_signs_and_whoever_expects_its_name_verifies(
    attest: Attest, model: Path, tmp_path: Path, kind: str, authorities: str
) -> None:
    office, key = Office.new(authorities), new_key(kind)
    files = written(office, key, office.certify(key), tmp_path)
    signed = sign(attest, model, files)
    assert signed.code == 0, signed.err
    assert f"  signer    {NAME} by CN=Root,O=Town\n" in signed.out
    verified = check(attest, model, files, "--json")
    assert verified.code == 0
    assert verified.document["signer"] == {
        "kind": "certificate", "key_hint": None, "algorithm": None,
        "identity": NAME, "issuer": "CN=Root,O=Town", "expected": True,
    }  # fmt: skip
    chain = json.loads((model / BUNDLE_PATH).read_bytes())["verificationMaterial"]["x509CertificateChain"]
    assert len(chain["certificates"]) == 2  # the root stays at home
    assert attest("verify", model, "--identity", "CN=Release,O=Town", "--certificate-root", files.root).code == 0


def test_openssl_verifies_the_signature_of_rsa(attest: Attest, model: Path, office: Office, tmp_path: Path) -> None:
    key = new_key("rsa3072")
    files = written(office, key, office.certify(key), tmp_path)
    assert sign(attest, model, files).code == 0
    opened = open_bundle((model / BUNDLE_PATH).read_bytes())
    (tmp_path / "message").write_bytes(pre_authentication_encoding(opened.payload_type, opened.payload))
    (tmp_path / "sig").write_bytes(opened.signature)
    openssl("x509", "-in", files.chain, "-pubkey", "-noout", "-out", tmp_path / "pub")
    options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32", "-sigopt", "rsa_mgf1_md:sha256"]
    verified = openssl(
        "dgst", "-sha256", *options, "-verify", tmp_path / "pub", "-signature", tmp_path / "sig", tmp_path / "message"
    )
    assert verified.returncode == 0


def test_it_is_judged_when_it_was_stamped(
    attest: Attest, model: Path, files: Files, authority: Sigstore, tsa: Path
) -> None:
    url = f"{authority.url}/api/v1/timestamp"
    assert sign(attest, model, files, "--timestamp-url", url, "--tsa", tsa).code == 0
    expected = ExpectedCertificate(NAME, files.root.read_bytes())
    trusted = TimestampAuthority.from_pem(tsa.read_bytes())
    later = now() + 40 * DAY
    request = Request(LocalFolder(model), expected, now=later, timestamp_authorities=[trusted])
    report = verify(request)
    assert (report.verdict, report.signer and report.signer.expected) == ("VERIFIED", True)
    assert report.time is not None
    without = verify(Request(LocalFolder(model), expected, now=later))
    assert [finding.code for finding in without.findings] == ["CERTIFICATE_EXPIRED"]
    assert without.exit_code == 1


@pytest.mark.parametrize("days", [(-60, 30), (1, 30)], ids=["expired", "not-yet"])
def test_nobody_signs_under_a_certificate_that_is_not_valid(
    attest: Attest, model: Path, office: Office, tmp_path: Path, days: tuple[int, int]
) -> None:
    key = new_key("p256")
    start, length = days
    files = written(office, key, office.certify(key, start=now() + start * DAY, days=length), tmp_path)
    run = sign(attest, model, files, "--json")
    assert (run.code, run.error["code"]) == (2, "OUTPUT_ERROR")
    assert "valid from" in run.error["message"]
    assert not (model / BUNDLE_PATH).exists()


def test_revocation_lists_are_honoured(
    attest: Attest, model: Path, files: Files, office: Office, tmp_path: Path
) -> None:

    assert sign(attest, model, files).code == 0
    certificate = x509.load_pem_x509_certificate(files.chain.read_bytes())
    (tmp_path / "root.crl").write_bytes(office.crl(of_root=True))
    for name, content, code, findings in (
        ("clean", office.crl(), 0, []),
        ("revoked", office.crl(certificate), 1, ["CERTIFICATE_REVOKED"]),
        ("foreign", Office.new().crl(certificate), 3, ["REVOCATION_UNKNOWN"]),
    ):
        path = tmp_path / f"{name}.crl"
        path.write_bytes(content)
        run = check(attest, model, files, "--crl", path, "--crl", tmp_path / "root.crl", "--json")
        found = [finding["code"] for finding in run.document["findings"] if finding["severity"] != "note"]
        assert (run.code, found) == (code, findings), name
    both = tmp_path / "both.crl"
    both.write_bytes(office.crl() + office.crl(of_root=True))
    assert check(attest, model, files, "--crl", both).code == 0
    text = check(attest, model, files, "--crl", tmp_path / "foreign.crl").out
    assert "hint: pass `--crl FILE` with a list by every authority of the chain, or none" in text


def test_another_name_and_another_root_are_refused(attest: Attest, model: Path, files: Files, tmp_path: Path) -> None:
    assert sign(attest, model, files).code == 0
    other = attest("verify", model, "--identity", "lab@town.example", "--certificate-root", files.root, "--json")
    assert [finding["code"] for finding in other.document["findings"]] == ["IDENTITY_MISMATCH"]
    (tmp_path / "other").mkdir()
    key = new_key("p256")
    stranger = Office.new()
    root = written(stranger, key, stranger.certify(key), tmp_path / "other").root
    report = attest("verify", model, "--identity", NAME, "--certificate-root", root, "--json").document
    assert [finding["code"] for finding in report["findings"]] == ["CERTIFICATE_INVALID"]
    assert report["statement"] is None
    nobody = attest("verify", model)
    assert nobody.code == 3
    assert f"pass `--identity {NAME} --certificate-root FILE`" in nobody.out
    inspected = attest("inspect", model)
    assert f"has a certificate for {NAME} or CN=Release,O=Town" in inspected.out
    assert f"--identity {NAME} --certificate-root FILE`" in inspected.out


def test_a_policy_names_certificates(attest: Attest, model: Path, files: Files, office: Office, tmp_path: Path) -> None:
    assert sign(attest, model, files).code == 0
    (tmp_path / "lists.crl").write_bytes(office.crl() + office.crl(of_root=True))
    head = 'schema = "https://model-attest.github.io/policy/v1"\n[[signers.certificates]]\n'
    policy = tmp_path / "policy.toml"
    for name, code in ((NAME, 0), ("lab@town.example", 1)):
        policy.write_text(f'{head}name = "{name}"\nroots = "root.pem"\ncrls = ["lists.crl"]\n')
        assert attest("verify", model, "--policy", policy).code == code
    policy.write_text(f'{head}name = "{NAME}"\nroots = "release.key"\n')
    run = attest("verify", model, "--policy", policy, "--json")
    assert (run.code, run.error["code"]) == (2, "CALLER_ERROR")
    assert "signers.certificates.0.roots" in run.error["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--certificate-root", "root.pem"],
        ["--identity", NAME, "--certificate-root", "root.pem", "--issuer", "https://issuer.example"],
        ["--identity", NAME, "--certificate-root", "root.pem", "--key", "lab.pub"],
        ["--identity", NAME, "--crl", "root.pem"],
        ["--identity", NAME, "--certificate-root", "release.key"],
        ["--identity", NAME, "--certificate-root", "missing.pem"],
        ["--identity", NAME, "--certificate-root", "root.pem", "--crl", "root.pem"],
    ],
)
def test_what_names_nobody_is_exit_code_2(
    attest: Attest, model: Path, files: Files, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(files.root.parent)
    run = attest("verify", model, *arguments, "--json")
    assert (run.code, run.error["code"]) in [(2, "CALLER_ERROR"), (2, "CERTIFICATE_UNREADABLE")]


def test_what_signs_for_nobody_is_exit_code_2(
    attest: Attest, model: Path, files: Files, tmp_path: Path, office: Office
) -> None:
    other = new_key("p256")
    (tmp_path / "other").mkdir()
    strange = written(office, other, office.certify(other), tmp_path / "other")
    rsa = new_key("rsa3072")
    (tmp_path / "rsa").mkdir()
    large = written(office, rsa, office.certify(rsa), tmp_path / "rsa")
    root = ["--certificate-root", files.root]
    for arguments, code in (
        (
            ["--key", files.key, "--certificate", strange.chain, "--certificate-root", files.root],
            "CERTIFICATE_UNREADABLE",
        ),
        (["--key", files.key, "--certificate", files.chain], "CALLER_ERROR"),
        (["--key", files.key, *root], "CALLER_ERROR"),
        (["--certificate", files.chain, *root], "CALLER_ERROR"),
        (["--key", files.key, "--certificate", files.root, *root], "CERTIFICATE_UNREADABLE"),
        (["--key", large.key], "KEY_UNREADABLE"),
    ):
        run = attest("sign", model, *arguments, "--json")
        assert (run.code, run.error["code"]) == (2, code), arguments
        assert not (model / BUNDLE_PATH).exists()


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


OPENSSL_SAYS_OTHERWISE = {
    "chain-edward",  # OpenSSL takes authorities with Ed25519
    "chain-more", "chain-order", "chain-two-leaves",  # it finds its own way, as our library does
    "chain-rsa-2048",  # a rule of ours
    "chain-between-subjects-permitted",  # we refuse what our library does not evaluate
    "chain-last-second",  # by RFC 5280 §4.1.2.5 the last second belongs to the validity
    # OpenSSL 3.0 has no purpose that asks for code signing.
    "chain-between-extended", "chain-leaf-key-usage", "chain-leaf-no-key-usage", "chain-leaf-extended",
    "chain-leaf-no-extended", "chain-leaf-anything", "chain-leaf-authority",
}  # fmt: skip


def chains() -> list[Vector]:
    """The vectors of chains that are judged at the time of verification, and by no list."""
    return [
        vector
        for vector in load("statement")
        if vector.name.startswith("chain-")
        and vector.name != "chain-good-ml-dsa-65"  # which OpenSSL has from 3.5 on
        and "certificate" in vector.input
        and not vector.input["certificate"]["crls"]
        and not vector.input["tsa"]
        and set(vector.expected["codes"]) <= {"CERTIFICATE_INVALID", "CERTIFICATE_EXPIRED"}
    ]


@pytest.mark.parametrize("vector", chains(), ids=lambda vector: vector.name)
def test_openssl_thinks_the_same_of_a_chain(vector: Vector, tmp_path: Path) -> None:
    material = json.loads(vector.data(vector.input["bundle"]))["verificationMaterial"]
    pems = []
    for one in material["x509CertificateChain"]["certificates"]:
        text = base64.encodebytes(base64.b64decode(one["rawBytes"])).decode()
        pems.append(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n")
    (tmp_path / "leaf.pem").write_text(pems[0])
    (tmp_path / "between.pem").write_text("".join(pems[1:]))
    at = int(dt.datetime.fromisoformat(vector.input["now"]).timestamp())
    roots = vector.folder / vector.input["certificate"]["roots"]
    between = ["-untrusted", tmp_path / "between.pem"] if pems[1:] else []
    done = openssl("verify", "-attime", str(at), "-CAfile", roots, *between, tmp_path / "leaf.pem")
    agrees = (done.returncode == 0) is vector.expected["accepted"]
    assert agrees is (vector.name not in OPENSSL_SAYS_OTHERWISE), done.stderr
