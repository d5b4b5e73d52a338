"""What lies beside an attestation, and a vector of area `history`. Spec: history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envelope import PREFIX, STATEMENT_TYPE, Object, Signing, compact
from folder import Given, Outcome
from instance import ISSUER, TOWN, WORKFLOW, Certified
from jcs import canonical
from keys import RELEASE, Key
from manifest import Files
from merkle import sha256
from vector import JsonObject, Vector

FOLDER = "attestation/revocations/"
SIGNED_AT = "2026-01-01T00:00:01Z"
"""When a bundle under a certificate of the vectors is shown to have existed."""


def statement(kind: str, digest: Mapping[str, str], predicate: Mapping[str, object]) -> Object:
    """Return a statement of another type, about one thing. Spec: statement §8."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"digest": dict(digest)}],
        "predicateType": PREFIX + kind,
        "predicate": dict(predicate),
    }


def signed(document: object, signing: Signing | Certified | None = None) -> bytes:
    """Return the bundle over a statement; by the key of the vectors' publisher where nobody else is named."""
    return compact((signing or Signing()).bundle(compact(document)))


def root_revoked(root: bytes, **more: object) -> Object:
    """Return the revocation of a root, unsigned; `more` are members of the predicate."""
    return _revocation({"model-attest-checkpoint-v1": root.hex()}, {"checkpointRoot": "sha256:" + root.hex()}, more)


def key_revoked(key: Key = RELEASE, **more: object) -> Object:
    """Return the revocation of a key, unsigned."""
    return _revocation({"sha256": key.hint()}, {"keyHint": key.hint()}, more)


def identity_revoked(name: str = WORKFLOW, issuer: str = ISSUER, **more: object) -> Object:
    """Return the revocation of an identity, unsigned."""
    revokes = {"identity": name, "issuer": issuer}
    return _revocation({"sha256": sha256(canonical(revokes)).hex()}, revokes, more)


def _revocation(digest: Mapping[str, str], revokes: object, more: Mapping[str, object]) -> Object:
    predicate = {"revokes": revokes, "issued": "2026-07-03T09:00:00Z", "reason": "the wrong upload", **more}
    return statement("revocation/v1", digest, predicate)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a verifier is asked: the folder and what else `verify` has, with what the history adds to it."""

    given: Given
    revocations: Mapping[str, bytes] = field(default_factory=dict)
    """What the caller has, by names of files."""
    revokers: Sequence[Key] = ()
    published: str | None = None
    """When the caller says that it was published."""
    identity: bool = False
    """Whether the identity of the vectors is expected, in place of the key."""
    job: JsonObject | None = None
    """A job that is expected, in place of either."""

    def described(self) -> JsonObject:
        """Return the `input` of the vector."""
        named: dict[str, Any] = {"name": WORKFLOW, "issuer": ISSUER, "trust_config": "trust.json"}
        return {
            **self.given.described(),
            **({"key": None, "identity": named} if self.identity else {}),
            **({} if self.job is None else {"key": None, "job": {**self.job, "trust_config": "trust.json"}}),
            **({} if self.published is None else {"published": self.published}),
            "revocations": [f"known/{name}" for name in self.revocations],
            "revokers": [f"revokers/{key.name}.pub" for key in self.revokers],
        }

    def files(self) -> Files:
        """Return all files of the vector."""
        files = self.given.files()
        if self.identity or self.job is not None:
            files = {
                **{path: data for path, data in files.items() if path != "key.pub"},
                "trust.json": TOWN.trust_config(),
            }
        known = {f"known/{name}": data for name, data in self.revocations.items()}
        return {**files, **known, **{f"revokers/{key.name}.pub": key.pem() for key in self.revokers}}


def vector(name: str, clause: str, words: str, asked: Asked, outcome: Outcome, notes: Sequence[str] = ()) -> Vector:
    """Return a vector of area `history`; `notes` are codes of that severity."""
    expected = {**outcome.described(), "notes": sorted(notes)}
    return Vector("history", name, f"history {clause}", words, asked.described(), expected, asked.files())
