"""Materials and steps, checked without reading a weight, and then bound to the tensors they work on.

Pure: no file, no clock, no arithmetic. Spec: pipeline; verification V9.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from model_verify.digest import CheckpointRoot
from model_verify.errors import RecipeInvalid
from model_verify.findings import Finding
from model_verify.merge.coefficient import Weight, parse_weight, weight_sum
from model_verify.models import CopyOperation, LinearOperation, Material, MergeStep, StepHead, TrainStep
from model_verify.tensors import TensorInfo
from model_verify.validation import first_problem

LINEAR_F64_V1 = "linear/f64-v1"
MAX_NODES = 64
"""Of materials and steps together: each needs a buffer in every thread."""
BLENDABLE_DTYPES = frozenset({"F32", "BF16", "F16"})


@dataclass(frozen=True, slots=True)
class UnsupportedStep:
    """A step that this verifier cannot judge; `code` says why."""

    head: StepHead
    code: str

    @property
    def id(self) -> str:
        return self.head.id

    @property
    def type(self) -> str:
        return self.head.type

    @property
    def inputs(self) -> list[str]:
        return self.head.inputs

    @property
    def output_root(self) -> CheckpointRoot:
        return self.head.output.checkpoint_root


Step = MergeStep | TrainStep | UnsupportedStep


def output_root(step: Step) -> CheckpointRoot:
    """Return the checkpoint root that a step declares for its output."""
    return step.output_root if isinstance(step, UnsupportedStep) else step.output.checkpoint_root


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What `check_pipeline` made of a statement. `findings` of severity fail mean that it is not to be run."""

    materials: tuple[Material, ...]
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]


def check_pipeline(
    materials: Sequence[Material], raw_steps: Sequence[Mapping[str, Any]], subject_root: CheckpointRoot
) -> Pipeline:
    """Return the steps as typed objects, with every breach of pipeline §1 to §4 that shows without weights.

    Vectors: verify/step-*, verify/material-*, verify/output-*.
    """
    if len(materials) + len(raw_steps) > MAX_NODES:
        count = len(materials) + len(raw_steps)
        return Pipeline((), (), (_malformed("", f"{count} materials and steps, over the limit of {MAX_NODES}"),))
    findings: list[Finding] = []
    steps: list[Step] = []
    known: set[str] = set()
    for material in materials:
        if material.name in known:
            findings.append(_malformed(material.name, "two materials have this name"))
        known.add(material.name)
    for position, raw in enumerate(raw_steps):
        step, problems = _read_step(raw, f"step {position + 1}")
        findings += problems
        if step is None:
            continue
        if step.id in known:
            findings.append(_malformed(step.id, "a material or an earlier step has this name"))
        findings += _input_problems(step, known)
        known.add(step.id)
        steps.append(step)
    if len(steps) == len(raw_steps):
        findings += _path_problems(materials, steps, subject_root)
    return Pipeline(tuple(materials), tuple(steps), tuple(findings))


def _read_step(raw: Mapping[str, Any], where: str) -> tuple[Step | None, list[Finding]]:
    try:
        head = StepHead.read(raw)
        where = head.id
        match head.type:
            case "merge":
                if isinstance(raw.get("profile"), str) and raw["profile"] != LINEAR_F64_V1:
                    found = Finding("PROFILE_UNKNOWN", head.id, LINEAR_F64_V1, json.dumps(raw["profile"])[:100])
                    return UnsupportedStep(head, "PROFILE_UNKNOWN"), [found]
                merge = MergeStep.read(raw)
                return merge, list(_merge_problems(merge))
            case "train":
                train = TrainStep.read(raw)
                return train, list(_train_problems(train))
            case _:
                found = Finding("STEP_TYPE_UNKNOWN", head.id, "merge or train", json.dumps(head.type))
                return UnsupportedStep(head, "STEP_TYPE_UNKNOWN"), [found]
    except ValidationError as error:
        return None, [_malformed(where, first_problem(error))]


def _merge_problems(step: MergeStep) -> Iterable[Finding]:
    named: set[str] = set()
    rests = 0
    for operation in step.operations:
        if operation.tensors == "rest":
            rests += 1
        else:
            yield from _selection_problems(step.id, operation.tensors)
            if twice := named & set(operation.tensors):
                yield _malformed(step.id, f"tensor {json.dumps(min(twice))[:200]} has two operations")
            named |= set(operation.tensors)
        if isinstance(operation, LinearOperation):
            yield from _coefficient_problems(step, operation)
        elif operation.source not in step.inputs:
            yield _malformed(step.id, f"copies from {operation.source}, which is no input")
    if rests > 1:
        yield _malformed(step.id, "two operations take the rest")


def _coefficient_problems(step: MergeStep, operation: LinearOperation) -> Iterable[Finding]:
    if len(operation.coefficients) != len(step.inputs):
        count = len(operation.coefficients)
        yield _malformed(step.id, f"{count} coefficients for {len(step.inputs)} inputs")
    for coefficient in operation.coefficients:
        try:
            weight = parse_weight(coefficient.decimal)
        except RecipeInvalid as error:
            yield _malformed(step.id, error.message)
            continue
        if weight.float32 != coefficient.float32:
            yield Finding(
                "COEFFICIENT_BITS_WRONG", step.id, f"{weight.float32} for {coefficient.decimal}", coefficient.float32
            )


