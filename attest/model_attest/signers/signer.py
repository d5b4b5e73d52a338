"""What every signer does."""

from __future__ import annotations

from typing import Protocol

from model_verify.envelope import ExpectedSigner, SignedPayload


class Signer(Protocol):
    def sign(self, statement: bytes) -> bytes:
        """Return the bundle, as canonical JSON, that carries `statement` under this signer's signature."""

    def expected(self, signed: SignedPayload) -> ExpectedSigner:
        """Return whom a verifier is to expect of a bundle that this signer made."""
