"""Steps that are false, empty, or say nothing: never a level that they do not carry."""

from __future__ import annotations

import struct

import pytest

from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.cli.making import weight_file
from tests.hostile.forging import Forger, codes, linear, merge, root_of, train


def model(*values: float, name: str = "w") -> dict[str, bytes]:
    data = struct.pack(f"<{len(values)}f", *values)
    return {"model.safetensors": weight_file({name: ("F32", [len(values)], data)})}


@pytest.fixture
def blend(forger: Forger) -> dict[str, str]:
    """Parents `a` and `b` and their blend, half of each; returns the parents' roots."""
    forger.write("a", model(1.0, 2.0, 3.0))
    forger.write("b", model(3.0, 2.0, 5.0))
    forger.write("subject", model(2.0, 2.0, 4.0))
    forger.sign()
    return {"a": root_of(forger.root / "a"), "b": root_of(forger.root / "b")}


def test_the_true_declaration_is_level_3(forger: Forger, blend: dict[str, str]) -> None:
    forger.declare(blend, [merge("m", ["a", "b"], linear("0.5", "0.5"))])
    report = forger.verify("a", "b")
    assert (report.verdict, report.level, codes(report)) == ("VERIFIED", 3, set())


FALSE_STEPS = {
    "trainable names nothing that exists": [train("t", "a", ["no-such-tensor"])],
    "trainable names what exists and what does not": [train("t", "a", ["no-such-tensor", "w"])],
    "trainable is empty": [train("t", "a", [])],
    "trainable names a tensor twice": [train("t", "a", ["w", "w"])],
    "trainable is another word": [train("t", "a", "none")],
    "an operation on a tensor that no input has": [merge("m", ["a"], linear("1", tensors=["x"]))],
    "no operation": [merge("m", ["a"])],
    "an operation on no tensor": [merge("m", ["a"], linear("1", tensors=[]))],
    "coefficients that add up to zero, normalized": [merge("m", ["a"], linear("-0", normalize=True))],
    "too few coefficients": [merge("m", ["a"], linear())],
    "a coefficient that is not a number": [merge("m", ["a"], {**linear("1"), "coefficients": [1]})],
    "an input that is the step itself": [merge("m", ["m"], linear("1"))],
    "an input that is empty": [merge("m", [""], linear("1"))],
    "a copy from what is no input": [merge("m", ["a"], {"op": "copy", "tensors": "rest", "from": "b"})],
    "a copy of a tensor that is not there": [merge("m", ["a"], {"op": "copy", "tensors": ["x"], "from": "a"})],
    "an unknown operation": [merge("m", ["a"], {"op": "slerp", "tensors": "rest"})],
    "a type of no letters": [{"id": "m", "type": "", "inputs": ["a"]}],
    "not an object of a step": [{"id": "m"}],
    "a training of equal weights": [merge("m", ["a"], linear("1")), train("t", "m")],
}


@pytest.mark.parametrize("steps", FALSE_STEPS.values(), ids=FALSE_STEPS.keys())
def test_a_false_step_is_rejected(forger: Forger, blend: dict[str, str], steps: list[dict[str, object]]) -> None:
    forger.declare({"a": blend["a"]}, steps)
    report = forger.verify("a")
    assert (report.verdict, report.level) == ("REJECTED", None)


@pytest.mark.parametrize("identifier", ["step:m", "#without", "", ".m", "a b", "m\n", "é", "x" * 65, "../m"])
def test_an_identifier_outside_the_grammar_is_rejected(forger: Forger, blend: dict[str, str], identifier: str) -> None:
    forger.declare(blend, [merge(identifier, ["a", "b"], linear("0.5", "0.5"))])
    assert codes(forger.verify("a", "b")) == {"PIPELINE_MALFORMED"}


@pytest.mark.parametrize(
    "names", [("subject", "without"), ("material", "step"), ("x" * 64, "X" * 64), ("0", "a.b-c_d")]
)
def test_identifiers_that_look_like_the_engines_own_change_nothing(
    forger: Forger, blend: dict[str, str], names: tuple[str, str]
) -> None:
    one, step = names
    forger.declare({one: blend["a"], "b": blend["b"]}, [merge(step, [one, "b"], linear("0.5", "0.5"))])
    parents = {one: LocalFolder(forger.root / "a"), "b": LocalFolder(forger.root / "b")}
    source = LocalFolder(forger.subject)
    report = verify(Request(source, expected_signer=forger.signer.public_key, parents=parents, device="cpu"))
    assert (report.verdict, report.level) == ("VERIFIED", 3)


@pytest.mark.parametrize("decimal", ["0", "-0", "0e5", "1e-45", "1e-400", "-1e-30"])
def test_a_parent_without_effect_keeps_the_level_at_1(forger: Forger, decimal: str) -> None:
    forger.write("a", model(1.0, 2.0, 3.0))
    forger.write("famous", model(3.0, 2.0, 5.0))
    forger.write("subject", model(1.0, 2.0, 3.0))
    forger.sign()
    roots = {name: root_of(forger.root / name) for name in ("a", "famous")}
    forger.declare(roots, [merge("m", ["a", "famous"], linear("1", decimal))])
    report = forger.verify("a", "famous")
    assert (report.verdict, report.level, codes(report)) == ("VERIFIED", 1, {"PARENT_NO_EFFECT"})
    assert "famous" in report.headline


def test_an_input_that_no_operation_uses_keeps_the_level_at_1(forger: Forger, blend: dict[str, str]) -> None:
    forger.write("subject", model(1.0, 2.0, 3.0))
    forger.sign()
    forger.declare(blend, [merge("m", ["a", "b"], {"op": "copy", "tensors": "rest", "from": "a"})])
    report = forger.verify("a", "b")
    assert (report.verdict, report.level, codes(report)) == ("VERIFIED", 1, {"PARENT_NO_EFFECT"})