def _train_problems(step: TrainStep) -> Iterable[Finding]:
    if len(step.inputs) != 1:
        yield _malformed(step.id, f"a train step has one input, not {len(step.inputs)}")
    if step.trainable != "all":
        yield from _selection_problems(step.id, step.trainable)


def _selection_problems(where: str, names: Sequence[str]) -> Iterable[Finding]:
    encoded = [name.encode("utf-8") for name in names]
    if any(one >= other for one, other in pairwise(encoded)):
        yield _malformed(where, "tensor names out of order or twice")


def _input_problems(step: Step, known: set[str]) -> Iterable[Finding]:
    if len(set(step.inputs)) != len(step.inputs):
        yield _malformed(step.id, "an input twice")
    for name in step.inputs:
        if name not in known:
            yield _malformed(step.id, f"input {name} is no material and no earlier step")


def _path_problems(
    materials: Sequence[Material], steps: Sequence[Step], subject_root: CheckpointRoot
) -> Iterable[Finding]:
    if not steps:
        yield Finding("NO_STEPS")
    elif output_root(steps[-1]) != subject_root:
        yield Finding("OUTPUT_NOT_SUBJECT", steps[-1].id, subject_root.text, output_root(steps[-1]).text)
    used = {steps[-1].id} if steps else set()
    for step in reversed(steps):
        if step.id in used:
            used.update(step.inputs)
        else:
            yield Finding("STEP_OFF_PATH", step.id)
    for material in materials:
        if material.name not in used:
            yield Finding("MATERIAL_OFF_PATH", material.name)


def _malformed(where: str, problem: str) -> Finding:
    return Finding("PIPELINE_MALFORMED", where, actual=problem)


# Binding: which operation gives each output tensor, once the tensors of the inputs are known.


@dataclass(frozen=True, slots=True)
class Blend:
    """One output tensor as a linear blend of the tensors of that name in all inputs, in their order."""

    output: TensorInfo
    weights: tuple[Weight, ...]
    normalize: bool


@dataclass(frozen=True, slots=True)
class Copy:
    """One output tensor as it stands in the input at `position`."""

    output: TensorInfo
    position: int


@dataclass(frozen=True, slots=True)
class BoundMerge:
    """A merge step's operations by output tensor; nothing but findings where an operand is wrong."""

    operations: Mapping[str, Blend | Copy]
    findings: tuple[Finding, ...]

    @property
    def outputs(self) -> dict[str, TensorInfo]:
        return {name: operation.output for name, operation in self.operations.items()}


def bind_merge(step: MergeStep, inputs: Sequence[Mapping[str, TensorInfo]]) -> BoundMerge:
    """Return the operation of every output tensor, given the tensors of each input in order. Spec: pipeline §3."""
    selected: dict[str, LinearOperation | CopyOperation] = {}
    rest: LinearOperation | CopyOperation | None = None
    for operation in step.operations:
        if operation.tensors == "rest":
            rest = operation
        else:
            selected.update((name, operation) for name in operation.tensors)
    if rest is not None:
        for tensors in inputs:
            for name in tensors:
                selected.setdefault(name, rest)
    bound: dict[str, Blend | Copy] = {}
    findings: list[Finding] = []
    weights = {id(o): _weights(o) for o in step.operations if isinstance(o, LinearOperation)}
    for name, operation in selected.items():
        given: Blend | Copy | str
        if isinstance(operation, LinearOperation):
            given = _bind_blend(step, name, operation, inputs, weights[id(operation)])
        else:
            position = step.inputs.index(operation.source)
            info = inputs[position].get(name)
            given = Copy(info, position) if info else f"{step.inputs[position]} does not have it"
        if isinstance(given, str):
            findings.append(Finding("OPERAND_INVALID", f"{step.id}: {name}", actual=given))
        else:
            bound[name] = given
    return BoundMerge(bound, tuple(findings))


def _weights(operation: LinearOperation) -> tuple[Weight, ...]:
    return tuple(parse_weight(coefficient.decimal) for coefficient in operation.coefficients)


def _bind_blend(
    step: MergeStep,
    name: str,
    operation: LinearOperation,
    inputs: Sequence[Mapping[str, TensorInfo]],
    weights: tuple[Weight, ...],
) -> Blend | str:
    """Return the blend, or what is wrong with its operands. Spec: pipeline §3.3."""
    shapes: dict[tuple[int, ...], str] = {}
    for material, tensors in zip(step.inputs, inputs, strict=True):
        info = tensors.get(name)
        if info is None:
            return f"{material} does not have it"
        if info.dtype not in BLENDABLE_DTYPES:
            return f"{material} has it as {info.dtype}, which cannot be blended"
        shapes[info.shape] = material
    if len(shapes) > 1:
        listed = " and ".join(f"{list(shape)} in {material}" for shape, material in sorted(shapes.items())[:2])
        return f"its shape is {listed}"
    if operation.normalize and weight_sum([weight.value for weight in weights]) == 0:
        return "the coefficients add up to 0, which cannot normalize"
    return Blend(TensorInfo(name, operation.dtype, next(iter(shapes))), weights, operation.normalize)
