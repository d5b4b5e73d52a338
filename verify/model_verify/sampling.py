"""Which units are read where not all are, and what that shows. Spec: sampling §1 to §5. Pure arithmetic.

group     tensors that operations connect, with those of the primary set among them
unit      the same elements of all tensors of a group
weight    the bytes of the primary set in a unit
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

SEED_BYTES = 32
_DRAW = b"model-attest/v1/sample\n"
_DIGITS = re.compile(r"[0-9]+")
_SMALL_BYTES = 1 << 26
_SMALL_PART = 2048


@dataclass(frozen=True, slots=True)
class Group:
    """A group by its name, with the weights of its units in order, in bytes."""

    name: str
    weights: Sequence[int]

    @property
    def weight(self) -> int:
        return sum(self.weights)


@dataclass(frozen=True, slots=True)
class Missed:
    """What a sample could have missed with a probability above 1 - confidence."""

    units: int
    size_bytes: int
    """The most bytes that so many units hold."""
    group: str | None
    """The heaviest group that has no more units than that; None where each has more."""
    group_bytes: int
    group_probability: Fraction
    """With which a change to all of that group is missed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The units to be read, by the names of their groups, and what follows where nothing differs in them."""

    units: Mapping[str, Sequence[int]]
    population: int
    """Units outside the classes that are read completely."""
    drawn: int
    complete_groups: int
    size_bytes: int
    """Of the primary set, in the units to be read."""
    total_bytes: int
    missed: Missed | None
    """None where every unit is read."""


def draw_sample(groups: Sequence[Group], *, share: Fraction, confidence: Fraction, seed: bytes) -> Sample:
    """Return the sample that shows, where nothing differs in it, that less than `share` of the bytes do.

    `groups` may come in any order; `share` and `confidence` lie between 0 and 1; `seed` has `SEED_BYTES`.

    Spec: sampling §2 to §4. Vectors: sample/*.
    """
    if not (0 < share < 1 and 0 < confidence < 1 and len(seed) == SEED_BYTES):
        raise ValueError("share and confidence lie between 0 and 1, and a seed has 32 bytes")
    ordered = sorted(groups, key=lambda group: group.name.encode("utf-8"))
    total = sum(group.weight for group in ordered)
    complete = _small_classes(ordered, total)
    population = [
        (group.name, number, weight)
        for group in ordered
        if class_of(group.name) not in complete
        for number, weight in enumerate(group.weights)
        if weight
    ]
    falling = sorted((weight for _, _, weight in population), reverse=True)
    least = _least_units(falling, share * total)
    count = 0 if least is None else _draws(len(population), least, 1 - confidence)
    units: dict[str, list[int]] = {
        group.name: [number for number, weight in enumerate(group.weights) if weight]
        for group in ordered
        if class_of(group.name) in complete and group.weight
    }
    complete_groups = len(units)
    size = sum(group.weight for group in ordered if group.name in units)
    for place in sorted(_places(seed, len(population), count)):
        name, number, weight = population[place]
        units.setdefault(name, []).append(number)
        size += weight
    missed = None
    if count < len(population):
        missed = _missed(ordered, complete, falling, count, 1 - confidence)
    return Sample(units, len(population), count, complete_groups, size, total, missed)


def class_of(name: str) -> str:
    """Return the class of a group: its name without its numbers. Spec: sampling §2."""
    return _DIGITS.sub("0", name)


def miss_probability(population: int, differing: int, drawn: int) -> Fraction:
    """Return the probability that `drawn` of `population` units hold none of `differing`. Spec: sampling §4."""
    above, below = 1, 1
    for taken in range(min(drawn, differing)):
        # The smaller of the two numbers is multiplied out: (N-a choose n) / (N choose n) is symmetric in a and n.
        above *= population - max(drawn, differing) - taken
        below *= population - taken
    return Fraction(above, below) if above > 0 else Fraction(0)


def _small_classes(groups: Sequence[Group], total: int) -> set[str]:
    """Return the classes that are read completely. Spec: sampling §2."""
    weights: dict[str, int] = {}
    for group in groups:
        weights[class_of(group.name)] = weights.get(class_of(group.name), 0) + group.weight
    ordered = sorted(weights, key=lambda name: (weights[name], name.encode("utf-8")))
    limit = max(_SMALL_BYTES, total // _SMALL_PART)
    sums = accumulate(weights[name] for name in ordered)
    return {name for name, so_far in zip(ordered, sums, strict=True) if so_far <= limit}


def _least_units(falling: Sequence[int], needed: Fraction) -> int | None:
    """Return how many units at least hold so many bytes; None where all of them do not."""
    return next((count for count, held in enumerate(accumulate(falling), start=1) if held >= needed), None)


def _draws(population: int, differing: int, most: Fraction) -> int:
    """Return the least number of draws that miss `differing` units with a probability of `most` at most."""
    low, high = 0, population - differing + 1
    while low < high:
        middle = (low + high) // 2
        if miss_probability(population, differing, middle) <= most:
            high = middle
        else:
            low = middle + 1
    return low


def _places(seed: bytes, population: int, count: int) -> Iterator[int]:
    """Yield the places that are drawn: a shuffle that stops after `count`. Spec: sampling §3.4."""
    moved: dict[int, int] = {}
    for place in range(count):
        number = int.from_bytes(hashlib.sha256(_DRAW + seed + place.to_bytes(8, "big")).digest(), "big")
        other = place + number % (population - place)
        yield moved.get(other, other)
        moved[other] = moved.get(place, place)


def _missed(groups: Sequence[Group], complete: set[str], falling: Sequence[int], drawn: int, most: Fraction) -> Missed:
    """Return what `drawn` units can miss with a probability above `most`. Spec: sampling §4.3."""
    low, high = 0, len(falling) - drawn
    while low < high:
        middle = (low + high + 1) // 2
        if miss_probability(len(falling), middle, drawn) > most:
            low = middle
        else:
            high = middle - 1
    fitting = [
        (group.weight, -place, group, counted)
        for place, group in enumerate(groups)
        if class_of(group.name) not in complete and 0 < (counted := sum(w > 0 for w in group.weights)) <= low
    ]
    size = sum(falling[:low])
    if not fitting:
        return Missed(low, size, None, 0, Fraction(0))
    weight, _, group, counted = max(fitting, key=lambda found: found[:2])
    return Missed(low, size, group.name, weight, miss_probability(len(falling), counted, drawn))
