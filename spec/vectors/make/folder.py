"""A signed model folder, and a vector of area `verify`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import manifest
import toy
from data import Data
from envelope import MANIFEST_PATH, Object, Signing, Step, compact, material, merge_body, statement
from jcs import canonical
from keys import RELEASE, Key
from manifest import Files
from vector import JsonObject, Vector

BUNDLE_PATH = "attestation/pipeline.sigstore.json"
LEAVES_PATH = "attestation/leaves.sha256tree"
REPOSITORY = "pkg:huggingface/town/town-7b"
Edit = Callable[[Any], object]
KEEP: Edit = lambda document: None  # noqa: E731
Write = Callable[[Any], bytes]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a publisher signs: folder, materials, steps, and the ways in which the publisher errs or lies."""

    files: Files
    materials: Sequence[Object] = ()
    steps: Sequence[Step] = ()
    manifest_edit: Edit = KEEP
    manifest_write: Write = canonical
    statement_edit: Edit = KEEP
    leaves_edit: Callable[[bytes], bytes] = bytes
    primary: str | None = None
    signing: Signing = field(default_factory=Signing)

    def signed(self) -> Files:
        """Return the folder with its `attestation/`."""
        document, leaves = manifest.build(self.files, primary=self.primary)
        root = "sha256:" + manifest.primary_root(document).hex()
        self.manifest_edit(document)
        text = self.manifest_write(document)
        predicate = {
            "model": {"name": "town-7b", "version": "1.0", "uri": REPOSITORY, "checkpointRoot": root},
            "resolvedDependencies": list(self.materials),
            "steps": [step.written() for step in self.steps],
        }
        document = statement(text, predicate)
        self.statement_edit(document)
        bundle = compact(self.signing.bundle(compact(document)))
        return {**self.files, MANIFEST_PATH: text, LEAVES_PATH: self.leaves_edit(leaves), BUNDLE_PATH: bundle}


def parent_folder(name: str) -> str:
    """Return where a vector has the folder of a parent; one of a parent's parent stands beside that."""
    return f"parents/{name.replace('/', '.')}"


@dataclass(frozen=True, slots=True)
class Given:
    """What a verifier is given."""

    folder: Files
    parents: Mapping[str, Files] = field(default_factory=dict)
    candidates: Sequence[Files] = ()
    key: Key | None = RELEASE
    repository: str | None = None
    place: Mapping[str, Data] = field(default_factory=dict)
    recursive: bool = False

    def described(self) -> JsonObject:
        """Return the `input` of the vector."""
        return {
            "folder": "folder",
            "key": None if self.key is None else "key.pub",
            "repository": self.repository,
            "parents": {name: parent_folder(name) for name in self.parents},
            "candidates": [f"candidates/{number}" for number in range(len(self.candidates))],
            **({"recursive": True} if self.recursive else {}),
            "place": [{"path": path, "data": data.described} for path, data in self.place.items()],
        }

    def files(self) -> Files:
        """Return all files of the vector."""
        folders = {"folder": self.folder, **{parent_folder(name): files for name, files in self.parents.items()}}
        folders |= {f"candidates/{number}": files for number, files in enumerate(self.candidates)}
        made = {f"{folder}/{path}": data for folder, files in folders.items() for path, data in files.items()}
        return made if self.key is None else {**made, "key.pub": self.key.pem()}

    def altered(self, *without: str, **changes: Any) -> Given:
        """Return the same with files removed from the folder; `files` are added or replaced, the rest are members."""
        files = {path: data for path, data in self.folder.items() if path not in without}
        return replace(self, folder={**files, **changes.pop("files", {})}, **changes)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What must come out."""

    verdict: str
    exit_code: int
    level: int | None
    codes: tuple[str, ...]

    def described(self) -> JsonObject:
        """Return the `expected` of the vector."""
        codes = sorted(self.codes)
        return {"exit_code": self.exit_code, "verdict": self.verdict, "level": self.level, "codes": codes}


def verified(level: int, *codes: str) -> Outcome:
    """Return VERIFIED with a level; codes are warnings."""
    return Outcome("VERIFIED", 0, level, codes)


def rejected(*codes: str) -> Outcome:
    """Return REJECTED."""
    return Outcome("REJECTED", 1, None, codes)


def incomplete(*codes: str) -> Outcome:
    """Return INCOMPLETE."""
    return Outcome("INCOMPLETE", 3, None, codes)


def vector(name: str, clause: str, words: str, given: Given, outcome: Outcome) -> Vector:
    """Return a vector of area `verify`."""
    return Vector("verify", name, clause, words, given.described(), outcome.described(), given.files())


A, B, C = (toy.model(name) for name in "abc")
INPUTS = {"a": A, "b": B}
TOWN = toy.town("0.6", "0.4")
MERGED = TOWN.run(INPUTS)
PARENTS = {name: {"model.safetensors": toy.file(one)} for name, one in INPUTS.items()}
MATERIALS = [material(name, toy.root(one)) for name, one in INPUTS.items()]


def merge_step(
    output: toy.Model, recipe: toy.Recipe = TOWN, name: str = "merge", inputs: Sequence[str] = ("a", "b")
) -> Step:
    """Return a merge step."""
    return Step(name, "merge", tuple(inputs), toy.root(output), merge_body(*recipe.operations))


def train_step(output: toy.Model, trainable: object = "all", name: str = "train", start: str = "a") -> Step:
    """Return a train step."""
    record = {"method": {"name": "full"}, "hyperparameters": {"learning_rate": "1e-5"}}
    return Step(name, "train", (start,), toy.root(output), {"trainable": trainable, "record": record})


def claim(output: toy.Model = MERGED, **changes: Any) -> Claim:
    """Return the claim that `output` is the merge of `a` and `b`, with changes."""
    members = {"files": toy.folder(output), "materials": MATERIALS, "steps": [merge_step(output)], **changes}
    return Claim(**members)


def plain(**changes: Any) -> Claim:
    """Return a claim without steps, with changes."""
    return Claim(**{"files": toy.folder(A), **changes})


def given(made: Claim, **changes: Any) -> Given:
    """Return the signed folder with both parents at hand where there are materials, and changes."""
    parents = PARENTS if made.materials else {}
    return Given(**{"folder": made.signed(), "parents": parents, **changes})
