"""Timestamps on signatures by keys, from an authority on loopback, and held against OpenSSL's."""

from __future__ import annotations

import base64
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model_verify.envelope import PublicKey, TimestampAuthority, TimeTrust, check_signature, open_bundle
from model_verify.envelope import timestamps as timestamps_module
from model_verify.models import BUNDLE_PATH
from tests.cli.conftest import Attest
from tests.sigstore.instance import Sigstore
from tests.trust.conftest import authority_file


def url(instance: Sigstore) -> str:
    return f"{instance.url}/api/v1/timestamp"


def stamp_of(model: Path) -> bytes:
    material = json.loads((model / BUNDLE_PATH).read_bytes())["verificationMaterial"]
    (stamp,) = material["timestampVerificationData"]["rfc3161Timestamps"]
    return base64.b64decode(stamp["signedTimestamp"])


@pytest.fixture
def signed(attest: Attest, model: Path, key: Path, authority: Sigstore, tsa: Path) -> Path:
    run = attest("sign", model, "--key", key, "--timestamp-url", url(authority), "--tsa", tsa)
    assert run.code == 0, run.err
    assert "  time      before 2" in run.out
    return model


def test_a_timestamp_shows_when_a_key_signed(attest: Attest, signed: Path, key: Path, tsa: Path) -> None:
    run = attest("verify", signed, "--key", f"{key}.pub", "--tsa", tsa)
    assert run.code == 0
    (line,) = [line for line in run.out.splitlines() if line.split()[:2] == ["ok", "time"]]
    assert "signed before 2" in line
    assert "CN=timestamper,O=loopback.example" in line
    time = attest("verify", signed, "--key", f"{key}.pub", "--tsa", tsa, "--json").document["time"]
    assert (time["log"], time["evidence"][0]["source"]) == (None, "timestamp")
    assert dt.datetime.fromisoformat(time["signed_before"]) <= dt.datetime.now(dt.UTC)


def test_without_an_authority_no_timestamp_counts_and_that_is_said(attest: Attest, signed: Path, key: Path) -> None:
    report = attest("verify", signed, "--key", f"{key}.pub", "--json").document
    assert (report["verdict"], report["time"]) == ("VERIFIED", None)
    assert {
        "what": "time of signing",
        "why": "the bundle holds a timestamp, and you name no authority whose word you take",
    } in (report["not_checked"])


def test_a_timestamp_by_an_authority_outside_the_trust_root_is_no_evidence(
    attest: Attest, signed: Path, key: Path, stranger: Sigstore, tmp_path: Path
) -> None:
    other = authority_file(stranger, tmp_path / "other.pem")
    report = attest("verify", signed, "--key", f"{key}.pub", "--tsa", other, "--json").document
    assert (report["verdict"], report["time"]) == ("VERIFIED", None)
    assert "TIMESTAMP_UNTRUSTED" in [finding["code"] for finding in report["findings"]]
    both = attest("verify", signed, "--key", f"{key}.pub", "--tsa", other, "--tsa", signed.parent / "tsa.pem", "--json")
    assert both.document["time"] is not None


def test_signing_stops_where_the_timestamp_is_not_by_whom_the_signer_trusts(
    attest: Attest, model: Path, key: Path, stranger: Sigstore, tsa: Path
) -> None:
    run = attest("sign", model, "--key", key, "--timestamp-url", url(stranger), "--tsa", tsa, "--json")
    assert (run.code, run.error["code"]) == (2, "OUTPUT_ERROR")
    assert not (model / BUNDLE_PATH).exists()


