"""Area `verify`: attestations that lie outside of the folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import toy
from data import Data
from envelope import Signing
from folder import Given, Outcome, claim, given, incomplete, plain, rejected, verified
from keys import RELEASE, STRANGER
from vector import Vector

V1 = "verification V1"
Files = dict[str, bytes | Data]
MANIFEST, LEAVES, BUNDLE = (
    f"attestation/{name}" for name in ("manifest.json", "leaves.sha256tree", "pipeline.sigstore.json")
)


def outside(
    name: str, words: str, one: Given, files: Files, outcome: Outcome, *, place: str = "outside", clause: str = V1
) -> Vector:
    """Return a vector of a folder with an attestation elsewhere."""
    beside = {f"outside/{path.removeprefix('attestation/')}": data for path, data in files.items()}
    described = {**one.described(), "attestation": place}
    return Vector(
        "verify", f"detached-{name}", clause, words, described, outcome.described(), {**one.files(), **beside}
    )


def parted(one: Given) -> tuple[Given, Files]:
    """Return a folder without its attestation, and the files of that."""
    files = {path: data for path, data in one.folder.items() if path.startswith("attestation/")}
    return one.altered(*files), files


def vectors() -> Iterator[Vector]:
    """Yield the vectors of detached attestations."""
    bare, files = parted(given(plain()))
    yield outside("folder", "Somebody attests to a folder that has nothing.", bare, files, verified(1))
    words = "The same, named by its bundle."
    yield outside("bundle", words, bare, files, verified(1), place="outside/pipeline.sigstore.json")
    merged, of_merge = parted(given(claim()))
    yield outside("steps", "With steps.", merged, of_merge, verified(3))
    words = "The folder has an attestation of its own, by another key."
    own = plain(signing=Signing(STRANGER)).signed()
    both = replace(given(plain()), folder=own)
    yield outside("beside-own", words, both, files, verified(1))
    words = "A bundle alone: manifest and leaves are the folder's."
    yield outside("bundle-alone", words, both, {BUNDLE: files[BUNDLE]}, verified(1))
    words = "A bundle alone, and a folder without a manifest."
    alone = {BUNDLE: files[BUNDLE]}
    yield outside("no-manifest", words, bare, alone, rejected("MANIFEST_MISMATCH"), clause="verification V5")
    words = "The one outside is by another key than expected; the folder's own is not looked at."
    stranger = {path: data for path, data in own.items() if path.startswith("attestation/")}
    signed = replace(given(plain()), key=RELEASE)
    yield outside("other-signer", words, signed, stranger, rejected("SIGNATURE_INVALID"), clause="verification V3")
    words = "Nobody is expected."
    unnamed = replace(bare, key=None)
    codes = incomplete("SIGNER_NOT_EXPECTED")
    yield outside("no-signer", words, unnamed, files, codes, clause="verification V3")
    words = "It is of another model."
    other = {**bare.folder, "model.safetensors": toy.file(toy.model("b"))}
    yield outside(
        "other-model", words, replace(bare, folder=other), files, rejected("TENSOR_MISMATCH"), clause="verification V8"
    )
    words = "It is for another repository than this."
    repository = replace(bare, repository="pkg:huggingface/town/other")
    codes = rejected("ATTESTED_FOR_OTHER_REPO")
    yield outside("other-repository", words, repository, files, codes, clause="verification V4")
