"""The bound of a sample, against whoever places the differences: exactly where all placements can be tried, and by
drawing where they cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations
from math import comb, sqrt

import pytest

from model_verify.sampling import Group, Sample, draw_sample, miss_probability

MIB = 1 << 20


def seed(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def drawn(groups: Sequence[Group], share: str, confidence: str, number: int = 0) -> Sample:
    return draw_sample(groups, share=Fraction(share), confidence=Fraction(confidence), seed=seed(number))


@pytest.mark.parametrize(("share", "confidence"), [("0.3", "0.8"), ("0.2", "0.5"), ("0.5", "0.9"), ("0.45", "0.75")])
def test_no_placement_of_differences_is_missed_more_often_than_stated(share: str, confidence: str) -> None:
    weights = [20, 3, 30, 7, 11, 13, 5, 30, 2, 17]
    groups = [Group("a", [w * MIB for w in weights])]
    sample = drawn(groups, share, confidence)
    everything = range(len(weights))
    reads = list(combinations(everything, sample.drawn))
    fewer = list(combinations(everything, sample.drawn - 1))
    worst = worst_with_fewer = Fraction(0)
    for size in range(1, len(weights) + 1):
        for placed in combinations(everything, size):
            if sum(weights[place] for place in placed) >= Fraction(share) * sum(weights):
                hidden = set(placed)
                worst = max(worst, Fraction(sum(hidden.isdisjoint(read) for read in reads), len(reads)))
                worst_with_fewer = max(
                    worst_with_fewer, Fraction(sum(hidden.isdisjoint(read) for read in fewer), len(fewer))
                )
    assert 0 < worst <= 1 - Fraction(confidence) < worst_with_fewer


def test_the_probability_is_the_hypergeometric_one() -> None:
    for population in range(1, 9):
        for differing in range(population + 1):
            for count in range(population + 1):
                expected = Fraction(comb(population - differing, count), comb(population, count))
                assert miss_probability(population, differing, count) == expected


def model() -> list[Group]:
    """Matrices of 20 layers in three classes, one of them with small units, and norms."""
    groups = [Group("embed.weight", [MIB] * 64 + [4096])]
    for layer in range(20):
        groups.append(Group(f"layers.{layer}.norm.weight", [4096]))
        groups.append(Group(f"layers.{layer}.up.weight", [MIB] * 16))
        groups.append(Group(f"layers.{layer}.down.weight", [MIB] * 15 + [MIB // 2]))
        groups.append(Group(f"layers.{layer}.small.weight", [MIB // 4] * 20))
    return groups


Place = tuple[str, int, int]
"""A unit: its group, number and weight."""


def heaviest(units: list[Place]) -> list[Place]:
    return sorted(units, key=lambda unit: -unit[2])


def lightest(units: list[Place]) -> list[Place]:
    return sorted(units, key=lambda unit: unit[2])


def spread(units: list[Place]) -> list[Place]:
    return units[::37] + [unit for place, unit in enumerate(units) if place % 37]


def in_one_class(units: list[Place]) -> list[Place]:
    return sorted(units, key=lambda unit: "down" not in unit[0])


def first(units: list[Place]) -> list[Place]:
    return units


def last(units: list[Place]) -> list[Place]:
    return units[::-1]


@pytest.mark.parametrize("strategy", [heaviest, lightest, spread, in_one_class, first, last])
def test_whoever_alters_five_percent_is_caught_as_often_as_stated(
    strategy: Callable[[list[Place]], list[Place]],
) -> None:
    groups, share, confidence, rounds = model(), Fraction(5, 100), Fraction(9, 10), 400
    units = [(group.name, i, w) for group in groups if "norm" not in group.name for i, w in enumerate(group.weights)]
    altered: set[tuple[str, int]] = set()
    weight = 0
    for name, number, size in strategy(units):
        if weight >= share * sum(group.weight for group in groups):
            break
        altered.add((name, number))
        weight += size
    missed = 0
    for number in range(rounds):
        sample = draw_sample(groups, share=share, confidence=confidence, seed=seed(number))
        missed += not any((name, unit) in altered for name, read in sample.units.items() for unit in read)
    stated = 1 - confidence
    assert missed <= rounds * stated + 3 * sqrt(rounds * stated * confidence)


def test_every_unit_is_drawn_about_as_often_as_any_other() -> None:
    groups, rounds = [Group("w", [MIB] * 100)], 2000
    counts = [0] * 100
    for number in range(rounds):
        for unit in drawn(groups, "0.05", "0.5", number).units["w"]:
            counts[unit] += 1
    share = Fraction(drawn(groups, "0.05", "0.5").drawn, 100)
    expected = float(rounds * share)
    square = sum((count - expected) ** 2 / (expected * float(1 - share)) for count in counts)
    assert 60 < square < 145  # chi-squared of 99 degrees of freedom: its 0.1 % and 99.9 % points, rounded out


def test_what_could_be_missed_could_be_missed() -> None:
    sample = drawn(model(), "0.05", "0.9")
    assert sample.missed is not None
    limit = Fraction(1, 10)
    assert miss_probability(sample.population, sample.missed.units, sample.drawn) > limit
    assert miss_probability(sample.population, sample.missed.units + 1, sample.drawn) <= limit
    assert (sample.missed.group, sample.missed.group_bytes) == ("layers.0.up.weight", 16 * MIB)
    assert sample.missed.size_bytes < Fraction(5, 100) * sample.total_bytes


@pytest.mark.parametrize(("share", "confidence", "length"), [("0", "0.9", 32), ("0.1", "1", 32), ("0.1", "0.9", 31)])
def test_other_shares_confidences_and_seeds_are_refused(share: str, confidence: str, length: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        draw_sample([], share=Fraction(share), confidence=Fraction(confidence), seed=bytes(length))


def test_a_model_of_no_bytes_has_nothing_to_draw() -> None:
    sample = drawn([Group("w", [])], "0.01", "0.99")
    assert (sample.units, sample.population, sample.drawn, sample.missed) == ({}, 0, 0, None)
