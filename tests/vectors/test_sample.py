from __future__ import annotations

from fractions import Fraction

from model_verify.sampling import Group, class_of, draw_sample
from tests.vectors.vector import Vector

AREA = "sample"


def test_the_sample_is_that_of_the_vector(vector: Vector) -> None:
    groups = [
        Group(group["name"], [weight for count, weight in group["weights"] for _ in range(count)])
        for group in vector.input["groups"]
    ]
    sample = draw_sample(
        groups[::-1],
        share=Fraction(vector.input["share"]),
        confidence=Fraction(vector.input["confidence"]),
        seed=bytes.fromhex(vector.input["seed"]),
    )
    classes = set(vector.expected["classes"])
    drawn = {name: units for name, units in sample.units.items() if class_of(name) not in classes}
    assert [[name, unit] for name in drawn for unit in drawn[name]] == vector.expected["drawn"]
    assert sample.drawn == len(vector.expected["drawn"])
    assert sample.population == vector.expected["population"]
    for group in groups:
        if class_of(group.name) in classes and group.weight:
            assert list(sample.units[group.name]) == [i for i, weight in enumerate(group.weights) if weight]
    missed = vector.expected["missed"]
    if missed is None:
        assert sample.missed is None
        return
    assert sample.missed is not None
    above, below = (int(part) for part in missed.pop("group_probability"))
    assert sample.missed.group_probability == Fraction(above, below)
    assert {name: getattr(sample.missed, name) for name in missed} == missed
