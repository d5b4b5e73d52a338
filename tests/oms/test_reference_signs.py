"""What the reference signs is verified here, and holds no more than it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from model_verify.envelope import ExpectedIdentity, Identity
from model_verify.policy import read_policy
from model_verify.report import Report
from tests.oms.conftest import KeyPair, codes, new_pair, verified
from tests.oms.reference import Serialization, all_ways, sign_with_key, sign_with_token
from tests.sigstore.instance import running
from tests.sigstore.issuer import CI_IDENTITY, GITHUB
from tests.sigstore.signing import trust


def bound(report: Report) -> str:
    """Return what the headline says, of a folder that carries only a `model.sig`."""
    assert (report.verdict, report.level, report.exit_code) == ("INCOMPLETE", None, 3)
    assert codes(report) == {"ATTESTATION_MISSING": "attestation/pipeline.sigstore.json"}
    assert report.model_sig is not None
    assert report.model_sig.binds
    assert report.statement is None
    return report.headline


@pytest.mark.parametrize("how", all_ways(), ids=str)
def test_every_serialisation_by_a_key_binds_the_bytes_and_no_more(
    model: Path, pair: KeyPair, how: Serialization
) -> None:
    sign_with_key(model, pair.private, how)
    report = verified(model, pair.key)
    assert bound(report) == (
        "INCOMPLETE: there is no attestation (attestation/pipeline.sigstore.json); `model.sig` binds every byte to "
        f"key sha256:{pair.key.hint}, and says nothing of where the weights come from"
    )
    assert report.model_sig is not None
    assert (report.model_sig.files_listed, report.model_sig.files_matched) == (4, 4)
    assert report.model_sig.hash_type == {"blake2": "blake2b"}.get(how.hash_name, how.hash_name)
    assert report.model_sig.serialization == ("files" if how.shard_bytes is None else "shards")


@pytest.mark.parametrize("how", all_ways(), ids=str)
@pytest.mark.parametrize("place", ["model.safetensors", "sub/vocab.txt", "README.md"])
def test_one_bit_is_found_whatever_the_serialisation(
    model: Path, tmp_path: Path, how: Serialization, place: str
) -> None:
    pair = new_pair(tmp_path / "keys")
    sign_with_key(model, pair.private, how)
    data = bytearray((model / place).read_bytes())
    data[-1] ^= 1
    (model / place).write_bytes(data)
    report = verified(model, pair.key)
    assert report.exit_code == 1
    assert codes(report) == {"ATTESTATION_MISSING": "attestation/pipeline.sigstore.json", "OMS_FILE_MISMATCH": place}


@pytest.mark.parametrize("how", all_ways(), ids=str)
@pytest.mark.parametrize("change", ["longer", "shorter", "gone", "more"])
def test_a_file_that_grew_shrank_went_or_came_is_found(
    model: Path, tmp_path: Path, how: Serialization, change: str
) -> None:
    pair = new_pair(tmp_path / "keys")
    sign_with_key(model, pair.private, how)
    path = model / "config.json"
    match change:
        case "longer":
            path.write_bytes(path.read_bytes() + b" ")
        case "shorter":
            path.write_bytes(path.read_bytes()[:-1])
        case "gone":
            path.unlink()
        case "more":
            (model / "more.py").write_text("x")
    expected = {"gone": "OMS_FILE_MISSING", "more": "OMS_FILE_NOT_COVERED"}.get(change, "OMS_FILE_MISMATCH")
    report = verified(model, pair.key)
    assert report.exit_code == 1
    assert codes(report).keys() == {"ATTESTATION_MISSING", expected}


def test_an_identity_binds_the_bytes_and_when_is_said(model: Path, tmp_path: Path) -> None:
    with running() as instance, running() as stranger:
        config = tmp_path / "trust.json"
        config.write_bytes(trust(instance))
        sign_with_token(model, instance.issuer.ci_token(), config)
        named = ExpectedIdentity(Identity(CI_IDENTITY, GITHUB), trust(instance))
        report = verified(model, named)  # type: ignore[arg-type]
        assert f"`model.sig` binds every byte to {CI_IDENTITY} by {GITHUB}, and says" in bound(report)
        assert report.model_sig is not None
        assert report.model_sig.time is not None
        assert report.model_sig.time.signed_before.startswith("20")
        other = ExpectedIdentity(Identity("somebody@lab.example", GITHUB), trust(instance))
        assert codes(verified(model, other)).keys() == {"ATTESTATION_MISSING", "OMS_SIGNER_OTHER"}  # type: ignore[arg-type]
        elsewhere = ExpectedIdentity(Identity(CI_IDENTITY, GITHUB), trust(stranger))
        report = verified(model, elsewhere)  # type: ignore[arg-type]
        assert codes(report).keys() == {"ATTESTATION_MISSING", "OMS_SIGNATURE_INVALID"}
        assert report.exit_code == 1


def test_a_signer_of_the_policy_is_expected_of_it_too(model: Path, pair: KeyPair) -> None:
    sign_with_key(model, pair.private)
    keys = {"lab.pub": pair.public.read_bytes()}
    text = b'schema = "https://model-attest.github.io/policy/v1"\n[signers]\nkeys = ["lab.pub"]\n'
    policy = read_policy(text, name="policy.toml", read_file=lambda path: keys[str(path)])
    assert "binds every byte" in bound(verified(model, None, policy=policy))


def test_without_blake3_it_says_so(model: Path, pair: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_with_key(model, pair.private, Serialization("blake3"))
    monkeypatch.setitem(sys.modules, "blake3", None)
    report = verified(model, pair.key)
    assert report.exit_code == 3
    assert codes(report).keys() == {"ATTESTATION_MISSING", "OMS_UNSUPPORTED"}
    (finding,) = [finding for finding in report.findings if finding.code == "OMS_UNSUPPORTED"]
    assert "model-attest[blake3]" in finding.actual
    assert "binds" not in report.headline


def test_nobody_named_is_no_reason_for_anything(model: Path, pair: KeyPair) -> None:
    signature = sign_with_key(model, pair.private)
    hint = json.loads(signature.read_bytes())["verificationMaterial"]["publicKey"]["hint"]
    report = verified(model, None)
    assert codes(report).keys() == {"ATTESTATION_MISSING"}
    assert report.model_sig is None
    (item,) = [item for item in report.not_checked if item.what == "model.sig"]
    assert item.why == f"nobody said whose signature to expect; it names key of hint {hint}"
