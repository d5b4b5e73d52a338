"""Area `statement`: one thing shown in the place of another, and what is read below a failed signature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import toy
from envelope import MANIFEST_PATH, Object, Signing, compact
from folder import A
from history import key_revoked, root_revoked
from keys import RELEASE, RELEASE_ED25519, STRANGER
from vector import Vector

from areas.commitment import committed
from areas.observation import observed
from areas.statement import plain, vector


def signatures(*keys: Signing) -> bytes:
    """Return a bundle with a valid signature by each of several keys, under the hint of the first."""
    bundles: list[Any] = [one.bundle(compact(plain())) for one in keys]
    made = bundles[0]
    made["dsseEnvelope"]["signatures"] = [one["dsseEnvelope"]["signatures"][0] for one in bundles]
    return compact(made)


def shown(name: str, words: str, document: Object) -> Vector:
    """Return a vector of a statement of another type, signed by the expected key."""
    bundle = compact(Signing().bundle(compact(document)))
    return vector(f"confused-{name}", "statement §2.3", words, bundle, None, "PREDICATE_TYPE_UNKNOWN")


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area."""
    own, strange = Signing(RELEASE), Signing(STRANGER)
    words = "Two valid signatures, the first by the expected key."
    yield vector("signatures-two-keys", "statement §4.2", words, signatures(own, strange), None, "BUNDLE_MALFORMED")
    words = "Two valid signatures, the second by the expected key."
    yield vector("signatures-second", "statement §4.2", words, signatures(strange, own), None, "BUNDLE_MALFORMED")
    words = "Two valid signatures of one signer, by keys of two kinds."
    both = signatures(own, Signing(RELEASE_ED25519))
    yield vector("signatures-two-kinds", "statement §4.2", words, both, None, "BUNDLE_MALFORMED")
    yield shown("revocation", "A revocation of a root.", root_revoked(toy.root(A)))
    yield shown("revocation-key", "A revocation of the key itself.", key_revoked())
    yield shown("commit", "A commitment.", committed())
    yield shown("observation", "An observation.", observed())
    words = "A revocation that calls itself an attestation."
    called: Any = {**root_revoked(toy.root(A)), "predicateType": plain()["predicateType"]}
    bundle = compact(Signing().bundle(compact(called)))
    yield vector("confused-called", "statement §2", words, bundle, None, "STATEMENT_MALFORMED")
    words = "The manifest is the second subject."
    swapped: Any = plain()
    swapped["subject"] = [{"name": "model.safetensors", "digest": {"sha256": "0" * 64}}, *swapped["subject"]]
    assert swapped["subject"][1]["name"] == MANIFEST_PATH
    bundle = compact(Signing().bundle(compact(swapped)))
    yield vector("subject-second", "statement §2.2", words, bundle, None, "STATEMENT_MALFORMED")
    for name, words, payload, signing in (
        ("not-json", "What a stranger signed is no JSON.", b"\xff{", strange),
        ("type", "What a stranger signed is of another payload type.", b"{}",
         Signing(STRANGER, signed_type="text/plain", payload_type="text/plain")),
        ("predicate", "What a stranger signed is a revocation.", compact(root_revoked(toy.root(A))), strange),
        ("deep", "What a stranger signed nests deeper than is read.", b"[" * 100_000, strange),
    ):  # fmt: skip
        bundle = compact(signing.bundle(payload))
        words += " Nothing of it is parsed."
        yield vector(f"below-{name}", "verification V3", words, bundle, None, "SIGNATURE_INVALID")
