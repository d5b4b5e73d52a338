"""Area `mergekit`: methods of whole tensors that keep some of the differences, with and without equal magnitudes."""

# Shape suffixes: N inputs but for the base, E elements.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from data import Dice
from dyadic import F32, FORMATS, decode, encode
from linear import Refused
from mergekit import Call, Input, Tied, merge, scales, spans
from vector import Vector

from areas.mergekit import FMA, OLD, ONE, delta_call, known, refused, tail, vector

EIGHT = [0x3F800000, 0xC0000000, 0x40400000, 0xC0800000, 0x40A00000, 0xC0C00000, 0x40E00000, 0xC1000000]
"""1, −2, 3, −4, 5, −6, 7, −8."""
NONE = [0] * 8


def tensors(name: str, call: Call, elements: int) -> list[Input]:
    """Return inputs near 1 that no cut of the call finds equal in magnitude, and that give a finite output."""
    for attempt in count():
        dice = Dice(f"mergekit/{name}/{attempt}")
        one, low = ONE[call.compute_dtype], FORMATS[call.compute_dtype].precision - 1
        inputs = [(call.compute_dtype, [one - 2**low + dice.bits(low + 2) for _ in range(elements)]) for _ in call.own]
        try:
            merge(call, inputs)
        except (Tied, Refused):
            continue
        return inputs
    raise AssertionError


def kept() -> Iterator[Vector]:
    """Yield what is kept of eight elements, by hand."""
    inputs = [("F32", NONE), ("F32", EIGHT)]
    words = "int(0.5 · 8) = 4: the four largest differences."
    for profile in (OLD, FMA):
        call = delta_call("ties", "F32", None, {"weight": "1", "density": "0.5"}, profile=profile)
        yield known(f"ties-half-{tail(profile)}", "§5.6", words, call, inputs, [0, 0, 0, 0, *EIGHT[4:]])
    words = "int(0.624… · 8) = 4, by one unit in the last place of a float64."
    call = delta_call("ties", "F32", None, {"weight": "1", "density": "0.62499999999999989"})
    yield known("ties-cut-off", "§5.6", words, call, inputs, [0, 0, 0, 0, *EIGHT[4:]])
    words = "int(0.1 · 8) = 0: 0.1.5 keeps one, 0.1.4 stops."
    call = delta_call("ties", "F32", None, {"weight": "1", "density": "0.1"})
    yield known("ties-one-fma", "§5.6", words, call, inputs, [*[0] * 7, EIGHT[7]])
    call = delta_call("ties", "F32", None, {"weight": "1", "density": "0.1"}, profile=OLD)
    yield refused("ties-none-0.1.4", "§5.6", words, call, inputs, "OPERAND_INVALID")
    words = "Density 0: nothing is kept."
    call = delta_call("ties", "F32", None, {"weight": "1", "density": "0"})
    yield known("ties-zero-fma", "§5.6", words, call, inputs, NONE)
    words = "Density 1: all are kept, the −0 of a difference too."
    call = delta_call("ties", "F32", None, {"weight": "1", "density": "1"})
    yield known("ties-all", "§5.6", words, call, inputs, EIGHT)
    words = "The sign of 3 + 2 − 4 is +: 3 and 2 count, and normalising divides by their weights. 1 − 1 counts as +."
    three = [{"weight": "1", "density": "1"}] * 3
    call = delta_call("ties", "F32", None, *three, normalize=True)
    inputs = [
        ("F32", [0, 0]),
        ("F32", [0x40400000, ONE["F32"]]),
        ("F32", [0x40000000, 0]),
        ("F32", [0xC0800000, 0xBF800000]),
    ]
    yield known("ties-elected", "§5.6", words, call, inputs, [0x40200000, ONE["F32"]])
    words = "No difference counts: the divisor is 1."
    inputs = [("F32", [ONE["F32"]])] * 4
    yield known("ties-none-counts", "§5.6", words, call, inputs, [ONE["F32"]])
    words = "A negative weight turns the sign of what is added up, and of the divisor."
    own = ({"weight": "-1", "density": "1"}, {"weight": "0.5", "density": "1"})
    call = delta_call("ties", "F32", None, *own, normalize=True)
    inputs = [("F32", [0]), ("F32", [0x40000000]), ("F32", [ONE["F32"]])]
    yield known("ties-negative-weight", "§5.6", words, call, inputs, [0x40000000])
    inputs = [("F32", NONE), ("F32", EIGHT)]
    words = "int(0.5 · 8) = 4 are kept, below int(0.25 · 8) = 2 that are dropped from the top."
    for method in ("breadcrumbs", "breadcrumbs_ties"):
        for profile in (OLD, FMA):
            own = {"weight": "1", "density": "0.5", "gamma": "0.25"}
            call = delta_call(method, "F32", None, own, profile=profile)
            output = [0, 0, *EIGHT[2:6], 0, 0]
            yield known(f"{method.replace('_', '-')}-{tail(profile)}", "§5.7", words, call, inputs, output)
    words = "int(0.01 · 8) = 0: 0.1.4 drops everything, 0.1.5 nothing from the top."
    for profile, output in ((OLD, NONE), (FMA, [0, 0, 0, 0, *EIGHT[4:]])):
        call = delta_call(
            "breadcrumbs", "F32", None, {"weight": "1", "density": "0.5", "gamma": "0.01"}, profile=profile
        )
        yield known(f"breadcrumbs-no-top-{tail(profile)}", "§5.7", words, call, inputs, output)
    words = "int(0.75 · 8) = 6 are kept, so that only 2 of int(0.5 · 8) = 4 are dropped from the top."
    for profile in (OLD, FMA):
        call = delta_call(
            "breadcrumbs", "F32", None, {"weight": "1", "density": "0.75", "gamma": "0.5"}, profile=profile
        )
        yield known(f"breadcrumbs-full-{tail(profile)}", "§5.7", words, call, inputs, [*EIGHT[:6], 0, 0])
    words = "A negative density."
    call = delta_call("breadcrumbs", "F32", None, {"weight": "1", "density": "-0.5", "gamma": "0.1"})
    yield refused("breadcrumbs-negative", "§5.7", words, call, inputs, "OPERAND_INVALID")


