"""Area `mergekit`, the vectors `mass-*`: some hundred elements each, half at random, half made to be hard."""

from __future__ import annotations

from collections.abc import Iterator

from data import Dice
from dyadic import FORMATS
from linear import Refused
from mergekit import Call, merge
from vector import Vector

from areas.merge import special
from areas.mergekit import ALL, FMA, NOFMA, OLD, delta_call, linear, tail, vector

ELEMENTS = 512


class Maker:
    """Makes the elements of one vector; each is a tuple of bits, one integer an input."""

    def __init__(self, name: str, call: Call) -> None:
        self.call = call
        self.dice = Dice(f"mergekit/{name}")
        self.kind = FORMATS[call.compute_dtype]
        self.special = special(call.compute_dtype)

    def elements(self) -> list[tuple[int, ...]]:
        """Return all elements."""
        ways = [self.any_bits, self.near, self.special_values, self.small, self.apart, self.near]
        return [self.finite(ways[n % len(ways)]) for n in range(ELEMENTS)]

    def finite(self, way: object) -> tuple[int, ...]:
        """Return the first element that `way` gives whose output is finite."""
        assert callable(way)
        while True:
            bits: tuple[int, ...] = way()
            try:
                merge(self.call, [(self.call.compute_dtype, [one]) for one in bits])
            except Refused:
                continue
            return bits

    def any_bits(self) -> tuple[int, ...]:
        """Return random bits."""
        return tuple(self.dice.bits(self.kind.size_bits) for _ in self.call.own)

    def near(self) -> tuple[int, ...]:
        """Return values a few steps apart, near 1."""
        low = self.kind.precision - 1
        one = (-self.kind.lowest - self.kind.precision + 2) << low
        first = one - (4 << low) + self.dice.bits(low + 3)
        sign = self.dice.bits(1) << (self.kind.size_bits - 1)
        return tuple(sign | first + self.dice.between(-9, 9) for _ in self.call.own)

    def special_values(self) -> tuple[int, ...]:
        """Return special values."""
        return tuple(self.special[self.dice.between(0, len(self.special) - 1)] for _ in self.call.own)

    def small(self) -> tuple[int, ...]:
        """Return subnormal values and the smallest normal ones."""
        top = self.kind.size_bits - 1
        return tuple(self.dice.bits(1) << top | self.dice.bits(self.kind.precision + 1) for _ in self.call.own)

    def apart(self) -> tuple[int, ...]:
        """Return values of magnitudes that fall from input to input, so that sums lose their ends."""
        low = self.kind.precision - 1
        one = (-self.kind.lowest - self.kind.precision + 2) << low
        found = []
        for _ in self.call.own:
            found.append(self.dice.bits(1) << (self.kind.size_bits - 1) | one + self.dice.bits(low))
            one -= min(self.dice.between(0, 9), (one >> low) - 1) << low
        return tuple(found)


def plans() -> Iterator[tuple[str, str, Call]]:
    """Yield name, clause and call of each."""
    for d in ("F32", "BF16", "F16"):
        for profile in ALL:
            yield f"linear-{d.lower()}-{tail(profile)}", "§5.3", linear(profile, d, "0.6", "0.4")
            call = linear(profile, d, "0.9", "-0.35", "0.3", normalize=True)
            yield f"linear-normalized-{d.lower()}-{tail(profile)}", "§5.3", call
        weights = [{"weight": "0.7"}, None, {"weight": "-0.3"}, {"weight": "0.55"}]
        call = delta_call("task_arithmetic", d, *weights, profile=OLD, normalize=True, scale="1.15")
        yield f"task-{d.lower()}", "§5.4", call
        call = Call(NOFMA, "nearswap", d, d, {"t": "0.02"}, [{}, {}], 0)
        yield f"nearswap-{d.lower()}", "§5.8", call
        call = Call(FMA, "passthrough", d, d, {}, [{"scale": "0.7"}])
        yield f"passthrough-{d.lower()}", "§5.5", call
        own = [{"weight": "0.7", "density": "1"}, None, {"weight": "0.6", "density": "1"}]
        yield f"ties-{d.lower()}", "§5.6", delta_call("ties", d, *own, normalize=True)


def vectors() -> Iterator[Vector]:
    """Yield the vectors."""
    for name, clause, call in plans():
        rows = Maker(name, call).elements()
        inputs = [(call.compute_dtype, list(column)) for column in zip(*rows, strict=True)]
        yield vector(f"mass-{name}", clause, f"{ELEMENTS} elements, half of them hard.", call, inputs)
