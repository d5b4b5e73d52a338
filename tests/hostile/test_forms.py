"""Steps that change the form of a checkpoint, operands under other names, and outputs that nobody published."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest

from tests.cli.making import weight_file
from tests.hostile.forging import Forger, Members, codes, linear, merge, root_of, train

Tensors = dict[str, tuple[str, list[int], bytes]]


def f32(*values: float) -> tuple[str, list[int], bytes]:
    return "F32", [len(values)], struct.pack(f"<{len(values)}f", *values)


def bf16(*bits: int) -> tuple[str, list[int], bytes]:
    return "BF16", [len(bits)], struct.pack(f"<{len(bits)}H", *bits)


def u8(data: bytes) -> tuple[str, list[int], bytes]:
    return "U8", [len(data)], data


SOURCE: Tensors = {"norm": f32(1.0, -0.0), "embed": f32(1.00390625, 1.01171875), "ids": u8(b"abcd")}
"""The values of `embed` lie in the middle of two BF16 values: 3f80 and 3f81, 3f81 and 3f82."""
TIES = bf16(0x3F80, 0x3F82)


def step(kind: str, source: str = "a", identifier: str = "form", **members: Any) -> Members:
    return {"id": identifier, "type": kind, "inputs": [source], **members}


def write(forger: Forger, name: str, tensors: Tensors) -> str:
    forger.write(name, {"model.safetensors": weight_file(tensors)})
    return root_of(forger.root / name)


def declare(forger: Forger, subject: Tensors, steps: Sequence[Members], **parents: Tensors) -> None:
    materials = {name: write(forger, name, tensors) for name, tensors in parents.items()}
    write(forger, "subject", subject)
    forger.sign()
    forger.declare(materials, steps)


CAST = {"norm": bf16(0x3F80, 0x8000), "embed": TIES, "ids": SOURCE["ids"]}
TRUE_FORMS: dict[str, tuple[Members, Tensors]] = {
    "cast": (step("cast", tensors="floating", dtype="BF16"), CAST),
    "a cast of some": (step("cast", tensors=["embed"], dtype="BF16"), {**SOURCE, "embed": TIES}),
    "a cast to what it is": (step("cast", tensors=["embed", "norm"], dtype="F32"), SOURCE),
    "reshard": (step("reshard"), SOURCE),
    "rename": (
        step("rename", names={"norm": "embed", "embed": "norm"}),
        {"embed": SOURCE["norm"], "norm": SOURCE["embed"], "ids": SOURCE["ids"]},
    ),
    "drop": (step("drop", tensors=["ids"]), {name: SOURCE[name] for name in ("norm", "embed")}),
}


@pytest.mark.parametrize(("form", "output"), TRUE_FORMS.values(), ids=TRUE_FORMS.keys())
def test_a_true_form_is_reproduced(forger: Forger, form: Members, output: Tensors) -> None:
    declare(forger, output, [form], a=SOURCE)
    report = forger.verify("a")
    assert (report.verdict, report.level, codes(report)) == ("VERIFIED", 3, set())
    assert forger.verify().verdict == "INCOMPLETE"


MISMATCH, INVALID, MALFORMED = "REPLAY_MISMATCH", "OPERAND_INVALID", "PIPELINE_MALFORMED"
FALSE_FORMS: dict[str, tuple[Members, Tensors, str]] = {
    "a cast that truncates": (
        step("cast", tensors="floating", dtype="BF16"),
        {**CAST, "embed": bf16(0x3F80, 0x3F81)},
        MISMATCH,
    ),
    "a cast that loses the sign of zero": (
        step("cast", tensors="floating", dtype="BF16"),
        {**CAST, "norm": bf16(0x3F80, 0)},
        MISMATCH,
    ),
    "a cast of whole numbers": (step("cast", tensors=["ids"], dtype="BF16"), SOURCE, INVALID),
    "a cast of what is not there": (step("cast", tensors=["x"], dtype="BF16"), SOURCE, INVALID),
    "a cast to a format of whole numbers": (step("cast", tensors="floating", dtype="I8"), SOURCE, MALFORMED),
    "a reshard that changes a byte": (step("reshard"), {**SOURCE, "ids": u8(b"abce")}, MISMATCH),
    "a rename that was not done": (step("rename", names={"norm": "x"}), SOURCE, MISMATCH),
    "a rename of what is not there": (step("rename", names={"x": "y"}), SOURCE, INVALID),
    "a rename over another": (step("rename", names={"norm": "embed"}), SOURCE, INVALID),
    "a rename of two to one": (step("rename", names={"norm": "x", "embed": "x"}), SOURCE, MALFORMED),
    "a rename of nothing": (step("rename", names={}), SOURCE, MALFORMED),
    "a drop that was not done": (step("drop", tensors=["ids"]), SOURCE, MISMATCH),
    "a drop of what is not there": (step("drop", tensors=["x"]), SOURCE, INVALID),
    "a drop out of order": (step("drop", tensors=["norm", "ids"]), SOURCE, MALFORMED),
    "two inputs": ({**step("reshard"), "inputs": ["a", "b"]}, SOURCE, MALFORMED),
}


@pytest.mark.parametrize(("form", "output", "code"), FALSE_FORMS.values(), ids=FALSE_FORMS.keys())
def test_a_false_form_is_rejected(forger: Forger, form: Members, output: Tensors, code: str) -> None:
    other = {"b": SOURCE} if len(form["inputs"]) > 1 else {}
    declare(forger, output, [form], a=SOURCE, **other)
    report = forger.verify("a", *other)
    assert (report.verdict, codes(report)) == ("REJECTED", {code})


def test_a_cast_to_a_narrower_range_refuses_what_becomes_infinite(forger: Forger) -> None:
    declare(
        forger, {"w": ("F16", [1], b"\x00\x7c")}, [step("cast", tensors="floating", dtype="F16")], a={"w": f32(1e9)}
    )
    assert codes(forger.verify("a")) == {"NONFINITE_OUTPUT"}


# Operands under other names, and of some inputs only.


def test_layers_are_stacked_by_names(forger: Forger) -> None:
    layers = {"layers.0": f32(1.0, 2.0), "layers.1": f32(3.0, 5.0)}
    others = {"layers.0": f32(4.0, 4.0), "layers.1": f32(8.0, 8.0)}
    output = {
        "layers.0": f32(1.0, 2.0),
        "layers.1": f32(2.0, 3.0),
        "layers.2": f32(8.0, 8.0),
        "layers.3": f32(3.0, 5.0),
    }
    blend = {**linear("0.5", "0.25", tensors=["layers.1"]), "names": {"b": ["layers.0"], "a": ["layers.0"]}}
    blend["coefficients"] = linear("1", "0.25")["coefficients"]
    output["layers.1"] = f32(2.0, 3.0)
    operations = [
        {"op": "copy", "from": "a", "tensors": ["layers.0"]},
        blend,
        {"op": "copy", "from": "b", "tensors": ["layers.2"], "names": ["layers.1"]},
        {**linear("1", tensors=["layers.3"]), "inputs": ["a"], "names": {"a": ["layers.1"]}},
    ]
    declare(forger, output, [merge("m", ["a", "b"], *operations)], a=layers, b=others)
    report = forger.verify("a", "b")
    assert (report.verdict, report.level, codes(report)) == ("VERIFIED", 3, set())
    swapped = [operations[0], {**blend, "names": {"a": ["layers.1"]}}, *operations[2:]]
    declare(forger, output, [merge("m", ["a", "b"], *swapped)], a=layers, b=others)
    assert codes(forger.verify("a", "b")) == {"REPLAY_MISMATCH"}


MALFORMED_OPERANDS: dict[str, Members] = {
    "an input that does not take part in the step": {**linear("1", tensors=["w"]), "inputs": ["c"]},
    "an input twice": {**linear("1", "1", tensors=["w"]), "inputs": ["a", "a"]},
    "no input": {**linear(tensors=["w"]), "inputs": []},
    "coefficients for those that do not take part": {**linear("1", "1", tensors=["w"]), "inputs": ["a"]},
    "names with the rest": {**linear("1", "1"), "names": {"a": ["w"]}},
    "names for a tensor too many": {**linear("1", "1", tensors=["w"]), "names": {"a": ["w", "w"]}},
    "names in what takes no part": {**linear("1", tensors=["w"]), "inputs": ["a"], "names": {"b": ["w"]}},
    "names of a copy too few": {"op": "copy", "from": "a", "tensors": ["v", "w"], "names": ["w"]},
    "names of a copy with the rest": {"op": "copy", "from": "a", "tensors": "rest", "names": ["w"]},
}


@pytest.mark.parametrize("operation", MALFORMED_OPERANDS.values(), ids=MALFORMED_OPERANDS.keys())
def test_operands_that_do_not_fit_are_malformed(forger: Forger, operation: Members) -> None:
    weights: Tensors = {"w": f32(1.0)}
    declare(forger, weights, [merge("m", ["a", "b"], operation)], a=weights, b=weights)
    report = forger.verify("a", "b")
    assert (report.verdict, codes(report)) == ("REJECTED", {"PIPELINE_MALFORMED"})


# Outputs that nobody published.


def chain(forger: Forger, trained: Tensors) -> list[Members]:
    """Return a training of `a` and a cast of what it gave; the folder `given` holds that."""
    root = write(forger, "given", trained)
    return [
        train("t", "a", output={"checkpointRoot": root}),
        step("cast", "t", "form", tensors="floating", dtype="BF16"),
    ]


def test_an_output_that_the_caller_has_lets_later_steps_be_replayed(forger: Forger) -> None:
    trained = {**SOURCE, "norm": f32(1.0, 0.5)}
    steps = chain(forger, trained)
    declare(forger, {**CAST, "norm": bf16(0x3F80, 0x3F00)}, steps, a=SOURCE)
    without = forger.verify("a")
    assert (without.verdict, codes(without)) == ("INCOMPLETE", {"INPUT_NOT_AVAILABLE"})
    report = forger.verify("a", t="given")
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert [given.verdict for given in report.steps] == ["attested", "reproduced"]
    assert report.steps[0].moved_elements == 1


def test_an_output_that_the_caller_has_shows_a_training_that_did_nothing(forger: Forger) -> None:
    steps = chain(forger, SOURCE)
    declare(forger, CAST, steps, a=SOURCE)
    report = forger.verify("a", t="given")
    assert (report.verdict, [given.verdict for given in report.steps]) == ("REJECTED", ["contradicted", "unchecked"])
    # The declared roots alone say so too.
    assert (forger.verify("a").verdict, codes(forger.verify("a"))) == ("REJECTED", {"TRAINING_NO_EFFECT"})


def test_another_folder_for_an_output_is_a_mismatch(forger: Forger) -> None:
    steps = chain(forger, {**SOURCE, "norm": f32(1.0, 0.5)})
    declare(forger, {**CAST, "norm": bf16(0x3F80, 0x3F00)}, steps, a=SOURCE)
    report = forger.verify("a", t="a")
    assert (report.verdict, codes(report)) == ("REJECTED", {"MATERIAL_MISMATCH"})
    assert [given.verdict for given in report.steps] == ["attested", "unchecked"]
    forger.write("bare", {"config.json": b"{}"})
    assert codes(forger.verify("a", t="bare")) == {"MATERIAL_MALFORMED", "INPUT_NOT_AVAILABLE"}


# Steps that ask for too much at once.


def shifted(names: Sequence[str]) -> Members:
    """Return an operation that blends each tensor with the other input's next one."""
    return {**linear("0.5", "0.5", tensors=list(names)), "names": {"b": [*names[1:], names[0]]}}