def large() -> Iterator[Vector]:
    """Yield tensors of 24 x 16 elements, of three inputs."""
    for method in ("ties", "breadcrumbs", "breadcrumbs_ties"):
        for d in ("F32", "BF16", "F16"):
            more = {} if method == "ties" else {"gamma": "0.0313"}
            own = ({"weight": "0.6", "density": "0.517", **more}, {"weight": "0.45", "density": "0.75", **more})
            # Few magnitudes of 16 bits are met once: a cut between two of them is looked for among few elements.
            shape = [24, 16] if d == "F32" else [8, 4]
            for profile in (OLD, FMA):
                call = delta_call(method, d, own[0], None, own[1], profile=profile, normalize=True, scale="0.9")
                name = f"{method.replace('_', '-')}-large-{d.lower()}-{tail(profile)}"
                inputs = tensors(f"{method}-large-{d}", call, shape[0] * shape[1])
                words = f"{shape[0]} x {shape[1]} elements of two inputs and a base."
                yield vector(name, "§5.6" if method == "ties" else "§5.7", words, call, inputs, shape=shape)


def scaled() -> Iterator[Vector]:
    """Yield differences that are scaled to what they were together."""
    words = "36 / 26: the sums of all magnitudes, and of those that are kept."
    inputs = [("F32", NONE), ("F32", EIGHT)]
    call = delta_call("ties", "F32", None, {"weight": "1", "density": "0.5"}, rescale=True)
    output = [0, 0, 0, 0, 0x40DD89D9, 0xC104EC4F, 0x411B13B2, 0xC1313B14]
    yield known("rescale", "§5.6", words, call, inputs, output)
    for d in ("F32", "BF16", "F16"):
        more = {"density": "0.6", "gamma": "0.1"}
        call = delta_call("breadcrumbs", d, {"weight": "0.7", **more}, None, {"weight": "0.4", **more}, rescale=True)
        inputs = tensors(f"rescale-{d}", call, 32)
        words = "Sums, and their quotient, are rounded to D."
        yield vector(f"rescale-{d.lower()}", "§5.7", words, call, inputs)
    words = "All differences together are below R(1e-7): they are not scaled."
    call = delta_call("ties", "F32", None, {"weight": "1", "density": "0.5"}, rescale=True)
    tiny = [bits - (30 << 23) for bits in EIGHT]
    yield known("rescale-small", "§5.6", words, call, [("F32", NONE), ("F32", tiny)], [0, 0, 0, 0, *tiny[4:]])
    call = delta_call("ties", "F32", None, {"weight": "1", "density": "0.5"}, rescale=True)
    inputs = [("F32", NONE), ("F32", EIGHT)]
    (ratio,) = scales(call, [[decode(0, F32), decode(bits, F32)] for bits in EIGHT], [[False] * 4 + [True] * 4])  # type: ignore[list-item]
    assert ratio is not None
    for off, standing in ((8, "within"), (-8, "within"), (9, "different")):
        other = decode(encode(ratio, F32) + off, F32)
        there = merge(call, inputs, ratio_N=[other])
        words = f"The scale is {abs(off)} ULP {'above' if off > 0 else 'below'} the exact one."
        name = f"rescale-off-by-{abs(off)}-{'above' if off > 0 else 'below'}"
        yield vector(name, "§5.6", words, call, inputs, there=there, standing=standing)
    words = "Two elements by two scales."
    low, high = (merge(call, inputs, ratio_N=[decode(encode(ratio, F32) + off, F32)]) for off in (-8, 8))
    yield vector("rescale-two-scales", "§5.6", words, call, inputs, there=[*low[:6], *high[6:]], standing="different")


