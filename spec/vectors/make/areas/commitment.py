"""Area `history`: commitments, and before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import toy
from envelope import MANIFEST_PATH, PREFIX, Object, Signing, compact
from folder import BUNDLE_PATH, REPOSITORY, A, B, given, incomplete, plain, rejected, verified
from history import Asked, root_revoked, signed, statement, vector
from instance import SIGNED_AT, TOWN, Certified
from keys import RELEASE, STRANGER
from manifest import Files
from merkle import sha256
from vector import Vector

PATH = "attestation/commit.sigstore.json"
STRANGERS = Signing(STRANGER)
EARLY, LATE = (Certified(stamps=((TOWN, SIGNED_AT + second),)) for second in (0, 2))
"""Signed in the second before that in which `Certified()` is shown to have signed, and in the one after."""
ROOT = toy.root(A)
MODEL = {"name": "town-7b", "version": "1.0", "checkpointRoot": "sha256:" + ROOT.hex()}
DATED = given(plain(signing=Certified()))


def committed(model: Mapping[str, object] = MODEL, *, digest: bytes = ROOT, **more: object) -> Object:
    """Return a commitment, unsigned."""
    return statement("commit/v1", {"model-attest-checkpoint-v1": digest.hex()}, {"model": dict(model), **more})


def changed(**changes: object) -> Object:
    """Return a commitment to something else."""
    return committed({key: value for key, value in {**MODEL, **changes}.items() if value is not None})


def beside(data: bytes, **changes: Any) -> Asked:
    """Return a model by a key, with a commitment."""
    return replace(Asked(given(plain()).altered(files={PATH: data})), **changes)


def dated(commitment: bytes | None = None, **changes: Any) -> Asked:
    """Return a model by the identity, perhaps with a commitment."""
    files: Files = {} if commitment is None else {PATH: commitment}
    return replace(Asked(DATED.altered(files=files), identity=True), **changes)


def commitments() -> Iterator[Vector]:
    """Yield history §3."""
    good = verified(1)
    mismatch, malformed = rejected("COMMITMENT_MISMATCH"), rejected("COMMITMENT_MALFORMED")
    by_key = signed(committed())
    yield vector("commit", "§3.4", "By the same key, without a time.", beside(by_key), good)
    yield vector("commit-early", "§3.5", "By the same identity, before.", dated(signed(committed(), EARLY)), good)
    same = dated(signed(committed(), Certified()))
    yield vector("commit-same-second", "§3.5", "In the same second.", same, good)
    late = dated(signed(committed(), LATE))
    yield vector("commit-late", "§3.5", "A second after it.", late, verified(1, "COMMITMENT_LATE"))
    manifest = given(plain()).folder[MANIFEST_PATH]
    named = signed(committed(manifestDigest="sha256:" + sha256(manifest).hex()))
    yield vector("commit-manifest", "§3.4", "To the manifest too.", beside(named), good)
    other = signed(committed(manifestDigest="sha256:" + ROOT.hex()))
    yield vector("commit-manifest-other", "§3.4", "To another manifest.", beside(other), mismatch)
    elsewhere = toy.root(B)
    model = {**MODEL, "checkpointRoot": "sha256:" + elsewhere.hex()}
    other = signed(committed(model, digest=elsewhere))
    yield vector("commit-root-other", "§3.4", "To another root.", beside(other), mismatch)
    for name, words, document, outcome in (
        ("name-other", "To another name.", changed(name="city-7b"), mismatch),
        ("name-case", "To the name in other letters.", changed(name="Town-7b"), mismatch),
        ("version-other", "To another version.", changed(version="2.0"), mismatch),
        ("version-none", "To no version.", changed(version=None), good),
        ("uri", "To the repository too.", changed(uri=REPOSITORY), good),
        ("uri-other", "To another repository.", changed(uri=REPOSITORY + "x"), mismatch),
        ("unknown-member", "A member that is not known.", committed(later="x"), good),
        ("malformed-no-name", "To no name.", changed(name=None), malformed),
        ("malformed-null", "A version that is null.", committed({**MODEL, "version": None}), malformed),
        ("malformed-subject", "The subject is another root.", committed(digest=elsewhere), malformed),
        ("malformed-subject-two", "Two subjects.", {**committed(), "subject": committed()["subject"] * 2}, malformed),  # type: ignore[operator]
        ("malformed-subject-kind", "The root as a file's digest.",
         {**committed(), "subject": [{"digest": {"sha256": ROOT.hex()}}]}, malformed),
        ("malformed-manifest", "A digest without its algorithm.", committed(manifestDigest=ROOT.hex()), malformed),
        ("malformed-attestation", "Called an attestation.",
         {**committed(), "predicateType": PREFIX + "pipeline/v1"}, malformed),
        ("malformed-revocation", "A revocation in its place.", root_revoked(elsewhere), malformed),
    ):  # fmt: skip
        yield vector(f"commit-{name}", "§3.4" if outcome is not malformed else "§3.3", words, beside(signed(document)),
                     outcome)  # fmt: skip
    yield vector("commit-attestation", "§3.3", "The attestation itself in its place.",
                 beside(given(plain()).folder[BUNDLE_PATH]), malformed)  # fmt: skip
    yield vector("commit-not-json", "§3.3", "No JSON.", beside(compact(Signing().bundle(b"soon"))), malformed)
    yield vector("commit-no-bundle", "§3.3", "No bundle.", beside(b"soon"), malformed)
    large = by_key + b" " * (256 * 1024 + 1 - len(by_key))
    yield vector("commit-large", "§3.3", "One byte more than 256 KiB.", beside(large), malformed)
    twice = Signing().bundle(compact(committed()))
    twice["dsseEnvelope"]["signatures"] *= 2  # type: ignore[index]
    yield vector("commit-signatures-two", "§3.3", "Two signatures.", beside(compact(twice)), malformed)
    foreign = verified(1, "COMMITMENT_SIGNER")
    yield vector("commit-stranger", "§3.3", "A stranger's.", beside(signed(committed(), STRANGERS)), foreign)
    lying = signed(committed(), Signing(STRANGER, hint=RELEASE.hint()))
    yield vector("commit-hint-lies", "§3.3", "A stranger's, under the signer's hint.", beside(lying), foreign)
    words = "A stranger's, and nothing of it is read."
    yield vector("commit-stranger-not-json", "§3.3", words, beside(compact(STRANGERS.bundle(b"soon"))), foreign)
    words = "By the key, beside an attestation by an identity."
    yield vector("commit-other-kind", "§3.3", words, dated(by_key), foreign)
    words = "Nobody is expected: it is not read."
    unnamed = replace(given(plain()), key=None).altered(files={PATH: b"soon"})
    yield vector("commit-nobody-expected", "§3.3", words, Asked(unnamed), incomplete("SIGNER_NOT_EXPECTED"))
    words = "A commitment in place of the attestation."
    swapped = given(plain()).altered(files={BUNDLE_PATH: by_key})
    yield vector("commit-as-attestation", "§3", words, Asked(swapped), rejected("PREDICATE_TYPE_UNKNOWN"))
    words = "Another spelling of its name."
    upper = given(plain()).altered(files={"attestation/Commit.sigstore.json": by_key})
    yield vector("commit-path-case", "§3", words, Asked(upper), rejected("FILE_EXTRA"))


def publication() -> Iterator[Vector]:
    """Yield history §4."""
    after = verified(1, "SHOWN_AFTER_PUBLICATION")
    early = signed(committed(), EARLY)
    for name, words, asked, time, outcome in (
        ("same", "Signed in the second in which it was published.", dated(), "2026-01-01T00:00:01Z", verified(1)),
        ("after", "Signed a second after it was published.", dated(), "2026-01-01T00:00:00Z", after),
        ("committed", "Signed after, committed to before.", dated(early), "2026-01-01T00:00:00Z", verified(1)),
        ("committed-after", "Committed to after, too.", dated(early), "2025-12-31T23:59:59Z", after),
        ("unknown", "Nothing shows when.", Asked(given(plain())), "2026-01-01T00:00:00Z", verified(1)),
    ):
        yield vector(f"published-{name}", "§4.1", words, replace(asked, published=time), outcome)
    words = "Committed to before, and to something else: it does not count."
    other = replace(dated(signed(changed(name="city-7b"), EARLY)), published="2026-01-01T00:00:00Z")
    outcome = rejected("COMMITMENT_MISMATCH", "SHOWN_AFTER_PUBLICATION")
    yield vector("published-committed-other", "§4.1", words, other, outcome)


def vectors() -> list[Vector]:
    """Return the vectors of commitments."""
    return [*commitments(), *publication()]
