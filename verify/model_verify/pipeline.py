"""Materials and steps, checked without reading a weight.

Pure: no file, no clock, no arithmetic. Spec: pipeline; verification V9.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from model_verify.digest import CheckpointRoot
from model_verify.errors import RecipeInvalid
from model_verify.findings import Finding
from model_verify.forms import is_computed
from model_verify.gguf import GGUF_DTYPES
from model_verify.merge.coefficient import parse_float64, parse_weight
from model_verify.merge.methods.linear_f64 import LINEAR_F64_V1
from model_verify.merge.methods.table import METHODS, PROFILES, Base, Kind
from model_verify.models import (
    CastStep,
    CopyOperation,
    DequantizeStep,
    DropStep,
    KnownStep,
    LinearOperation,
    LoraStep,
    Material,
    MergekitOperation,
    MergekitStep,
    MergeStep,
    QuantizeStep,
    RenameStep,
    ReshardStep,
    RunStep,
    StepHead,
    StepOutput,
    TrainStep,
)
from model_verify.training_record import record_problems
from model_verify.validation import first_problem

MAX_NODES = 64
"""Of materials and steps together: each needs a buffer in every thread."""
_STEP_TYPES: Mapping[str, type[KnownStep]] = {
    "cast": CastStep,
    "reshard": ReshardStep,
    "rename": RenameStep,
    "drop": DropStep,
    "lora": LoraStep,
    "dequantize": DequantizeStep,
    "quantize": QuantizeStep,
    "train": TrainStep,
    "run": RunStep,
}
"""All but merges, whose models go by their profile."""
_PROFILES: Mapping[str, tuple[str, ...]] = {
    "merge": (LINEAR_F64_V1, *PROFILES),
    "lora": ("lora/f64-v1", "peft"),
    "quantize": ("ggml/nofma", "ggml/fma"),
}
"""The profiles of each type of step that has one."""


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
    def output(self) -> StepOutput:
        return self.head.output


Step = KnownStep | UnsupportedStep


def output_root(step: Step) -> CheckpointRoot:
    """Return the checkpoint root that a step declares for its output."""
    return step.output.checkpoint_root


def main_step(steps: Sequence[Step]) -> Step | None:
    """Return the step whose output is the primary weight set: the last one that names no other. Spec: pipeline §2."""
    return next((step for step in reversed(steps) if step.output.weight_set is None), None)


def steps_before(step: Step, steps: Sequence[Step]) -> list[Step]:
    """Return those of `steps` whose outputs `step` needs, directly or through others."""
    needed = set(step.inputs)
    before: list[Step] = []
    for other in reversed(steps):
        if other.id in needed:
            before.append(other)
            needed.update(other.inputs)
    return before


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What `check_pipeline` made of a statement. `findings` of severity fail mean that it is not to be run."""

    materials: tuple[Material, ...]
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]


def check_pipeline(
    materials: Sequence[Material],
    raw_steps: Sequence[Mapping[str, Any]],
    subject_root: CheckpointRoot,
    other_roots: Mapping[str, CheckpointRoot | None] | None,
) -> Pipeline:
    """Return the steps as typed objects, with every breach of the chapter that shows without weights.

    `other_roots` are those of the weight sets beside the primary one, by prefix; None where a set has no tensors, and
    in place of all where they are not known.

    Vectors: verify/step-*, verify/material-*, verify/output-*.
    """
    if len(materials) + len(raw_steps) > MAX_NODES:
        count = len(materials) + len(raw_steps)
        return Pipeline((), (), (_malformed("", f"{count} materials and steps, over the limit of {MAX_NODES}"),))
    findings: list[Finding] = []
    steps: list[Step] = []
    known: dict[str, CheckpointRoot] = {}
    for material in materials:
        if material.name in known:
            findings.append(_malformed(material.name, "two materials have this name"))
        known[material.name] = material.digest.checkpoint_root
    for position, raw in enumerate(raw_steps):
        step, problems = _read_step(raw, f"step {position + 1}")
        findings += problems
        if step is None:
            continue
        if step.id in known:
            findings.append(_malformed(step.id, "a material or an earlier step has this name"))
        findings += _input_problems(step, known)
        if isinstance(step, TrainStep):
            findings += _record_findings(step, known.get(step.inputs[0]))
        known[step.id] = output_root(step)
        steps.append(step)
    if len(steps) == len(raw_steps):
        findings += _path_problems(materials, steps, subject_root, other_roots)
    return Pipeline(tuple(materials), tuple(steps), tuple(findings))


