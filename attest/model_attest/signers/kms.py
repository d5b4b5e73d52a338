"""Keys that stay where they are: in a hardware token (PKCS#11), or in a cloud's key service. By `securesystemslib`.

A key is named by a URI, and its public half is fetched from where it is:

    hsm:ID?label=TOKEN            PKCS#11; the environment's PYKCS11LIB is the token's library
    awskms:KEY                    AWS
    gcpkms:projects/…             Google Cloud
    azurekms://VAULT.vault.azure.net/keys/NAME/VERSION
    hv:NAME                       HashiCorp Vault
    file2:PATH                    a PEM file
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from model_attest.signers.bundling import key_bundle
from model_verify.envelope import PublicKey, SignedPayload
from model_verify.errors import AttestError, CallerError, SigningFailed

try:
    from securesystemslib.exceptions import UnsupportedLibraryError
    from securesystemslib.signer import (
        AWSSigner,
        AzureSigner,
        GCPSigner,
        HSMSigner,
        Signer,
        SSlibKey,
        VaultSigner,
    )
except ImportError as missing:
    raise SigningFailed(
        "keys in tokens and key services are used by securesystemslib, which is not installed",
        hint="`pip install 'model-attest[kms]'`",
    ) from missing

ReadSecret = Callable[[], str]
"""Returns the PIN of a token; raises `CallerError` where there is none."""

_SCHEMES = {
    "p256": "ecdsa-sha2-nistp256",
    "p384": "ecdsa-sha2-nistp384",
    "ed25519": "ed25519",
    "rsa-pss": "rsassa-pss-sha256",
    "ml-dsa-65": "ml-dsa-65/1",
}
_MOST_REASON_CHARACTERS = 300


class KmsKey:
    """A private key that is somewhere else, under its public half."""

    def __init__(self, uri: str, public_key: PublicKey, read_secret: ReadSecret) -> None:
        self.public_key = public_key
        self._uri = uri
        self._read_secret = read_secret

    @classmethod
    def from_uri(cls, uri: str, read_secret: ReadSecret) -> KmsKey:
        """Return the key that a URI names, its public half fetched.

        Raises `CallerError` for another URI, `KeyUnreadable` for a key of another kind than a bare key may be, and
        `SigningFailed` where it cannot be had.
        """
        with _errors(uri):
            named, public_key = _fetch(uri, read_secret)
        return cls(named, PublicKey.from_key(public_key), read_secret)

    def sign_message(self, message: bytes) -> bytes:
        """Return the signature over `message`, by the algorithm of the key's kind; raises `SigningFailed`."""
        with _errors(self._uri):
            key = SSlibKey.from_crypto(self.public_key.key, scheme=_SCHEMES[self.public_key.kind])
            signer = Signer.from_priv_key_uri(self._uri, key, lambda _: self._read_secret())
            return bytes.fromhex(signer.sign(message).signature)


class KmsSigner:
    """Signs statements with a key that is somewhere else."""

    def __init__(self, key: KmsKey) -> None:
        self._key = key

    def sign(self, statement: bytes) -> bytes:
        """Return the bundle, as canonical JSON, that carries `statement` under the key's signature."""
        return key_bundle(self._key, statement)

    def expected(self, signed: SignedPayload) -> PublicKey:
        """Return the public key, whatever the bundle says."""
        return self._key.public_key


def _fetch(uri: str, read_secret: ReadSecret) -> tuple[str, object]:
    """Return the URI of a key, made exact, and its public half."""
    scheme, _, rest = uri.partition(":")
    match scheme:
        case "hsm":
            parts = urlsplit(uri)
            number = int(parts.path) if parts.path else None
            named, key = HSMSigner.import_(number, dict(parse_qsl(parts.query)).get("label"), lambda _: read_secret())
        case "awskms":
            named, key = AWSSigner.import_(rest)
        case "gcpkms":
            named, key = GCPSigner.import_(rest)
        case "azurekms":
            parts = urlsplit(uri)
            vault, path = (parts.hostname or "").split(".")[0], parts.path.split("/")
            if not vault or len(path) < 3 or path[1] != "keys":
                raise CallerError(f"`{uri}` is no key", hint="write `azurekms://VAULT.vault.azure.net/keys/NAME`")
            named, key = AzureSigner.import_(vault, path[2])
            uri = uri if len(path) > 3 else named
        case "hv":
            named, key = VaultSigner.import_(rest.split("/")[0])
        case "file2":
            return uri, load_pem_private_key(Path(rest).read_bytes(), None).public_key()
        case _:
            raise CallerError(
                f"`{uri}` names no key", hint="it begins with hsm:, awskms:, gcpkms:, azurekms:, hv: or file2:"
            )
    return named if scheme in ("hsm", "hv") else uri, _public_key(key)


def _public_key(key: SSlibKey) -> object:
    public = key.keyval["public"]
    if key.keytype == "ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    return load_pem_public_key(public.encode("ascii"))


@contextlib.contextmanager
def _errors(uri: str) -> Iterator[None]:
    """Let whatever goes wrong out as `SigningFailed`: every service's client has errors of its own."""
    try:
        yield
    except (AttestError, MemoryError):
        raise
    except UnsupportedLibraryError as error:
        scheme = uri.partition(":")[0]
        raise SigningFailed(
            f"{uri}: {error}", hint=f"`pip install 'securesystemslib[{_EXTRAS.get(scheme, scheme)}]'`"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SigningFailed(f"{uri}: {reason[:_MOST_REASON_CHARACTERS]}") from error


_EXTRAS = {"hv": "vault", "file2": "crypto"}
