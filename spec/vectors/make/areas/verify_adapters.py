"""Area `verify`: adapters merged into their base, and FP8 weights read as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import toy
from adapters import Adapter, Matrix, dequantize, e4m3
from data import Dice
from envelope import Object, Step, material
from folder import A, Given, claim, given, incomplete, rejected, vector, verified
from merkle import Tensor
from toy import Model
from vector import Vector

from areas.form import random
from areas.verify_forms import cast, cast_all

LAYER, EMBED, NORM = "layers.0.weight", "embed.weight", "norm.weight"
PREFIX = "base_model.model."
LORA_A, LORA_B = f"{PREFIX}layers.0.lora_A.weight", f"{PREFIX}layers.0.lora_B.weight"
EMBED_A, EMBED_B = f"{PREFIX}embed.lora_embedding_A", f"{PREFIX}embed.lora_embedding_B"
NEW_NORM, HEAD = f"{PREFIX}norm.weight", f"{PREFIX}head.weight"


def tensor(name: str, matrix: Matrix) -> Tensor:
    """Return a matrix as a tensor of that name."""
    return Tensor(name, matrix.dtype, matrix.shape, matrix.data())


def matrix(one: Tensor) -> Matrix:
    """Return a tensor's elements."""
    return Matrix(one.dtype, one.shape, tuple(toy.unpack(one)))


ADAPTER: Model = {
    name: tensor(name, random(name, "F32", *shape))
    for name, shape in {
        LORA_A: (2, 8),
        LORA_B: (8, 2),
        EMBED_A: (2, 16),
        EMBED_B: (8, 2),
        NEW_NORM: (8,),
        HEAD: (16, 8),
    }.items()
}
TARGETS: list[Object] = [
    {"tensor": EMBED, "a": EMBED_A, "b": EMBED_B, "scale": "1.5", "transposed": True, "deltaDtype": "BF16"},
    {"tensor": LAYER, "a": LORA_A, "b": LORA_B, "scale": "1.5", "transposed": False},
]
REPLACED: list[Object] = [{"tensor": "head.weight", "from": HEAD}, {"tensor": NORM, "from": NEW_NORM}]


def adapted(profile: str = "peft", scale: str = "1.5") -> Model:
    """Return the base with the adapter merged into it, computed here."""
    layer = Adapter(profile, "BF16", scale).apply(matrix(A[LAYER]), matrix(ADAPTER[LORA_A]), matrix(ADAPTER[LORA_B]))
    delta = "BF16" if profile == "peft" else None
    plan = Adapter(profile, "BF16", scale, transposed=True, delta_dtype=delta)
    embed = plan.apply(matrix(A[EMBED]), matrix(ADAPTER[EMBED_A]), matrix(ADAPTER[EMBED_B]))
    new = {LAYER: tensor(LAYER, layer), EMBED: tensor(EMBED, embed), NORM: tensor(NORM, matrix(ADAPTER[NEW_NORM]))}
    return {**A, **new, "head.weight": tensor("head.weight", matrix(ADAPTER[HEAD]))}


def step(**changes: Any) -> Object:
    """Return the body of the step that merges ADAPTER into A."""
    return {"profile": "peft", "targets": TARGETS, "replaced": REPLACED, **changes}


def merged(output: Model, body: Object, adapter: Model = ADAPTER, inputs: tuple[str, ...] = ("a", "adapter")) -> Given:
    """Return the folder of `output`, stated to be A with an adapter."""
    models = {"a": A, "adapter": adapter}
    paths = {"a": "model.safetensors", "adapter": "adapter_model.safetensors"}
    materials = [material(name, toy.root(models[name])) for name in inputs]
    steps = [Step("adapt", "lora", inputs, toy.root(output), body)]
    parents = {name: {paths[name]: toy.file(models[name])} for name in inputs}
    return given(claim(output, materials=materials, steps=steps), parents=parents)


