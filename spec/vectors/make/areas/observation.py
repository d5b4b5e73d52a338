"""Area `observation`: what observers saw of materials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import toy
from envelope import PREFIX, STATEMENT_TYPE, Object, Signing, compact, material
from folder import MERGED, A, B, Given, Outcome, claim, given, incomplete, verified
from history import signed
from keys import RELEASE, STRANGER, Key
from manifest import Files
from merkle import sha256
from vector import JsonObject, Vector

OBSERVER = Key("ed25519", "observer")
OBSERVERS = Signing(OBSERVER)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
URI = f"pkg:huggingface/lab/a-7b@{COMMIT}"
ROOT, ROOT_B = toy.root(A), toy.root(B)
MANIFEST = sha256(b"a manifest")


def observed(root: bytes = ROOT, **changes: object) -> Object:
    """Return an observation, unsigned; `changes` are members of the predicate, None for one that is left out."""
    text = "sha256:" + root.hex()
    predicate: dict[str, object] = {
        "uri": URI, "checkpointRoot": text, "manifestDigest": "sha256:" + MANIFEST.hex(),
        "observed": "2026-07-01T12:00:00Z", **changes,
    }  # fmt: skip
    subjects = [
        {"digest": {"model-attest-checkpoint-v1": root.hex()}},
        {"name": "manifest.json", "digest": {"sha256": MANIFEST.hex()}},
    ]
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREFIX + "observation/v1",
        "predicate": {key: value for key, value in predicate.items() if value is not None},
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """What a verifier is asked, with observations by names of files."""

    given: Given
    observations: Mapping[str, bytes] = field(default_factory=dict)
    observers: Sequence[Key] = (OBSERVER,)

    def described(self) -> JsonObject:
        """Return the `input` of the vector."""
        return {
            **self.given.described(),
            "observations": [f"observed/{name}" for name in self.observations],
            "observers": [f"observers/{key.name}.pub" for key in self.observers],
        }

    def files(self) -> Files:
        """Return all files of the vector."""
        seen = {f"observed/{name}": data for name, data in self.observations.items()}
        keys = {f"observers/{key.name}.pub": key.pem() for key in self.observers}
        return {**self.given.files(), **seen, **keys}


GOOD = given(claim(materials=[material("a", ROOT, URI), material("b", ROOT_B)]))


def vector(
    name: str, clause: str, words: str, asked: Asked, outcome: Outcome, a: str = "unknown", notes: Sequence[str] = ()
) -> Vector:
    """Return a vector; `a` is the origin of the material of that name, the other's is unknown."""
    expected = {**outcome.described(), "notes": sorted(notes), "origins": {"a": a, "b": "unknown"}}
    return Vector("observation", name, f"observation {clause}", words, asked.described(), expected, asked.files())