def _read_step(raw: Mapping[str, Any], where: str) -> tuple[Step | None, list[Finding]]:
    try:
        head = StepHead.read(raw)
        where = head.id
        profile, profiles = raw.get("profile"), _PROFILES.get(head.type, ())
        if profiles and isinstance(profile, str) and profile not in profiles:
            found = Finding("PROFILE_UNKNOWN", head.id, ", ".join(profiles), json.dumps(profile)[:100])
            return UnsupportedStep(head, "PROFILE_UNKNOWN"), [found]
        if head.type == "merge":
            merge: MergeStep | MergekitStep = (MergekitStep if profile in PROFILES else MergeStep).read(raw)
            return merge, list(_merge_problems(merge))
        if head.type not in _STEP_TYPES:
            known = ", ".join(["merge", *_STEP_TYPES])
            found = Finding("STEP_TYPE_UNKNOWN", head.id, known, json.dumps(head.type))
            return UnsupportedStep(head, "STEP_TYPE_UNKNOWN"), [found]
        step = _STEP_TYPES[head.type].read(raw)
        return step, list(_form_problems(step))
    except ValidationError as error:
        return None, [_malformed(where, first_problem(error))]


def _merge_problems(step: MergeStep | MergekitStep) -> Iterable[Finding]:
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
        if isinstance(operation, CopyOperation):
            if operation.source not in step.inputs:
                yield _malformed(step.id, f"copies from {operation.source}, which is no input")
            if operation.names is not None:
                yield from _names_problems(step.id, operation.tensors, operation.names)
        else:
            yield from _operand_problems(step, operation)
    if rests > 1:
        yield _malformed(step.id, "two operations take the rest")


def _operand_problems(
    step: MergeStep | MergekitStep, operation: LinearOperation | MergekitOperation
) -> Iterable[Finding]:
    """Yield what is wrong with who takes part, under which names, and with which numbers. Spec: pipeline §3."""
    taking_part = operation.inputs or step.inputs
    if len(set(taking_part)) != len(taking_part) or not set(taking_part) <= set(step.inputs):
        yield _malformed(step.id, "an operation's `inputs` are not some of the step's, each once")
        return
    for material, names in (operation.names or {}).items():
        if material not in taking_part:
            yield _malformed(step.id, f"names tensors in {material}, which does not take part")
        yield from _names_problems(step.id, operation.tensors, names)
    if isinstance(operation, LinearOperation):
        yield from _coefficient_problems(step.id, operation, len(taking_part))
    else:
        yield from _method_problems(step, operation, taking_part)


def _names_problems(where: str, tensors: str | Sequence[str], names: Sequence[str]) -> Iterable[Finding]:
    if isinstance(tensors, str):
        yield _malformed(where, "`names` with the rest: there is no order that they could follow")
    elif len(names) != len(tensors):
        yield _malformed(where, f"{len(names)} names for {len(tensors)} tensors")


def _coefficient_problems(where: str, operation: LinearOperation, inputs: int) -> Iterable[Finding]:
    if len(operation.coefficients) != inputs:
        yield _malformed(where, f"{len(operation.coefficients)} coefficients for {inputs} inputs")
    for coefficient in operation.coefficients:
        try:
            weight = parse_weight(coefficient.decimal)
        except RecipeInvalid as error:
            yield _malformed(where, error.message)
            continue
        if weight.float32 != coefficient.float32:
            yield Finding(
                "COEFFICIENT_BITS_WRONG", where, f"{weight.float32} for {coefficient.decimal}", coefficient.float32
            )