def test_signing_says_so_where_nobody_checked_whose_the_timestamp_is(
    attest: Attest, model: Path, key: Path, authority: Sigstore
) -> None:
    run = attest("sign", model, "--key", key, "--timestamp-url", url(authority))
    assert run.code == 0
    assert "was not checked: `--tsa` names whom you trust" in run.err


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda good: (404, b""), "HTTP 404"),
        (lambda good: (200, b"no timestamp"), "the answer is no timestamp"),
        (lambda good: (200, b""), "the answer is no timestamp"),
        (lambda good: (200, good(b"")), "of something else"),
        (lambda good: (200, bytes(1 << 17)), "larger than a timestamp can be"),
    ],
    ids=["not-found", "garbage", "empty", "other", "large"],
)
def test_an_authority_that_answers_something_else_is_said_so(
    attest: Attest,
    model: Path,
    key: Path,
    authority: Sigstore,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[Callable[[bytes], bytes]], tuple[int, bytes]],
    said: str,
) -> None:
    from rfc3161_client import TimestampRequestBuilder

    def good(_: bytes) -> bytes:
        return authority.timestamper.answer(TimestampRequestBuilder().data(b"another").build().as_bytes())

    code, body = answer(good)
    monkeypatch.setattr(Sigstore, "answer", lambda *_: (code, "application/timestamp-reply", body))
    run = attest("sign", model, "--key", key, "--timestamp-url", url(authority), "--json")
    assert (run.code, run.error["code"]) == (2, "SIGNING_FAILED")
    assert said in run.error["message"]
    assert not (model / BUNDLE_PATH).exists()


@pytest.mark.parametrize(
    "wrong", ["file:///etc/passwd", "ftp://127.0.0.1/x", "nowhere", "http://", "http://127.0.0.1:1"]
)
def test_a_url_where_no_authority_is_gives_exit_code_2(attest: Attest, model: Path, key: Path, wrong: str) -> None:
    run = attest("sign", model, "--key", key, "--timestamp-url", wrong, "--json")
    assert run.code == 2
    assert run.error["code"] in ("CALLER_ERROR", "SIGNING_FAILED")


def test_an_identity_has_the_authority_of_its_instance(
    attest: Attest, model: Path, authority: Sigstore, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(authority.issuer.ci_token())
    run = attest("sign", model, "--timestamp-url", url(authority), "--identity-token", tmp_path / "token", "--json")
    assert (run.code, run.error["code"]) == (2, "CALLER_ERROR")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("hello", "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a"),
    ],
)
def test_a_file_without_certificates_is_exit_code_2(
    attest: Attest, signed: Path, key: Path, tmp_path: Path, content: str, said: str
) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text(content)
    run = attest("verify", signed, "--key", f"{key}.pub", "--tsa", wrong, "--json")
    assert (run.code, run.error["code"]) == (2, "CERTIFICATE_UNREADABLE")
    assert said in run.error["message"]


