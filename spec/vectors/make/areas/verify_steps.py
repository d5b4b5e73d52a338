"""Area `verify`: materials, merge steps and train steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import toy
from envelope import Copy, Linear, Step, material, merge_body
from folder import (
    INPUTS,
    MERGED,
    PARENTS,
    TOWN,
    A,
    B,
    C,
    Given,
    claim,
    given,
    incomplete,
    merge_step,
    rejected,
    train_step,
    vector,
    verified,
)
from merkle import Tensor
from toy import POSITIONS, Model, Recipe
from vector import Vector

V11 = "verification V11"
NORM = "norm.weight"
MATRICES = ("embed.weight", "layers.0.weight")


def parents(**models: Model) -> Any:
    """Return parent folders."""
    return {name: {"model.safetensors": toy.file(one)} for name, one in models.items()}


def materials(**models: Model) -> Any:
    """Return materials."""
    return [material(name, toy.root(one)) for name, one in models.items()]


def merged(recipe: Recipe, output: Model | None = None, **models: Model) -> Given:
    """Return the folder of a merge of these models, signed; `output` is other weights under the same claim."""
    inputs = models or INPUTS
    made = recipe.run(inputs) if output is None else output
    step = merge_step(made, recipe, inputs=tuple(inputs))
    return given(claim(made, steps=[step], materials=materials(**inputs)), parents=parents(**inputs))


def merges() -> Iterator[Vector]:
    """Yield merges that are reproduced, and merges that are not."""
    mismatch = rejected("REPLAY_MISMATCH")
    words = "One bit of one element is not what the step gives; signed so."
    off = toy.with_data(MERGED, "embed.weight", toy.flipped)
    yield vector("merge-off-by-one", V11, words, merged(TOWN, off), mismatch)
    words = "The sign of one zero: the merge gives another bit, not another number."
    plus = {name: toy.with_data(one, NORM, lambda data: bytes(4) + data[4:]) for name, one in INPUTS.items()}
    assert TOWN.run(plus)[NORM].data[:4] == bytes(4)
    off = toy.with_data(TOWN.run(plus), NORM, lambda data: bytes(3) + b"\x80" + data[4:])
    yield vector("merge-zero-sign", V11, words, merged(TOWN, off, **plus), mismatch)
    words = "The coefficients in the other order; signed so."
    yield vector("merge-order", V11, words, merged(toy.town("0.4", "0.6"), MERGED), mismatch)
    words = "Coefficients that are not those of the weights, by one unit in the last digit."
    yield vector("merge-coefficient", V11, words, merged(toy.town("0.60001", "0.4"), MERGED), mismatch)
    words = "Three parents, normalised."
    yield vector(
        "merge-three", "pipeline §3", words, merged(toy.town("1", "1", "1", normalize=True), a=A, b=B, c=C), verified(3)
    )
    words = "Declared as not normalised."
    thirds = toy.town("0.5", "0.2", "0.1", normalize=True).run({"a": A, "b": B, "c": C})
    yield vector(
        "merge-normalize-wrong", V11, words, merged(toy.town("0.5", "0.2", "0.1"), thirds, a=A, b=B, c=C), mismatch
    )
    words = "The declared dtype is not that of the output."
    wide = Recipe((Copy("a", (POSITIONS,)), Linear(("0.6", "0.4"), "F32")))
    yield vector("merge-dtype-wrong", V11, words, merged(wide, MERGED), mismatch)
    words = "F32 output of BF16 and F32 inputs."
    yield vector("merge-widened", "pipeline §3.3", words, merged(wide), verified(3))
    words = "The output has a tensor that no operation gives."
    more = {**MERGED, "zz.bias": Tensor("zz.bias", "F32", (1,), bytes(4))}
    yield vector("merge-output-more", "pipeline §3.2", words, merged(TOWN, more), mismatch)
    words = "The output lacks a tensor that an operation gives."
    less = {name: one for name, one in MERGED.items() if name != NORM}
    yield vector("merge-output-less", "pipeline §3.2", words, merged(TOWN, less), mismatch)
    words = "`rest` copies, and every linear tensor is named."
    named = Recipe((Linear(("0.6", "0.4"), "BF16", MATRICES), Linear(("0.6", "0.4"), "F32", (NORM,)), Copy("b")))
    yield vector("merge-rest-copies", "pipeline §3.1", words, merged(named), verified(3))


def material_folders() -> Iterator[Vector]:
    """Yield V10."""
    code = rejected("MATERIAL_MISMATCH")
    wrong = parents(a=A, b=C)
    yield vector(
        "parent-other",
        "verification V10",
        "The folder given for `b` holds another model.",
        given(claim(), parents=wrong),
        code,
    )
    yield vector(
        "parents-exchanged",
        "verification V10",
        "The two parents are given for each other.",
        given(claim(), parents=parents(a=B, b=A)),
        code,
    )
    flipped = toy.with_data(B, "embed.weight", toy.flipped)
    yield vector(
        "parent-flipped",
        "verification V10",
        "One bit of a parent was turned.",
        given(claim(), parents=parents(a=A, b=flipped)),
        code,
    )
    words = "The statement names a parent that was not used; the folder given is that one."
    lying = claim(materials=materials(a=A, b=C))
    yield vector("parent-declared-wrong", V11, words, given(lying, parents=wrong), rejected("REPLAY_MISMATCH"))
    words = "The folder given for `b` has no weights."
    bare = {"a": PARENTS["a"], "b": {"config.json": b"{}"}}
    yield vector(
        "parent-no-weights", "verification V10", words, given(claim(), parents=bare), rejected("MATERIAL_MALFORMED")
    )
    words = "The weights of `b` are cut."
    cut = {"a": PARENTS["a"], "b": {"model.safetensors": PARENTS["b"]["model.safetensors"][:-1]}}
    yield vector("parent-cut", "verification V10", words, given(claim(), parents=cut), rejected("MATERIAL_MALFORMED"))
    words = "`b` is given in two shards: one root."
    shards = {"a": PARENTS["a"], "b": toy.sharded(B)}
    yield vector("parent-sharded", "verification V10", words, given(claim(), parents=shards), verified(3))
    words = "`b` has other files beside its weights: only the root decides."
    more = {"a": PARENTS["a"], "b": {**PARENTS["b"], "notes.txt": b"x"}}
    yield vector("parent-other-files", "pipeline §1", words, given(claim(), parents=more), verified(3))


def operands() -> Iterator[Vector]:
    """Yield operands that an operation cannot take."""
    code = rejected("OPERAND_INVALID")
    rest = {name: one for name, one in B.items() if name != NORM}
    yield vector(
        "operand-missing", "pipeline §3.3", "One parent lacks a tensor.", merged(TOWN, MERGED, a=A, b=rest), code
    )
    extra = {**B, "zz.bias": Tensor("zz.bias", "F32", (1,), bytes(4))}
    words = "One parent has a tensor more, which `rest` takes and the other lacks."
    yield vector("operand-extra", "pipeline §3.1", words, merged(TOWN, MERGED, a=A, b=extra), code)
    reshaped = {**B, NORM: Tensor(NORM, "F32", (2, 4), B[NORM].data)}
    yield vector("operand-shape", "pipeline §3.3", "The shapes differ.", merged(TOWN, MERGED, a=A, b=reshaped), code)
    everything = Recipe((Linear(("0.6", "0.4"), "F32", (NORM,)), Linear(("0.6", "0.4"))))
    words = "`rest` takes a tensor of integers."
    yield vector("operand-dtype", "pipeline §3.3", words, merged(everything, MERGED), code)
    zero = toy.town("0.5", "-0.5", normalize=True)
    yield vector("operand-w-zero", "merge §2.3", "W is 0.", merged(zero, MERGED), code)
    words = "A copy of a tensor that its input lacks."
    bare = {name: one for name, one in B.items() if name != POSITIONS}
    from_b = Recipe((Linear(("0.6", "0.4"), "F32", (NORM,)), Copy("b", (POSITIONS,)), Linear(("0.6", "0.4"))))
    yield vector("operand-copy-missing", "pipeline §3.6", words, merged(from_b, MERGED, a=A, b=bare), code)
    infinite = toy.with_data(B, NORM, lambda data: b"\x00\x00\x80\x7f" + data[4:])
    words = "A parent holds an infinity."
    yield vector(
        "operand-infinite", "merge §2.1", words, merged(TOWN, MERGED, a=A, b=infinite), rejected("NONFINITE_INPUT")
    )
    large = {
        name: toy.with_data(one, NORM, lambda data: b"\xff\xff\x7f\x7f" + data[4:]) for name, one in INPUTS.items()
    }
    plan = Recipe((Copy("a", (POSITIONS,)), Linear(("1", "1"), "F32", (NORM,)), Linear(("0.6", "0.4"))))
    output = {**TOWN.run(INPUTS), NORM: A[NORM]}
    words = "The sum of two large elements is beyond F32."
    yield vector("output-infinite", "merge §2.6", words, merged(plan, output, **large), rejected("NONFINITE_OUTPUT"))


def effects() -> Iterator[Vector]:
    """Yield parents without effect."""
    plan = toy.town("1", "1e-30")
    words = "A coefficient of 1e-30 changes no bit: the lineage is not what it says."
    assert plan.run(INPUTS)["embed.weight"] == A["embed.weight"]
    yield vector("parent-no-effect", "merge §3", words, merged(plan), verified(1, "PARENT_NO_EFFECT"))
    copied = Recipe((Linear(("1", "1e-30"), "F32", (NORM,)), Copy("b", (POSITIONS,)), Linear(("1", "1e-30"))))
    words = "The same, and a tensor is copied from that parent that the other parent has too."
    yield vector("parent-copied-equal", "merge §3", words, merged(copied), verified(1, "PARENT_NO_EFFECT"))
    alone = Recipe((Linear(("1",), "BF16", ("embed.weight",), inputs=("b",)), *plan.operations))
    both = {**B, "embed.weight": A["embed.weight"]}
    words = "The same, and a tensor that both have is blended from that parent alone."
    output = {**plan.run({"a": A, "b": both}), "embed.weight": A["embed.weight"]}
    made = merged(alone, output, a=A, b=both)
    yield vector("parent-blended-equal", "merge §3", words, made, verified(1, "PARENT_NO_EFFECT"))
    other = {**B, POSITIONS: toy.with_data(B, POSITIONS, toy.flipped)[POSITIONS]}
    words = "The same, but the tensor that is copied from that parent is only there."
    output = copied.run({"a": A, "b": other})
    yield vector("parent-copied-only", "merge §3", words, merged(copied, output, a=A, b=other), verified(3))


def chains() -> Iterator[Vector]:
    """Yield merges of merges."""
    first, second = toy.town("0.5", "0.5"), Recipe(town_from("half", "0.75", "0.25"))
    half = first.run(INPUTS)
    final = second.run({"half": half, "c": C})
    steps = [merge_step(half, first, "half"), merge_step(final, second, inputs=("half", "c"))]
    three = {"materials": materials(a=A, b=B, c=C), "steps": steps}
    good = given(claim(final, **three), parents=parents(a=A, b=B, c=C))
    words = "A merge of a merge and a third model; the first output is not published."
    yield vector("chain", "pipeline §5", words, good, verified(3))
    words = "The root of the first output is not what its step gives."
    lying = [replace(steps[0], root=toy.root(B)), steps[1]]
    made = given(claim(final, materials=three["materials"], steps=lying), parents=good.parents)
    yield vector("chain-intermediate-root", V11, words, made, rejected("REPLAY_MISMATCH"))
    words = "A parent of the first step is not at hand."
    yield vector(
        "chain-parent-missing",
        "pipeline §5",
        words,
        good.altered(parents=parents(a=A, c=C)),
        incomplete("MATERIAL_MISSING"),
    )
    words = "The final weights are off by one bit."
    off = toy.with_data(final, "embed.weight", toy.flipped)
    last = replace(steps[1], root=toy.root(off))
    made = given(claim(off, materials=three["materials"], steps=[steps[0], last]), parents=good.parents)
    yield vector("chain-off-by-one", V11, words, made, rejected("REPLAY_MISMATCH"))
    tuned = toy.trained(half)
    steps = [steps[0], train_step(tuned, start="half", name="tune")]
    made = given(claim(tuned, steps=steps))
    yield vector("merge-then-train", "pipeline §5", "A merge, trained then.", made, verified(2))
    made = given(claim(half, steps=[steps[0], train_step(half, start="half", name="tune")]))
    words = "A merge, and then a training that changes nothing."
    yield vector("merge-then-no-training", "pipeline §4.1", words, made, rejected("TRAINING_NO_EFFECT"))
    tuned = toy.trained(A)
    recipe = Recipe(town_from("tune", "0.75", "0.25"))
    final = recipe.run({"tune": tuned, "b": B})
    steps = [train_step(tuned, name="tune"), merge_step(final, recipe, inputs=("tune", "b"))]
    words = "A merge of a trained model that is not published: the merge cannot be checked."
    yield vector(
        "train-then-merge", "pipeline §5", words, given(claim(final, steps=steps)), incomplete("INPUT_NOT_AVAILABLE")
    )


def town_from(source: str, *texts: str) -> tuple[Linear | Copy, ...]:
    """Return the operations of `town` with the positions copied from another input."""
    norm, _, rest = toy.town(*texts).operations
    return norm, Copy(source, (POSITIONS,)), rest


def trainings() -> Iterator[Vector]:
    """Yield train steps."""

    def tuned(output: Model, trainable: object = "all", **changes: Any) -> Given:
        made = claim(output, materials=materials(a=A), steps=[train_step(output, trainable)])
        return given(made, **{"parents": parents(a=A), **changes})

    moved = toy.trained(A)
    yield vector("train", "pipeline §4.4", "A training step from a parent at hand.", tuned(moved), verified(2))
    words = "The parent is not at hand."
    yield vector("train-parent-missing", "pipeline §4", words, tuned(moved, parents={}), incomplete("MATERIAL_MISSING"))
    yield vector(
        "train-no-effect", "pipeline §4.1", "The output is the input.", tuned(A), rejected("TRAINING_NO_EFFECT")
    )
    only_norm = toy.trained(A, [NORM])
    words = "Only the norm was trainable, and only it changed."
    yield vector("train-some", "pipeline §4", words, tuned(only_norm, [NORM]), verified(2))
    words = "The matrices were trainable, and only the norm changed."
    yield vector(
        "train-wrong-part",
        "pipeline §4.1, §4.3",
        words,
        tuned(only_norm, list(MATRICES)),
        rejected("TRAINING_NO_EFFECT", "TRAINING_CHANGED_OTHER"),
    )
    words = "The norm changed too, which was not trainable."
    yield vector(
        "train-changed-other", "pipeline §4.3", words, tuned(moved, list(MATRICES)), rejected("TRAINING_CHANGED_OTHER")
    )
    more = {**moved, "zz.bias": Tensor("zz.bias", "F32", (1,), bytes(4))}
    words = "A tensor more than the input has."
    yield vector("train-tensor-more", "pipeline §4.3", words, tuned(more), rejected("TRAINING_CHANGED_OTHER"))
    words = "One tensor of two trainable ones changed: there was an effect."
    one = toy.trained(A, MATRICES[:1])
    yield vector("train-one-of-two", "pipeline §4.1", words, tuned(one, list(MATRICES)), verified(2))
    yield from blends(tuned)


def blends(tuned: Any) -> Iterator[Vector]:
    """Yield training that is a blend, and training on a blend."""
    floats = sorted(toy.FLOATS)
    blend = toy.town("0.6", "0.4").run({"a": A, "b": B})
    candidate = [{"model.safetensors": toy.file(B)}]
    code = rejected("TRAINING_EQUALS_BLEND")
    words = "0.6 of the parent and 0.4 of a candidate, declared as training of the parent."
    yield vector("train-blend", "pipeline §4.2", words, tuned(blend, floats, candidates=candidate), code)
    words = "The same with `all` trainable: the positions are integers, and equal to the parent's."
    yield vector("train-blend-all", "pipeline §4.2", words, tuned(blend, candidates=candidate), code)
    words = "Two candidates, of which the second is the one."
    two = [{"model.safetensors": toy.file(C)}, *candidate]
    yield vector("train-blend-second", "pipeline §4.2", words, tuned(blend, floats, candidates=two), code)
    words = "The same blend, and no candidate: nothing shows it."
    yield vector("train-blend-no-candidate", "pipeline §4.4", words, tuned(blend, floats), verified(2))
    words = "The same blend, and a candidate that has nothing to do with it."
    other = [{"model.safetensors": toy.file(C)}]
    yield vector(
        "train-blend-other-candidate", "pipeline §4.4", words, tuned(blend, floats, candidates=other), verified(2)
    )
    words = "One training step on the blend: near a blend is not a blend."
    step = toy.trained(blend)
    yield vector("train-on-blend", "pipeline §4.4", words, tuned(step, floats, candidates=candidate), verified(2))
    words = "A blend in all tensors but four elements of one."
    nearly = toy.with_data(
        blend,
        "layers.0.weight",
        lambda data: bytes([*(one ^ (i % 2 == 0) for i, one in enumerate(data[:8])), *data[8:]]),
    )
    yield vector("train-nearly-blend", "pipeline §4.2", words, tuned(nearly, floats, candidates=candidate), verified(2))
    words = "The candidate is the model itself: that says nothing."
    itself = [{"model.safetensors": toy.file(toy.trained(A))}]
    yield vector(
        "train-candidate-itself",
        "pipeline §4.5",
        words,
        tuned(toy.trained(A), candidates=itself),
        verified(2, "CANDIDATE_NOT_TRIED"),
    )
    words = "A trained model whose weights were exchanged for the input's after signing: the training is not judged."
    exchanged = tuned(toy.trained(A)).altered(files={"model.safetensors": toy.file(A)})
    yield vector("train-exchanged", "verification V11", words, exchanged, rejected("TENSOR_MISMATCH"))
    words = "A real training, and a candidate of other shapes: it cannot be tried, which is said."
    narrow = {**B, NORM: Tensor(NORM, "F32", (2, 4), B[NORM].data)}
    yield vector(
        "train-candidate-not-tried",
        "pipeline §4.5",
        words,
        tuned(toy.trained(A), candidates=[{"model.safetensors": toy.file(narrow)}]),
        verified(2, "CANDIDATE_NOT_TRIED"),
    )
    words = "A real training, and a candidate."
    yield vector(
        "train-with-candidate", "pipeline §4.4", words, tuned(toy.trained(A), candidates=candidate), verified(2)
    )
    start = Recipe((Copy("b", (POSITIONS,)), Copy("a")))
    first = Step("copy", "merge", ("a", "b"), toy.root(start.run(INPUTS)), merge_body(*start.operations))
    blend = Recipe(town_from("copy", "0.6", "0.4")).run({"copy": start.run(INPUTS), "b": B})
    made = claim(blend, steps=[first, train_step(blend, floats, start="copy")])
    words = "A blend of the input and another material, of which the copy before needs nothing, declared as training."
    both = rejected("TRAINING_EQUALS_BLEND", "PARENT_NO_EFFECT")
    yield vector("train-blend-material", "pipeline §4.2", words, given(made), both)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern steps."""
    for part in (merges, material_folders, operands, effects, chains, trainings):
        yield from part()
