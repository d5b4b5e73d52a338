"""Area `verify`: what a train step records, teachers, adapters, and commands that were run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import toy
from envelope import Copy, Object, Step, material
from folder import PARENTS, A, B, C, Given, Outcome, claim, given, incomplete, merge_step, rejected, vector, verified
from merkle import Tensor, sha256
from toy import POSITIONS, Model, Recipe
from vector import Vector

INCONSISTENT = rejected("TRAINING_RECORD_INCONSISTENT")
MALFORMED = rejected("PIPELINE_MALFORMED")
TUNED = toy.trained(A)
ON_THE_WAY = [(100, toy.root(toy.trained(A, ["embed.weight"]))), (200, toy.root(toy.trained(A, ["norm.weight"])))]
Edit = Callable[[Any], object]


def chain(start: bytes, checkpoints: Sequence[tuple[int, bytes]]) -> list[Object]:
    """Return checkpoints with their chain. Spec: pipeline §4.9."""
    link = sha256(b"model-attest/v1/training-start\n" + start)
    made: list[Object] = []
    for step, root in checkpoints:
        link = sha256(b"model-attest/v1/training-checkpoint\n" + link + step.to_bytes(8, "big") + root)
        made.append({"step": step, "checkpointRoot": f"sha256:{root.hex()}", "chain": f"sha256:{link.hex()}"})
    return made


def record() -> dict[str, Any]:
    """Return a record with every member that it may have."""
    digest = f"sha256:{sha256(b'some bytes').hex()}"
    return {
        "method": {"name": "full"},
        "objective": "supervised",
        "data": [
            {"name": "letters", "uri": "https://town.example/letters.jsonl", "rows": 1200, "split": "train",
             "digest": digest, "digestOf": "file"},
            {"name": "lab/minutes", "revision": "0123456789abcdef0123456789abcdef01234567", "fingerprint": "18c13244"},
        ],
        "code": {"uri": "https://git.town.example/tuning", "commit": "89abcdef" * 5, "diff": digest,
                 "script": {"path": "train.py", "fileDigest": digest}},
        "hyperparameters": {"learning_rate": "2e-05", "warmup_steps": 10, "bf16": True, "optim": "adamw_torch"},
        "seeds": {"training": "42", "data": "18446744073709551615"},
        "software": {"python": "3.11.9", "torch": "2.13.0"},
        "hardware": {"devices": [{"name": "NVIDIA H100 80GB HBM3", "count": 8}], "processes": 8},
        "started": "2026-05-01T08:00:00Z",
        "finished": "2026-05-02T09:30:00Z",
        "resumed": [{"step": 100, "at": "2026-05-01T20:00:00Z"}],
        "checkpoints": chain(toy.root(A), [*ON_THE_WAY, (250, toy.root(TUNED))]),
        "loss": {"logged": 5, "stride": 2, "points": [
            {"step": 50, "loss": "2.5"}, {"step": 150, "loss": "nan"}, {"step": 250, "loss": "1.25e0"},
        ]},
    }  # fmt: skip


def train(output: Model, inputs: Sequence[str] = ("a",), **body: object) -> Step:
    """Return a train step with what is given besides `trainable`."""
    return Step("train", "train", tuple(inputs), toy.root(output), {"trainable": "all", **body})


def edited(edit: Edit) -> Given:
    """Return a real training whose record was altered before it was signed."""
    made = record()
    edit(made)
    return signed(train(TUNED, record=made), TUNED)


def signed(step: Step, output: Model, **changes: Any) -> Given:
    """Return the folder of a step's output, with the materials that the step names."""
    models = {name: one for name, one in {"a": A, "b": B, "c": C}.items() if name in step.inputs}
    made = claim(output, materials=[material(name, toy.root(one)) for name, one in models.items()], steps=[step])
    parents = {name: {"model.safetensors": toy.file(one)} for name, one in models.items()}
    return given(made, **{"parents": parents, **changes})


