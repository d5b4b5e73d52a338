"""Steps bound to the tensors they work on: which operation gives each output tensor, from which operands.

Pure: no file, no arithmetic. There is one function for each type of step. Spec: pipeline §3, §6; verification V11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from model_verify.findings import Finding
from model_verify.forms import bind_dequantize, bind_lora, bind_quantize, not_computed
from model_verify.merge.coefficient import parse_float64, parse_weight, weight_sum
from model_verify.merge.kernel import Call, Number
from model_verify.merge.methods.linear_f64 import linear_call
from model_verify.models import (
    CastStep,
    CopyOperation,
    DequantizeStep,
    DropStep,
    LinearOperation,
    LoraStep,
    MergekitOperation,
    MergekitStep,
    MergeStep,
    QuantizeStep,
    RenameStep,
    ReplayedStep,
    ReshardStep,
)
from model_verify.operations import (
    BLENDABLE_DTYPES,
    Binder,
    Operand,
    OperandInvalid,
    Operation,
    Tensors,
    copied,
)
from model_verify.tensors import TensorInfo


@dataclass(frozen=True, slots=True)
class BoundStep:
    """A step's operations by output tensor; nothing but findings where an operand is wrong."""

    operations: Mapping[str, Operation]
    findings: tuple[Finding, ...]
    not_computed: Mapping[str, str] = field(default_factory=dict)
    """Further outputs, by name, and their dtypes: nobody can compute them. Spec: forms §4.1.4."""

    @property
    def outputs(self) -> dict[str, TensorInfo]:
        return {name: operation.output for name, operation in self.operations.items()}


def bind_step(step: ReplayedStep, inputs: Sequence[Tensors]) -> BoundStep:
    """Return the operation of every output tensor, given the tensors of each input in order."""
    match step:
        case MergeStep() | MergekitStep():
            given = _merge(step, inputs)
        case CastStep():
            given = _cast(step, inputs[0])
        case ReshardStep():
            given = {name: _copier(info) for name, info in inputs[0].items()}
        case RenameStep():
            given = _rename(step, inputs[0])
        case DropStep():
            given = _drop(step, inputs[0])
        case LoraStep():
            given = bind_lora(step, inputs)
        case DequantizeStep():
            given = bind_dequantize(step, inputs[0])
        case QuantizeStep():
            given = bind_quantize(step, inputs[0])
        case _:
            assert_never(step)
    bound: dict[str, Operation] = {}
    findings: list[Finding] = []
    for name, bind in given.items():
        try:
            bound[name] = bind(name)
        except OperandInvalid as error:
            findings.append(Finding("OPERAND_INVALID", f"{step.id}: {name}", actual=str(error)))
    return BoundStep(bound, tuple(findings), not_computed(step) if isinstance(step, QuantizeStep) else {})


# Merges. Spec: pipeline §3.


def _merge(step: MergeStep | MergekitStep, inputs: Sequence[Tensors]) -> dict[str, Binder]:
    """Return what binds each output tensor: the operation that names it, else the one that takes the rest."""
    given: dict[str, Binder] = {}
    rest: Binder | None = None
    for operation in step.operations:
        binder = _operation_binder(step, operation, inputs)
        if operation.tensors == "rest":
            rest = binder
        else:
            given.update((name, binder) for name in operation.tensors)
    if rest is not None:
        for tensors in inputs:
            for name in tensors:
                given.setdefault(name, rest)
    return given


def _operation_binder(
    step: MergeStep | MergekitStep,
    operation: CopyOperation | LinearOperation | MergekitOperation,
    inputs: Sequence[Tensors],
) -> Binder:
    if isinstance(operation, CopyOperation):
        return _copy_binder(step.inputs, operation, inputs)
    taking_part = operation.inputs or step.inputs
    names = {
        material: dict(zip(operation.tensors, others, strict=True))
        for material, others in (operation.names or {}).items()
    }
    call = (
        _linear(operation)
        if isinstance(operation, LinearOperation)
        else _mergekit(step.profile, operation, taking_part)
    )

    def bind(name: str) -> Operation:
        operands: list[Operand] = []
        for material in taking_part:
            position = step.inputs.index(material)
            there = names.get(material, {}).get(name, name)
            operands.append(Operand(position, _blendable(material, inputs[position].get(there), there, name)))
        shapes = {operand.info.shape: step.inputs[operand.position] for operand in operands}
        if len(shapes) > 1:
            listed = " and ".join(f"{list(shape)} in {material}" for shape, material in sorted(shapes.items())[:2])
            raise OperandInvalid(f"its shape is {listed}")
        if isinstance(operation, LinearOperation) and operation.normalize and not _sum_of(operation):
            raise OperandInvalid("the coefficients add up to 0, which cannot normalize")
        return Operation(TensorInfo(name, operation.dtype, next(iter(shapes))), tuple(operands), call)

    return bind


