"""Area `mergekit`: `slerp`. What is left open is shown by outputs that are within, and some that are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from arcs import arc, blended, exact_cosine, line, moved
from data import Dice
from dyadic import FORMATS
from mergekit import Call, Input
from vector import Vector

from areas.mergekit import ALL, FMA, NOFMA, OLD, ONE, tail, vector

STRAIGHT = Fraction(9995, 10000)


def slerp(profile: str, d: str, t: str, base: int = 0, dtype: str | None = None) -> Call:
    """Return a call."""
    return Call(profile, "slerp", d, dtype or d, {"t": t}, [{}, {}], base)


def tensors(name: str, d: str, elements: int, spread: int) -> list[Input]:
    """Return two tensors whose elements are `spread` steps of 2^-10 apart at most, of both signs."""
    dice = Dice(f"mergekit/slerp/{name}")
    low = FORMATS[d].precision - 1
    unit = 1 << max(low - 10, 0)
    one_E, other_E = [], []
    for _ in range(elements):
        sign = dice.bits(1) << (FORMATS[d].size_bits - 1)
        first = ONE[d] - (2 << low) + dice.bits(low + 1)
        one_E.append(sign | first)
        other_E.append(sign | first + unit * dice.between(-spread, spread))
    return [(d, one_E), (d, other_E)]


def exact(name: str, words: str, call: Call, inputs: Sequence[Input]) -> Vector:
    """Return a vector of a line, which is fixed to the bit."""
    assert abs(exact_cosine(call, inputs)) > STRAIGHT
    made = vector(name, "§5.9", words, call, inputs, there=blended(call, inputs, line(call)))
    files = {"a.bin": made.files["a.bin"], "b.bin": made.files["b.bin"], "expected.bin": made.files["there.bin"]}
    given = {name: value for name, value in made.input.items() if name != "there"}
    expected = {"accepted": True, "file": "expected.bin", "effects": effects(call, inputs)}
    return Vector("mergekit", name, made.clause, words, given, expected, files)


def effects(call: Call, inputs: Sequence[Input]) -> list[bool]:
    """Return for each input whether zeros in its place change the output: then d is 0, and the arc a quarter."""
    found = []
    output = blended(call, inputs, line(call))
    for position, (dtype, bits_E) in enumerate(inputs):
        zeroed = [*inputs[:position], (dtype, [0] * len(bits_E)), *inputs[position + 1 :]]
        found.append(blended(call, zeroed, arc(call, Fraction(0))) != output)
    return found


def lines() -> Iterator[Vector]:
    """Yield tensors so near that the arc is a line."""
    for d in ("F32", "BF16", "F16"):
        for profile in ALL:
            words = "d is above 0.9995: a line. The base is the second input."
            inputs = tensors(f"line-{d}", d, 77, 9)
            yield exact(f"slerp-line-{d.lower()}-{tail(profile)}", words, slerp(profile, d, "0.3", 1), inputs)
    words = "1 − t in float64 and rounded, or 1 minus the float32: another bit."
    inputs = [("F32", [0x3F800000, 0x40000001]), ("F32", [0x3F800000, 0x40000001])]
    for profile in (OLD, FMA):
        call = slerp(profile, "F32", LINE_T)
        assert line(slerp(OLD, "F32", LINE_T)) != line(slerp(FMA, "F32", LINE_T))
        yield exact(f"slerp-line-t-{tail(profile)}", words, call, inputs)
    words = "One element: its direction is 1 or −1, and both are lines."
    inputs = [("F32", [0x3F800000]), ("F32", [0xC0400000])]
    yield exact("slerp-one-element", words, slerp(NOFMA, "F32", "0.5"), inputs)


LINE_T = "0.058"


def arcs() -> Iterator[Vector]:
    """Yield tensors on an arc, by coefficients that are left open."""
    for d in ("F32", "BF16", "F16"):
        for profile in ALL:
            call = slerp(profile, d, "0.4")
            inputs = tensors(f"arc-{d}", d, 203, 400 if d != "BF16" else 300)
            there = blended(call, inputs, arc(call, exact_cosine(call, inputs)))
            words = "Coefficients of the exact cosine, with sines and angle rounded once each."
            name = f"slerp-arc-{d.lower()}-{tail(profile)}"
            yield vector(name, "§5.9", words, call, inputs, there=there, standing="within")
    call = slerp(FMA, "F32", "0.4")
    inputs = tensors("arc-F32", "F32", 203, 400)
    d = exact_cosine(call, inputs)
    pair = arc(call, d)
    for steps, standing in ((1, "within"), (-1, "within"), (400, "different"), (-400, "different")):
        words = f"The first coefficient is {abs(steps)} ULP {'above' if steps > 0 else 'below'}."
        there = blended(call, inputs, (moved(pair[0], steps), pair[1]))
        name = f"slerp-first-{abs(steps)}-{'above' if steps > 0 else 'below'}"
        yield vector(name, "§5.9", words, call, inputs, there=there, standing=standing)
    for off, words, standing in (
        (Fraction(1, 1 << 22), "The cosine is 2^-22 off.", "within"),
        (Fraction(-1, 1 << 22), "The cosine is −2^-22 off.", "within"),
        (Fraction(1, 1 << 12), "The cosine is 2^-12 off.", "different"),
    ):
        there = blended(call, inputs, arc(call, d + off))
        name = f"slerp-cosine-{abs(off.denominator).bit_length() - 1}-{'above' if off > 0 else 'below'}"
        yield vector(name, "§5.9", words, call, inputs, there=there, standing=standing)
    words = "Two halves by two pairs of coefficients, each of which were within."
    one, other = (blended(call, inputs, (moved(pair[0], steps), pair[1])) for steps in (-1, 1))
    yield vector("slerp-two-pairs", "§5.9", words, call, inputs, there=[*one[:100], *other[100:]], standing="different")
    words = "One bit of one element."
    there = blended(call, inputs, pair)
    there[101] ^= 1
    yield vector("slerp-one-bit", "§5.9", words, call, inputs, there=there, standing="different")
    words = "t is 0.4001."
    there = blended(call, inputs, arc(slerp(FMA, "F32", "0.4001"), d))
    yield vector("slerp-another-t", "§5.9", words, call, inputs, there=there, standing="different")
    words = "A base of zeros: no direction, the cosine is 0."
    for profile in (OLD, FMA):
        call = slerp(profile, "BF16", "0.5")
        inputs = [("BF16", [0, 0, 0]), ("BF16", [0x3F80, 0xC000, 0x4040])]
        there = blended(call, inputs, arc(call, Fraction(0)))
        yield vector(f"slerp-zeros-{tail(profile)}", "§5.9", words, call, inputs, there=there, standing="within")


def vectors() -> Iterator[Vector]:
    """Yield the vectors of `slerp`."""
    yield from lines()
    yield from arcs()
