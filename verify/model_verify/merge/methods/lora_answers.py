"""Known answers of `lora/f64-v1` and `peft`, written by hand from forms §2."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from model_verify.merge.kernel import Call, Number
from model_verify.merge.known_answers import MethodAnswer

_ROWS = 37
"""Each answer stands in so many rows, so that vector loops and their tails are both asked."""


def _bits(dtype: str, values: Sequence[int]) -> bytes:
    return b"".join(struct.pack("<I" if dtype == "F32" else "<H", bits) for bits in values)


def _answer(
    profile: str,
    name: str,
    base: tuple[str, int],
    left: Sequence[int],
    right: Sequence[int],
    expected: tuple[str, int],
    scale: float = 1.0,
    **parameters: Number,
) -> MethodAnswer:
    """Return an answer about one element: `left` and `right` are a row of B and a column of A, in F32."""
    rank = len(left)
    call = Call(profile, "lora", expected[0], shared={"scale": scale, "transposed": False, **parameters})
    operands = (
        (base[0], _bits(*_row(base)) * _ROWS),
        ("F32", _bits("F32", right)),
        ("F32", _bits("F32", left) * _ROWS),
    )
    shapes = ((_ROWS, 1), (rank, 1), (_ROWS, rank))
    return MethodAnswer(name, call, (_ROWS, 1), operands, _bits(*_row(expected)) * _ROWS, shapes)


def _row(element: tuple[str, int]) -> tuple[str, list[int]]:
    return element[0], [element[1]]


def _transposed(profile: str) -> MethodAnswer:
    # W is 2 by 3, so that B is 3 by 1 and A is 1 by 2: element (i, j) is W + A[i]·B[j], here i + 1 times j + 1.
    call = Call(profile, "lora", "F32", shared={"scale": 1.0, "transposed": True})
    numbers = [struct.unpack("<I", struct.pack("<f", value))[0] for value in (1.0, 2.0, 3.0)]
    operands = (("F32", bytes(24)), ("F32", _bits("F32", numbers[:2])), ("F32", _bits("F32", numbers)))
    products = struct.pack("<6f", 1.0, 2.0, 3.0, 2.0, 4.0, 6.0)
    return MethodAnswer("a transposed matrix", call, (2, 3), operands, products, ((2, 3), (1, 2), (3, 1)))


_ONE, _MINUS_ONE = 0x3F80_0000, 0xBF80_0000
_ZERO = ("F32", 0)


def _of_both(profile: str) -> tuple[MethodAnswer, ...]:
    return (
        # Another order loses the 1 in the large terms.
        _answer(profile, "the order of terms", _ZERO, [0x7180_0000, 0xF180_0000, _ONE], [_ONE] * 3, ("F32", _ONE)),
        _answer(profile, "subnormal sums in F32", ("F32", 1), [1, 1], [_ONE, _ONE], ("F32", 3)),
        _answer(profile, "a subnormal BF16", ("BF16", 1), [0x0001_0000], [_ONE], ("BF16", 2)),
        _answer(profile, "a subnormal F16", ("F16", 1), [0x3380_0000], [_ONE], ("F16", 2)),
        # 1.00390625 + 2^-16 becomes 1.0078125 before anything is added to it.
        _answer(profile, "a base that is cast first", ("F32", 0x3F80_8080), [0xBC00_0000], [_ONE], ("BF16", 0x3F80)),
        _transposed(profile),
    )


F64_ANSWERS = (
    *_of_both("lora/f64-v1"),
    # In float32 each of these terms would be lost; together they lift the sum over the tie.
    _answer(
        "lora/f64-v1",
        "a sum in float64",
        ("F32", _ONE),
        [0x3380_0000, 0x3000_0000, 0x2E00_0000],
        [_ONE] * 3,
        ("F32", _ONE + 1),
    ),
    # 1 + 2^-7 + 2^-8 − 2^-40 lies below a tie of BF16, float32 on it; it goes to the even neighbour above.
    _answer(
        "lora/f64-v1",
        "two roundings",
        ("BF16", 0x3F81),
        [0x3B80_0000, 0xAB80_0000],
        [_ONE] * 2,
        ("BF16", 0x3F82),
    ),
    # 30 × 0.1 is 3 in float64; 1 × 0.1 + 29 × 0.1 is not, and a fused multiply-add leaves what 0.1 is too large by.
    _answer("lora/f64-v1", "the scale of the sum", ("F32", 0xC040_0000), [_ONE, 0x41E8_0000], [_ONE] * 2, _ZERO, 0.1),
    # The scale is a float64: as float32, 0.1 is larger.
    _answer("lora/f64-v1", "a scale in float64", ("F32", 0xBDCC_CCCD), [_ONE], [_ONE], ("F32", 0xB0CC_CCCD), 0.1),
    _answer("lora/f64-v1", "minus zero", ("BF16", 0x8000), [0x8000_0000] * 2, [_ONE] * 2, ("BF16", 0x8000)),
)

PEFT_ANSWERS = (
    *_of_both("peft"),
    # (1 + 2^-12)² − (1 + 2^-11) is 2^-24; a product that is rounded first is lost.
    _answer("peft", "fused", _ZERO, [0xBF80_1000, 0x3F80_0800], [_ONE, 0x3F80_0800], ("F32", 0x3380_0000)),
    # Twice half a step, each lost on its own.
    _answer("peft", "a sum in float32", _ZERO, [_ONE, 0x3380_0000, 0x3380_0000], [_ONE] * 3, ("F32", _ONE)),
    # Near a tie of BF16, where the order decides: 1 + 2^-8 exactly, from terms that float64 would sum to a little more.
    _answer(
        "peft",
        "a sum in float32 on a tie",
        ("BF16", 0),
        [_ONE, 0x3B80_0000, 0x3300_0000],
        [_ONE] * 3,
        ("BF16", 0x3F80),
    ),
    _answer("peft", "a scale in float32", ("F32", 0xBDCC_CCCD), [_ONE], [_ONE], _ZERO, 0.1),
    # 1 + 2^-9 is 1 in BF16.
    _answer("peft", "a rounded delta", _ZERO, [0x3F80_4000], [_ONE], ("F32", _ONE), deltaDtype="BF16"),
    # A single product keeps its sign; a sum starts from +0.
    _answer("peft", "minus zero, one product", ("F32", 0x8000_0000), [0x8000_0000], [_ONE], ("F32", 0x8000_0000)),
    _answer("peft", "minus zero, two products", ("F32", 0x8000_0000), [0x8000_0000] * 2, [_ONE] * 2, _ZERO),
)
