"""Area `verify`: merges by methods of mergekit that are not fixed to the bit, or that draw random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import toy
from envelope import Copy, Linear, Object, Step, material
from folder import A, B, C, Given, claim, given, incomplete, rejected, vector, verified
from folder import merge_step as merge_step_of
from mergekit import Call, Input
from merkle import Tensor
from toy import POSITIONS, Model, Recipe
from vector import Vector
from whole import Numbers, cosine_steps, is_fused, merge

from areas.mergekit import FMA
from areas.mergekit_masks import drawn, masks

NORM, EMBED = "norm.weight", "embed.weight"
GIVEN = {"a": A, "b": B, "c": C}
Run = Callable[[str, Call, Sequence[Input], Sequence[int]], list[int]]


def operation(call: Call, tensors: object, inputs: Sequence[str]) -> Object:
    """Return the operation as a step has it."""
    base = {} if call.base is None else {"base": inputs[call.base]}
    return {
        "op": call.method,
        "tensors": tensors,
        "dtype": call.dtype,
        "computeDtype": call.compute_dtype,
        "parameters": dict(call.parameters),
        "inputParameters": [dict(own) for own in call.own],
        **base,
    }


def merge_step(
    method: str, parameters: Mapping[str, Any], own: Sequence[Mapping[str, str]], run: Run
) -> tuple[Model, Step]:
    """Return what a merge of toy models gives of which `c` is the base, each tensor computed in its own format."""
    inputs = tuple("abc"[-len(own) :])
    models = {name: GIVEN[name] for name in inputs}
    calls = {d: Call(FMA, method, d, d, parameters, own, len(own) - 1) for d in ("BF16", "F32")}
    output: Model = {POSITIONS: A[POSITIONS]}
    for name in toy.FLOATS:
        one = models["c"][name]
        tensors = [(one.dtype, toy.unpack(model[name])) for model in models.values()]
        bits = run(name, calls[one.dtype], tensors, one.shape)
        output[name] = Tensor(name, one.dtype, one.shape, toy.pack(one.dtype, bits))
    operations = [
        operation(calls["F32"], [NORM], inputs),
        Copy(inputs[0], (POSITIONS,)).operation(),
        operation(calls["BF16"], "rest", inputs),
    ]
    step = Step("merge", "merge", inputs, toy.root(output), {"profile": FMA, "operations": operations})
    return output, step


def released(output: Model, *steps: Step) -> Given:
    """Return the folder of the output of the last step."""
    models = {name: GIVEN[name] for name in GIVEN if any(name in step.inputs for step in steps)}
    made = claim(output, steps=steps, materials=[material(name, toy.root(one)) for name, one in models.items()])
    return given(made, parents={name: {"model.safetensors": toy.file(one)} for name, one in models.items()})


def stock(steps: Callable[[int, int], int]) -> tuple[Model, Step]:
    """Return a merge by `model_stock`, the cosine of one tensor so many steps off: of the fewest and the most."""

    def run(name: str, call: Call, inputs: Sequence[Input], shape: Sequence[int]) -> list[int]:
        moved = steps(*cosine_steps(call, inputs, shape)) if name == EMBED else 0
        return merge(call, inputs, shape, numbers=Numbers(is_fused(call), cosines={0: moved}))

    return merge_step("model_stock", {"filter_wise": False}, ({}, {}, {}), run)


def numbers() -> Iterator[Vector]:
    """Yield merges whose numbers come out of sums."""
    words = "A merge by a method that is not fixed to the bit, and that comes out to the bit."
    usual = stock(lambda least, most: 0)
    yield vector("mergekit-to-the-bit", "merge §5.11", words, released(*usual), verified(3))
    words = "One tensor by another cosine, which sums in another order can give."
    within = stock(lambda least, most: most)
    yield vector("mergekit-within", "merge §5.11", words, released(*within), verified(2))
    words = "One tensor by a cosine that no order gives."
    beyond = stock(lambda least, most: 40 * least - 40)
    yield vector("mergekit-beyond", "merge §5.11", words, released(*beyond), rejected("REPLAY_MISMATCH"))
    words = "Such a merge, not published, is merged with another model: it comes out to the bit here."
    yield vector("mergekit-unpublished", "verification V11", words, half_of(*usual), verified(3))
    words = "It comes out with another root here. Whether that is the order of its sums, nobody can see."
    code = incomplete("OUTPUT_NOT_AVAILABLE")
    yield vector("mergekit-unpublished-within", "verification V11", words, half_of(*within), code)


def half_of(output: Model, step: Step) -> Given:
    """Return the folder of a linear merge of that output and a model, of which the output is not published."""
    recipe = Recipe((Linear(("0.5", "0.5"), "F32", (NORM,)), Copy("a", (POSITIONS,)), Linear(("0.5", "0.5"))))
    inputs = {"merge": output, "a": A}
    final = recipe.run(inputs)
    return released(final, step, merge_step_of(final, recipe, "last", inputs=tuple(inputs)))


def chances() -> Iterator[Vector]:
    """Yield merges by random masks."""

    def dare(density: str, keep: Callable[[str, Call, int], list[list[bool]]], off: str | None = None) -> Given:
        def run(name: str, call: Call, inputs: Sequence[Input], shape: Sequence[int]) -> list[int]:
            bits = drawn(call, inputs, keep(name, call, len(inputs[0][1])), [None])
            return [bits[0] + 64, *bits[1:]] if name == off else bits

        parameters = {"normalize": False, "lambda": "1", "rescale": False}
        return released(*merge_step("dare_linear", parameters, ({"weight": "0.5", "density": density}, {}), run))

    words = "A merge that keeps differences by chance: examined, so level 2 at most."
    yield vector("mask-examined", "merge §5.16", words, dare("0.5", masks), verified(2))
    words = "All differences are kept at a density of a half."
    everything = dare("0.5", lambda name, call, elements: [[True] * elements])
    yield vector("mask-unlikely", "merge §5.16", words, everything, verified(2, "MASK_UNLIKELY"))
    words = "One element is neither the base's nor what its difference makes of it."
    breach = dare("0.5", masks, off=EMBED)
    yield vector("mask-breach", "merge §5.16", words, breach, rejected("REPLAY_MISMATCH"))


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this part."""
    for part in (numbers, chances):
        yield from part()