def test_a_file_without_a_root_is_exit_code_2(
    attest: Attest, signed: Path, key: Path, authority: Sigstore, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.pem"
    alone.write_text(authority.timestamper.signer.pem)
    run = attest("verify", signed, "--key", f"{key}.pub", "--tsa", alone, "--json")
    assert (run.code, run.error["code"]) == (2, "CERTIFICATE_UNREADABLE")
    assert "root" in run.error["message"]


def test_authorities_are_named_in_one_place(attest: Attest, signed: Path, key: Path, tsa: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'schema = "https://model-attest.github.io/policy/v1"\n'
        '[timestamps]\nauthorities = ["tsa.pem"]\n[time]\nrequired = ["timestamp"]\n'
    )
    assert attest("verify", signed, "--key", f"{key}.pub", "--policy", policy).code == 0
    run = attest("verify", signed, "--key", f"{key}.pub", "--policy", policy, "--tsa", tsa, "--json")
    assert (run.code, run.error["code"]) == (2, "CALLER_ERROR")


def test_an_authority_in_the_folder_that_is_verified_is_warned_of(
    attest: Attest, signed: Path, key: Path, authority: Sigstore
) -> None:
    inside = authority_file(authority, signed / "README.md")
    run = attest("verify", signed, "--key", f"{key}.pub", "--tsa", inside)
    assert "warning: the timestamping authority comes from the folder" in run.err


def test_a_panic_of_the_library_is_a_timestamp_that_does_not_count(
    signed: Path, key: Path, authority: Sigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        """As a panic of Rust comes out of pyo3."""

    def panic(_: bytes) -> None:
        raise PanicException("called `Option::unwrap()` on a `None` value")

    monkeypatch.setattr(timestamps_module, "decode_timestamp_response", panic)
    trusted = TimestampAuthority.from_pem((signed.parent / "tsa.pem").read_bytes())
    expected = PublicKey.from_pem(Path(f"{key}.pub").read_bytes())
    check = check_signature(open_bundle((signed / BUNDLE_PATH).read_bytes()), expected, TimeTrust((trusted,)))
    assert (check.holds, check.time) == (True, None)
    assert [finding.code for finding in check.findings] == ["TIMESTAMP_UNTRUSTED"]


def test_without_the_software_for_timestamps_there_is_no_verdict(
    attest: Attest, signed: Path, key: Path, tsa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "model_verify.envelope.timestamps")
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    run = attest("verify", signed, "--key", f"{key}.pub", "--tsa", tsa, "--json")
    assert (run.code, run.error["code"]) == (2, "NO_TIMESTAMPS")
    assert attest("verify", signed, "--key", f"{key}.pub").code == 0


def openssl(*arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_openssl_verifies_the_timestamp(signed: Path, authority: Sigstore, tmp_path: Path) -> None:
    bundle = json.loads((signed / BUNDLE_PATH).read_bytes())
    (tmp_path / "sig").write_bytes(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    (tmp_path / "stamp").write_bytes(stamp_of(signed))
    (tmp_path / "root.pem").write_text(authority.timestamper.root.pem)
    openssl("ts", "-verify", "-data", "sig", "-in", "stamp", "-CAfile", "root.pem", cwd=tmp_path)


TS_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = serial
digests = sha256
default_policy = 1.2.3.4
signer_digest = sha256
ess_cert_id_alg = sha256
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[stamping]
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
"""


@pytest.mark.parametrize("kind", [["rsa:2048"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]], ids=["rsa", "p384"])
def test_timestamps_of_openssl_count(signed: Path, key: Path, tmp_path: Path, kind: list[str]) -> None:
    (tmp_path / "ts.cnf").write_text(TS_CONFIG)
    (tmp_path / "serial").write_text("01\n")
    bundle = json.loads((signed / BUNDLE_PATH).read_bytes())
    (tmp_path / "sig").write_bytes(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    new = ["req", "-newkey", *kind, "-nodes", "-config", "ts.cnf", "-x509", "-days", "10"]
    (tmp_path / "ts.cnf").write_text(TS_CONFIG + "[req]\ndistinguished_name = dn\n[dn]\n")
    openssl(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=root", "-extensions", "ca", cwd=tmp_path)
    openssl(
        *new, "-keyout", "tsa.key", "-out", "tsa.crt", "-subj", "/CN=stamps", "-extensions", "stamping",
        "-CA", "ca.pem", "-CAkey", "ca.key", cwd=tmp_path,
    )  # fmt: skip
    openssl("ts", "-query", "-data", "sig", "-sha256", "-cert", "-out", "query", cwd=tmp_path)
    openssl(
        "ts", "-reply", "-config", "ts.cnf", "-queryfile", "query", "-signer", "tsa.crt", "-inkey", "tsa.key",
        "-out", "reply", cwd=tmp_path,
    )  # fmt: skip
    stamp = base64.b64encode((tmp_path / "reply").read_bytes()).decode()
    bundle["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": stamp}]}
    opened = open_bundle(json.dumps(bundle).encode())
    expected = PublicKey.from_pem(Path(f"{key}.pub").read_bytes())
    root = TimestampAuthority.from_pem((tmp_path / "ca.pem").read_bytes())
    pinned = TimestampAuthority.from_pem((tmp_path / "tsa.crt").read_bytes() + (tmp_path / "ca.pem").read_bytes())
    for trusted in (root, pinned):
        check = check_signature(opened, expected, TimeTrust((trusted,)))
        assert check.time is not None
        assert (check.time.earliest.by, check.findings) == ("CN=stamps", ())
