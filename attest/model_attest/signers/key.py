"""Private keys in PEM files, and signing with one. Spec: statement §4, §5."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from model_attest.placement import output_errors, place_new_file
from model_attest.signers.bundling import key_bundle
from model_verify.envelope import PublicKey, SignedPayload, ecdsa_hash
from model_verify.envelope.key import PSS
from model_verify.errors import CallerError, KeyUnreadable, OutputError

KeyKind = Literal["p256", "p384", "ed25519", "ml-dsa-65"]
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey | rsa.RSAPrivateKey


def generate_key(kind: KeyKind) -> PrivateKey:
    """Return a new private key from the system's random source.

    Raises `CallerError` for ML-DSA where the machine has none.
    """
    match kind:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "ml-dsa-65":
            try:
                return mldsa.MLDSA65PrivateKey.generate()
            except UnsupportedAlgorithm as error:
                raise CallerError("the OpenSSL of this machine has no ML-DSA", hint="it needs OpenSSL 3.5") from error
        case _:
            assert_never(kind)


def private_pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    """Return a key as PEM PKCS8, encrypted where there is a password. Raises `CallerError` for an empty password."""
    if password == b"":
        raise CallerError("the password is empty", hint="leave it out to write the key unencrypted")
    encryption: KeySerializationEncryption = NoEncryption()
    if password is not None:
        encryption = BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_pem(key: PrivateKey) -> bytes:
    """Return the public half of a key as a PEM SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_path(path: Path) -> Path:
    """Return where the public half of the key at `path` lies: `PATH.pub`."""
    return path.with_name(path.name + ".pub")


def write_key_pair(key: PrivateKey, path: Path, *, password: bytes | None = None) -> PublicKey:
    """Write the private key to `path`, readable by its owner alone, and the public key to `PATH.pub`.

    Returns the public key. Raises `OutputError` rather than replace a file, and where it cannot write; then neither
    file is there.
    """
    pem = private_pem(key, password)
    other = public_path(path)
    for place in (path, other):
        if place.exists() or place.is_symlink():
            raise _already_there(place)
    with output_errors(path):
        try:
            place_new_file(path, pem, mode=0o600)
            try:
                place_new_file(other, public_pem(key))
            except BaseException:
                path.unlink()
                raise
        except FileExistsError as error:
            raise _already_there(path) from error
    return PublicKey.from_key(key.public_key())


def _already_there(path: Path) -> OutputError:
    return OutputError(f"{path} is already there", hint="name another file: a key is never replaced")


class KeySigner:
    """Signs statements with a private key."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.public_key = PublicKey.from_certified(key.public_key())

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes | None = None, *, certified: bool = False) -> KeySigner:
        """Return the signer for a PEM private key; raises `KeyUnreadable`, with what to do about it.

        RSA signs under a certificate alone.
        """
        if b"-----BEGIN PUBLIC KEY-----" in pem:
            raise KeyUnreadable("a public key cannot sign", hint="name the private key: the file without `.pub`")
        try:
            key = load_pem_private_key(pem, password)
        except TypeError as error:
            # The one thing that cryptography says with a TypeError: a password where there is none to give, or none.
            if password is None:
                raise KeyUnreadable("the key is encrypted", hint="give its password with `--password-file`") from error
            raise KeyUnreadable("the key is not encrypted", hint="leave `--password-file` out") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            if password is not None and b"ENCRYPTED" in pem:
                raise KeyUnreadable("the password does not open the key") from error
            raise KeyUnreadable("not a PEM private key", hint="`attest keygen --out PATH` writes one") from error
        match key:
            case ed25519.Ed25519PrivateKey() | mldsa.MLDSA65PrivateKey():
                return cls(key)
            case ec.EllipticCurvePrivateKey(curve=ec.SECP256R1() | ec.SECP384R1()):
                return cls(key)
            case rsa.RSAPrivateKey() if certified:
                return cls(key)
            case _:
                raise KeyUnreadable(
                    "the key is not ECDSA P-256, ECDSA P-384, Ed25519 or ML-DSA-65",
                    hint="`attest keygen --out PATH` writes one",
                )

    def expected(self, signed: SignedPayload) -> PublicKey:
        """Return the public key, whatever the bundle says."""
        return self.public_key

    def sign(self, statement: bytes) -> bytes:
        """Return the bundle, as canonical JSON, that carries `statement` under this key's signature.

        Spec: statement §4.
        """
        return key_bundle(self, statement)

    def sign_message(self, message: bytes) -> bytes:
        """Return the signature over `message`, by the algorithm of the key's kind. Spec: statement §5, §10.2."""
        match self._key:
            case ed25519.Ed25519PrivateKey() | mldsa.MLDSA65PrivateKey():
                return self._key.sign(message)
            case ec.EllipticCurvePrivateKey():
                return self._key.sign(message, ec.ECDSA(ecdsa_hash(self._key.curve)))
            case rsa.RSAPrivateKey():
                return self._key.sign(message, PSS, hashes.SHA256())
            case _:
                assert_never(self._key)
