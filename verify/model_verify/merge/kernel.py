"""What computes one output tensor from its operands. Spec: merge, pipeline §3, §6. Needs the standard library alone.

    call      a method with all its parameters, as a step states them: pure data (`Call`)
    block     elements of one operand or of the output: whole tensors, or the same stretch of all of them (`Block`)
    kernel    computes a call on blocks (`Kernel`); `merge.methods.load` gives the kernel of a call

Kernels differ in what their result is worth where it differs from what is there:

    EXACT     it is not what was declared
    WITHIN    it may be: the kernel says whether it lies in the bound that the method's section states
    EXAMINED  nothing is computed, because random numbers went in that nobody recorded; what is there is looked at
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from model_verify.merge.backend import Backend, Blended

Buffer = bytes | bytearray | memoryview
Number = float | int | bool | str


class Standing(IntEnum):
    """How an output stands to what is there; the worst of its parts is that of the whole."""

    EXACT = 0
    WITHIN = 1
    EXAMINED = 2
    DIFFERENT = 3


@dataclass(frozen=True, slots=True)
class Call:
    """A method and its parameters, for any number of tensors.

    `own` has a mapping for each operand. `base` is the position of the base among the operands. Numbers are given as
    the float64 that they mean.
    """

    profile: str
    method: str
    dtype: str
    """Of the output."""
    compute_dtype: str | None = None
    """What operands are rounded to first, where the method says so."""
    base: int | None = None
    shared: Mapping[str, Number] = field(default_factory=dict)
    own: tuple[Mapping[str, Number], ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Elements of `dtype` in `data`. `shape` is that of the whole tensor, or (elements,) for a stretch of it."""

    dtype: str
    shape: tuple[int, ...]
    data: Buffer


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a kernel says of bytes that are there and that it did not compute to the bit; both texts are for the report.

    `warning` says what is possible, and would come about by chance hardly ever.
    """

    standing: Standing
    text: str = ""
    warning: str = ""


class Kernel(Protocol):
    """The arithmetic of one call."""

    whole: bool
    """Whether it needs whole tensors; otherwise any stretch of elements comes out the same, wherever it is cut."""
    best: Standing
    """How an output can stand at best: EXACT, or EXAMINED where nothing is computed."""
    bounded: bool
    """Whether `judge` can say WITHIN: the method is not fixed to the bit."""

    def run(
        self, backend: Backend, operands: Sequence[Block], out: Block, *, expected: Buffer | None = None
    ) -> Blended:
        """Write the output's elements to `out.data`, and compare them with `expected`.

        Raises `BackendUnavailable` where the software is missing or computes other bits, `OperationRefused` where the
        method has no result for these operands.
        """
        ...

    def has_effect(self, backend: Backend, operands: Sequence[Block], position: int, out: Block) -> bool:
        """Return whether `out` depends on the operand at `position`. Spec: merge §3.

        `out` was computed before; where nothing is computed, it is what is there.
        """
        ...

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        """Return what is to be said of `there`, which is not `out`; where nothing is computed, `out` is `there`.

        DIFFERENT, without a look, for a method that is fixed to the bit.
        """
        ...