def records() -> Iterator[Vector]:
    """Yield records that agree with themselves, and records that do not."""
    yield vector("record", "pipeline §4.7", "A record with every member.", edited(lambda r: None), verified(2))
    words = "A checkpoint on the way with the root of the input, and the next with the same."
    still = chain(toy.root(A), [(0, toy.root(A)), (1, toy.root(A)), (250, toy.root(TUNED))])
    yield vector("record-still", "pipeline §4.10", words, edited(lambda r: r.update(checkpoints=still)), verified(2))
    words = "Members that are not known, at every depth."
    made = edited(lambda r: (r.update(mood="good"), r["loss"].update(colour="red"), r["method"].update(tool="x")))
    yield vector("record-unknown-members", "pipeline §2", words, made, verified(2))
    way = [*ON_THE_WAY, (250, toy.root(TUNED))]
    other_start = chain(toy.root(B), way)
    descending = chain(toy.root(A), [way[1], way[0], way[2]])
    without_output = chain(toy.root(A), ON_THE_WAY)
    moments = {"started": "2026-05-02T09:30:01Z", "resumed": []}
    cases: dict[str, tuple[str, Edit]] = {
        "chain-digest": ("The chain digest of the second checkpoint is off by one bit.",
                         lambda r: r["checkpoints"][1].update(chain=flipped(r["checkpoints"][1]["chain"]))),
        "chain-root": ("The root of the first checkpoint was exchanged, the chain was not.",
                       lambda r: r["checkpoints"][0].update(checkpointRoot=f"sha256:{toy.root(B).hex()}")),
        "chain-step": ("The step of the first checkpoint was exchanged, the chain was not.",
                       lambda r: r["checkpoints"][0].update(step=101)),
        "chain-start": ("The chain begins at other weights.", lambda r: r.update(checkpoints=other_start)),
        "chain-cut": ("The first checkpoint was taken out.", lambda r: r["checkpoints"].pop(0)),
        "chain-end": ("The last checkpoint is not the output.", lambda r: r.update(checkpoints=without_output)),
        "chain-order": ("Two checkpoints in the wrong order, chained so.", lambda r: r.update(checkpoints=descending)),
        "loss-order": ("Two points of the loss in the wrong order.", lambda r: r["loss"]["points"].reverse()),
        "loss-count": ("More points than were logged.", lambda r: r["loss"].update(logged=2)),
        "times": ("The training ended before it began.", lambda r: r.update(moments)),
        "resumed-late": ("It went on after it had ended.", lambda r: r["resumed"][0].update(at="2026-05-03T00:00:00Z")),
        "no-teacher": ("A distillation without a teacher.", lambda r: r.update(objective="distillation")),
    }  # fmt: skip
    for name, (words, edit) in cases.items():
        yield vector(f"record-{name}", "pipeline §4.10", words, edited(edit), INCONSISTENT)


def flipped(digest: str) -> str:
    """Return digest text with its last bit turned."""
    return digest[:-1] + f"{int(digest[-1], 16) ^ 1:x}"