def test_an_intermediate_without_effect_keeps_the_level_at_1(forger: Forger, blend: dict[str, str]) -> None:
    forger.write("subject", model(1.0, 2.0, 3.0))
    forger.sign()
    middle = merge("half", ["b"], linear("1"), output={"checkpointRoot": blend["b"]})
    forger.declare(blend, [middle, merge("m", ["a", "half"], linear("1", "0"))])
    report = forger.verify("a", "b")
    assert (report.verdict, report.level) == ("VERIFIED", 1)


@pytest.mark.parametrize("files", [{}, {"w": ("F32", [0], b"")}, {"w": ("F32", [0, 9007199254740991], b"")}])
def test_a_merge_of_nothing_reaches_no_level_above_1(forger: Forger, files: dict[str, object]) -> None:
    for name in ("a", "b", "subject"):
        forger.write(name, {"model.safetensors": weight_file(files)})  # type: ignore[arg-type]
    forger.sign()
    root = root_of(forger.subject)
    forger.declare({"a": root, "b": root}, [merge("m", ["a", "b"], linear("0.5", "0.5"))])
    report = forger.verify("a", "b")
    assert (report.verdict, report.level) == ("VERIFIED", 1)
    forger.declare({"a": root}, [train("t", "a")])
    assert codes(forger.verify("a")) >= {"TRAINING_NO_EFFECT"}


def test_a_chain_stops_at_the_step_that_is_false(forger: Forger, blend: dict[str, str]) -> None:
    false = merge("half", ["a", "b"], linear("0.5", "0.25"), output={"checkpointRoot": root_of(forger.subject)})
    forger.declare(blend, [false, merge("m", ["half"], linear("1"))])
    report = forger.verify("a", "b")
    assert report.verdict == "REJECTED"
    assert [step.verdict for step in report.steps] == ["contradicted", "unchecked"]


def test_a_training_nobody_published_is_no_ground_for_a_merge(forger: Forger, blend: dict[str, str]) -> None:
    hidden = train("t", "a", output={"checkpointRoot": blend["b"]})
    forger.declare({"a": blend["a"]}, [hidden, merge("m", ["t"], linear("1"))])
    report = forger.verify("a")
    assert report.verdict == "INCOMPLETE"
    assert "INPUT_NOT_AVAILABLE" in codes(report)


def test_a_training_whose_output_was_published_is_judged_whatever_comes_after_it(
    forger: Forger, blend: dict[str, str]
) -> None:
    published = train("t", "a", output={"checkpointRoot": root_of(forger.subject)})
    forger.declare({"a": blend["a"]}, [published, merge("m", ["t"], linear("1"))])
    report = forger.verify("a")
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert [step.verdict for step in report.steps] == ["attested", "reproduced"]


def test_one_folder_for_two_materials_gives_no_false_match(forger: Forger, blend: dict[str, str]) -> None:
    forger.write("b", model(1.0, 2.0, 3.0))  # now `b` is `a` again
    forger.declare(blend, [merge("m", ["a", "b"], linear("0.5", "0.5"))])
    report = forger.verify("a", "b")
    assert (report.verdict, codes(report)) == ("REJECTED", {"MATERIAL_MISMATCH"})


def test_a_blend_is_found_where_the_candidate_is_also_the_parent(forger: Forger, blend: dict[str, str]) -> None:
    forger.declare({"a": blend["a"]}, [train("t", "a")])
    assert forger.verify("a", candidates=["a"]).level in (None, 2)
    assert forger.verify("a", candidates=["a", "a", "subject"]).verdict in ("VERIFIED", "REJECTED")


LIES_IN_THE_MANIFEST = {
    "a primary set that is not what loads": lambda m: m["weight_sets"][0].update(prefix="modelx"),
    "another root than that of the tensors": lambda m: m["weight_sets"][0].update(checkpoint_root="sha256:" + "0" * 64),
    "no tensors": lambda m: m["weight_sets"][0].update(tensors=[]),
    "a tensor of another shape": lambda m: m["weight_sets"][0]["tensors"][0].update(shape=[1, 3]),
    "a tensor of another dtype": lambda m: m["weight_sets"][0]["tensors"][0].update(dtype="U32"),
    "a tensor of eight petabytes": lambda m: m["weight_sets"][0]["tensors"][0].update(shape=[2**50 // 8]),
    "a tensor of more": lambda m: m["weight_sets"][0]["tensors"][0].update(shape=[2**53 - 1] * 64),
    "more leaves": lambda m: m["leaves"].update(count=2**53 - 1),
    "another header": lambda m: m["files"][0].update(header_digest="sha256:" + "0" * 64),
    "an exempt file": lambda m: m["files"].insert(0, {**m["files"][0], "path": "attestation/model.safetensors"}),
    "an index that is not there": lambda m: m["weight_sets"][0].update(index="model.safetensors.index.json"),
    "no weight sets": lambda m: m.update(weight_sets=[]),
    "no files": lambda m: m.update(files=[]),
}


@pytest.mark.parametrize("lie", LIES_IN_THE_MANIFEST.values(), ids=LIES_IN_THE_MANIFEST.keys())
def test_a_manifest_that_lies_under_a_good_signature_is_rejected(
    forger: Forger, blend: dict[str, str], lie: object
) -> None:
    forger.relist(lie)  # type: ignore[arg-type]
    assert forger.verify().verdict == "REJECTED"
