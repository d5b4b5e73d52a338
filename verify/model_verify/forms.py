"""Bind the steps that change a checkpoint's form with an arithmetic of their own: adapters, FP8. Spec: forms.

Pure: no file, no arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from model_verify.merge.coefficient import parse_float64
from model_verify.merge.kernel import Call, Number
from model_verify.models import DequantizeStep, DequantizeTarget, LoraStep, LoraTarget, QuantizeStep, QuantizeTarget
from model_verify.operations import BLENDABLE_DTYPES, Binder, Operand, OperandInvalid, Operation, Tensors, copied
from model_verify.tensors import TensorInfo, described, packing

F8_E4M3 = "F8_E4M3"
QUANTIZED_DTYPES = frozenset(
    {"GGML_Q4_0", "GGML_Q4_1", "GGML_Q5_0", "GGML_Q5_1", "GGML_Q8_0", "GGML_MXFP4", "GGML_TQ1_0", "GGML_TQ2_0"}
)
"""Block formats that are computed. Spec: forms §4.1."""
_BASE, _ADAPTER = 0, 1


class _Calls:
    """Calls by what they say, so that tensors that are computed alike share one object."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Call] = {}

    def get(self, profile: str, method: str, dtype: str, shared: Mapping[str, Number] | None = None) -> Call:
        key = (profile, method, dtype, *sorted((shared or {}).items()))
        return self._known.setdefault(key, Call(profile, method, dtype, shared=shared or {}))

    def cast(self, name: str, info: TensorInfo, dtype: str, position: int) -> Operation:
        """Return the cast of a tensor, or its copy where it has that dtype or is none of those that can be cast."""
        if info.dtype == dtype or info.dtype not in BLENDABLE_DTYPES:
            return copied(name, info, position)
        call = self.get("cast/v1", "cast", dtype)
        return Operation(TensorInfo(name, dtype, info.shape), (Operand(position, info),), call)


# Adapters. Spec: forms §2.


def bind_lora(step: LoraStep, inputs: Sequence[Tensors]) -> dict[str, Binder]:
    """Return what binds each output tensor, and each tensor of the adapter that no target uses."""
    base, adapter = inputs
    calls = _Calls()
    targets = {target.tensor: target for target in step.targets}
    replaced = {replacement.tensor: replacement.source for replacement in step.replaced or ()}

    def start_of(name: str) -> Operand:
        """Return what a target starts from, or what stands in the output where there is no target."""
        there = base.get(name)
        if name not in replaced:
            if there is None:
                raise OperandInvalid("the base does not have it")
            return Operand(_BASE, there)
        info = _in_adapter(adapter, replaced[name])
        if there is not None and there.shape != info.shape:
            raise OperandInvalid(f"its shape is {list(there.shape)} in the base and {list(info.shape)} in the adapter")
        return Operand(_ADAPTER, info)

    def bind(name: str) -> Operation:
        start = start_of(name)
        there = base.get(name, start.info)
        dtype = step.dtype or (there if there.dtype in BLENDABLE_DTYPES else start.info).dtype
        if name not in targets:
            return calls.cast(name, start.info, dtype, start.position)
        factors = _factors(targets[name], start.info, adapter)
        call = calls.get(step.profile, "lora", dtype, _lora_parameters(targets[name]))
        return Operation(TensorInfo(name, dtype, start.info.shape), (start, *factors), call)

    given: dict[str, Binder] = dict.fromkeys((*base, *replaced, *targets), bind)
    used = {name for target in step.targets for name in (target.a, target.b)} | set(replaced.values())
    given.update((name, _unused) for name in adapter if name not in used)
    return given


def _lora_parameters(target: LoraTarget) -> dict[str, Number]:
    parameters: dict[str, Number] = {"scale": parse_float64(target.scale), "transposed": target.transposed}
    if target.delta_dtype is not None:
        parameters["deltaDtype"] = target.delta_dtype
    return parameters


def _factors(target: LoraTarget, matrix: TensorInfo, adapter: Tensors) -> tuple[Operand, Operand]:
    """Return A and B of a target, checked against the matrix that they are for. Spec: forms §2.1."""
    a, b = _in_adapter(adapter, target.a), _in_adapter(adapter, target.b)
    for info in (matrix, a, b):
        if len(info.shape) != 2:
            raise OperandInvalid(f"{info.name} is no matrix: its shape is {list(info.shape)}")
        if info.dtype not in BLENDABLE_DTYPES:
            raise OperandInvalid(f"{info.name} is {info.dtype}, to which nothing can be added")
    rank = a.shape[0]
    rows, columns = reversed(matrix.shape) if target.transposed else matrix.shape
    if rank < 1 or a.shape != (rank, columns) or b.shape != (rows, rank):
        turned = ", transposed" if target.transposed else ""
        shapes = f"{list(b.shape)} times {list(a.shape)}{turned}"
        raise OperandInvalid(f"the adapter is for another base: {shapes} does not give {list(matrix.shape)}")
    return Operand(_ADAPTER, a), Operand(_ADAPTER, b)


def _in_adapter(adapter: Tensors, name: str) -> TensorInfo:
    info = adapter.get(name)
    if info is None:
        raise OperandInvalid(f"the adapter has no tensor {name}")
    return info


def _unused(name: str) -> Operation:
    raise OperandInvalid("no target uses this tensor of the adapter")


