"""Area `history`: revocations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import toy
from envelope import Object, Signing, compact, encoded
from folder import MERGED, PARENTS, A, Outcome, claim, given, incomplete, plain, rejected, verified
from history import FOLDER, SIGNED_AT, Asked, identity_revoked, key_revoked, root_revoked, signed, vector
from instance import Certified
from keys import RELEASE, STRANGER, Key
from manifest import Files
from vector import Vector

OWN, OTHER, PARENT = (toy.root(one) for one in (MERGED, toy.model("other"), A))
STRANGERS = Signing(STRANGER)
REVOKER = Key("ed25519", "revoker")
REVOKERS = Signing(REVOKER)
ROOT, SIGNER = "ROOT_REVOKED", "SIGNER_REVOKED"
MALFORMED, NOT_HONOURED = "REVOCATION_MALFORMED", "REVOCATION_NOT_HONOURED"
GOOD = given(claim())
STANDS = verified(3)
PLAIN, SMALL = given(plain()), toy.root(A)
"""What the form of a revocation is tried on: a model without parents, and its root."""


def beside(data: bytes, name: str = "wrong.sigstore.json", **changes: object) -> Asked:
    """Return the merge with one revocation in its folder."""
    return replace(Asked(GOOD.altered(files={FOLDER + name: data})), **changes)


def known(data: bytes, **changes: object) -> Asked:
    """Return the merge with one revocation that the caller has."""
    return replace(Asked(GOOD, revocations={"wrong.sigstore.json": data}), **changes)


def roots() -> Iterator[Vector]:
    """Yield revocations of roots."""
    own = signed(root_revoked(OWN))
    yield vector("root", "§1.5", "The signer revoked the root; the folder says so.", beside(own), rejected(ROOT))
    yield vector("root-known", "§1.1", "The caller knows it.", known(own), rejected(ROOT))
    words = "Another root, by the same signer."
    yield vector("root-other", "§1.5", words, beside(signed(root_revoked(OTHER))), STANDS)
    words = "A stranger revoked the root: not honoured."
    strange = signed(root_revoked(OWN), STRANGERS)
    yield vector("root-stranger", "§1.4", words, beside(strange), STANDS, [NOT_HONOURED])
    words = "A stranger revoked it, under the hint of the signer's key."
    lying = signed(root_revoked(OWN), Signing(STRANGER, hint=RELEASE.hint()))
    yield vector("root-hint-lies", "§1.4", words, beside(lying), STANDS, [NOT_HONOURED])
    words = "A revoker of the caller's revoked the root."
    by_revoker = signed(root_revoked(OWN), REVOKERS)
    yield vector("root-revoker", "§1.4", words, known(by_revoker, revokers=[REVOKER]), rejected(ROOT))
    words = "The same, and the caller names no revoker."
    yield vector("root-no-revoker", "§1.4", words, known(by_revoker), STANDS, [NOT_HONOURED])
    words = "A parent's root, by a revoker."
    parents = signed(root_revoked(PARENT), REVOKERS)
    yield vector("parent", "§1.5", words, known(parents, revokers=[REVOKER]), rejected(ROOT))
    words = "A parent's root, by the signer of the child: it is not theirs."
    childs = signed(root_revoked(PARENT))
    yield vector("parent-childs", "§1.4", words, beside(childs), STANDS, [NOT_HONOURED])
    words = "Nobody is expected, so nobody but a revoker may revoke."
    unnamed = replace(GOOD, key=None)
    asked = Asked(unnamed.altered(files={FOLDER + "wrong.sigstore.json": own}))
    yield vector("nobody-expected", "§1.4", words, asked, incomplete("SIGNER_NOT_EXPECTED"), [NOT_HONOURED])
    words = "Nobody is expected, and a revoker revoked the root."
    asked = Asked(unnamed, {"wrong.sigstore.json": by_revoker}, [REVOKER])
    yield vector("nobody-expected-revoker", "§1.4", words, asked, rejected("SIGNER_NOT_EXPECTED", ROOT))
    words = "The attestation is a stranger's: nothing below is evaluated, and no revocation either."
    asked = Asked(replace(GOOD, key=STRANGER).altered(files={FOLDER + "wrong.sigstore.json": b"no bundle"}))
    yield vector("below-failed-signature", "§1.1", words, asked, rejected("SIGNATURE_INVALID"))
    words = "A revocation of the parent lies in the parent's own folder, by its signer, and the lineage is followed."
    start = plain(files=toy.folder(A)).signed()
    start[FOLDER + "wrong.sigstore.json"] = signed(root_revoked(PARENT))
    family = replace(GOOD, parents={**PARENTS, "a": start}, recursive=True)
    yield vector("parent-own", "§1.5", words, Asked(family), rejected("PARENT_REJECTED"))
    words = "The caller knows a revocation by the parent's signer, and the lineage is followed."
    family = replace(GOOD, parents={**PARENTS, "a": plain(files=toy.folder(A)).signed()}, recursive=True)
    asked = Asked(family, {"wrong.sigstore.json": signed(root_revoked(PARENT))})
    yield vector("parent-own-known", "§1.5", words, asked, rejected("PARENT_REJECTED"), [NOT_HONOURED])


def signers() -> Iterator[Vector]:
    """Yield revocations of signers, and times."""
    own = signed(key_revoked())
    yield vector("key", "§1.5", "The key revoked itself.", beside(own), rejected(SIGNER))
    words = "Another key, by a revoker."
    other = signed(key_revoked(STRANGER), REVOKERS)
    yield vector("key-other", "§1.5", words, known(other, revokers=[REVOKER]), STANDS)
    words = "Another key, by the signer: it is not theirs."
    yield vector("key-not-own", "§1.4", words, beside(signed(key_revoked(STRANGER))), STANDS, [NOT_HONOURED])
    words = "The key is revoked since a time, and nothing shows when it signed."
    since = signed(key_revoked(revokedSince="2030-01-01T00:00:00Z"))
    yield vector("key-since", "§1.6", words, beside(since), rejected(SIGNER))

    def certified(document: Object, signing: Signing | Certified | None = None) -> Asked:
        folder = given(claim(signing=Certified()))
        by = Certified() if signing is None else signing
        placed = folder.altered(files={FOLDER + "wrong.sigstore.json": signed(document, by)})
        return Asked(placed, identity=True, revokers=[REVOKER])

    def since_row(name: str, words: str, time: str, outcome: Outcome) -> Vector:
        return vector(name, "§1.6", words, certified(identity_revoked(revokedSince=time)), outcome)

    words = "The identity revoked itself."
    yield vector("identity", "§1.5", words, certified(identity_revoked()), rejected(SIGNER))
    words = "It is revoked since the second after that in which it is shown to have signed."
    yield since_row("identity-since", words, "2026-01-01T00:00:02Z", verified(3, "SIGNER_REVOKED_LATER"))
    yield since_row("identity-since-same", "Since that very second.", SIGNED_AT, rejected(SIGNER))
    words = "Since a second before it."
    yield since_row("identity-since-before", words, "2026-01-01T00:00:00Z", rejected(SIGNER))
    words = "Two revocations, of which one lets stand what the other does not."
    two = certified(identity_revoked(revokedSince="2026-01-01T00:00:02Z"))
    folder = two.given.altered(files={FOLDER + "b.sigstore.json": signed(identity_revoked(), Certified())})
    asked = replace(two, given=folder)
    yield vector("identity-strictest", "§1.6", words, asked, rejected(SIGNER, "SIGNER_REVOKED_LATER"))
    words = "The same name by another issuer, by a revoker."
    elsewhere = identity_revoked(issuer="https://issuer.example")
    yield vector("identity-other-issuer", "§1.2", words, certified(elsewhere, REVOKERS), STANDS)
    words = "The name in upper case, by a revoker: compared byte for byte."
    loud = identity_revoked(name="HTTPS://GITHUB.COM/town/model/.github/workflows/release.yml@refs/tags/v1.0")
    yield vector("identity-other-case", "§1.2", words, certified(loud, REVOKERS), STANDS)
    words = "The root, by the identity that signed it."
    yield vector("identity-root", "§1.4", words, certified(root_revoked(OWN)), rejected(ROOT))


def forms() -> Iterator[Vector]:
    """Yield what is no revocation."""

    def alone(data: bytes) -> Asked:
        return Asked(PLAIN.altered(files={FOLDER + "wrong.sigstore.json": data}))

    root = "sha256:" + SMALL.hex()
    bad = rejected(MALFORMED)

    def predicate(**changes: object) -> bytes:
        document = root_revoked(SMALL)
        made = {**document["predicate"], **changes}  # type: ignore[dict-item]
        document["predicate"] = {key: value for key, value in made.items() if value is not None}
        return signed(document)

    def subject(*subjects: object) -> bytes:
        return signed({**root_revoked(SMALL), "subject": list(subjects)})

    own = {"digest": {"model-attest-checkpoint-v1": SMALL.hex()}}
    for name, words, data in (
        ("nothing", "Nothing is revoked.", predicate(revokes={})),
        ("two", "A root and a key in one.", predicate(revokes={"checkpointRoot": root, "keyHint": RELEASE.hint()})),
        ("more", "A member too many in what is revoked.", predicate(revokes={"checkpointRoot": root, "x": 1})),
        ("hint-upper-case", "A hint in upper case.", signed(
            {**key_revoked(), "predicate": {"revokes": {"keyHint": RELEASE.hint().upper()},
                                            "issued": "2026-07-03T09:00:00Z", "reason": "x"}})),
        ("no-reason", "No reason.", predicate(reason=None)),
        ("reason-empty", "An empty reason.", predicate(reason="")),
        ("no-date", "No date.", predicate(issued=None)),
        ("date-offset", "A date with an offset.", predicate(issued="2026-07-03T09:00:00+00:00")),
        ("date-not-in-calendar", "February 30.", predicate(issued="2026-02-30T09:00:00Z")),
        ("root-since", "A root since a time.", predicate(revokedSince="2026-07-01T00:00:00Z")),
        ("subject-other", "The subject is another root.", subject(
            {"digest": {"model-attest-checkpoint-v1": OTHER.hex()}})),
        ("subject-algorithm", "The root as a file's digest.", subject({"digest": {"sha256": SMALL.hex()}})),
        ("subject-two", "Two subjects.", subject(own, own)),
        ("subject-digests", "Two digests.", subject({"digest": {**own["digest"], "sha256": SMALL.hex()}})),
        ("type-other", "An attestation in place of a revocation.", signed(
            {**root_revoked(SMALL), "predicateType": "https://model-attest.github.io/pipeline/v1"})),
        ("not-json", "The payload is no JSON.", compact(Signing().bundle(b"revoked"))),
        ("no-bundle", "No bundle.", b"revoked"),
        ("empty", "No bytes.", b""),
    ):  # fmt: skip
        yield vector(f"malformed-{name}", "§1.4", words, alone(data), bad)
    words = "Another payload type, signed so."
    other = Signing(signed_type="text/plain", payload_type="text/plain")
    yield vector("malformed-payload-type", "§1.4", words, alone(signed(root_revoked(SMALL), other)), bad)
    words = "What is no revocation, by a stranger: nothing of it is read."
    strange = compact(STRANGERS.bundle(b"revoked"))
    yield vector("stranger-not-json", "§1.4", words, alone(strange), verified(1), [NOT_HONOURED])
    words = "Two signatures."
    twice = Signing().bundle(compact(root_revoked(SMALL)))
    twice["dsseEnvelope"]["signatures"] *= 2  # type: ignore[index]
    yield vector("malformed-signatures-two", "§1.1", words, alone(compact(twice)), bad)
    words = "One byte more than 256 KiB."
    padded = signed(root_revoked(SMALL))
    large = padded + b" " * (256 * 1024 + 1 - len(padded))
    yield vector("malformed-large", "§1.1", words, alone(large), bad)
    words = "257 files."
    many: Files = {f"{FOLDER}{number}.sigstore.json": b"{}" for number in range(257)}
    yield vector("malformed-many", "§1.1", words, Asked(PLAIN.altered(files=many)), bad)
    for name, words, path in (
        ("name-upper-case", "A name in upper case.", FOLDER + "Wrong.sigstore.json"),
        ("name-dot", "A name that begins with a dot.", FOLDER + ".wrong.sigstore.json"),
        ("name-suffix", "Another suffix.", FOLDER + "wrong.json"),
        ("name-folder", "A folder below.", FOLDER + "2026/wrong.sigstore.json"),
        ("name-long", "A name of 129 characters before the suffix.", FOLDER + "w" * 129 + ".sigstore.json"),
    ):
        asked = Asked(PLAIN.altered(files={path: signed(root_revoked(OTHER))}))
        yield vector(name, "§1.1", words, asked, rejected("FILE_EXTRA"))
    words = "A revocation in place of the attestation."
    swapped = PLAIN.altered(files={"attestation/pipeline.sigstore.json": signed(root_revoked(OTHER))})
    yield vector("revocation-as-attestation", "§1", words, Asked(swapped), rejected("PREDICATE_TYPE_UNKNOWN"))
    words = "The base64 of the payload ends in a newline."
    loose = Signing().bundle(compact(root_revoked(SMALL)))
    loose["dsseEnvelope"]["payload"] = encoded(compact(root_revoked(SMALL))) + "\n"  # type: ignore[index]
    yield vector("malformed-base64", "§1.1", words, alone(compact(loose)), bad)


def vectors() -> list[Vector]:
    """Return the vectors of revocations."""
    return [*roots(), *signers(), *forms()]
