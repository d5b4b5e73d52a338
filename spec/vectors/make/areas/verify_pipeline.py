"""Area `verify`: materials and steps as declared, without their weights (V9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import toy
from envelope import Copy, Linear, Step, material, merge_body
from folder import (
    INPUTS,
    MATERIALS,
    MERGED,
    PARENTS,
    TOWN,
    A,
    C,
    claim,
    given,
    incomplete,
    merge_step,
    plain,
    rejected,
    train_step,
    vector,
)
from toy import POSITIONS, Recipe
from vector import Vector

V9 = "verification V9"
MALFORMED = rejected("PIPELINE_MALFORMED")
NORM = "norm.weight"


def steps_edit(edit: Any) -> Any:
    """Return a claim whose only step was altered before it was signed."""
    return given(claim(statement_edit=lambda s: edit(s["predicate"]["steps"][0])))


def third_input(name: str) -> Any:
    """Return an edit that adds an input, and a coefficient for it to every linear operation."""

    def edit(step: Any) -> None:
        step["inputs"].append(name)
        for operation in step["operations"]:
            operation.get("coefficients", []).append({"decimal": "0", "float32": "00000000"})

    return edit


def graphs() -> Iterator[Vector]:
    """Yield steps and materials that do not lead to the output."""
    side = merge_step(toy.town("0.5", "0.5").run(INPUTS), toy.town("0.5", "0.5"), "side")
    made = given(claim(steps=[side, merge_step(MERGED)]))
    yield vector("step-off-path", V9, "A step whose output nothing uses.", made, rejected("STEP_OFF_PATH"))
    three = [*MATERIALS, material("c", toy.root(C))]
    parents = {**PARENTS, "c": {"model.safetensors": toy.file(C)}}
    made = given(claim(materials=three), parents=parents)
    yield vector("material-off-path", V9, "A material that no step uses.", made, rejected("MATERIAL_OFF_PATH"))
    crowd = [*MATERIALS, *(material(f"m{number}", toy.root(C)) for number in range(62))]
    words = "Sixty-four materials and a step: one more than there may be."
    yield vector("nodes-too-many", "pipeline §1", words, given(claim(materials=crowd)), MALFORMED)
    made = given(plain(materials=MATERIALS[:1]), parents={"a": PARENTS["a"]})
    yield vector(
        "material-without-steps", "pipeline §2.3", "A material, and no steps.", made, rejected("MATERIAL_OFF_PATH")
    )
    words = "A step off the path, with a material of its own: both are named."
    lonely = train_step(toy.trained(C), start="c", name="side")
    made = given(claim(materials=three, steps=[lonely, merge_step(MERGED)]), parents=parents)
    yield vector("step-and-material-off-path", V9, words, made, rejected("STEP_OFF_PATH", "MATERIAL_OFF_PATH"))
    made = given(claim(steps=[merge_step(A)]))
    yield vector(
        "output-not-subject", "pipeline §2.2", "The last step gives another root.", made, rejected("OUTPUT_NOT_SUBJECT")
    )
    early = Step("early", "merge", ("a", "late"), toy.root(MERGED), merge_body(Copy("late")))
    late = Step("late", "merge", ("early", "b"), toy.root(MERGED), merge_body(Copy("early")))
    made = given(claim(steps=[early, late]))
    yield vector("cycle", "pipeline §2.1", "Two steps, each an input of the other.", made, MALFORMED)
    made = steps_edit(third_input("merge"))
    yield vector("self-reference", "pipeline §2.1", "A step that is its own input.", made, MALFORMED)
    made = steps_edit(third_input("c"))
    yield vector("input-unknown", "pipeline §2.1", "An input that is nothing of the statement.", made, MALFORMED)
    made = steps_edit(third_input("b"))
    yield vector("input-twice", "pipeline §2.1", "An input twice.", made, MALFORMED)
    made = steps_edit(lambda s: s.update(id="a"))
    yield vector("identifier-twice", "pipeline §1", "A step with the identifier of a material.", made, MALFORMED)


def operations() -> Iterator[Vector]:
    """Yield operations that contradict each other or their step."""
    names = (NORM, POSITIONS)
    cases: dict[str, tuple[str, Recipe]] = {
        "name-in-two": (
            "A tensor in two operations.",
            Recipe((*TOWN.operations[:2], Copy("a", names), TOWN.operations[2])),
        ),
        "rest-twice": ("Two operations take the rest.", Recipe((*TOWN.operations, Copy("a")))),
        "names-unordered": ("Names that are not in order.", Recipe((Copy("a", names[::-1]), Linear(("0.6", "0.4"))))),
        "name-twice": ("A name twice in one list.", Recipe((Copy("a", (NORM, NORM)), Linear(("0.6", "0.4"))))),
        "coefficients-few": ("One coefficient for two inputs.", Recipe((Linear(("1",)),))),
        "coefficients-many": ("Three coefficients for two inputs.", Recipe((Linear(("0.6", "0.2", "0.2")),))),
        "copy-from-unknown": (
            "A copy from what is no input.",
            Recipe((Copy("c", (POSITIONS,)), Linear(("0.6", "0.4")))),
        ),
    }
    for name, (words, recipe) in cases.items():
        made = given(claim(steps=[merge_step(MERGED, recipe)]))
        yield vector(f"operations-{name}", "pipeline §3", words, made, MALFORMED)
    two = Step("train", "train", ("a", "b"), toy.root(MERGED), {"trainable": "all"})
    yield vector("train-two-inputs", "pipeline §4", "A training with two inputs.", given(claim(steps=[two])), MALFORMED)


def coefficient_bits() -> Iterator[Vector]:
    """Yield coefficients whose bits are not those of the text."""
    code = rejected("COEFFICIENT_BITS_WRONG")

    def bits(value: str) -> Any:
        return lambda s: s["operations"][0]["coefficients"][0].update(float32=value)

    words = "The bits of the next float32."
    yield vector("coefficient-bits", "merge §1.3", words, steps_edit(bits("3f19999b")), code)
    words = "The bits of 0.6, byte by byte in the other order."
    yield vector("coefficient-bits-reversed", "merge §1.3", words, steps_edit(bits("9a99193f")), code)
    words = "The text rounds to these bits only by way of float64."
    double = {"decimal": "0.5000000298023223876953125000000000000000001", "float32": "3f000000"}
    made = steps_edit(lambda s: s["operations"][0]["coefficients"][0].update(double))
    yield vector("coefficient-bits-double", "merge §1.2", words, made, code)


def unknown() -> Iterator[Vector]:
    """Yield what a verifier does not know."""
    quantised = Step("merge", "quantise", ("a", "b"), toy.root(MERGED), {"bits": "4"})
    words = "A step of a type that is not known."
    yield vector(
        "step-type-unknown", "pipeline §2.4", words, given(claim(steps=[quantised])), incomplete("STEP_TYPE_UNKNOWN")
    )
    at_hand = {**PARENTS, "merge": {"model.safetensors": toy.file(MERGED)}}
    for name, words, output, outcome in (
        ("", "A known step works on the output of one that is not known, and that is at hand.", MERGED,
         incomplete("STEP_TYPE_UNKNOWN")),
        ("-false", "The same; and the known step did not give these weights.", C,
         rejected("STEP_TYPE_UNKNOWN", "REPLAY_MISMATCH")),
    ):  # fmt: skip
        steps = [quantised, Step("shards", "reshard", ("merge",), toy.root(output))]
        made = given(claim(output, steps=steps), parents=at_hand)
        yield vector(f"step-behind-unsupported{name}", "pipeline §5", words, made, outcome)
    made = steps_edit(lambda s: s.update(profile="ties/f64-v9"))
    words = "A profile that is not known."
    yield vector("profile-unknown", "pipeline §3", words, made, incomplete("PROFILE_UNKNOWN"))


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern the declaration of the pipeline."""
    for part in (graphs, operations, coefficient_bits, unknown):
        yield from part()
