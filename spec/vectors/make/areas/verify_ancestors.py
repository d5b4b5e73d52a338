"""Area `verify`: parents that have attestations themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import toy
from envelope import Signing, material
from folder import B, Given, claim, given, incomplete, merge_step, rejected, train_step, vector, verified
from keys import RELEASE, STRANGER
from vector import Vector


def vectors() -> Iterator[Vector]:
    """Yield verification V10: parents that have attestations themselves."""
    start = toy.model("start")
    tuned = toy.trained(start)
    of_a = claim(tuned, materials=[material("start", toy.root(start))], steps=[train_step(tuned, start="start")])
    merged = toy.town("0.6", "0.4").run({"a": tuned, "b": B})
    materials = [material("a", toy.root(tuned)), material("b", toy.root(B))]
    child = claim(merged, materials=materials, steps=[merge_step(merged)]).signed()

    def family(a: Mapping[str, bytes], **more: Mapping[str, bytes]) -> Given:
        below = {f"a/{name}": files for name, files in more.items()}
        parents = {"a": a, "b": {"model.safetensors": toy.file(B)}, **below}
        return Given(folder=child, parents=parents, recursive=True)

    first = {"model.safetensors": toy.file(start)}
    words = "A merge of a parent whose own attestation holds, and of one without."
    yield vector("ancestors", "verification V10", words, family(of_a.signed(), start=first), verified(3))
    words = "A file of the parent is not as signed there."
    changed = {**of_a.signed(), "config.json": b"{}"}
    yield vector(
        "ancestors-rejected", "verification V10", words, family(changed, start=first), rejected("PARENT_REJECTED")
    )
    words = "The parent of the parent is not at hand."
    yield vector("ancestors-missing", "verification V10", words, family(of_a.signed()), incomplete("PARENT_INCOMPLETE"))
    words = "The parent was signed by somebody whom nobody named."
    strange = replace(of_a, signing=Signing(STRANGER)).signed()
    yield vector(
        "ancestors-stranger", "verification V10", words, family(strange, start=first), incomplete("PARENT_INCOMPLETE")
    )
    words = "The parent was signed by somebody else, under the hint of the key that is named."
    lying = replace(of_a, signing=Signing(STRANGER, hint=RELEASE.hint())).signed()
    yield vector(
        "ancestors-hint-lies", "verification V10", words, family(lying, start=first), rejected("PARENT_REJECTED")
    )
    words = "A training that did nothing, two generations up."
    idle = claim(start, materials=[material("first", toy.root(start))], steps=[train_step(start, start="first")])
    made = family(of_a.signed(), start=idle.signed(), **{"start/first": first})
    yield vector("ancestors-two-up", "verification V10", words, made, rejected("PARENT_REJECTED"))
    words = "What is wrong with a parent's attestation, where nobody asks."
    made = given(claim(merged, materials=materials, steps=[merge_step(merged)]))
    unasked = replace(made, parents={"a": changed, "b": first | {"model.safetensors": toy.file(B)}})
    yield vector("ancestors-not-followed", "verification V10", words, unasked, verified(3))
