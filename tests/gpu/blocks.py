"""Blocks of elements to blend, where arithmetic goes wrong most easily, and what each dtype combination is asked.

Needs numpy and `model_verify.merge` alone, so that it runs on a bare machine with a GPU.
"""

# Shape suffixes: E elements of one block, S special values, A all values of a 16-bit format.

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_verify.merge.backend import Backend, Blended, Operand
from model_verify.merge.coefficient import parse_weight

Bits = NDArray[Any]
"""uint16 or uint32, as wide as the format."""


@dataclass(frozen=True)
class Format:
    """A float format as bits. The sign is the highest bit, then the exponent, then the mantissa."""

    bits: int
    mantissa_bits: int

    @property
    def kind(self) -> type[np.uint16] | type[np.uint32]:
        return np.uint32 if self.bits == 32 else np.uint16

    @property
    def infinity(self) -> int:
        """The bits of plus infinity: all exponent bits, which is how everything that is not finite begins."""
        return (1 << self.bits - 1) - (1 << self.mantissa_bits)

    @property
    def one(self) -> int:
        return (self.infinity >> 1) & ~((1 << self.mantissa_bits) - 1)

    @property
    def sign(self) -> int:
        return 1 << self.bits - 1

    def is_finite(self, bits_E: Bits) -> NDArray[np.bool_]:
        return np.asarray((bits_E & self.kind(self.infinity)) != self.kind(self.infinity))


FORMATS = {"F32": Format(32, 23), "BF16": Format(16, 7), "F16": Format(16, 10)}


@dataclass(frozen=True)
class Combination:
    """The formats of the inputs and of the output, and the coefficients of as many inputs."""

    inputs: tuple[str, ...]
    output: str
    coefficients: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        return f"{'+'.join(self.inputs)}-to-{self.output}"


# Tenths and thousandths; halves, whose sums of neighbours are ties; cancellation; a coefficient that is subnormal as a
# float32; sums that need normalizing, of which 49 is one where a product with the reciprocal is not a quotient.
_TWO = (
    ("0.6", "0.4"),
    ("0.5", "0.5"),
    ("0.617", "0.383"),
    ("1", "-1"),
    ("0.3", "0.7"),
    ("1e-40", "1"),
    ("2", "1"),
    ("0.7", "0.4"),
    ("24.5", "24.5"),
)
_THREE = (("1", "1", "1"), ("0.5", "0.3", "0.2"), ("1", "-1", "1e-3"), ("0.7", "0.4", "-0.05"))

COMBINATIONS = (
    Combination(("F32", "F32"), "F32", _TWO),
    Combination(("BF16", "BF16"), "BF16", _TWO),
    Combination(("F16", "F16"), "F16", _TWO),
    Combination(("F32", "F32"), "BF16", _TWO),
    Combination(("F32", "F32"), "F16", _TWO),
    Combination(("BF16", "F16"), "F32", _TWO),
    Combination(("BF16", "F32"), "BF16", _TWO),
    Combination(("F16", "BF16"), "F16", _TWO),
    Combination(("F32", "F32", "F32"), "F32", _THREE),
    Combination(("BF16", "BF16", "BF16"), "BF16", _THREE),
    Combination(("F16", "BF16", "F32"), "F16", _THREE),
)


@dataclass(frozen=True)
class Block:
    """Operands of one blend, and how it is done."""

    operands: tuple[Operand, ...]
    output: str
    normalize: bool
    elements: int


def blocks(combination: Combination, *, elements: int, block_elements: int, seed: int) -> Iterator[Block]:
    """Yield blocks of `block_elements`, at least `elements` in all.

    In `BLOCKS_OF_A_ROUND` of them every kind of data meets every set of coefficients, with and without normalizing.
    """
    generator = np.random.default_rng(seed)
    done = turn = 0
    while done < elements:
        turns, kind = divmod(turn, len(KINDS))
        rounds, chosen = divmod(turns, len(combination.coefficients))
        coefficients = combination.coefficients[chosen]
        normalize = (rounds + kind) % 2 == 1 and _can_normalize(coefficients)
        data = KINDS[kind](generator, combination.inputs, block_elements)
        yield _block(coefficients, combination, data, normalize=normalize)
        done, turn = done + block_elements, turn + 1