def malformed_records() -> Iterator[Vector]:
    """Yield records of another form."""
    cases: dict[str, tuple[str, Edit]] = {
        "no-method": ("No method.", lambda r: r.pop("method")),
        "method-unknown": ("A method that there is not.", lambda r: r.update(method={"name": "magic"})),
        "lora-no-rank": ("A low-rank training without its rank.",
                         lambda r: r.update(method={"name": "lora", "alpha": "16", "targets": ["q_proj"]})),
        "other-not-described": ("`other`, and not what.", lambda r: r.update(method={"name": "other"})),
        "objective-unknown": ("An objective that there is not.", lambda r: r.update(objective="fame")),
        "loss-number": ("A loss that is a number.", lambda r: r["loss"]["points"][0].update(loss=2)),
        "loss-grammar": ("A loss without a digit before the point.",
                         lambda r: r["loss"]["points"][0].update(loss=".5")),
        "loss-infinity": ("Infinity in another spelling.", lambda r: r["loss"]["points"][0].update(loss="Infinity")),
        "seed-number": ("A seed that is a number.", lambda r: r["seeds"].update(training=42)),
        "setting-list": ("A setting that is a list.", lambda r: r["hyperparameters"].update(betas=["0.9"])),
        "setting-long": ("A setting of 4097 characters.", lambda r: r["hyperparameters"].update(optim="x" * 4097)),
        "settings-many": ("1025 settings.",
                          lambda r: r.update(hyperparameters={f"s{number}": number for number in range(1025)})),
        "points-many": ("1025 points of the loss.", lambda r: r.update(loss={
            "logged": 1025, "stride": 1, "points": [{"step": number, "loss": "1"} for number in range(1025)]})),
        "date": ("The 30th of February.", lambda r: r.update(started="2026-02-30T00:00:00Z")),
        "zone": ("A time of another zone.", lambda r: r.update(started="2026-05-01T08:00:00+02:00")),
        "digest-of-nothing": ("A digest, and not of what.", lambda r: r["data"][0].pop("digestOf")),
        "diff-word": ("A diff that is neither a digest nor `none`.", lambda r: r["code"].update(diff="clean")),
        "null": ("A member that is null.", lambda r: r.update(objective=None)),
    }  # fmt: skip
    for name, (words, edit) in cases.items():
        yield vector(f"record-{name}", "pipeline §4.8", words, edited(edit), MALFORMED)


def teachers() -> Iterator[Vector]:
    """Yield trainings with more inputs than one."""
    distilled = {"method": {"name": "full"}, "objective": "distillation"}
    taught = train(TUNED, ("a", "b"), teachers=["b"], record=distilled)
    yield vector("teacher", "pipeline §4", "Distilled from `b`.", signed(taught, TUNED), verified(2))
    words = "Two teachers, in the order of the inputs."
    two = train(TUNED, ("a", "c", "b"), teachers=["c", "b"])
    yield vector("teachers", "pipeline §4", words, signed(two, TUNED), verified(2))
    blend = toy.town("0.6", "0.4").run({"a": A, "b": B})
    words = "Declared as distilled from `b`, and it is a blend with `b`."
    lying = train(blend, ("a", "b"), teachers=["b"], record=distilled)
    yield vector("teacher-blend", "pipeline §4.2", words, signed(lying, blend), rejected("TRAINING_EQUALS_BLEND"))
    words = "The folder given for the teacher holds another model."
    other = signed(taught, TUNED).altered(parents={**PARENTS, "b": {"model.safetensors": toy.file(C)}})
    yield vector("teacher-other", "verification V10", words, other, rejected("MATERIAL_MISMATCH"))
    words = "The teacher is not at hand."
    yield vector(
        "teacher-missing",
        "verification V10",
        words,
        signed(taught, TUNED, parents={"a": PARENTS["a"]}),
        incomplete("MATERIAL_MISSING"),
    )
    words = "The teacher is the output of a training that nobody published: its tensors are not needed."
    grown = toy.trained(B)
    first = Step("teacher", "train", ("b",), toy.root(grown), {"trainable": "all"})
    made = claim(TUNED, steps=[first, train(TUNED, ("a", "teacher"), teachers=["teacher"])])
    yield vector("teacher-unpublished", "pipeline §5", words, given(made), verified(2))
    cases = {
        "order": ("Two teachers, not in the order of the inputs.", ("a", "c", "b"), ["b", "c"]),
        "first": ("What is trained as its own teacher.", ("a", "b"), ["a"]),
        "no-input": ("A teacher that is no input.", ("a",), ["b"]),
        "none": ("`teachers` without anyone in it.", ("a",), []),
    }
    for name, (words, inputs, named) in cases.items():
        yield vector(
            f"teachers-{name}", "pipeline §4", words, signed(train(TUNED, inputs, teachers=named), TUNED), MALFORMED
        )