def chosen(call: Call, inputs: Sequence[Input], *sets_N: set[int]) -> list[int]:
    """Return the output where of each input but the base these elements are kept."""
    elements = range(len(inputs[0][1]))
    assert [len(one) for one in sets_N] == [last - first for first, last in spans(call, len(elements))]
    return merge(call, inputs, kept_NE=[[at in one for at in elements] for one in sets_N])


def equal() -> Iterator[Vector]:
    """Yield cuts among equal magnitudes: another choice there is within, anything else is different."""
    two, three = 0x40000000, 0x40400000
    call = delta_call("ties", "F32", None, {"weight": "1", "density": "0.5"})
    inputs = [("F32", NONE), ("F32", [0x3F800000, two, two, 0xC0000000, two, three, 0x3F800000, 0x3F000000])]
    words = "Four are kept: the 3, and three of four of magnitude 2, whichever these are."
    for number, left in enumerate((1, 3, 4)):
        there = chosen(call, inputs, {1, 2, 3, 4, 5} - {left})
        yield vector(f"equal-choice-{number}", "§5.6", words, call, inputs, there=there, standing="within")
    words = "Only two of magnitude 2 are kept."
    there = [0, two, two, 0, 0, three, 0, 0]
    yield vector("equal-too-few", "§5.6", words, call, inputs, there=there, standing="different")
    words = "All four of magnitude 2 are kept."
    there = [0, two, two, 0xC0000000, two, three, 0, 0]
    yield vector("equal-too-many", "§5.6", words, call, inputs, there=there, standing="different")
    words = "A smaller one is kept in place of one of magnitude 2."
    there = [0x3F800000, two, two, 0, 0, three, 0, 0]
    yield vector("equal-off-the-cut", "§5.6", words, call, inputs, there=there, standing="different")
    words = "One of magnitude 2 is neither kept nor left out."
    there = [0, two, two, 0xC0000001, 0, three, 0, 0]
    yield vector("equal-neither", "§5.6", words, call, inputs, there=there, standing="different")
    call = delta_call("ties", "F32", None, *[{"weight": "1", "density": "0.5"}] * 2)
    inputs = [
        ("F32", [0, 0, 0, 0]),
        ("F32", [two, two, two, three]),
        ("F32", [0x3F800000, 0x3F800000, 0x3F800000, 0x3F000000]),
    ]
    words = "Two inputs that are free in the same elements: what each keeps is counted on its own."
    there = chosen(call, inputs, {1, 3}, {0, 1})
    yield vector("equal-two-inputs", "§5.6", words, call, inputs, there=there, standing="within")
    words = "One more of the second input is kept."
    there = [0x3F800000, three, 0x3F800000, three]
    yield vector("equal-two-inputs-too-many", "§5.6", words, call, inputs, there=there, standing="different")
    own = {"weight": "1", "density": "0.5", "gamma": "0.25"}
    call = delta_call("breadcrumbs", "F32", None, own)
    inputs = [("F32", NONE), ("F32", [0x3F800000] * 4 + [two] * 4)]
    words = "Both cuts fall among equals: two of magnitude 1 are kept, and two of magnitude 2."
    there = chosen(call, inputs, {0, 3, 4, 7})
    yield vector("equal-two-cuts", "§5.7", words, call, inputs, there=there, standing="within")
    words = "As many are kept, but three of magnitude 2."
    there = chosen(call, inputs, {3, 4, 5, 7})
    yield vector("equal-two-cuts-uneven", "§5.7", words, call, inputs, there=there, standing="different")
    words = "Both cuts in one magnitude: any four."
    inputs = [("F32", NONE), ("F32", [two] * 8)]
    there = chosen(call, inputs, {0, 2, 4, 7})
    yield vector("equal-all", "§5.7", words, call, inputs, there=there, standing="within")


def vectors() -> Iterator[Vector]:
    """Yield the vectors of methods of whole tensors."""
    for part in (kept, large, scaled, equal):
        yield from part()
