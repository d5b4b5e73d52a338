"""Who signs without a key of their own: a name, or a job of a CI, by the word of an issuer. Spec: statement §6."""

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

    def __str__(self) -> str:
        return str(self.identity)


@dataclass(frozen=True, slots=True)
class ExpectedCertificate:
    """A name that the caller expects in a certificate, and whose word on that is taken. Spec: statement §10."""

    name: str
    """An alternative name of the leaf's, or its subject as RFC 4514 writes it; compared byte for byte."""
    roots: bytes = field(repr=False)
    """Certificates of the authorities, PEM."""
    crls: tuple[bytes, ...] = field(default=(), repr=False)
    """Certificate revocation lists, PEM or DER; where there are any, every certificate has to be on none of them."""

    def __str__(self) -> str:
        return f"{self.name} by your roots"


@dataclass(frozen=True, slots=True)
class JobClaims:
    """What an issuer says of a job in a CI, as a certificate has it; None for what it does not say."""

    repository: str | None = None
    """The URL of the repository whose job it is."""
    ref: str | None = None
    """The branch or tag that it ran for."""
    workflow: str | None = None
    """The URL of the file that defines the job, with the ref at which it was read."""

    def __str__(self) -> str:
        return f"a job of {self.repository or 'no repository'} for {self.ref or 'no ref'}"


@dataclass(frozen=True, slots=True)
class ExpectedJob:
    """A job in a CI by what its issuer says of it, whatever name it is certified under. Spec: statement §6.8."""

    issuer: str
    repository: str
    workflow: str | None = None
    """The path of the file that defines the job, in the repository."""
    ref: str | None = None
    """A `*` at its end stands for one or more characters, none of them `/`."""
    trust_config: bytes | None = field(default=None, repr=False)
    """As in `ExpectedIdentity`."""

    def is_met(self, identity: Identity, claims: JobClaims) -> bool:
        """Return whether a certificate says all of this."""
        if identity.issuer != self.issuer or claims.repository != self.repository:
            return False
        if self.workflow is not None and (
            claims.ref is None or claims.workflow != f"{self.repository}/{self.workflow}@{claims.ref}"
        ):
            return False
        return self.ref is None or (claims.ref is not None and _fits(self.ref, claims.ref))

    def __str__(self) -> str:
        workflow = "" if self.workflow is None else f", workflow {self.workflow}"
        ref = "" if self.ref is None else f", for {self.ref}"
        return f"a job of {self.repository}{workflow}{ref}, by {self.issuer}"


def _fits(pattern: str, ref: str) -> bool:
    if not pattern.endswith("*"):
        return ref == pattern
    start = pattern[:-1]
    return ref.startswith(start) and len(ref) > len(start) and "/" not in ref[len(start) :]