# FP8. Spec: forms §3.


def bind_dequantize(step: DequantizeStep, tensors: Tensors) -> dict[str, Binder]:
    """Return what binds each output tensor, and each tensor that is to be left out and is not there."""
    calls = _Calls()
    targets = {target.tensor: target for target in step.targets}
    left_out = {target.scale for target in step.targets} | set(step.dropped or ())

    def bind(name: str) -> Operation:
        target, codes = targets[name], tensors.get(name)
        scales = tensors.get(target.scale)
        if codes is None or scales is None:
            raise OperandInvalid(f"the input has no tensor {name if codes is None else target.scale}")
        if codes.dtype != F8_E4M3:
            raise OperandInvalid(f"its codes are {codes.dtype}, not {F8_E4M3}")
        if scales.dtype not in BLENDABLE_DTYPES:
            raise OperandInvalid(f"its scales are {scales.dtype}")
        call = calls.get("dequantize/v1", "dequantize", step.dtype, _block(target, codes, scales))
        return Operation(TensorInfo(name, step.dtype, codes.shape), (Operand(0, codes), Operand(0, scales)), call)

    given: dict[str, Binder] = {}
    for name, info in tensors.items():
        if name not in left_out:
            given[name] = _dequantized_copy(info)
    given.update((name, bind) for name in targets)
    given.update((name, _missing) for name in left_out if name not in tensors)
    return given


def _dequantized_copy(info: TensorInfo) -> Binder:
    return lambda name: copied(name, info)


def _block(target: DequantizeTarget, codes: TensorInfo, scales: TensorInfo) -> dict[str, Number]:
    """Return the extents of a block as parameters, checked against both shapes. Spec: forms §3.1."""
    if len(target.block) != len(codes.shape):
        raise OperandInvalid(f"blocks of {target.block} in a tensor of shape {list(codes.shape)}")
    grid = [-(-size // extent) for size, extent in zip(codes.shape, target.block, strict=True)]
    if [extent for extent in grid if extent != 1] != [extent for extent in scales.shape if extent != 1]:
        raise OperandInvalid(f"{list(grid)} blocks of {target.block}, but scales of shape {list(scales.shape)}")
    assert math.prod(grid) == scales.elements
    return {f"block.{axis}": extent for axis, extent in enumerate(target.block)}


def _missing(name: str) -> Operation:
    raise OperandInvalid("the input does not have it")


# GGUF. Spec: forms §4.


def is_computed(target: QuantizeTarget) -> bool:
    """Return whether a target can be computed: its dtype says so, or it is a copy of what is no float."""
    return target.dtype in QUANTIZED_DTYPES or not target.dtype.startswith("GGML_")


def not_computed(step: QuantizeStep) -> dict[str, str]:
    """Return the targets that nobody can compute, and their dtypes."""
    return {target.tensor: target.dtype for target in step.targets if not is_computed(target)}


def bind_quantize(step: QuantizeStep, tensors: Tensors) -> dict[str, Binder]:
    """Return what binds each output tensor that can be computed."""
    calls = _Calls()
    targets = {target.tensor: target for target in step.targets if is_computed(target)}

    def bind(name: str) -> Operation:
        target = targets[name]
        sources = [_in_input(tensors, source) for source in target.sources or ()]
        first = sources[0]
        if any((source.dtype, source.shape) != (first.dtype, first.shape) for source in sources):
            raise OperandInvalid(f"its sources are not all {described(first)}")
        if first.dtype not in BLENDABLE_DTYPES:
            return _copied_as_it_is(target, sources)
        if target.dtype not in BLENDABLE_DTYPES | QUANTIZED_DTYPES:
            raise OperandInvalid(f"{first.name} is {first.dtype}, which is not made {target.dtype}")
        shape = (len(sources), *first.shape) if len(sources) > 1 else first.shape
        row, elements = (shape[-1] if shape else 1), packing(target.dtype).elements
        if row % elements:
            raise OperandInvalid(f"rows of {row} are no blocks of {elements}")
        call = calls.get(step.profile, "quantize", target.dtype, _transformation(target, first))
        operands = tuple(Operand(0, source) for source in sources)
        return Operation(TensorInfo(name, target.dtype, shape), operands, call)

    return dict.fromkeys(targets, bind)


def _in_input(tensors: Tensors, name: str) -> TensorInfo:
    info = tensors.get(name)
    if info is None:
        raise OperandInvalid(f"the input has no tensor {name}")
    return info


def _copied_as_it_is(target: QuantizeTarget, sources: Sequence[TensorInfo]) -> Operation:
    (first, *others) = sources
    if others or first.dtype != target.dtype or target.permute_heads is not None or target.add is not None:
        raise OperandInvalid(f"{first.name} is {first.dtype}, which can only be copied")
    return copied(target.tensor, first)


def _transformation(target: QuantizeTarget, source: TensorInfo) -> dict[str, Number]:
    """Return the named transformation as parameters, checked against the source. Spec: forms §4.2."""
    if target.permute_heads is not None:
        if not source.shape or source.shape[0] % (2 * target.permute_heads):
            raise OperandInvalid(f"{source.name} of shape {list(source.shape)} has no {target.permute_heads} heads")
        return {"permuteHeads": target.permute_heads}
    return {} if target.add is None else {"add": parse_float64(target.add)}
