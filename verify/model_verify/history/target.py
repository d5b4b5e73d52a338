"""The attestation whose history is looked at, as far as it was verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_verify.envelope import (
    ExpectedIdentity,
    ExpectedSigner,
    KnownSigner,
    PublicKey,
    SignatureCheck,
    TimeTrust,
)
from model_verify.models.history import RevokedIdentity, RevokedKey, RevokedSigner
from model_verify.statement import Statement


@dataclass(frozen=True, slots=True)
class Target:
    """An attestation; `accepted` is the expected signer under whom its signature holds; None where nobody is.

    `trust` says whose word on times is taken.
    """

    statement: Statement
    signature: SignatureCheck
    accepted: ExpectedSigner | None
    trust: TimeTrust
    is_detached: bool = False
    """Whether it lies outside of the model's folder, where the history of the folder's own lies."""

    @property
    def same_signer(self) -> Sequence[ExpectedSigner]:
        """Who counts as the same signer: whoever the caller would have accepted in its place. Spec: history §2."""
        return () if self.accepted is None or not self.signature.holds else (self.accepted,)

    def is_by(self, revoked: RevokedSigner) -> bool:
        """Return whether a revoked signer is known to have signed it."""
        return self.signature.signer is not None and names(revoked, self.signature.signer)


def names(revoked: RevokedSigner, signer: KnownSigner) -> bool:
    """Return whether a revocation names a signer. Spec: history §1.2."""
    match revoked, signer:
        case RevokedKey(key_hint=hint), PublicKey():
            return hint == signer.hint
        case RevokedIdentity(), ExpectedIdentity(identity=identity):
            return (revoked.identity, revoked.issuer) == (identity.name, identity.issuer)
        case _:
            return False