def adapters() -> Iterator[Vector]:
    """Yield forms §2."""
    output = adapted()
    words = "A matrix, embeddings, a norm and a new head from an adapter."
    yield vector("lora", "forms §2", words, merged(output, step()), verified(3))
    canonical = [{name: value for name, value in target.items() if name != "deltaDtype"} for target in TARGETS]
    body = step(profile="lora/f64-v1", targets=canonical)
    words = "The same by the canonical profile."
    yield vector("lora-f64", "forms §2.3", words, merged(adapted("lora/f64-v1"), body), verified(3))
    off = toy.with_data(output, LAYER, lambda data: data[:-1] + bytes([data[-1] ^ 0x20]))
    words = "One element is another."
    yield vector("lora-changed", "forms §2.4", words, merged(off, step()), rejected("REPLAY_MISMATCH"))
    words = "The scale is another."
    made = merged(output, step(targets=[{**target, "scale": "1.75"} for target in TARGETS]))
    yield vector("lora-scale-other", "forms §2.4", words, made, rejected("REPLAY_MISMATCH"))
    factors = {name: one for name, one in ADAPTER.items() if name in (LORA_A, LORA_B)}
    alone: Object = {"profile": "peft", "dtype": "F32", "targets": TARGETS[1:]}
    plan = Adapter("peft", "F32", "1.5")
    operands = matrix(A[LAYER]), matrix(ADAPTER[LORA_A]), matrix(ADAPTER[LORA_B])
    other_order = plan.apply(*operands, order=lambda rank: range(rank - 1, -1, -1))
    assert other_order != plan.apply(*operands)
    wide = {**cast_all(A, "F32"), LAYER: tensor(LAYER, other_order)}
    words = "In F32, added from the last to the first and unfused."
    yield vector("lora-within", "forms §2.5", words, merged(wide, alone, factors), verified(2))
    words = "In F32, without the adapter."
    made = merged(cast_all(A, "F32"), alone, factors)
    yield vector("lora-not-done", "forms §2.5", words, made, rejected("REPLAY_MISMATCH"))
    words = "B is zero: the adapter does nothing."
    idle = {**factors, LORA_B: Tensor(LORA_B, "F32", (8, 2), bytes(64))}
    same = {**alone, "dtype": "BF16"}
    narrow = {**A, NORM: cast(A[NORM], "BF16")}
    yield vector("lora-idle", "merge §3", words, merged(narrow, same, idle), verified(1, "PARENT_NO_EFFECT"))
    invalid = {
        "unused": ("A tensor of the adapter that nothing uses.", "§2.1.4", step(replaced=REPLACED[1:])),
        "missing": (
            "A target names a tensor that the adapter lacks.",
            "§1.1",
            step(targets=[{**TARGETS[0], "a": "x"}, TARGETS[1]]),
        ),
        "other-base": (
            "The factors do not fit the matrix.",
            "§2.1.1",
            step(targets=[{**TARGETS[0], "transposed": False}, TARGETS[1]]),
        ),
        "no-matrix": (
            "A target that is no matrix.",
            "§2.1.1",
            step(targets=[*TARGETS, {**TARGETS[1], "tensor": NORM}]),
        ),
        "base-lacks": (
            "A target that neither the base has nor the adapter brings.",
            "§1.1",
            step(targets=[*TARGETS, {**TARGETS[1], "tensor": "layers.9.weight"}]),
        ),
        "replaced-shape": (
            "A replacement of another shape.",
            "§2.1.2",
            step(replaced=[{"tensor": "head.weight", "from": NEW_NORM}, {"tensor": NORM, "from": HEAD}]),
        ),
    }
    for name, (words, clause, body) in invalid.items():
        yield vector(f"lora-{name}", f"forms {clause}", words, merged(output, body), rejected("OPERAND_INVALID"))
    malformed = {
        "targets-order": ("Targets out of order.", "§1.4", step(targets=TARGETS[::-1])),
        "targets-twice": ("A target twice.", "§1.4", step(targets=[*TARGETS, TARGETS[1]])),
        "replaced-order": ("Replacements out of order.", "§1.4", step(replaced=REPLACED[::-1])),
        "scale-text": (
            "A scale that is no number.",
            "§1.3",
            step(targets=[{**TARGETS[0], "scale": "1,5"}, TARGETS[1]]),
        ),
        "scale-infinite": (
            "A scale beyond float64.",
            "§1.3",
            step(targets=[{**TARGETS[0], "scale": "1e999"}, TARGETS[1]]),
        ),
        "delta-canonical": ("`deltaDtype` in the canonical profile.", "§2.3", step(profile="lora/f64-v1")),
        "no-targets": ("No targets.", "§2.1", step(targets=[])),
    }
    for name, (words, clause, body) in malformed.items():
        yield vector(f"lora-{name}", f"forms {clause}", words, merged(output, body), rejected("PIPELINE_MALFORMED"))
    words = "An adapter step with one input."
    made = merged(output, step(), inputs=("a",))
    yield vector("lora-one-input", "forms §2", words, made, rejected("PIPELINE_MALFORMED"))
    words = "A profile that nobody knows."
    made = merged(output, step(profile="lora/f64-v9"))
    yield vector("lora-profile-unknown", "forms §2", words, made, incomplete("PROFILE_UNKNOWN"))