def adapter(rows: int = 2) -> Model:
    """Return two matrices of low rank for the embedding."""
    down, up = (f"base_model.model.embed.lora_{side}.weight" for side in "AB")
    data = toy.pack("F32", [0x3F800000 + number for number in range(16 * rows)])
    return {
        down: Tensor(down, "F32", (rows, 8), data[: 4 * 8 * rows]),
        up: Tensor(up, "F32", (16, rows), data),
    }


def adapters() -> Iterator[Vector]:
    """Yield trainings whose output is an adapter."""
    config = json.dumps({"base_model_name_or_path": "town/base", "peft_type": "LORA", "r": 2}).encode()

    def published(output: Model, trainable: object, outcome: Outcome, name: str, words: str) -> Vector:
        low_rank = {"method": {"name": "lora", "rank": 2, "alpha": "4", "targets": ["embed"]}}
        files = {"adapter_config.json": config, "adapter_model.safetensors": toy.file(output)}
        step = train(output, trainable=trainable, record=low_rank)
        made = signed(step, output)
        redone = claim(output, files=files, materials=[material("a", toy.root(A))], steps=[step])
        return vector(name, "pipeline §4.6", words, replace(made, folder=redone.signed()), outcome)

    elsewhere = "ADAPTER_BASE_ELSEWHERE"
    words = "An adapter, trained on `a`."
    yield published(adapter(), "adapter", verified(2, elsewhere), "adapter", words)
    words = "An adapter, declared as the trained model itself."
    yield published(adapter(), "all", rejected("TRAINING_CHANGED_OTHER", elsewhere), "adapter-as-model", words)
    words = "An adapter with a tensor of the model in it."
    both = {**adapter(), "norm.weight": A["norm.weight"]}
    yield published(both, "adapter", rejected("TRAINING_CHANGED_OTHER", elsewhere), "adapter-with-model", words)


def runs() -> Iterator[Vector]:
    """Yield commands that were run."""

    def run(output: Model, name: str = "run", **body: object) -> Step:
        command = {"command": ["quantise", "--bits", "4", ""], **body}
        return Step(name, "run", ("a", "b"), toy.root(output), command)

    stated: Mapping[str, object] = {
        "software": {"python": "3.12.1"},
        "environment": {"OMP_NUM_THREADS": "1", "LC_ALL": ""},
        "started": "2026-05-01T08:00:00Z",
        "finished": "2026-05-01T08:00:00Z",
    }
    words = "A command that had two inputs."
    yield vector("run", "pipeline §7", words, signed(run(C, **stated), C), verified(2))
    words = "An input of it is not at hand."
    made = signed(run(C), C, parents={"a": PARENTS["a"]})
    yield vector("run-parent-missing", "pipeline §7", words, made, incomplete("MATERIAL_MISSING"))
    words = "The weights were altered after signing."
    altered = signed(run(C), C).altered(files={"model.safetensors": toy.file(toy.trained(C))})
    yield vector("run-tampered", "verification V8", words, altered, rejected("TENSOR_MISMATCH"))
    words = "A merge of what a command gave and nobody published."
    norm, _, rest = toy.town("0.5", "0.5").operations
    recipe = Recipe((norm, Copy("b", (POSITIONS,)), rest))
    final = recipe.run({"run": C, "b": B})
    made = given(claim(final, steps=[run(C), merge_step(final, recipe, inputs=("run", "b"))]))
    yield vector("run-then-merge", "pipeline §5", words, made, incomplete("INPUT_NOT_AVAILABLE"))
    for name, words, body in (
        ("none", "No argument, not even a command.", {"command": []}),
        ("text", "A command as one text.", {"command": "quantise --bits 4"}),
        ("long", "An argument of 32,769 characters.", {"command": ["quantise", "x" * 32_769]}),
        ("environment", "A variable that is a number.", {"environment": {"OMP_NUM_THREADS": 1}}),
    ):
        yield vector(f"run-command-{name}", "pipeline §7", words, signed(run(C, **body), C), MALFORMED)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern the signer's word on training and commands."""
    for part in (records, malformed_records, teachers, adapters, runs):
        yield from part()
