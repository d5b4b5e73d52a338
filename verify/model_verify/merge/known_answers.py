"""What every thread and device must compute before it is trusted with a merge. Spec: merge §2. Needs nothing.

The table is written by hand from the text of the spec; tests compute it again with Python's own floats.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from model_verify.merge.kernel import Block, Call

_REPEATS = 37
"""Each answer stands several times in a row, so that vector loops and their tails are both asked."""

_03 = 0.300000011920928955078125
"""The float32 nearest to 0.3, and below to 0.7."""
_07 = 0.699999988079071044921875


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """Operands as (coefficient, dtype, data), and the bytes that their blend must give."""

    name: str
    operands: tuple[tuple[float, str, bytes], ...]
    dtype: str
    normalize: bool
    expected: bytes

    @property
    def dtypes(self) -> frozenset[str]:
        """The formats that the answer is about."""
        return frozenset({self.dtype, *(dtype for _, dtype, _ in self.operands)})


def _bits(dtype: str, bits: int) -> bytes:
    return struct.pack("<I" if dtype == "F32" else "<H", bits) * _REPEATS


def _answer(
    name: str, operands: list[tuple[float, str, int]], dtype: str, expected: int, *, normalize: bool = False
) -> KnownAnswer:
    data = tuple((weight, kind, _bits(kind, bits)) for weight, kind, bits in operands)
    return KnownAnswer(name, data, dtype, normalize, _bits(dtype, expected))


_ONE = {"F32": 0x3F80_0000, "BF16": 0x3F80, "F16": 0x3C00}
_HALF_STEP = {"F32": 2.0**-24, "BF16": 2.0**-8, "F16": 2.0**-11}
"""Half the distance from 1 to the next value of the format."""


def _of_ones(name: str, dtype: str, weights: list[float], steps: int) -> KnownAnswer:
    """Return an answer over inputs that are all 1: the value `steps` after 1."""
    return _answer(f"{name} in {dtype}", [(w, dtype, _ONE[dtype]) for w in weights], dtype, _ONE[dtype] + steps)


def _every_format(dtype: str) -> tuple[KnownAnswer, ...]:
    half = _HALF_STEP[dtype]
    return (
        # Another order loses the 1 in the large terms.
        _of_ones("the order of terms", dtype, [2.0**100, -(2.0**100), 1.0], 0),
        # In float32 the last two terms are lost one by one; together they lift the sum over the tie.
        _of_ones("a sum in float64", dtype, [1.0, half, 2.0**-24, 2.0**-30], 1),
        # Just below a tie, which the rounding to float32 makes exact; it goes to the even neighbour above.
        _of_ones("two roundings", dtype, [1.0, 2 * half, half, -(2.0**-40)], 2 if dtype != "F32" else 1),
    )


KNOWN_ANSWERS = (
    *_every_format("F32"),
    *_every_format("BF16"),
    *_every_format("F16"),
    _answer("two roundings to BF16", [(_03, "BF16", 0x3F80), (_07, "BF16", 0x3F85)], "BF16", 0x3F84),
    _answer("a subnormal sum in F32", [(1.0, "F32", 0x0000_0001), (1.0, "F32", 0x0000_0002)], "F32", 0x0000_0003),
    _answer("a subnormal sum in BF16", [(1.0, "BF16", 0x0001), (1.0, "BF16", 0x0002)], "BF16", 0x0003),
    _answer("a subnormal sum in F16", [(1.0, "F16", 0x0001), (1.0, "F16", 0x0002)], "F16", 0x0003),
    _answer("minus zero", [(1.0, "BF16", 0x8000), (1.0, "BF16", 0x8000)], "BF16", 0x8000),
    _answer("minus zero and zero", [(1.0, "F32", 0x8000_0000), (1.0, "F32", 0)], "F32", 0),
    _answer("a tie to even, down", [(1.0, "F32", 0x3F80_0000), (1.0, "F32", 0x3380_0000)], "F32", 0x3F80_0000),
    _answer("a tie to even, up", [(1.0, "F32", 0x3F80_0001), (1.0, "F32", 0x3380_0000)], "F32", 0x3F80_0002),
    _answer("mixed F32 and BF16", [(1.0, "F32", 0x0000_0001), (1.0, "BF16", 0x0001)], "F32", 0x0001_0001),
    _answer("mixed BF16 and F16", [(1.0, "BF16", 0x3380), (1.0, "F16", 0x0001)], "F16", 0x0002),
    _answer("mixed F16 and F32", [(1.0, "F16", 0x8001), (1.0, "F32", 0x3380_0000)], "F32", 0),
    _answer(
        "a true division",
        # 49 times a tie: multiplied by 1/49 it comes out below the tie, and rounds to 0x3FFF_0001.
        [(24.5, "F32", 0x3FFF_0001), (24.5, "F32", 0x3FFF_0002)],
        "F32",
        0x3FFF_0002,
        normalize=True,
    ),
)


@dataclass(frozen=True, slots=True)
class MethodAnswer:
    """Operands as (dtype, data), and the bytes that a call must give for them.

    All have `shape`, unless `shapes` has one for each operand; the output has `shape`.
    """

    name: str
    call: Call
    shape: tuple[int, ...]
    operands: tuple[tuple[str, bytes], ...]
    expected: bytes
    shapes: tuple[tuple[int, ...], ...] | None = None

    def blocks(self) -> list[Block]:
        """Return the operands as a kernel takes them."""
        shapes = self.shapes or (self.shape,) * len(self.operands)
        return [Block(dtype, shape, data) for (dtype, data), shape in zip(self.operands, shapes, strict=True)]


def method_answer(
    name: str, call: Call, operands: tuple[str, ...], expected: str, *, shape: tuple[int, ...] | None = None
) -> MethodAnswer:
    """Return an answer over operands in the compute dtype, given as the hexadecimal digits of their elements.

    Without `shape` they stand several times in a row, so that vector loops and their tails are both asked.
    """
    assert call.compute_dtype is not None
    repeats = 1 if shape else _REPEATS
    kind = call.compute_dtype
    data = tuple((kind, _elements(kind, words) * repeats) for words in operands)
    shape = shape or (len(expected.split()) * repeats,)
    return MethodAnswer(name, call, shape, data, _elements(call.dtype, expected) * repeats)


def _elements(dtype: str, words: str) -> bytes:
    return b"".join(struct.pack("<I" if dtype == "F32" else "<H", int(word, 16)) for word in words.split())