def _method_problems(
    step: MergeStep | MergekitStep, operation: MergekitOperation, taking_part: Sequence[str]
) -> Iterable[Finding]:
    """Yield what is not as the method's section has it. Spec: merge §5, pipeline §3.5."""
    method = METHODS.get(operation.op)
    if method is None or step.profile not in method.profiles:
        yield _malformed(step.id, f"{step.profile} has no method {operation.op}")
        return
    if operation.base is not None and operation.base not in taking_part:
        yield _malformed(step.id, f"the base {operation.base} does not take part")
    if (operation.base is None and method.base is Base.REQUIRED) or (
        operation.base is not None and method.base is Base.FORBIDDEN
    ):
        yield _malformed(step.id, f"{operation.op} {'has no' if operation.base else 'needs a'} base")
    others = len(taking_part) - (operation.base is not None)
    if not method.fewest <= len(taking_part) <= method.most or method.others not in (None, others):
        yield _malformed(step.id, f"{operation.op} of {len(taking_part)} inputs")
    if len(operation.input_parameters) != len(taking_part):
        count = len(operation.input_parameters)
        yield _malformed(step.id, f"{count} `inputParameters` for {len(taking_part)} inputs")
    yield from _parameter_problems(step.id, operation.op, operation.parameters, method.shared, frozenset())
    for material, own in zip(taking_part, operation.input_parameters, strict=False):
        known = {} if material == operation.base else method.own
        yield from _parameter_problems(step.id, operation.op, own, known, method.optional)


def _parameter_problems(
    where: str, op: str, given: Mapping[str, str | bool], known: Mapping[str, Kind], optional: frozenset[str]
) -> Iterable[Finding]:
    if given.keys() - known.keys() or known.keys() - optional - given.keys():
        expected = ", ".join(known) or "none"
        yield _malformed(where, f"{op} takes the parameters {expected}, not {', '.join(sorted(given))[:200] or 'none'}")
    for name in known.keys() & given.keys():
        if problem := _value_problem(given[name], known[name]):
            yield _malformed(where, f"{op}: {name} is {problem}")


def _value_problem(value: str | bool, kind: Kind) -> str | None:
    """Return why a parameter is none of its kind."""
    if kind is Kind.BOOL or isinstance(value, bool):
        return None if kind is Kind.BOOL and isinstance(value, bool) else f"not {kind.value}"
    try:
        number = parse_float64(value)
    except RecipeInvalid as error:
        return f"no number: {error.message}"
    return None if kind is Kind.DECIMAL or number.is_integer() else "no whole number"


def _form_problems(step: KnownStep) -> Iterable[Finding]:
    """Yield what is wrong with a step that is no merge."""
    expected = 2 if isinstance(step, LoraStep) else 1
    if len(step.inputs) != expected and not isinstance(step, TrainStep | RunStep):
        number = "two inputs" if expected == 2 else "one input"
        yield _malformed(step.id, f"a {step.type} step has {number}, not {len(step.inputs)}")
    match step:
        case TrainStep():
            if step.inputs[1:] != (step.teachers or []):
                yield _malformed(step.id, "the inputs but the first are not its `teachers`, in their order")
            if not isinstance(step.trainable, str):
                yield from _selection_problems(step.id, step.trainable)
        case CastStep() if step.tensors != "floating":
            yield from _selection_problems(step.id, step.tensors)
        case DropStep():
            yield from _selection_problems(step.id, step.tensors)
        case RenameStep() if len(set(step.names.values())) != len(step.names):
            yield _malformed(step.id, "two tensors get one name")
        case LoraStep():
            yield from _lora_problems(step)
        case QuantizeStep():
            yield from _quantize_problems(step)
        case DequantizeStep():
            yield from _selection_problems(step.id, [target.tensor for target in step.targets])
            yield from _selection_problems(step.id, step.dropped or [])
            kept = {target.tensor for target in step.targets}
            if kept & ({target.scale for target in step.targets} | set(step.dropped or ())):
                yield _malformed(step.id, "a tensor is a target and is left out")
        case _:
            pass