def seen(document: Object, signing: Signing = OBSERVERS, **changes: Any) -> Asked:
    """Return the merge with one observation."""
    return replace(Asked(GOOD, {"a.sigstore.json": signed(document, signing)}), **changes)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area."""
    refused = verified(3, "OBSERVATION_REFUSED")
    yield vector("observed", "§2.3", "The root of a material.", seen(observed()), verified(3), "observed")
    elsewhere = observed(uri=f"pkg:huggingface/other/a@{COMMIT}")
    words = "The root, seen at another place than the statement says."
    yield vector("elsewhere", "§2.3", words, seen(elsewhere), verified(3, "OBSERVED_ELSEWHERE"), "observed")
    words = "Another commit of the same repository."
    commit = observed(uri=URI[:-1] + "8")
    yield vector("elsewhere-commit", "§2.3", words, seen(commit), verified(3, "OBSERVED_ELSEWHERE"), "observed")
    words = "A root that no material has."
    of_other = seen(observed(toy.root(MERGED)))
    yield vector("of-other", "§2.4", words, of_other, verified(3), notes=["OBSERVATION_OF_OTHER"])
    words = "The material is not at hand: it was observed, and is still missing."
    missing = seen(observed(), given=replace(GOOD, parents={"b": GOOD.parents["b"]}))
    yield vector("missing", "§2.5", words, missing, incomplete("MATERIAL_MISSING"), "observed")
    words = "A package URL of another kind, with a version."
    other = seen(observed(uri="pkg:generic/a-7b@1.0"))
    yield vector("other-kind", "§1.1", words, other, verified(3, "OBSERVED_ELSEWHERE"), "observed")
    yield vector("unknown-member", "§1", "A member that is not known.", seen(observed(later="x")), verified(3),
                 "observed")  # fmt: skip
    yield vector("stranger", "§2.2", "By nobody whom the caller named.", seen(observed(), Signing(STRANGER)), refused)
    words = "By the signer of the model, who is no observer."
    yield vector("signer", "§2.2", words, seen(observed(), Signing(RELEASE)), refused)
    lying = Signing(STRANGER, hint=OBSERVER.hint())
    yield vector("hint-lies", "§2.2", "A stranger's, under an observer's hint.", seen(observed(), lying), refused)
    two = seen(observed(), observers=(STRANGER, OBSERVER))
    yield vector("second-observer", "§2.1", "By the second of two observers.", two, verified(3), "observed")
    bare = Asked(GOOD, {"a.sigstore.json": compact(OBSERVERS.bundle(b"seen"))})
    yield vector("refused-not-json", "§2.2", "What was signed is no JSON.", bare, refused)
    yield vector("refused-no-bundle", "§2.2", "No bundle.", Asked(GOOD, {"a.sigstore.json": b"seen"}), refused)
    text = "sha256:" + ROOT.hex()
    right = observed()
    subjects: Any = right["subject"]
    for name, words, document in (
        ("branch", "A branch in place of a commit.", observed(uri="pkg:huggingface/lab/a-7b@main")),
        ("commit-short", "Seven digits of a commit.", observed(uri=URI[:-33])),
        ("commit-upper-case", "A commit in upper case.", observed(uri=URI[:-40] + COMMIT.upper())),
        ("no-version", "No version.", observed(uri="pkg:generic/a-7b")),
        ("no-uri", "No package URL.", observed(uri=None)),
        ("no-time", "No time.", observed(observed=None)),
        ("time-offset", "A time with an offset.", observed(observed="2026-07-01T12:00:00+00:00")),
        ("no-manifest", "No manifest.", observed(manifestDigest=None)),
        ("root-bare", "A root without its algorithm.", observed(checkpointRoot=text[7:])),
        ("root-other", "Another root than the subject.", observed(checkpointRoot="sha256:" + ROOT_B.hex())),
        ("subject-one", "No subject for the manifest.", {**right, "subject": subjects[:1]}),
        ("subject-order", "The subjects the other way.", {**right, "subject": subjects[::-1]}),
        ("subject-three", "A subject too many.", {**right, "subject": [*subjects, subjects[0]]}),
        ("type-other", "Called a commitment.", {**right, "predicateType": PREFIX + "commit/v1"}),
        ("type-attestation", "Called an attestation.", {**right, "predicateType": PREFIX + "pipeline/v1"}),
    ):
        yield vector(f"refused-{name}", "§2.2", words, seen(document), refused)
    words = "An observation by the signer in place of the attestation."
    swapped = GOOD.altered(files={"attestation/pipeline.sigstore.json": signed(observed())})
    outcome = Outcome("REJECTED", 1, None, ("PREDICATE_TYPE_UNKNOWN",))
    expected = {**outcome.described(), "notes": [], "origins": {}}
    asked = Asked(swapped)
    yield Vector("observation", "as-attestation", "observation §1", words, asked.described(), expected, asked.files())
    words = "An observation in the model's folder is a file like any other that was not signed."
    inside = GOOD.altered(files={"attestation/observation.sigstore.json": signed(observed(), OBSERVERS)})
    outcome = Outcome("REJECTED", 1, None, ("FILE_EXTRA",))
    yield vector("in-the-folder", "§2.1", words, Asked(inside), outcome)