def crossed_blocks(dtype: str, output: str) -> Iterator[Block]:
    """Yield all 65,536 values of a 16-bit format, those that are not finite among them, against every special value."""
    form = FORMATS[dtype]
    all_A = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    special_S = specials(form)
    every = np.tile(all_A, len(special_S)), np.repeat(special_S, len(all_A)).astype(np.uint16)
    for coefficients in _TWO:
        for normalize in (False, True):
            if normalize and not _can_normalize(coefficients):
                continue
            for data in (every, every[::-1]):
                yield _block(coefficients, Combination((dtype, dtype), output, ()), data, normalize=normalize)


def specials(form: Format) -> Bits:
    """Return values at the edges: zeros, subnormals, ones and neighbours, ties, the largest, of both signs."""
    mantissa = (1 << form.mantissa_bits) - 1
    smallest_normal = 1 << form.mantissa_bits
    positive = [0, 1, 2, 3, mantissa >> 1, mantissa, smallest_normal, smallest_normal + 1, smallest_normal * 2]
    positive += [form.one - 1, form.one, form.one + 1, form.one + 3, form.one + (1 << form.mantissa_bits)]
    positive += [form.infinity // 2 | 1, form.infinity - smallest_normal, form.infinity - 2, form.infinity - 1]
    return np.array(positive + [bits | form.sign for bits in positive], dtype=form.kind)


def weight_of(text: str) -> float:
    return parse_weight(text).value


def _can_normalize(coefficients: Sequence[str]) -> bool:
    total = 0.0
    for text in coefficients:
        total += weight_of(text)
    return total != 0.0


def _block(coefficients: Sequence[str], combination: Combination, data: Sequence[Bits], *, normalize: bool) -> Block:
    operands = tuple(
        Operand(weight_of(text), dtype, bits_E.tobytes())
        for text, dtype, bits_E in zip(coefficients, combination.inputs, data, strict=True)
    )
    return Block(operands, combination.output, normalize, len(data[0]))


# Kinds of data. Each gives finite values of the formats that are asked for.


def _any_bits(generator: np.random.Generator, dtypes: Sequence[str], elements: int) -> list[Bits]:
    """Every finite bit pattern is as likely as another: all exponents, so that many outputs overflow or vanish."""
    return [_finite(_random(generator, FORMATS[dtype], elements), FORMATS[dtype]) for dtype in dtypes]


def _weights(generator: np.random.Generator, dtypes: Sequence[str], elements: int) -> list[Bits]:
    """Values as in models: normal with a deviation of 0.02, the second a fine-tune of the first, and so on."""
    values_E = 0.02 * generator.standard_normal(elements, dtype=np.float32)
    found = []
    for dtype in dtypes:
        found.append(_from_float32(values_E, dtype))
        values_E = values_E + np.float32(2e-4) * generator.standard_normal(elements, dtype=np.float32)
    return found


def _neighbours(generator: np.random.Generator, dtypes: Sequence[str], elements: int) -> list[Bits]:
    """Values a few steps apart in their own format: halves of their sums are ties, and differences cancel."""
    first = _any_bits(generator, dtypes[:1], elements)[0]
    found = [first]
    for dtype in dtypes[1:]:
        form = FORMATS[dtype]
        steps_E = generator.integers(0, 4, elements, dtype=form.kind)
        near_E = first if dtype == dtypes[0] else _random(generator, form, elements)
        found.append(_finite(near_E ^ steps_E, form))
    return found


def _small(generator: np.random.Generator, dtypes: Sequence[str], elements: int) -> list[Bits]:
    """Subnormal values, and those of the few exponents above them."""
    found: list[Bits] = []
    for dtype in dtypes:
        form = FORMATS[dtype]
        below = form.kind(1 << form.mantissa_bits + 2)
        found.append(_random(generator, form, elements) % below | _signs(generator, form, elements))
    return found


def _large(generator: np.random.Generator, dtypes: Sequence[str], elements: int) -> list[Bits]:
    """Values of the two largest exponents: sums overflow, or just do not."""
    found: list[Bits] = []
    for dtype in dtypes:
        form = FORMATS[dtype]
        below = form.kind(2 << form.mantissa_bits)
        top_E = form.kind(form.infinity - 1) - _random(generator, form, elements) % below
        found.append(top_E | _signs(generator, form, elements))
    return found


def _special_pairs(generator: np.random.Generator, dtypes: Sequence[str], elements: int) -> list[Bits]:
    """Special values against special values, zeros of both signs among them."""
    return [generator.choice(specials(FORMATS[dtype]), elements) for dtype in dtypes]


KINDS = (_any_bits, _weights, _neighbours, _small, _large, _special_pairs)

BLOCKS_OF_A_ROUND = 2 * len(KINDS) * len(_TWO)


def _random(generator: np.random.Generator, form: Format, elements: int) -> Bits:
    bits_E: Bits = generator.integers(0, 1 << form.bits, elements, dtype=form.kind)
    return bits_E


def _signs(generator: np.random.Generator, form: Format, elements: int) -> Bits:
    return _random(generator, form, elements) & form.kind(form.sign)


def _finite(bits_E: Bits, form: Format) -> Bits:
    """Return the bits with the highest exponent bit taken away where they stand for no finite value."""
    high = form.kind(1 << form.bits - 2)
    return np.where(form.is_finite(bits_E), bits_E, bits_E & ~high).astype(form.kind)


def _from_float32(values_E: NDArray[np.float32], dtype: str) -> Bits:
    match dtype:
        case "F32":
            return values_E.view(np.uint32)
        case "BF16":
            return (values_E.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        case _:
            return values_E.astype(np.float16).view(np.uint16)


# Running and comparing.


@dataclass(frozen=True)
class Outcome:
    """What a backend made of a block."""

    out: bytes
    blended: Blended


def run_block(backend: Backend, block: Block, expected: bytes | None = None) -> Outcome:
    out = bytearray(block.elements * FORMATS[block.output].bits // 8)
    blended = backend.linear(
        block.operands, memoryview(out), dtype=block.output, normalize=block.normalize, expected=expected
    )
    return Outcome(bytes(out), blended)


def differing_elements(block: Block, one: bytes, other: bytes) -> int:
    """Return in how many elements two outcomes differ.

    Where an input is not finite, the bits of what comes out are not laid down: there, both must not be finite.
    """
    form = FORMATS[block.output]
    one_E, other_E = (np.frombuffer(out, dtype=form.kind) for out in (one, other))
    finite_E = np.ones(block.elements, dtype=np.bool_)
    for operand in block.operands:
        input_form = FORMATS[operand.dtype]
        finite_E &= input_form.is_finite(np.frombuffer(operand.data, dtype=input_form.kind))
    both_refused_E = ~form.is_finite(one_E) & ~form.is_finite(other_E)
    return int(np.where(finite_E, one_E != other_E, ~both_refused_E).sum())


def shown(block: Block, one: bytes, other: bytes) -> str:
    """Return the first element in which two outcomes differ, as bits."""
    form = FORMATS[block.output]
    outs = [np.frombuffer(out, dtype=form.kind) for out in (one, other)]
    place = int((outs[0] != outs[1]).argmax())
    inputs = [
        f"{struct.pack('>f', operand.weight).hex()}·{operand.dtype} "
        f"{int(np.frombuffer(operand.data, dtype=FORMATS[operand.dtype].kind)[place]):x}"
        for operand in block.operands
    ]
    normalized = ", normalized" if block.normalize else ""
    return f"{' + '.join(inputs)}{normalized} = {block.output} {int(outs[0][place]):x} and {int(outs[1][place]):x}"
