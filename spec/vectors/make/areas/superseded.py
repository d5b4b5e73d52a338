"""Area `history`: what an attestation takes the place of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import certificates
import toy
from certificates import Signer
from der import utf8
from envelope import Object, Signing, compact
from folder import BUNDLE_PATH, A, B, Edit, claim, given, incomplete, plain, rejected, verified
from history import FOLDER as REVOCATIONS
from history import Asked, root_revoked, signed, vector
from instance import ISSUER, Certified
from keys import RELEASE, RELEASE_ED25519, STRANGER
from manifest import Files
from merkle import sha256
from vector import Vector

FOLDER = "attestation/history/"
STRANGERS = Signing(STRANGER)
FAST = Signing(RELEASE_ED25519)
"""For chains of many links."""


def place(bundle: bytes) -> str:
    """Return where a superseded bundle lies. Spec: history §2.2."""
    return f"{FOLDER}{sha256(bundle).hex()}.sigstore.json"


def record(bundle: bytes, root: bytes, **more: object) -> Object:
    """Return the member `supersedes`."""
    return {"bundleDigest": "sha256:" + sha256(bundle).hex(), "checkpointRoot": "sha256:" + root.hex(), **more}


def with_record(made: Object | None) -> Edit:
    """Return an edit of a statement that puts `supersedes` into it."""

    def edit(statement: Any) -> None:
        if made is not None:
            statement["predicate"]["supersedes"] = made

    return edit


def attestation(
    model: toy.Model = A, supersedes: Object | None = None, signing: Signing | Certified | None = None
) -> Files:
    """Return a model with its attestation."""
    made: Any = plain(files=toy.folder(model), statement_edit=with_record(supersedes))
    return replace(made, signing=signing or Signing()).signed()


def chain(length: int, signing: Signing | Certified | None = None, models: Sequence[toy.Model] = (A, B)) -> Files:
    """Return a model whose attestation ends a chain of `length` links, all files of the chain with it."""
    kept: Files = {}
    now = attestation(models[0], signing=signing)
    for number in range(length):
        before = now[BUNDLE_PATH]
        kept = {**kept, place(before): before}
        root = toy.root(models[number % len(models)])
        now = attestation(models[(number + 1) % len(models)], record(before, root, reason="better"), signing)
    return {**now, **kept}


def asked(files: Files, **changes: Any) -> Asked:
    """Return what is asked of a folder."""
    return replace(Asked(replace(given(plain()), folder=files)), **changes)


def good() -> Iterator[Vector]:
    """Yield chains that can be followed."""
    yield vector("chain", "§2.3", "One link.", asked(chain(1)), verified(1))
    yield vector("chain-two", "§2.3", "Two links.", asked(chain(2)), verified(1))
    words = "The weights went back to earlier ones: no link is a cycle."
    yield vector("chain-back", "§2.4", words, asked(chain(3)), verified(1))
    words = "Every link by the identity."
    yield vector("chain-identity", "§2.3", words, asked(chain(2, Certified()), identity=True), verified(1))
    yield from jobs()
    words = "The same weights signed twice, and no reason stated."
    first = attestation()
    again = {**attestation(A, record(first[BUNDLE_PATH], toy.root(A))), place(first[BUNDLE_PATH]): first[BUNDLE_PATH]}
    yield vector("chain-no-reason", "§2.1", words, asked(again), verified(1))
    words = "Nobody is expected: nothing of the chain is read, and nothing of it is extra."
    unnamed = asked(chain(2))
    unnamed = replace(unnamed, given=replace(unnamed.given, key=None))
    yield vector("chain-nobody-expected", "§2.3", words, unnamed, incomplete("SIGNER_NOT_EXPECTED"))
    words = "The earlier root is revoked, and this one is another."
    files = chain(1)
    files[REVOCATIONS + "wrong.sigstore.json"] = signed(root_revoked(toy.root(A)))
    yield vector("chain-revoked", "§1.5", words, asked(files), verified(1))
    words = "A verifier who has to understand `supersedes` does."
    edit = with_record(record(first[BUNDLE_PATH], toy.root(A)))

    def critical(statement: Any) -> None:
        edit(statement)
        statement["predicate"]["critical"] = ["supersedes"]

    files = {**plain(statement_edit=critical).signed(), place(first[BUNDLE_PATH]): first[BUNDLE_PATH]}
    yield vector("chain-critical", "§2.1", words, asked(files), verified(1))
    words = "A chain of 64 links."
    key = {"given": replace(given(plain()), folder=chain(64, FAST), key=RELEASE_ED25519)}
    yield vector("chain-64", "§2.5", words, Asked(**key), verified(1))
    words = "A chain of 65 links, of which the last file is not there."
    files = chain(65, FAST)
    oldest = place(attestation(signing=FAST)[BUNDLE_PATH])
    assert files.pop(oldest)
    key = {"given": replace(given(plain()), folder=files, key=RELEASE_ED25519)}
    yield vector("chain-65", "§2.5", words, Asked(**key), incomplete("HISTORY_TOO_LONG"))


def of_release(tag: str) -> Certified:
    """Return how the release workflow signs, whose name has the tag in it."""
    ref, repository = f"refs/tags/{tag}", "https://github.com/town/model"
    name = f"{repository}/.github/workflows/release.yml@{ref}"
    claims = {12: utf8(repository), 14: utf8(ref), 18: utf8(name)}
    return Certified(signer=Signer([certificates.uri(name)], ISSUER, ISSUER, claims=claims))


def jobs() -> Iterator[Vector]:
    """Yield links by jobs: who counts as the same signer is whom the caller would have accepted."""
    before = attestation(signing=of_release("v1.0"))[BUNDLE_PATH]
    files = {**attestation(B, record(before, toy.root(A)), of_release("v1.1")), place(before): before}
    job = {"issuer": ISSUER, "repository": "https://github.com/town/model"}
    words = "Two releases by jobs of one repository, and a job of any tag is expected."
    yield vector("chain-jobs", "§2.3", words, asked(files, job={**job, "ref": "refs/tags/*"}), verified(1))
    words = "A job of the second release is expected, and no other."
    narrow = asked(files, job={**job, "ref": "refs/tags/v1.1"})
    yield vector("chain-jobs-narrow", "§2.3", words, narrow, verified(1, "HISTORY_SIGNER"))


def bad() -> Iterator[Vector]:
    """Yield chains that cannot be followed, or do not count."""
    first = attestation()[BUNDLE_PATH]
    root = toy.root(A)
    mismatch = rejected("HISTORY_MISMATCH")

    def over(bundle: bytes, at: str | None = None, named: bytes = root, **more: Any) -> Asked:
        files = attestation(B, record(bundle, named), **more)
        return asked({**files, at or place(bundle): bundle})

    missing = asked(attestation(B, record(first, root)))
    yield vector("chain-missing", "§2.4", "The earlier bundle is not there.", missing, incomplete("HISTORY_MISSING"))
    words = "The second link is not there."
    files = chain(2)
    yield vector("chain-missing-second", "§2.4", words, asked({k: v for k, v in files.items() if k != place(first)}),
                 incomplete("HISTORY_MISSING"))  # fmt: skip
    altered = asked({**attestation(B, record(first, root)), place(first): first + b"\n"})
    yield vector("chain-altered", "§2.4", "A byte more in the earlier bundle.", altered, mismatch)
    words = "A file under the digest of another that says it supersedes itself: a cycle for show."
    itself = attestation(A, record(first, root))[BUNDLE_PATH]
    cycle = asked({**attestation(B, record(first, root)), place(first): itself})
    yield vector("chain-cycle", "§2.4", words, cycle, mismatch)
    words = "The record states another root than the earlier bundle."
    yield vector("chain-root-other", "§2.4", words, over(first, named=toy.root(B)), mismatch)
    yield vector("chain-no-bundle", "§2.4", "The earlier file is no bundle.", over(b"earlier"), mismatch)
    twice = Signing().bundle(b"{}")
    twice["dsseEnvelope"]["signatures"] *= 2  # type: ignore[index]
    yield vector("chain-signatures-two", "§2.4", "Two signatures.", over(compact(twice)), mismatch)
    not_json = compact(Signing().bundle(b"earlier"))
    yield vector("chain-not-json", "§2.4", "What was signed is no JSON.", over(not_json), mismatch)
    revocation = signed(root_revoked(root))
    yield vector("chain-revocation", "§2.4", "A revocation as an earlier attestation.", over(revocation), mismatch)
    words = "The earlier attestation is a stranger's: it does not count."
    strange = attestation(signing=STRANGERS)[BUNDLE_PATH]
    yield vector("chain-stranger", "§2.3", words, over(strange), verified(1, "HISTORY_SIGNER"))
    words = "It is a stranger's, under the hint of the signer."
    lying = attestation(signing=Signing(STRANGER, hint=RELEASE.hint()))[BUNDLE_PATH]
    yield vector("chain-hint-lies", "§2.3", words, over(lying), verified(1, "HISTORY_SIGNER"))
    words = "A stranger's, and nothing of it is read."
    unread = compact(STRANGERS.bundle(b"earlier"))
    yield vector("chain-stranger-not-json", "§2.3", words, over(unread), verified(1, "HISTORY_SIGNER"))
    words = "A stranger's, and below it one of the signer's: the chain ends before it."
    below = attestation(A, record(first, root), STRANGERS)[BUNDLE_PATH]
    files = {**attestation(B, record(below, root)), place(below): below, place(first): first}
    yield vector("chain-below-stranger", "§2.6", words, asked(files), rejected("FILE_EXTRA", "HISTORY_SIGNER"))
    words = "A bundle that nothing supersedes."
    yield vector("chain-extra", "§2.6", words, asked({**attestation(B), place(first): first}), rejected("FILE_EXTRA"))
    words = "A name that is no digest."
    named = asked({**attestation(B), FOLDER + "001.sigstore.json": first})
    yield vector("chain-name", "§2.2", words, named, rejected("FILE_EXTRA"))
    words = "The digest in upper case."
    upper = FOLDER + sha256(first).hex().upper() + ".sigstore.json"
    wrong = asked({**attestation(B, record(first, root)), upper: first})
    yield vector("chain-name-upper-case", "§2.2", words, wrong, rejected("FILE_EXTRA", "HISTORY_MISSING"))
    malformed = rejected("STATEMENT_MALFORMED")
    for name, words, made in (
        ("null", "`supersedes` is null.", None),
        ("no-digest", "No digest.", {"checkpointRoot": "sha256:" + root.hex()}),
        ("no-root", "No root.", {"bundleDigest": "sha256:" + root.hex()}),
        ("digest-bare", "A digest without its algorithm.", {**record(first, root), "bundleDigest": root.hex()}),
        ("reason-empty", "An empty reason.", record(first, root, reason="")),
        ("list", "A list.", [record(first, root)]),
    ):

        def edit(statement: Any, made: object = made) -> None:
            statement["predicate"]["supersedes"] = made

        files = plain(statement_edit=edit).signed()
        yield vector(f"chain-malformed-{name}", "§2.1", words, asked(files), malformed)
    words = "The earlier weights contradict their own statement; verified by themselves they still do."
    false = claim(A, statement_edit=with_record(None))
    yield vector("chain-clears-nothing", "§2.7", words, Asked(given(false)), rejected("REPLAY_MISMATCH"))
    old = false.signed()[BUNDLE_PATH]
    cleared = asked({**attestation(B, record(old, root)), place(old): old})
    words = "What took their place is judged by itself."
    yield vector("chain-of-contradicted", "§2.7", words, cleared, verified(1))


def vectors() -> list[Vector]:
    """Return the vectors of superseded attestations."""
    return [*good(), *bad()]
