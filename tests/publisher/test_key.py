"""Keys in files, and bundles that other implementations read. Spec: statement §4, §5."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey
from sigstore_models.bundle.v1 import Bundle

from model_attest import placement
from model_attest.signers.key import (
    KeyKind,
    KeySigner,
    generate_key,
    private_pem,
    public_pem,
    write_key_pair,
)
from model_verify.envelope import PublicKey, open_bundle
from model_verify.errors import CallerError, KeyUnreadable, OutputError
from tests.publisher.conftest import tree

KINDS: list[KeyKind] = ["p256", "p384", "ed25519"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_key_pair_signs_and_verifies(tmp_path: Path, kind: KeyKind) -> None:
    public = write_key_pair(generate_key(kind), tmp_path / "key")
    assert public.kind == kind
    signer = KeySigner.from_pem((tmp_path / "key").read_bytes(), None)
    read = PublicKey.from_pem((tmp_path / "key.pub").read_bytes())
    assert read.hint == signer.public_key.hint == public.hint
    assert read.verifies(open_bundle(signer.sign(b"{}")))


def test_the_private_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    write_key_pair(generate_key("p256"), tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert (tmp_path / "key").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert (tmp_path / "key.pub").read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----\n")
    assert sorted(tree(tmp_path)) == ["key", "key.pub"]


@pytest.mark.parametrize("taken", ["key", "key.pub"])
def test_a_file_is_never_replaced_and_no_half_pair_is_left(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(OutputError, match="already there"):
        write_key_pair(generate_key("p256"), tmp_path / "key")
    assert tree(tmp_path) == {taken: b"mine"}


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="already there"):
        write_key_pair(generate_key("p256"), tmp_path / "key")
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write = placement.write_synced

    def fail_second(path: Path, data: bytes, *, mode: int = 0o666) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write(path, data, mode=mode)

    monkeypatch.setattr(placement, "write_synced", fail_second)
    with pytest.raises(OutputError, match="No space left") as raised:
        write_key_pair(generate_key("p256"), tmp_path / "key")
    assert raised.value.hint == "free some space there and run it again"
    assert tree(tmp_path) == {}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        write_key_pair(generate_key("p256"), tmp_path / "none" / "key")


def test_an_encrypted_key_opens_with_its_password_alone(tmp_path: Path) -> None:
    write_key_pair(generate_key("ed25519"), tmp_path / "key", password=b"secret")
    pem = (tmp_path / "key").read_bytes()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert KeySigner.from_pem(pem, b"secret").public_key.kind == "ed25519"
    with pytest.raises(KeyUnreadable, match="is encrypted") as raised:
        KeySigner.from_pem(pem)
    assert raised.value.hint == "give its password with `--password-file`"
    with pytest.raises(KeyUnreadable, match="password does not open"):
        KeySigner.from_pem(pem, b"guess")


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(CallerError, match="password is empty"):
        private_pem(generate_key("p256"), b"")


def pkcs8(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "not a PEM private key"),
        (b"\xff\xfe", "not a PEM private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a PEM private key"),
        (public_pem(generate_key("p256")), "a public key cannot sign"),
        (pkcs8(rsa.generate_private_key(65537, 2048)), "not ECDSA P-256"),
        (pkcs8(ec.generate_private_key(ec.SECP521R1())), "not ECDSA P-256"),
        (pkcs8(ec.generate_private_key(ec.SECP256K1())), "not ECDSA P-256"),
    ],
)
def test_what_is_no_usable_private_key_is_said_so(pem: bytes, message: str) -> None:
    with pytest.raises(KeyUnreadable, match=message) as raised:
        KeySigner.from_pem(pem)
    assert raised.value.hint is not None


def test_a_password_for_a_key_that_has_none_is_an_error() -> None:
    with pytest.raises(KeyUnreadable, match="not encrypted"):
        KeySigner.from_pem(private_pem(generate_key("p256")), b"secret")


@pytest.mark.parametrize("kind", KINDS)
def test_securesystemslib_verifies_the_signature(kind: KeyKind) -> None:
    key = generate_key(kind)
    bundle = json.loads(KeySigner(key).sign(b'{"a":1}'))
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    public = SSlibKey.from_crypto(key.public_key(), keyid=hint)
    envelope = Envelope.from_dict(json.loads(json.dumps(bundle["dsseEnvelope"])))
    assert envelope.payload == b'{"a":1}'
    assert list(envelope.verify([public], 1)) == [hint]
    envelope.payload = b'{"a":2}'
    with pytest.raises(VerificationError):
        envelope.verify([public], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_sigstore_reads_the_bundle(kind: KeyKind) -> None:
    key = generate_key(kind)
    bundle = Bundle.from_json(KeySigner(key).sign(b"{}"))
    assert bundle.media_type == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle.dsse_envelope is not None
    assert bundle.dsse_envelope.payload == b"{}"
    assert bundle.dsse_envelope.payload_type == "application/vnd.in-toto+json"
    assert bundle.verification_material.public_key is not None
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert bundle.verification_material.public_key.hint == hashlib.sha256(der).hexdigest()


def test_the_bundle_is_canonical_and_holds_nothing_else(signer: KeySigner) -> None:
    data = signer.sign(b"{}")
    bundle = json.loads(data)
    assert data == rfc8785.dumps(bundle)
    hint, (signature,) = signer.public_key.hint, bundle["dsseEnvelope"]["signatures"]
    assert bundle == {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "dsseEnvelope": {
            "payload": base64.b64encode(b"{}").decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": signature["sig"], "keyid": hint}],
        },
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
    }
