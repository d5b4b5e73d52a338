"""Predicates of statements on what was signed before, or is no longer to be trusted. Spec: history §1, §2."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from model_verify.models.training import Moment, Text
from model_verify.models.wire import TYPE_PREFIX, Maybe, Open, Wire, WireCheckpointRoot, WireFileDigest

REVOCATION_TYPE = TYPE_PREFIX + "revocation/v1"

_Name = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class _Target(Wire):
    """Closed: what is revoked must not be open to two readings."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class RevokedRoot(_Target):
    """Weights, whoever signed them."""

    checkpoint_root: WireCheckpointRoot

    def __str__(self) -> str:
        return f"root {self.checkpoint_root}"


class RevokedKey(_Target):
    """A key, by its hint."""

    key_hint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]

    def __str__(self) -> str:
        return f"key sha256:{self.key_hint}"


class RevokedIdentity(_Target):
    """An identity: a name, by the word of an issuer."""

    identity: _Name
    issuer: _Name

    def __str__(self) -> str:
        return f"{self.identity} by {self.issuer}"


RevokedSigner = RevokedKey | RevokedIdentity


class Revocation(Open):
    """What is no longer to be trusted, by the word of whoever signed this, and why."""

    revokes: RevokedRoot | RevokedSigner
    issued: Moment
    reason: Text
    revoked_since: Maybe[Moment] = None
    """What the signer signed before this, by somebody else's word, stands; without it, nothing does."""

    @model_validator(mode="after")
    def _roots_were_never_good(self) -> Self:
        if self.revoked_since is not None and isinstance(self.revokes, RevokedRoot):
            raise ValueError("`revokedSince` is of signers")
        return self


class Superseded(Open):
    """An attestation that another one takes the place of, and why."""

    bundle_digest: WireFileDigest
    checkpoint_root: WireCheckpointRoot
    reason: Maybe[Text] = None
