"""ML-DSA-65 (FIPS 204): keys, signatures, and what is no such signature."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from model_verify.envelope import pre_authentication_encoding
from model_verify.models import BUNDLE_PATH
from tests.cli.conftest import Attest


@pytest.fixture
def quantum(attest: Attest, tmp_path: Path) -> Path:
    run = attest("keygen", "--out", tmp_path / "quantum", "--type", "ml-dsa-65")
    assert run.code == 0, run.err
    return tmp_path / "quantum"


@pytest.fixture
def signed(attest: Attest, model: Path, quantum: Path) -> Path:
    run = attest("sign", model, "--key", quantum)
    assert run.code == 0, run.err
    return model


def test_it_signs_and_verifies(attest: Attest, signed: Path, quantum: Path) -> None:
    run = attest("verify", signed, "--key", f"{quantum}.pub", "--json")
    assert (run.code, run.document["signer"]["algorithm"]) == (0, "ml-dsa-65")
    signature = base64.b64decode(
        json.loads((signed / BUNDLE_PATH).read_bytes())["dsseEnvelope"]["signatures"][0]["sig"]
    )
    assert len(signature) == 3309  # FIPS 204, table 2


def test_the_private_key_can_be_encrypted(attest: Attest, model: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    password = ["--password-file", tmp_path / "password"]
    assert attest("keygen", "--out", tmp_path / "locked", "--type", "ml-dsa-65", *password).code == 0
    assert attest("sign", model, "--key", tmp_path / "locked").code == 2
    assert attest("sign", model, "--key", tmp_path / "locked", *password).code == 0


def test_the_private_half_is_the_seed_of_fips_204(quantum: Path) -> None:
    key = load_pem_private_key(quantum.read_bytes(), None)
    assert isinstance(key, mldsa.MLDSA65PrivateKey)
    again = mldsa.MLDSA65PrivateKey.from_seed_bytes(key.private_bytes_raw())
    der = again.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (len(key.private_bytes_raw()), len(der)) == (32, 1974)


@pytest.mark.parametrize("what", ["cut", "long", "empty", "turned", "context", "other-key", "level-44"])
def test_whatever_is_no_signature_of_this_key_is_refused(
    attest: Attest, signed: Path, quantum: Path, tmp_path: Path, what: str
) -> None:
    bundle = json.loads((signed / BUNDLE_PATH).read_bytes())
    envelope = bundle["dsseEnvelope"]
    good = base64.b64decode(envelope["signatures"][0]["sig"])
    message = pre_authentication_encoding(envelope["payloadType"], base64.b64decode(envelope["payload"]))
    key = load_pem_private_key(quantum.read_bytes(), None)
    assert isinstance(key, mldsa.MLDSA65PrivateKey)
    signature = {
        "cut": good[:-1],
        "long": good + b"\0",
        "empty": b"",
        "turned": good[:100] + bytes([good[100] ^ 1]) + good[101:],
        "context": key.sign(message, b"context"),
        "other-key": mldsa.MLDSA65PrivateKey.generate().sign(message),
        "level-44": mldsa.MLDSA44PrivateKey.generate().sign(message),
    }[what]
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    (signed / BUNDLE_PATH).write_text(json.dumps(bundle))
    report = attest("verify", signed, "--key", f"{quantum}.pub", "--json").document
    assert [finding["code"] for finding in report["findings"]] == ["SIGNATURE_INVALID"]


def test_other_levels_are_no_keys_here(attest: Attest, signed: Path, tmp_path: Path) -> None:
    key = mldsa.MLDSA44PrivateKey.generate().public_key()
    (tmp_path / "level-44.pub").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    run = attest("verify", signed, "--key", tmp_path / "level-44.pub", "--json")
    assert (run.code, run.error["code"]) == (2, "KEY_UNREADABLE")
    assert "ML-DSA-65" in run.error["message"]