@pytest.mark.parametrize(("count", "verdict"), [(100, "VERIFIED"), (300, "INCOMPLETE")])
def test_a_step_that_connects_every_tensor_is_left_out_where_they_are_too_many(
    forger: Forger, count: int, verdict: str
) -> None:
    names = [f"t{number:04}" for number in range(count)]
    weights = {name: f32(float(number)) for number, name in enumerate(names)}
    other = {**weights, "extra": f32(1.0)}
    middle = {name: (number + (number + 1) % count) / 2 for number, name in enumerate(names)}
    output = {name: f32(middle[name] / 2 + number / 2) for number, name in enumerate(names)}
    root = write(forger, "middle", {name: f32(value) for name, value in middle.items()})
    first = merge("m", ["a", "b"], shifted(names), output={"checkpointRoot": root})
    # The second step blends with the tensor of the same name, which connects each one with the next.
    steps = [first, merge("n", ["m", "b"], linear("0.5", "0.5", tensors=names))]
    declare(forger, output, steps, a=weights, b=other)
    report = forger.verify("a", "b")
    assert report.verdict == verdict
    assert codes(report) == (set() if verdict == "VERIFIED" else {"STEP_TOO_LARGE"})
    if verdict == "INCOMPLETE":
        assert [given.verdict for given in report.steps] == ["unchecked", "unchecked"]
        assert report.coverage is not None
        assert report.coverage.tensors_hashed == count