def fp8() -> Iterator[Vector]:
    """Yield forms §3."""
    dice = Dice("verify/fp8")
    every = [code for code in range(256) if e4m3(code) is not None]
    codes = bytes(every[dice.between(0, len(every) - 1)] for _ in range(64))
    scales = random("scales", "F32", 2, 3)
    scale = f"{LAYER}_scale_inv"
    source: Model = {
        **{name: one for name, one in A.items() if name != LAYER},
        LAYER: Tensor(LAYER, "F8_E4M3", (8, 8), codes),
        scale: tensor(scale, scales),
    }
    numbers = dequantize(codes, (8, 8), scales, (4, 3), "BF16")
    output = {**{name: one for name, one in source.items() if name != scale}, LAYER: tensor(LAYER, numbers)}
    target: Object = {"tensor": LAYER, "scale": scale, "block": [4, 3]}

    def read(body: Object, made: Model = output, start: Model = source) -> Given:
        materials = [material("a", toy.root(start))]
        steps = [Step("read", "dequantize", ("a",), toy.root(made), {"dtype": "BF16", "targets": [target], **body})]
        parents = {"a": {"model.safetensors": toy.file(start)}}
        return given(claim(made, materials=materials, steps=steps), parents=parents)

    yield vector("fp8", "forms §3", "Blocks of 4 by 3, with their scales.", read({}), verified(3))
    words = "A tensor is left out besides."
    less = {name: one for name, one in output.items() if name != NORM}
    yield vector("fp8-dropped", "forms §3.1", words, read({"dropped": [NORM]}, less), verified(3))
    words = "One element is another."
    off = toy.with_data(output, LAYER, toy.flipped)
    yield vector("fp8-changed", "forms §3.3", words, read({}, off), rejected("REPLAY_MISMATCH"))
    invalid = {
        "block-other": ("Blocks that the scales do not fit.", {"targets": [{**target, "block": [4, 4]}]}),
        "block-axes": ("A block of one axis.", {"targets": [{**target, "block": [4]}]}),
        "no-scale": ("There is no such scale.", {"targets": [{**target, "scale": "x"}]}),
        "no-codes": ("The target holds no codes.", {"targets": [{**target, "tensor": EMBED}]}),
        "dropped-missing": ("What is to be left out is not there.", {"dropped": ["x"]}),
    }
    for name, (words, body) in invalid.items():
        yield vector(f"fp8-{name}", "forms §3.1", words, read(body), rejected("OPERAND_INVALID"))
    words = "The code 0x7f is no number."
    broken = {**source, LAYER: Tensor(LAYER, "F8_E4M3", (8, 8), b"\x7f" + codes[1:])}
    made = read({}, start=broken)
    yield vector("fp8-no-number", "forms §3.2", words, made, rejected("NONFINITE_OUTPUT"))
    words = "A target that is left out."
    made = read({"dropped": [LAYER]})
    yield vector("fp8-target-dropped", "forms §3.1", words, made, rejected("PIPELINE_MALFORMED"))
    words = "A block of no extent."
    made = read({"targets": [{**target, "block": [0, 3]}]})
    yield vector("fp8-block-zero", "forms §3.1", words, made, rejected("PIPELINE_MALFORMED"))


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern adapters and FP8."""
    for part in (adapters, fp8):
        yield from part()
