"""What a caller asks for: what to verify, whom the caller expects, what the caller has. Spec: verification §1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from model_verify.depth import Depth
from model_verify.envelope import ExpectedSigner, TimestampAuthority, TimeTrust
from model_verify.errors import CallerError
from model_verify.history.folder import BundleFile
from model_verify.policy import Policy
from model_verify.sources.detached import DetachedAttestation
from model_verify.sources.source import Source


@dataclass(frozen=True, slots=True)
class Request:
    """What to verify, whom the caller expects, and what the caller has. Spec: verification §1."""

    source: Source
    expected_signer: ExpectedSigner | None = None
    parents: Mapping[str, Source] = field(default_factory=dict)
    candidates: Sequence[Source] = ()
    repository: str | None = None
    depth: Depth = Depth.FULL
    """Another depth than full needs a source that states digests."""
    fetch: Callable[[str], Source | None] | None = None
    """Asked with the package URL of each material for which there is no parent."""
    recursive: bool = False
    """Whether the attestations of the parents themselves are followed."""
    parent_signers: Mapping[str, ExpectedSigner] = field(default_factory=dict)
    """The signers that are expected for parents, by identifier; for a parent's parent `PARENT/ITS-PARENT`, and so on.
    `parents` has folders under such names too."""
    known_signers: Sequence[ExpectedSigner] = ()
    """Signers that are expected of a bundle that names them, where `expected_signer` is None."""
    revocations: Sequence[BundleFile] = ()
    """What the caller knows to be revoked, besides what lies in the folder."""
    revokers: Sequence[ExpectedSigner] = ()
    """Who may revoke everything, besides those of the policy."""
    observations: Sequence[BundleFile] = ()
    """What others read of the materials."""
    observers: Sequence[ExpectedSigner] = ()
    """Whose observations are taken, besides those of the policy's observers."""
    published: datetime | None = None
    """When the model was published, as far as the caller knows; else the Hub is asked, where the model is there."""
    device: str = "auto"
    threads: int | None = None
    progress: Callable[[int], None] | None = None
    policy: Policy | None = None
    attestation: DetachedAttestation | None = None
    """Where it is not the source's own attestation that is to be read, but somebody's outside of it."""
    now: datetime | None = None
    """When it is verified; the machine's clock where it is None."""
    timestamp_authorities: Sequence[TimestampAuthority] = ()
    """Whose word on the time of a signature is taken; where there is none, whom the policy names."""

    def time_trust(self) -> TimeTrust:
        """Return whose word on times is taken, which is said here or in the policy; raises `CallerError` for both."""
        named = (tuple(self.timestamp_authorities), self.policy.authorities if self.policy else ())
        if all(named):
            raise CallerError("timestamping authorities beside a policy that names some", hint="name them in one place")
        return TimeTrust(named[0] or named[1], self.now or datetime.now(UTC))

    def all_known_signers(self) -> list[ExpectedSigner]:
        """Return whom the caller, and the caller's policy, expect of bundles that name them."""
        policy = self.policy.signers if self.policy else None
        named = [self.expected_signer] if self.expected_signer else []
        return [*self.known_signers, *named, *(policy.signers if policy else ())]

    def all_observers(self) -> Sequence[ExpectedSigner]:
        """Return whose observations are taken."""
        return (*self.observers, *(self.policy.observers if self.policy else ()))

    def all_revokers(self) -> Sequence[ExpectedSigner]:
        """Return who may revoke everything."""
        return (*self.revokers, *(self.policy.revokers if self.policy else ()))

    def of_parent(self, name: str, source: Source) -> Request:
        """Return the request that verifies a parent: what has its identifier before a slash is for it."""
        before = f"{name}/"
        return Request(
            source=source,
            expected_signer=self.parent_signers.get(name),
            parents=_below(self.parents, before),
            candidates=self.candidates,
            fetch=self.fetch,
            recursive=True,
            parent_signers=_below(self.parent_signers, before),
            known_signers=self.all_known_signers(),
            revocations=self.revocations,
            revokers=self.all_revokers(),
            observations=self.observations,
            observers=self.all_observers(),
            now=self.now,
            timestamp_authorities=self.time_trust().authorities,
            device=self.device,
            threads=self.threads,
        )


_T = TypeVar("_T")


def _below(named: Mapping[str, _T], before: str) -> dict[str, _T]:
    return {path.removeprefix(before): value for path, value in named.items() if path.startswith(before)}
