"""Area `verify`: steps that change the form, operands under other names, and outputs beside the primary one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import toy
from dyadic import FORMATS, decode, encode, round_number
from envelope import Linear, Object, Step, coefficients, material
from folder import A, B, Given, claim, given, incomplete, rejected, train_step, vector, verified
from merkle import Tensor
from toy import POSITIONS, Model
from vector import Vector

NORM, EMBED, LAYER = "norm.weight", "embed.weight", "layers.0.weight"


def cast(tensor: Tensor, dtype: str) -> Tensor:
    """Return a tensor in another format. Spec: pipeline §6.1."""
    bits = []
    for one in toy.unpack(tensor):
        number = decode(one, FORMATS[tensor.dtype])
        assert number is not None
        bits.append(encode(round_number(number, FORMATS[dtype]), FORMATS[dtype]))
    return Tensor(tensor.name, dtype, tensor.shape, toy.pack(dtype, bits))


def cast_all(model: Model, dtype: str) -> Model:
    """Return a model with all floating tensors in one format."""
    return {name: cast(one, dtype) if name in toy.FLOATS else one for name, one in model.items()}


def renamed(model: Model, names: Mapping[str, str]) -> Model:
    """Return a model with tensors under new names."""
    made = {names.get(name, name): one for name, one in model.items()}
    return {name: Tensor(name, one.dtype, one.shape, one.data) for name, one in made.items()}


def without(model: Model, *names: str) -> Model:
    """Return a model with tensors left out."""
    return {name: one for name, one in model.items() if name not in names}


def form(kind: str, output: Model, name: str = "form", start: str = "a", **body: Any) -> Step:
    """Return a step that changes the form of one input."""
    return Step(name, kind, (start,), toy.root(output), body)


def folders(**models: Model) -> Any:
    """Return folders to be given for materials or outputs."""
    return {name: {"model.safetensors": toy.file(one)} for name, one in models.items()}


def formed(step: Step, output: Model, source: Model = A) -> Given:
    """Return the folder of `output`, stated to come from `source` by one step."""
    made = claim(output, materials=[material("a", toy.root(source))], steps=[replace(step, root=toy.root(output))])
    return given(made, parents=folders(a=source))


def forms() -> Iterator[Vector]:
    """Yield pipeline §6."""
    mismatch = rejected("REPLAY_MISMATCH")
    half = cast_all(A, "F16")
    everything = form("cast", half, tensors="floating", dtype="F16")
    yield vector("cast", "pipeline §6.1", "BF16 and F32 tensors to F16.", formed(everything, half), verified(3))
    words = "Only the norm, F32 to BF16, in one rounding."
    narrow = {**A, NORM: cast(A[NORM], "BF16")}
    some = form("cast", narrow, tensors=[NORM], dtype="BF16")
    yield vector("cast-some", "pipeline §6.1", words, formed(some, narrow), verified(3))
    words = "The norm was cut off instead of rounded."
    cut = b"".join(A[NORM].data[at + 2 : at + 4] for at in range(0, len(A[NORM].data), 4))
    truncated = {**A, NORM: Tensor(NORM, "BF16", A[NORM].shape, cut)}
    assert truncated[NORM] != narrow[NORM]
    yield vector("cast-truncated", "pipeline §6.1", words, formed(some, truncated), mismatch)
    words = "A cast of integers."
    ids = form("cast", A, tensors=[POSITIONS], dtype="F32")
    yield vector("cast-integers", "pipeline §6.1", words, formed(ids, A), rejected("OPERAND_INVALID"))
    words = "An F32 value beyond F16 becomes infinite."
    large = toy.with_data(A, NORM, lambda data: bytes.fromhex("00008047") + data[4:])  # 65536
    infinite = {**half, NORM: Tensor(NORM, "F16", A[NORM].shape, bytes.fromhex("007c") + half[NORM].data[2:])}
    yield vector(
        "cast-infinite", "pipeline §6.1", words, formed(everything, infinite, large), rejected("NONFINITE_OUTPUT")
    )
    yield vector("reshard", "pipeline §6.2", "The same tensors.", formed(form("reshard", A), A), verified(3))
    words = "One bit is another."
    off = toy.with_data(A, EMBED, toy.flipped)
    yield vector("reshard-changed", "pipeline §6.2", words, formed(form("reshard", off), off), mismatch)
    swap = {EMBED: "model.embed.weight", NORM: EMBED}
    moved = renamed(A, swap)
    words = "One tensor takes the old name of another."
    yield vector("rename", "pipeline §6.3", words, formed(form("rename", moved, names=swap), moved), verified(3))
    words = "Two tensors come to have one name."
    collide = form("rename", A, names={NORM: EMBED})
    yield vector("rename-collision", "pipeline §6.3", words, formed(collide, A), rejected("OPERAND_INVALID"))
    words = "Two entries with one new name."
    twice = form("rename", A, names={NORM: "x", EMBED: "x"})
    yield vector("rename-twice", "pipeline §6.3", words, formed(twice, A), rejected("PIPELINE_MALFORMED"))
    words = "A tensor is renamed that the input lacks."
    missing = form("rename", A, names={"x": "y"})
    yield vector("rename-missing", "pipeline §6.3", words, formed(missing, A), rejected("OPERAND_INVALID"))
    less = without(A, POSITIONS)
    words = "A tensor is left out."
    dropped = form("drop", less, tensors=[POSITIONS])
    yield vector("drop", "pipeline §6.4", words, formed(dropped, less), verified(3))
    yield vector("drop-not-done", "pipeline §6.4", "It is still there.", formed(dropped, A), mismatch)
    words = "A tensor is left out that the input lacks."
    absent = form("drop", A, tensors=["x"])
    yield vector("drop-missing", "pipeline §6.4", words, formed(absent, A), rejected("OPERAND_INVALID"))


def operands() -> Iterator[Vector]:
    """Yield pipeline §3.3 and §3.6: who takes part, and under which names."""
    source = {name: one for name, one in A.items() if name in (EMBED, LAYER)}
    other = {name: one for name, one in B.items() if name in (EMBED, LAYER)}
    inputs = {"a": source, "b": other}
    upper = Linear(("0.25", "0.5"), "BF16", ("layers.1.weight",))
    blended = toy.blended(upper, LAYER, inputs)
    output = {
        **source,
        "layers.1.weight": Tensor("layers.1.weight", blended.dtype, blended.shape, blended.data),
        "layers.2.weight": Tensor("layers.2.weight", "BF16", other[LAYER].shape, other[LAYER].data),
        "layers.3.weight": Tensor("layers.3.weight", "BF16", other[LAYER].shape, other[LAYER].data),
    }
    kept: Object = {"op": "copy", "tensors": [EMBED, LAYER], "from": "a"}
    mixed: Object = {**upper.operation(), "names": {"a": [LAYER], "b": [LAYER]}}
    copied: Object = {"op": "copy", "tensors": ["layers.2.weight"], "from": "b", "names": [LAYER]}
    alone: Object = {
        "op": "linear",
        "tensors": ["layers.3.weight"],
        "inputs": ["b"],
        "names": {"b": [LAYER]},
        "dtype": "BF16",
        "normalize": False,
        "coefficients": coefficients("1"),
    }

    def stacked(*operations: Object, made: Model = output) -> Given:
        body = {"profile": "linear/f64-v1", "operations": list(operations)}
        step = Step("stack", "merge", ("a", "b"), toy.root(made), body)
        materials = [material(name, toy.root(one)) for name, one in inputs.items()]
        return given(claim(made, materials=materials, steps=[step]), parents=folders(**inputs))

    words = "Layers of two models stacked: blended, copied under another name, and of one input alone."
    yield vector("operand-names", "pipeline §3.3", words, stacked(kept, mixed, copied, alone), verified(3))
    words = "A name in an input that has no such tensor."
    wrong = {**mixed, "names": {"a": ["layers.9.weight"], "b": [LAYER]}}
    yield vector(
        "operand-names-missing",
        "pipeline §3.3",
        words,
        stacked(kept, wrong, copied, alone),
        rejected("OPERAND_INVALID"),
    )
    malformed = {
        "names-with-rest": ("`names` with `rest`.", {**mixed, "tensors": "rest"}),
        "names-too-many": ("Two names for one tensor.", {**mixed, "names": {"a": [EMBED, LAYER]}}),
        "names-of-a-stranger": ("Names in what takes no part.", {**alone, "names": {"a": [LAYER]}}),
        "inputs-of-a-stranger": ("What takes part is no input of the step.", {**alone, "inputs": ["c"], "names": {}}),
        "inputs-twice": ("An input takes part twice.", {**mixed, "inputs": ["a", "a"], "names": {}}),
    }
    for name, (words, operation) in malformed.items():
        made = stacked(kept, operation)
        yield vector(f"operand-{name}", "pipeline §3.3", words, made, rejected("PIPELINE_MALFORMED"))


def beside() -> Iterator[Vector]:
    """Yield pipeline §2.2: outputs that are not the primary weight set."""
    half = cast_all(A, "F16")
    files = {**toy.folder(A), "model.fp16.safetensors": toy.file(half)}
    reshard = form("reshard", A, name="copy")
    to_half = Step("half", "cast", ("copy",), toy.root(half), {"tensors": "floating", "dtype": "F16"})

    def two(*steps: Object) -> Given:
        materials = [material("a", toy.root(A))]
        written = [_Written(step) for step in steps]
        return given(claim(A, files=files, materials=materials, steps=written), parents=folders(a=A))

    main = reshard.written()
    output = {"checkpointRoot": "sha256:" + toy.root(half).hex(), "weightSet": "model.fp16"}
    named: Object = {**to_half.written(), "output": output}
    words = "A second weight set, by a step of its own."
    yield vector("set-by-step", "pipeline §2.2", words, two(main, named), verified(3))
    words = "The root is that of another checkpoint."
    wrong = {**named, "output": {**output, "checkpointRoot": "sha256:" + toy.root(B).hex()}}
    yield vector("set-root-other", "pipeline §2.2", words, two(main, wrong), rejected("OUTPUT_NOT_SUBJECT"))
    words = "The weight set that is named is not there."
    absent = {**named, "output": {**output, "weightSet": "model.int8"}}
    made = two(main, absent)
    yield vector("set-absent", "pipeline §2.2", words, made, rejected("OUTPUT_NOT_SUBJECT", "UNVERIFIED_WEIGHTS"))
    words = "The primary weight set, named as if it were another."
    primary = {**named, "output": {"checkpointRoot": "sha256:" + toy.root(A).hex(), "weightSet": "model"}}
    made = two(main, primary)
    yield vector("set-primary", "pipeline §2.2", words, made, rejected("OUTPUT_NOT_SUBJECT", "UNVERIFIED_WEIGHTS"))
    words = "Two steps give one weight set."
    again = {**named, "id": "again"}
    yield vector("set-twice", "pipeline §2.2", words, two(main, named, again), rejected("PIPELINE_MALFORMED"))
    words = "No step gives the primary weight set."
    alone = {**named, "inputs": ["a"]}
    yield vector("set-alone", "pipeline §2.2", words, two(alone), rejected("OUTPUT_NOT_SUBJECT"))


class _Written:
    """A step as it stands in a statement, already written."""

    def __init__(self, members: Object) -> None:
        self._members = members

    def written(self) -> Object:
        return self._members


def unpublished() -> Iterator[Vector]:
    """Yield pipeline §5: outputs that nobody published and the caller may have."""
    tuned = toy.trained(A)
    half = cast_all(tuned, "F16")
    steps = [train_step(tuned, name="tune"), form("cast", half, start="tune", tensors="floating", dtype="F16")]
    made = claim(half, materials=[material("a", toy.root(A))], steps=steps)
    words = "A training, then a cast; the caller has the checkpoint between them."
    yield vector("output-given", "pipeline §5", words, given(made, parents=folders(a=A, tune=tuned)), verified(2))
    words = "The same, and the caller does not have it."
    yield vector(
        "output-not-given", "pipeline §5", words, given(made, parents=folders(a=A)), incomplete("INPUT_NOT_AVAILABLE")
    )
    words = "The same, and the caller has another one."
    yield vector(
        "output-other", "pipeline §5", words, given(made, parents=folders(a=A, tune=B)), rejected("MATERIAL_MISMATCH")
    )
    words = "A training whose output has the root of its input, and a cast of it."
    idle = cast_all(A, "F16")
    steps = [train_step(A, name="tune"), form("cast", idle, start="tune", tensors="floating", dtype="F16")]
    made = claim(idle, materials=[material("a", toy.root(A))], steps=steps)
    yield vector("output-idle", "pipeline §5", words, given(made, parents=folders(a=A)), rejected("TRAINING_NO_EFFECT"))
    words = "A training whose output is the subject, and a reshard after it."
    steps = [train_step(tuned, name="tune"), form("reshard", tuned, start="tune")]
    made = claim(tuned, materials=[material("a", toy.root(A))], steps=steps)
    yield vector("output-published", "pipeline §5", words, given(made, parents=folders(a=A)), verified(2))


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern forms and outputs."""
    for part in (forms, operands, beside, unpublished):
        yield from part()
