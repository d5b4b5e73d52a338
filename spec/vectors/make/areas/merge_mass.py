"""Area `merge`, the vectors `mass-*`: ten thousand elements each, half of them at random, half made to be hard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from data import Dice
from dyadic import F32, F64, FORMATS, Format, Infinite, Number, add, decode, divide, encode, multiply, round_number
from linear import Merge, Refused, element, total
from vector import Vector

from areas.merge import Input, vector

ELEMENTS = 10_240
Way = Callable[[], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Mass:
    """A merge to be filled with elements: dtypes of the inputs, and the plan."""

    name: str
    dtypes: tuple[str, ...]
    plan: Merge

    @property
    def kinds(self) -> list[Format]:
        """The formats of the inputs."""
        return [FORMATS[dtype] for dtype in self.dtypes]

    @property
    def out(self) -> Format:
        """The format of the output."""
        return FORMATS[self.plan.dtype]


class Maker:
    """Makes the elements of one vector; each is a tuple of bits, one integer an input."""

    def __init__(self, mass: Mass) -> None:
        self.mass = mass
        self.dice = Dice(f"merge/{mass.name}")
        self.weights = mass.plan.weights()
        self.divisor = total(self.weights) if mass.plan.normalize else None

    def elements(self) -> list[tuple[int, ...]]:
        """Return all elements, those made to be hard after those at random."""
        ways = [self.any_bits, self.near_exponents]
        hard = [self.tie, self.near_tie, self.cancel, self.tiny, self.near_largest, self.neighbour, self.far_apart]
        half = ELEMENTS // 2
        made = [self.finite(ways[n % len(ways)]) for n in range(half)]
        return made + [self.finite(hard[n % len(hard)]) for n in range(half)]

    def finite(self, way: Way) -> tuple[int, ...]:
        """Return the first element that `way` gives whose inputs and output are finite."""
        while True:
            try:
                bits = way()
                numbers = [decode(one, kind) for one, kind in zip(bits, self.mass.kinds, strict=True)]
                if None not in numbers:
                    element([n for n in numbers if n], self.weights, self.divisor, self.mass.out)
                    return bits
            except (Refused, Infinite):
                continue

    def any_bits(self) -> tuple[int, ...]:
        """Return random bits."""
        return tuple(self.dice.bits(kind.size_bits) for kind in self.mass.kinds)

    def value(self, low: int, high: int, kind: Format) -> int:
        """Return the bits of a random value with its leading bit from 2^low to 2^high, as far as `kind` reaches."""
        lead = min(max(self.dice.between(low, high), kind.lowest), kind.largest)
        size = min(kind.precision, lead - kind.lowest + 1)
        significand = 1 << (size - 1) | self.dice.bits(max(size - 1, 1)) % (1 << (size - 1))
        return encode(Number(bool(self.dice.bits(1)), significand, lead - size + 1), kind)

    def near_exponents(self) -> tuple[int, ...]:
        """Return values of like magnitude."""
        middle = self.dice.between(-20, 12)
        return tuple(self.value(middle - 3, middle + 3, kind) for kind in self.mass.kinds)

    def solved(self, middle: int, target: Number) -> tuple[int, ...]:
        """Return an element whose s comes as near to `target` as the last input allows."""
        if self.divisor is not None:
            target = multiply(target, self.divisor)
        first = [self.value(middle - 3, middle + 1, kind) for kind in self.mass.kinds[:-1]]
        rest = target
        for bits, weight, kind in zip(first, self.weights, self.mass.kinds, strict=False):
            number = decode(bits, kind)
            assert number is not None
            term = multiply(weight, number)
            rest = add(rest, term._replace(negative=not term.negative), F64)
        last = round_number(divide(rest, self.weights[-1], F64), self.mass.kinds[-1])
        return (*first, encode(last, self.mass.kinds[-1]))

    def tie_point(self, middle: int) -> Number:
        """Return a number halfway between two values of the output."""
        number = decode(self.value(middle, middle, self.mass.out), self.mass.out)
        assert number is not None
        return Number(number.negative, 2 * number.significand + 1, number.exponent - 1)

    def tie(self) -> tuple[int, ...]:
        """Return an element whose y is to be a tie of the output, though its s is not."""
        middle = self.dice.between(-14, 10)
        return self.solved(middle, self.tie_point(middle))

    def near_tie(self) -> tuple[int, ...]:
        """Return an element one or two float32 steps beside a tie."""
        middle = self.dice.between(-14, 10)
        point = self.tie_point(middle)
        if point.significand.bit_length() <= F32.precision:
            wide = point.significand << (F32.precision - point.significand.bit_length())
            shift = F32.precision - point.significand.bit_length()
            point = Number(point.negative, wide + self.dice.between(-2, 2), point.exponent - shift)
        return self.solved(middle, point)

    def cancel(self) -> tuple[int, ...]:
        """Return terms that cancel as far as the formats allow."""
        return self.solved(self.dice.between(-14, 10), Number(False, 0, 0))

    def tiny(self) -> tuple[int, ...]:
        """Return terms near the smallest normal output whose sum is to be subnormal."""
        lowest = self.mass.out.lowest
        target = Number(bool(self.dice.bits(1)), self.dice.between(1, 64), lowest - 2)
        return self.solved(lowest + self.dice.between(2, self.mass.out.precision + 2), target)

    def near_largest(self) -> tuple[int, ...]:
        """Return an element just below the overflow of the output."""
        out, last = self.mass.out, self.mass.kinds[-1]
        negative = bool(self.dice.bits(1))
        if last.largest <= out.largest:
            return tuple(self.top(negative, *one) for one in zip(self.weights, self.mass.kinds, strict=True))
        limit = (1 << (F32.precision + 1)) - (1 << (F32.precision - out.precision)) - 1
        below = limit - self.dice.between(0, 1) * self.dice.between(0, 1 << (F32.precision - out.precision + 2))
        return self.solved(out.largest - 1, Number(negative, below, out.largest - F32.precision))

    def top(self, negative: bool, weight: Number, kind: Format) -> int:
        """Return the bits of a value near the largest of both the output and `kind`, its term of the sign given."""
        lead = min(kind.largest, self.mass.out.largest)
        spread = 1 << max(kind.precision - self.mass.out.precision + 1, 2)
        significand = (1 << kind.precision) - 1 - self.dice.between(0, spread)
        return encode(Number(negative != weight.negative, significand, lead - kind.precision + 1), kind)

    def neighbour(self) -> tuple[int, ...]:
        """Return values of which the others lie a few steps from the first: coefficients in tenths then make ties."""
        lead = self.dice.between(-12, 8)
        first = self.value(lead, lead, self.mass.kinds[0])
        number = decode(first, self.mass.kinds[0])
        assert number is not None
        others = []
        for kind in self.mass.kinds[1:]:
            near = encode(round_number(number, kind), kind)
            steps = self.dice.between(-60, 60) if self.dice.bits(1) else 5 * self.dice.between(-12, 12)
            others.append(max(near + steps, 0) & ((1 << kind.size_bits) - 1))
        return (first, *others)

    def far_apart(self) -> tuple[int, ...]:
        """Return a first value with few bits, and others that lie around its last bit in float64 or far below."""
        lead = self.dice.between(0, 14)
        first = self.value(lead, lead, self.mass.kinds[0])
        below = [self.value(lead - 56, lead - self.dice.between(20, 54), kind) for kind in self.mass.kinds[1:]]
        return (first, *below)


def masses() -> list[Mass]:
    """Return what is made."""
    pairs = {
        "mass-bf16-bf16-to-bf16": (("BF16", "BF16"), Merge(("0.3", "0.7"), "BF16")),
        "mass-f16-f16-to-f16": (("F16", "F16"), Merge(("0.6", "0.4"), "F16")),
        "mass-f16-half-to-f16": (("F16", "F16"), Merge(("0.5", "0.5"), "F16")),
        "mass-f32-f32-to-f32": (("F32", "F32"), Merge(("0.75", "0.25"), "F32")),
        "mass-f32-tenths-to-f32": (("F32", "F32"), Merge(("0.6", "0.4"), "F32")),
        "mass-f32-f32-to-bf16": (("F32", "F32"), Merge(("0.6", "0.4"), "BF16")),
        "mass-f32-f32-to-f16": (("F32", "F32"), Merge(("0.3", "0.7"), "F16")),
        "mass-bf16-f16-to-f32": (("BF16", "F16"), Merge(("0.75", "-0.3"), "F32")),
        "mass-f16-bf16-to-bf16": (("F16", "BF16"), Merge(("0.5", "0.5"), "BF16")),
        "mass-bf16-f32-f16-to-bf16": (("BF16", "F32", "F16"), Merge(("0.5", "0.3", "0.2"), "BF16")),
        "mass-normalized-bf16": (("BF16", "BF16", "BF16"), Merge(("1", "1", "1"), "BF16", True)),
        "mass-normalized-f32": (("F32", "F32", "F32"), Merge(("0.7", "0.2", "0.4"), "F32", True)),
        "mass-normalized-f16": (("F16", "F32", "BF16"), Merge(("1.1", "-0.7", "0.9"), "F16", True)),
    }  # fmt: skip
    return [Mass(name, dtypes, plan) for name, (dtypes, plan) in pairs.items()]


def filled(mass: Mass) -> Vector:
    """Return the vector with its elements."""
    columns = list(zip(*Maker(mass).elements(), strict=True))
    inputs: Sequence[Input] = list(zip(mass.dtypes, columns, strict=True))
    words = f"{ELEMENTS} elements: half random bits, half ties, near ties, cancellation, subnormals, near overflow."
    return vector(mass.name, "§2", words, mass.plan, inputs)


def vectors() -> Iterator[Vector]:
    """Yield the large vectors of this area."""
    yield from map(filled, masses())
