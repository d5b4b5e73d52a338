"""Statements of other types: written by any signer, and read under several."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from model_attest.placement import replace_file
from model_attest.signed_statement import sign_statement
from model_attest.signers.key import KeySigner, generate_key
from model_verify.envelope import ExpectedIdentity, ExpectedSigner, Identity, SignedPayload
from model_verify.errors import OutputError
from model_verify.signed_statement import SignedStatement, read_signed_statement

TYPE = "https://lab.example/note/v1"
STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"digest": {"model-attest-checkpoint-v1": "ab" * 32}}],
    "predicateType": TYPE,
    "predicate": {"says": "so"},
}


def encoded(**changes: object) -> bytes:
    return json.dumps({**STATEMENT, **changes}).encode()


def read(bundle: bytes, *expected: ExpectedSigner) -> SignedStatement:
    return read_signed_statement(bundle, expected, {TYPE}, where="note.json")


def codes(answer: SignedStatement) -> list[str]:
    return [finding.code for finding in answer.findings]


@pytest.fixture(scope="module")
def other() -> KeySigner:
    return KeySigner(generate_key("ed25519"))


def test_what_one_of_several_signed_is_read(signer: KeySigner, other: KeySigner) -> None:
    bundle = sign_statement(encoded(), signer)
    answer = read(bundle.data, other.public_key, signer.public_key)
    assert bundle.signature.signer == signer.public_key
    assert (answer.findings, answer.signature.signer) == ((), signer.public_key)
    assert answer.head is not None
    assert answer.head.predicate == {"says": "so"}
    assert answer.head.subject[0].digest == {"model-attest-checkpoint-v1": "ab" * 32}


def test_a_hint_that_lies_neither_lets_in_nor_keeps_out(signer: KeySigner, other: KeySigner) -> None:
    bundle = json.loads(sign_statement(encoded(), signer).data)
    bundle["verificationMaterial"]["publicKey"]["hint"] = other.public_key.hint
    lying = json.dumps(bundle).encode()
    assert read(lying, other.public_key, signer.public_key).signature.signer == signer.public_key
    refused = read(lying, other.public_key)
    assert (codes(refused), refused.head) == (["SIGNATURE_INVALID"], None)


def test_nobody_expected_is_no_statement(signer: KeySigner) -> None:
    answer = read(sign_statement(encoded(), signer).data)
    assert (codes(answer), answer.head) == (["SIGNER_NOT_EXPECTED"], None)
    assert answer.findings[0].where == "note.json"
    assert answer.findings[0].severity.value == "incomplete"


def test_a_key_does_not_stand_for_an_identity(signer: KeySigner) -> None:
    identity = ExpectedIdentity(Identity("release@lab.example", "https://issuer.example"))
    answer = read(sign_statement(encoded(), signer).data, identity)
    assert (codes(answer), answer.head) == (["SIGNATURE_INVALID"], None)


def test_nothing_is_parsed_below_a_failed_signature(signer: KeySigner) -> None:
    bundle = json.loads(sign_statement(encoded(), signer).data)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(b"{" * 1000).decode()
    answer = read(json.dumps(bundle).encode(), signer.public_key)
    assert codes(answer) == ["SIGNATURE_INVALID"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"predicateType": "https://lab.example/note/v2"}, "PREDICATE_TYPE_UNKNOWN"),
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "STATEMENT_MALFORMED"),
        ({"subject": []}, "STATEMENT_MALFORMED"),
        ({"subject": [{"digest": {}}]}, "STATEMENT_MALFORMED"),
        ({"subject": [{"digest": {"sha256": 5}}]}, "STATEMENT_MALFORMED"),
        ({"predicate": []}, "STATEMENT_MALFORMED"),
        ({"predicate": {"share": 0.5}}, "STATEMENT_MALFORMED"),
    ],
)
def test_a_signed_statement_of_another_form_or_type(signer: KeySigner, changes: dict[str, Any], code: str) -> None:
    answer = read(sign_statement(encoded(**changes), signer).data, signer.public_key)
    assert (codes(answer), answer.head, answer.signature.holds) == ([code], None, True)


def test_another_payload_type_is_no_statement(signer: KeySigner) -> None:
    bundle = json.loads(sign_statement(encoded(), signer).data)
    bundle["dsseEnvelope"]["payloadType"] = "text/plain"
    assert codes(read(json.dumps(bundle).encode(), signer.public_key)) == ["SIGNATURE_INVALID"]


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"[" * 100_000, b'{"mediaType":"x","mediaType":"y"}', b"\xff"])
def test_what_is_no_bundle_is_a_finding(signer: KeySigner, data: bytes) -> None:
    answer = read(data, signer.public_key)
    assert (codes(answer), answer.signed, answer.head) == (["BUNDLE_MALFORMED"], None, None)


class _Wrong:
    """A signer that is broken: it signs as somebody else, or something else."""

    def __init__(self, signs: KeySigner, says: KeySigner, payload: bytes | None = None) -> None:
        self.signs, self.says, self.payload = signs, says, payload

    def sign(self, statement: bytes) -> bytes:
        return self.signs.sign(self.payload or statement)

    def expected(self, signed: SignedPayload) -> ExpectedSigner:
        return self.says.public_key


def test_what_does_not_pass_its_own_verification_is_not_given_out(signer: KeySigner, other: KeySigner) -> None:
    with pytest.raises(OutputError, match="signature is not valid"):
        sign_statement(encoded(), _Wrong(signer, other))
    with pytest.raises(OutputError, match="another payload"):
        sign_statement(encoded(), _Wrong(signer, signer, b"{}"))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "summary.json"
    replace_file(target, b"one")
    replace_file(target, b"two")
    assert target.read_bytes() == b"two"
    assert stat.S_IMODE(target.stat().st_mode) & 0o111 == 0

    def no_space(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("model_attest.placement.write_synced", no_space)
    with pytest.raises(OSError, match="No space"):
        replace_file(target, b"three")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert target.read_bytes() == b"two"
