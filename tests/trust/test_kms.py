"""Keys in a real token (SoftHSM) and by the other URIs of securesystemslib."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from model_attest.signers.kms import KmsKey
from model_verify.models import BUNDLE_PATH
from tests.cli.conftest import Attest
from tests.sigstore.instance import Sigstore
from tests.trust.office import NAME, Office, new_key

LIBRARIES = [
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
]
PIN = "1234"
KEYS = {2: "secp256r1", 3: "secp384r1", 4: "secp521r1"}


@dataclass(frozen=True)
class Token:
    """A token with the keys of `KEYS`, by number."""

    library: Path
    public: dict[int, bytes]
    """SubjectPublicKeyInfo, PEM."""

    def uri(self, number: int) -> str:
        return f"hsm:{number}?label=town"


def found_library() -> Path:
    library = next((path for path in LIBRARIES if path.exists()), None)
    if library is not None and shutil.which("softhsm2-util"):
        return library
    if os.environ.get("CI"):
        pytest.fail("CI has no SoftHSM: .ci/run installs softhsm2")
    pytest.skip("no SoftHSM on this machine: `apt-get install softhsm2` runs the tests of tokens")


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    library = found_library()
    import pkcs11
    from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        patch.setenv("PYKCS11LIB", str(library))
        initialise = ["softhsm2-util", "--init-token", "--free", "--label", "town", "--so-pin", "5678", "--pin", PIN]
        subprocess.run(initialise, check=True, capture_output=True)
        public: dict[int, bytes] = {}
        with pkcs11.lib(str(library)).get_token(token_label="town").open(rw=True, user_pin=PIN) as session:
            for number, curve in KEYS.items():
                named = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
                parameters = session.create_domain_parameters(pkcs11.KeyType.EC, named, local=True)
                made, _ = parameters.generate_keypair(store=True, id=bytes([number]), label=f"key {number}")
                key = load_der_public_key(encode_ec_public_key(made))
                public[number] = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        yield Token(library, public)


@pytest.fixture
def pin(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.write_text(f"{PIN}\n")
    return path


@pytest.mark.parametrize("number", [2, 3])
def test_a_key_in_a_token_signs_and_its_public_half_verifies(
    attest: Attest, model: Path, token: Token, pin: Path, tmp_path: Path, number: int
) -> None:
    signed = attest("sign", model, "--kms", token.uri(number), "--password-file", pin)
    assert signed.code == 0, signed.err
    (tmp_path / "token.pub").write_bytes(token.public[number])
    assert attest("verify", model, "--key", tmp_path / "token.pub").code == 0


def test_a_certified_key_in_a_token_signs_and_is_dated(
    attest: Attest, model: Path, token: Token, pin: Path, tmp_path: Path, authority: Sigstore, tsa: Path
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    office = Office.new()

    class InToken:
        def public_key(self) -> object:
            return load_pem_public_key(token.public[3])

    certificate: x509.Certificate = office.certify(InToken())  # type: ignore[arg-type]
    chain, root = tmp_path / "chain.pem", tmp_path / "root.pem"
    chain.write_bytes(certificate.public_bytes(Encoding.PEM) + office.certificate.public_bytes(Encoding.PEM))
    root.write_bytes(office.root.public_bytes(Encoding.PEM))
    arguments = ["--kms", token.uri(3), "--password-file", pin, "--certificate", chain, "--certificate-root", root]
    dated = ["--timestamp-url", f"{authority.url}/api/v1/timestamp", "--tsa", tsa]
    signed = attest("sign", model, *arguments, *dated)
    assert signed.code == 0, signed.err
    run = attest("verify", model, "--identity", NAME, "--certificate-root", root, "--tsa", tsa, "--json")
    assert (run.code, run.document["time"] is None) == (0, False)
    wrong = attest("sign", model, "--kms", token.uri(2), *arguments[2:], "--json")
    assert (wrong.code, wrong.error["code"]) == (2, "OUTPUT_ERROR")  # another key than the certificate's


@pytest.mark.parametrize(
    ("uri", "with_pin", "code"),
    [
        ("hsm:2?label=town", False, "CALLER_ERROR"),
        ("hsm:9?label=town", True, "SIGNING_FAILED"),
        ("hsm:4?label=town", True, "SIGNING_FAILED"),
        ("hsm:2?label=nobody", True, "SIGNING_FAILED"),
        ("hsm:two", True, "SIGNING_FAILED"),
    ],
    ids=["no-pin", "no-key", "p521", "no-token", "no-number"],
)
def test_a_token_that_does_not_sign_says_why(
    attest: Attest, model: Path, token: Token, pin: Path, uri: str, with_pin: bool, code: str
) -> None:
    run = attest("sign", model, "--kms", uri, *(["--password-file", pin] if with_pin else []), "--json")
    assert (run.code, run.error["code"]) == (2, code)
    assert not (model / BUNDLE_PATH).exists()


def test_a_wrong_pin_is_not_shown(attest: Attest, model: Path, token: Token, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("998877\n")
    run = attest("sign", model, "--kms", token.uri(2), "--password-file", wrong, "--json")
    assert (run.code, run.error["code"]) == (2, "SIGNING_FAILED")
    assert "998877" not in run.out + run.err


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519"])
def test_a_key_in_a_file_signs_by_its_uri(attest: Attest, model: Path, tmp_path: Path, kind: str) -> None:
    key = new_key(kind)
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert attest("sign", model, "--kms", f"file2:{tmp_path / 'key'}").code == 0
    assert attest("verify", model, "--key", tmp_path / "pub").code == 0


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("lab", "CALLER_ERROR", "names no key"),
        ("gnupg:1", "CALLER_ERROR", "names no key"),
        ("azurekms://vault.vault.azure.net/lost", "CALLER_ERROR", "is no key"),
        ("file2:/nowhere/key", "SIGNING_FAILED", "No such file"),
    ],
)
def test_a_uri_that_names_no_key_is_exit_code_2(attest: Attest, model: Path, uri: str, code: str, said: str) -> None:
    run = attest("sign", model, "--kms", uri, "--json")
    assert (run.code, run.error["code"]) == (2, code)
    assert said in run.error["message"]


@pytest.mark.parametrize(
    ("uri", "extra", "client"),
    [
        ("awskms:1234", "awskms", "boto3"),
        ("gcpkms:projects/p", "gcpkms", "google.cloud.kms"),
        ("azurekms://v.vault.azure.net/keys/k", "azurekms", "azure.identity"),
        ("hv:k", "vault", "hvac"),
    ],
)
def test_a_service_without_its_client_says_what_to_install(
    attest: Attest, model: Path, uri: str, extra: str, client: str
) -> None:
    try:
        __import__(client)
    except ImportError:
        run = attest("sign", model, "--kms", uri, "--json")
        assert (run.code, run.error["code"]) == (2, "SIGNING_FAILED")
        assert run.error["hint"] == f"`pip install 'securesystemslib[{extra}]'`"
    else:
        pytest.skip(f"{client} is installed here")


def test_a_key_is_in_one_place(attest: Attest, model: Path, key: Path) -> None:
    run = attest("sign", model, "--kms", "hsm:2", "--key", key, "--json")
    assert (run.code, run.error["code"]) == (2, "CALLER_ERROR")


def test_without_securesystemslib_it_says_what_to_install(
    attest: Attest, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KmsKey  # it was imported: now it has to be anew
    monkeypatch.delitem(sys.modules, "model_attest.signers.kms")
    monkeypatch.setitem(sys.modules, "securesystemslib.signer", None)
    run = attest("sign", model, "--kms", "hsm:2", "--json")
    assert (run.code, run.error["code"]) == (2, "SIGNING_FAILED")
    assert "model-attest[kms]" in run.error["hint"]


def test_other_statements_are_signed_by_keys_elsewhere_too(
    attest: Attest, model: Path, token: Token, pin: Path, tmp_path: Path
) -> None:
    by_token = ["--kms", token.uri(2), "--password-file", pin]
    committed = attest("commit", model, *by_token, "--name", "town-7b")
    assert committed.code == 0, committed.err
    root = f"sha256:{'0' * 64}"
    what = ["--root", root, "--reason", "wrong upload", "--out", tmp_path / "revoked.json"]
    revoked = attest("revoke", *what, *by_token)
    assert revoked.code == 0, revoked.err
    uri = f"pkg:huggingface/lab/a-7b@{'0' * 40}"
    observed = attest("observe", model, "--uri", uri, "--out", tmp_path / "seen", *by_token)
    assert observed.code == 0, observed.err
