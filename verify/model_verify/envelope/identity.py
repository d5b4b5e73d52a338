"""Who signs without a key of their own: a name, by the word of an issuer. Spec: statement §6."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Identity:
    """A name and who vouches for it. Two are the same where both are, byte for byte. Spec: statement §6.4."""

    name: str
    issuer: str

    def __str__(self) -> str:
        return f"{self.name} by {self.issuer}"


@dataclass(frozen=True, slots=True)
class ExpectedIdentity:
    """An identity that the caller named, and the Sigstore instance that it is trusted from.

    An identity means nothing without the instance: whoever runs one can certify any name.
    """

    identity: Identity
    trust_config: bytes | None = field(default=None, repr=False)
    """A client's trust configuration, JSON; None for the public instance as the sigstore client ships it."""
