"""Area `verify`: what the weights say of a training beside equality: rounding, tensors that stood still, rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import mergekit
import toy
from dyadic import FORMATS, decode, encode, fraction, round_ratio
from envelope import material
from folder import A, B, Given, claim, given, incomplete, merge_step, rejected, vector, verified
from merkle import Tensor
from toy import Model
from vector import Vector

from areas.verify_training import signed, train

EMBED, LAYER, NORM = "embed.weight", "layers.0.weight", "norm.weight"
FULL = {"method": {"name": "full"}}
CANDIDATE = [{"model.safetensors": toy.file(B)}]
BLEND = toy.town("0.6", "0.4").run({"a": A, "b": B})


def values(tensor: Tensor) -> list[Fraction]:
    """Return the elements of a tensor as fractions."""
    numbers = [decode(bits, FORMATS[tensor.dtype]) for bits in toy.unpack(tensor)]
    return [fraction(number) for number in numbers if number is not None]


def rounded(tensor: Tensor, wanted: Sequence[Fraction], dtype: str | None = None) -> Tensor:
    """Return the tensor with these elements, each rounded once to its dtype or another one."""
    dtype = dtype or tensor.dtype
    kind = FORMATS[dtype]
    numbers = [round_ratio(one < 0, abs(one).numerator, one.denominator, kind) for one in wanted]
    return Tensor(tensor.name, dtype, tensor.shape, toy.pack(dtype, [encode(number, kind) for number in numbers]))


def moved(made: Model, names: Sequence[str]) -> Model:
    """Return the model with every element of some tensors moved by one ULP."""
    out = dict(made)
    for name in names:
        bits = [one ^ 1 for one in toy.unpack(made[name])]
        out[name] = Tensor(name, made[name].dtype, made[name].shape, toy.pack(made[name].dtype, bits))
    return out


def cells() -> Iterator[Vector]:
    """Yield outputs that only rounding keeps from being a blend, and others near one."""
    clause = "pipeline §4.13"
    unknown = incomplete("NO_TRAINING_EVIDENCE")

    def tuned(output: Model, **changes: Any) -> Given:
        return signed(train(output), output, **{"candidates": CANDIDATE, **changes})

    norm = toy.with_data(BLEND, NORM, toy.flipped)
    words = "A blend in all elements but one, which is off by one ULP of F32: a sum in float32 can give that."
    yield vector("train-within-rounding", clause, words, tuned(norm), unknown)
    words = "The same, with what is declared as the teacher."
    taught = train(norm, ("a", "b"), teachers=["b"])
    yield vector("train-within-rounding-teacher", clause, words, signed(taught, norm), unknown)
    words = "The same, and no candidate: nothing shows it."
    yield vector("train-within-rounding-alone", clause, words, tuned(norm, candidates=[]), verified(2))
    words = "A blend in all elements but the norm's first two, which are off by 32 ULP: 990 of 1000 are not enough."
    off = toy.with_data(BLEND, NORM, lambda data: bytes([data[0] ^ 32, *data[1:4], data[4] ^ 32, *data[5:]]))
    yield vector("train-outside-rounding", clause, words, tuned(off), verified(2))
    words = "A blend up to rounding, and the positions differ, which no blend does."
    other = toy.with_data(norm, toy.POSITIONS, toy.flipped)
    yield vector("train-within-rounding-positions", clause, words, tuned(other), verified(2))
    words = "The norm is not trainable, and moved: the step is contradicted, and nothing is said of rounding."
    step = train(norm, trainable=[EMBED, LAYER])
    made = signed(step, norm, candidates=CANDIDATE)
    both = rejected("TRAINING_EQUALS_BLEND", "TRAINING_CHANGED_OTHER")
    yield vector("train-blend-changed-other", "pipeline §4.3", words, made, both)
    half = toy.town("0.5", "0.5")
    start = half.run({"a": A, "b": B})
    output = moved(start, [EMBED])
    steps = [merge_step(start, half, "half"), train(output, ("half",))]
    words = "Light training of a declared merge: every element that moved left the rounding cell, by one ULP."
    yield vector("train-light-on-merge", clause, words, given(claim(output, steps=steps)), verified(2))


def made_from_output() -> Iterator[Vector]:
    """Yield candidates that the output points to, and that may have been made from it; and one that was not."""
    clause = "pipeline §4.16"
    named = verified(2, "CANDIDATE_NOT_TRIED")
    step = train(B)

    def beside(candidate: Model, output: Model = B) -> Given:
        declared = step if output is B else train(output)
        return signed(declared, output, candidates=[{"model.safetensors": toy.file(candidate)}])

    def mixed(of_input: str, of_other: str, other: Model, *, dtype: str | None = None) -> Model:
        """Return the exact blend of the input and another model, rounded once; positions as they are in the other."""
        shares = Fraction(of_input), Fraction(of_other)
        made = dict(other)
        for name in (EMBED, LAYER, NORM):
            sums = [shares[0] * a + shares[1] * b for a, b in zip(values(A[name]), values(other[name]), strict=True)]
            made[name] = rounded(A[name], sums, dtype)
        return made

    words = (
        "0.6 of the input and 0.4 of the output, in F32: 2.5 of it less 1.5 of the input gives the output to the bit."
    )
    yield vector("train-merged-afterwards", clause, words, beside(mixed("0.6", "0.4", B, dtype="F32")), named)
    words = "The output itself, in F32."
    yield vector("train-candidate-wider", clause, words, beside(mixed("0", "1", B, dtype="F32")), named)
    words = "Twice the output less the input, but for one element: half of each is within rounding."
    light = moved(A, [EMBED, LAYER, NORM])
    beyond = toy.with_data(mixed("-1", "2", light), EMBED, lambda data: bytes([data[0] ^ 4, *data[1:]]))
    yield vector("train-extrapolated-afterwards", clause, words, beside(beyond, light), named)
    words = "The output is a blend of the input and of a candidate in F32 that has bits of its own."
    wide = mixed("0.3", "0.7", B, dtype="F32")
    output = mixed("0.6", "0.4", {**wide, toy.POSITIONS: A[toy.POSITIONS]})
    code = rejected("TRAINING_EQUALS_BLEND")
    yield vector("train-blend-wider", "pipeline §4.2", words, beside(wide, output), code)


def as_mergekit() -> Iterator[Vector]:
    """Yield blends as mergekit computes them, which linear/f64-v1 does not give."""
    cases = {
        "old": ("mergekit-0.1.4", ("0.6", "0.4"), False),
        "old-normalized": ("mergekit-0.1.4", ("0.25", "0.35"), True),
        "fma": ("mergekit-0.1.5/fma", ("0.25", "0.35"), True),
        "nofma": ("mergekit-0.1.5/nofma", ("0.25", "0.35"), True),
    }
    for name, (profile, texts, normalize) in cases.items():
        call = mergekit.Call(
            profile, "linear", "BF16", "BF16", {"normalize": normalize}, [{"weight": text} for text in texts]
        )
        output = dict(A)
        for one in (EMBED, LAYER):
            bits = mergekit.merge(call, [("BF16", toy.unpack(made[one])) for made in (A, B)])
            output[one] = Tensor(one, "BF16", A[one].shape, toy.pack("BF16", bits))
        canonical = toy.town(*texts, normalize=normalize).run({"a": A, "b": B})
        assert output[EMBED] != canonical[EMBED], name
        words = (
            f"{' and '.join(texts)} of the parent and a candidate, {'' if normalize else 'not '}normalized, {profile}."
        )
        made = signed(train(output, trainable=[EMBED, LAYER]), output, candidates=CANDIDATE)
        code = rejected("TRAINING_EQUALS_BLEND")
        yield vector(f"train-blend-mergekit-{name}", "pipeline §4.2", words, made, code)


def partial() -> Iterator[Vector]:
    """Yield full trainings that left something as it was."""
    clause = "pipeline §4.14"
    named = verified(2, "TRAINING_PARTIAL")
    output = moved(A, [EMBED, NORM])
    words = "A full training that left a matrix as it was, where 42 of its 64 elements were to be expected to move."
    yield vector("train-partial", clause, words, signed(train(output, record=FULL), output), named)
    words = "The same without a record of the method."
    yield vector("train-partial-method-unknown", clause, words, signed(train(output), output), verified(2))
    words = "The same with the matrix not trainable."
    listed = signed(train(output, trainable=[EMBED, NORM], record=FULL), output)
    yield vector("train-partial-listed", clause, words, listed, verified(2))
    words = "A full training that left the only vector as it was: no other vector moved."
    output = moved(A, [EMBED, LAYER])
    yield vector("train-partial-norm", clause, words, signed(train(output, record=FULL), output), verified(2))
    words = "A full training in which few elements moved: that a matrix stood still is no surprise."
    few = toy.with_data(A, EMBED, toy.flipped)
    yield vector("train-partial-few", clause, words, signed(train(few, record=FULL), few), verified(2))
    experts = "layers.0.mlp.experts.weight"
    data = toy.model("experts")[EMBED].data
    start = {**A, experts: Tensor(experts, "BF16", (4, 4, 8), data)}
    output = moved(start, [EMBED, LAYER, NORM, experts])
    kept = output[experts].data[: 2 * 64] + data[2 * 64 : 2 * 96] + output[experts].data[2 * 96 :]
    output[experts] = Tensor(experts, "BF16", (4, 4, 8), kept)
    words = "A full training that left one of four experts as it was, which are one tensor."
    step = train(output, record=FULL)
    made = claim(output, materials=[material("a", toy.root(start))], steps=[step])
    parents = {"a": {"model.safetensors": toy.file(start)}}
    yield vector("train-partial-expert", clause, words, given(made, parents=parents), named)


def ranks() -> Iterator[Vector]:
    """Yield low-rank trainings, merged, of the declared rank and of another."""
    clause = "pipeline §4.15"

    def lora(rank: int, *targets: str) -> dict[str, object]:
        return {"method": {"name": "lora", "rank": rank, "alpha": "16", "targets": list(targets)}}

    def declared(movement: Sequence[Fraction], rank: int, *targets: str) -> Given:
        sums = [one + by for one, by in zip(values(A[LAYER]), movement, strict=True)]
        output = {**A, LAYER: rounded(A[LAYER], sums)}
        return signed(train(output, trainable=[LAYER], record=lora(rank, *targets)), output)

    once = [Fraction((i + 1) * (3 * j - 8), 64) for i in range(8) for j in range(8)]
    twice = [one + Fraction((i - 3) ** 2 * (-1) ** j, 8) for (i, j), one in zip(pairs(8), once, strict=True)]
    diagonal = [Fraction(4 if i == j else 0) for i, j in pairs(8)]
    unsupported = incomplete("TRAINING_RANK_EXCEEDED")
    words = "A matrix of rank 1 was added, and rounded to BF16: declared as rank 1."
    yield vector("train-rank", clause, words, declared(once, 1, "layers.0"), verified(2))
    words = "A matrix of rank 2 was added: declared as rank 2."
    yield vector("train-rank-two", clause, words, declared(twice, 2, "0"), verified(2))
    words = "A matrix of rank 2 was added: declared as rank 1."
    yield vector("train-rank-exceeded", clause, words, declared(twice, 1, "layers.0"), unsupported)
    words = "4 was added to every element of the diagonal, which has eight singular values of 4: declared as rank 7."
    yield vector("train-rank-diagonal", clause, words, declared(diagonal, 7, "layers.0"), unsupported)
    words = "The same, declared as rank 8: any matrix of eight rows has that."
    yield vector("train-rank-any", clause, words, declared(diagonal, 8, "layers.0"), verified(2))
    words = "The same at rank 1, and the module is not among the targets: it may have been trained whole."
    yield vector("train-rank-other-target", clause, words, declared(diagonal, 1, "embed", "ayers.0"), verified(2))
    words = "One element in four moved by one ULP, as rounding may leave it of any movement that is smaller."
    bits = [one ^ (at % 4 == 0) for at, one in enumerate(toy.unpack(A[LAYER]))]
    output = {**A, LAYER: Tensor(LAYER, "BF16", (8, 8), toy.pack("BF16", bits))}
    light = signed(train(output, trainable=[LAYER], record=lora(1, "layers.0")), output)
    yield vector("train-rank-light", clause, words, light, verified(2))


def pairs(side: int) -> list[tuple[int, int]]:
    """Return the places of a square matrix, row after row."""
    return [(i, j) for i in range(side) for j in range(side)]


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern what the weights say of a training."""
    for part in (cells, made_from_output, as_mergekit, partial, ranks):
        yield from part()