def _record_findings(step: TrainStep, trained: CheckpointRoot | None) -> Iterable[Finding]:
    for problem in record_problems(step, trained):
        yield Finding("TRAINING_RECORD_INCONSISTENT", step.id, "a record that agrees with itself", problem)


def _quantize_problems(step: QuantizeStep) -> Iterable[Finding]:
    yield from _selection_problems(step.id, [target.tensor for target in step.targets])
    for target in step.targets:
        where = json.dumps(target.tensor)[:200]
        if target.dtype not in GGUF_DTYPES:
            yield _malformed(step.id, f"{where} has the unknown dtype {json.dumps(target.dtype)}")
        elif target.sources is None and is_computed(target):
            yield _malformed(step.id, f"{where} has no `sources`")
        if len(set(target.sources or ())) != len(target.sources or ()):
            yield _malformed(step.id, f"{where} has a source twice")
        if target.add is not None and target.permute_heads is not None:
            yield _malformed(step.id, f"{where} has both `permuteHeads` and `add`")
        if target.add is not None:
            try:
                parse_float64(target.add)
            except RecipeInvalid as error:
                yield _malformed(step.id, f"`add` of {where}: {error.message}")


def _lora_problems(step: LoraStep) -> Iterable[Finding]:
    yield from _selection_problems(step.id, [target.tensor for target in step.targets])
    yield from _selection_problems(step.id, [replacement.tensor for replacement in step.replaced or ()])
    for target in step.targets:
        if target.delta_dtype is not None and step.profile == "lora/f64-v1":
            yield _malformed(step.id, f"{step.profile} has no `deltaDtype`")
        try:
            parse_float64(target.scale)
        except RecipeInvalid as error:
            yield _malformed(step.id, f"the scale of {json.dumps(target.tensor)[:200]}: {error.message}")


def _selection_problems(where: str, names: Sequence[str]) -> Iterable[Finding]:
    encoded = [name.encode("utf-8") for name in names]
    if any(one >= other for one, other in pairwise(encoded)):
        yield _malformed(where, "tensor names out of order or twice")


def _input_problems(step: Step, known: Container[str]) -> Iterable[Finding]:
    if len(set(step.inputs)) != len(step.inputs):
        yield _malformed(step.id, "an input twice")
    for name in step.inputs:
        if name not in known:
            yield _malformed(step.id, f"input {name} is no material and no earlier step")


def _path_problems(
    materials: Sequence[Material],
    steps: Sequence[Step],
    subject_root: CheckpointRoot,
    other_roots: Mapping[str, CheckpointRoot | None] | None,
) -> Iterable[Finding]:
    """Yield the outputs that are no weight set of the manifest, and what leads to none. Spec: pipeline §2."""
    if not steps:
        yield Finding("NO_STEPS")
    published: set[str] = set()
    claimed: set[str] = set()
    for step in steps:
        prefix = step.output.weight_set
        if prefix is None:
            continue
        if prefix in claimed:
            yield _malformed(step.id, f"two steps give the weights in {json.dumps(prefix)[:200]}")
        claimed.add(prefix)
        published.add(step.id)
        signed = None if other_roots is None else other_roots.get(prefix)
        if other_roots is not None and signed != output_root(step):
            expected = signed.text if signed is not None else "a weight set of the manifest, not the primary one"
            yield Finding("OUTPUT_NOT_SUBJECT", step.id, expected, output_root(step).text)
    main = main_step(steps)
    if main is not None:
        published.add(main.id)
        if output_root(main) != subject_root:
            yield Finding("OUTPUT_NOT_SUBJECT", main.id, subject_root.text, output_root(main).text)
    elif steps:
        yield Finding("OUTPUT_NOT_SUBJECT", steps[-1].id, subject_root.text, "no step gives the primary weight set")
    used = set(published)
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
