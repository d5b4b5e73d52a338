"""Signing as an identity, with a key that lives for one signature, by the sigstore client. Spec: statement §6.

The instance certifies who signed and keeps the signature's place in its log; the public one shows both to everybody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from model_verify.canonical import loads
from model_verify.envelope import MAX_BUNDLE_BYTES, ExpectedIdentity, SignedPayload
from model_verify.envelope.sigstore import read_trust_config  # first: it says so where there is no client
from model_verify.errors import AttestError, OutputError, SigningFailed
from model_verify.models import Bundle

if TYPE_CHECKING:
    from sigstore.dsse import Statement

PUBLIC_LOG_BYTES = 100_000
"""About what the public log takes as one entry."""


class SigstoreSigner:
    """Signs statements as whoever a token names."""

    def __init__(self, fetch_token: Callable[[], str], trust_config: bytes | None = None) -> None:
        """`fetch_token` is called for each signature, as tokens age fast; without `trust_config`, the public instance
        certifies."""
        self._fetch_token = fetch_token
        self._trust_config = trust_config

    def sign(self, statement: bytes) -> bytes:
        """Return the bundle, as canonical JSON, that carries `statement` under the identity's signature.

        Raises `SigningFailed` where the instance refuses or cannot be reached.
        """
        from sigstore.models import ClientTrustConfig
        from sigstore.oidc import IdentityToken
        from sigstore.sign import SigningContext

        hint = None
        if self._trust_config is None and len(statement) > PUBLIC_LOG_BYTES:
            hint = (
                f"the statement has {len(statement)} bytes, about {PUBLIC_LOG_BYTES} go into the log: sign with a key"
            )
        token = self._fetch_token()
        with client_errors("could not sign", hint=hint):
            public = self._trust_config is None
            config = ClientTrustConfig.production() if public else read_trust_config(self._trust_config)
            with SigningContext.from_trust_config(config).signer(IdentityToken(token)) as signer:
                bundle = signer.sign_dsse(_for_client(statement)).to_json().encode()
        return Bundle.read(loads(bundle, max_bytes=MAX_BUNDLE_BYTES)).canonical()

    def expected(self, signed: SignedPayload) -> ExpectedIdentity:
        """Return the identity that the instance certified, as the certificate has it."""
        if signed.identity is None:
            raise OutputError("the attestation does not pass its own verification: it has no certificate")
        return ExpectedIdentity(signed.identity, self._trust_config)


def _for_client(statement: bytes) -> Statement:
    """Return a statement's bytes as the client takes them.

    It refuses subjects with digests other than SHA-2 and SHA-3, such as checkpoint roots, though it signs the bytes as
    they are, and verifies them. There is no public way past that check: the bytes are put in after it. Should a later
    client keep them elsewhere, the bundle holds another payload, and every signer's self-check refuses that.
    """
    from sigstore.dsse import Statement
    from sigstore.errors import Error

    try:
        return Statement(statement)
    except Error:
        made = Statement(_ACCEPTABLE)
        made._contents = statement
        return made


_ACCEPTABLE = (
    b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"","digest":{"sha256":""}}],'
    b'"predicateType":"","predicate":{}}'
)


@contextlib.contextmanager
def client_errors(what: str, *, hint: str | None = None) -> Iterator[None]:
    """Let whatever the client raises out as `SigningFailed`: many of its errors have no class that is public."""
    try:
        yield
    except (AttestError, MemoryError):
        raise
    except Exception as error:
        raise SigningFailed(f"{what}: {_reason(error)}", hint=hint) from error


def _reason(error: BaseException) -> str:
    """Return the first text in a chain of errors, as the outer ones often have none; else the name of the error."""
    found: BaseException | None = error
    while found is not None:
        if text := " ".join(str(found).split()):
            return text[:300]
        found = found.__cause__ or found.__context__
    return type(error).__name__
