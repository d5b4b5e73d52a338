"""What every thread and device must compute before it is trusted with a merge. Spec: merge §2. Needs nothing.

The table is written by hand from the text of the spec; tests hold it against the vectors `merge/edges-*`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

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


KNOWN_ANSWERS = (
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
        [(1.0, "F32", 0x3F80_0000), (1.0, "F32", 0), (1.0, "F32", 0)],
        "F32",
        0x3EAA_AAAB,
        normalize=True,
    ),
)
