"""What binding a step comes to: which operation gives each output tensor, from which operands. Pure data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model_verify.merge.kernel import Call
from model_verify.tensors import TensorInfo

BLENDABLE_DTYPES = frozenset({"F32", "BF16", "F16"})

Tensors = Mapping[str, TensorInfo]
"""The tensors of one input by name."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor of the input at `position`, as that input has it."""

    position: int
    info: TensorInfo


@dataclass(frozen=True, slots=True)
class Operation:
    """How one output tensor comes to be: by `call`, or where there is none, as a copy of the one operand.

    Operations that a step states together share one `Call` object.
    """

    output: TensorInfo
    operands: tuple[Operand, ...]
    call: Call | None = None


class OperandInvalid(Exception):
    """An operand is missing, or not what its operation can take; the text says what is wrong."""


Binder = Callable[[str], Operation]
"""Gives the operation of an output tensor by its name, or raises `OperandInvalid`."""


def copied(name: str, info: TensorInfo, position: int = 0) -> Operation:
    """Return the copy of a tensor of one input under a name of its own."""
    return Operation(TensorInfo(name, info.dtype, info.shape), (Operand(position, info),))