def _blendable(material: str, info: TensorInfo | None, there: str, name: str) -> TensorInfo:
    if info is None:
        called = "" if there == name else f", which is called {there} there"
        raise OperandInvalid(f"{material} does not have it{called}")
    if info.dtype not in BLENDABLE_DTYPES:
        raise OperandInvalid(f"{material} has it as {info.dtype}, which cannot be blended")
    return info


def _copy_binder(ids: Sequence[str], operation: CopyOperation, inputs: Sequence[Tensors]) -> Binder:
    position = ids.index(operation.source)
    names = dict(zip(operation.tensors, operation.names, strict=True)) if operation.names else {}

    def bind(name: str) -> Operation:
        there = names.get(name, name)
        info = inputs[position].get(there)
        if info is None:
            raise OperandInvalid(f"{operation.source} does not have it" + ("" if there == name else f" as {there}"))
        return copied(name, info, position)

    return bind


def _sum_of(operation: LinearOperation) -> float:
    return weight_sum([parse_weight(coefficient.decimal).value for coefficient in operation.coefficients])


def _linear(operation: LinearOperation) -> Call:
    weights = [parse_weight(coefficient.decimal).value for coefficient in operation.coefficients]
    return linear_call(weights, operation.dtype, normalize=operation.normalize)


def _mergekit(profile: str, operation: MergekitOperation, taking_part: Sequence[str]) -> Call:
    return Call(
        profile,
        operation.op,
        operation.dtype,
        compute_dtype=operation.compute_dtype,
        base=None if operation.base is None else taking_part.index(operation.base),
        shared={name: _number(value) for name, value in operation.parameters.items()},
        own=tuple({name: _number(value) for name, value in own.items()} for own in operation.input_parameters),
    )


def _number(value: str | bool) -> Number:
    return value if isinstance(value, bool) else parse_float64(value)


# Steps that give one checkpoint another form. Spec: pipeline §6.


def _copier(info: TensorInfo) -> Binder:
    return lambda name: copied(name, info)


def _missing(name: str) -> Operation:
    raise OperandInvalid("the input does not have it")


def _cast(step: CastStep, tensors: Tensors) -> dict[str, Binder]:
    call = Call("cast/v1", "cast", step.dtype)

    def cast(name: str) -> Operation:
        info = _blendable(step.inputs[0], tensors.get(name), name, name)
        if info.dtype == step.dtype:
            return copied(name, info)
        return Operation(TensorInfo(name, step.dtype, info.shape), (Operand(0, info),), call)

    if step.tensors == "floating":
        chosen = {name for name, info in tensors.items() if info.dtype in BLENDABLE_DTYPES}
    else:
        chosen = set(step.tensors)
    given: dict[str, Binder] = {name: _copier(info) for name, info in tensors.items() if name not in chosen}
    given.update((name, cast) for name in chosen)
    return given


def _rename(step: RenameStep, tensors: Tensors) -> dict[str, Binder]:
    given: dict[str, Binder] = {}
    for name, info in tensors.items():
        new = step.names.get(name, name)
        given[new] = _twice if new in given else _copier(info)
    given.update((new, _missing) for old, new in step.names.items() if old not in tensors)
    return given


def _twice(name: str) -> Operation:
    raise OperandInvalid("two tensors get this name")


def _drop(step: DropStep, tensors: Tensors) -> dict[str, Binder]:
    dropped = set(step.tensors)
    given: dict[str, Binder] = {name: _copier(info) for name, info in tensors.items() if name not in dropped}
    given.update((name, _missing) for name in dropped if name not in tensors)
    return given
