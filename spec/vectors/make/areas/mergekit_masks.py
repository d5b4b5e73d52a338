"""Area `mergekit`: differences that are kept by chance: what can come about so, what cannot, what hardly does."""

# Shape suffixes: N inputs but for the base, E elements.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from data import Dice
from dyadic import FORMATS, Number, decode, encode
from mergekit import Call, Input, merge, scales
from vector import Vector

from areas.mergekit import FMA, OLD, ONE, delta_call, tail, vector
from areas.mergekit_numbers import related

METHODS = ("dare_linear", "dare_ties", "della_linear", "della")
ELECTING = ("dare_ties", "della")
Kept = Sequence[Sequence[bool]]


def call_of(
    method: str,
    d: str,
    *own: Mapping[str, str] | None,
    profile: str = FMA,
    rescale: bool = True,
    normalize: bool = False,
) -> Call:
    """Return a call; the parameters of the base are None."""
    more = {} if method.startswith("dare") else {"epsilon": "0.1"}
    given = [None if one is None else {**one, **more} for one in own]
    return delta_call(method, d, *given, profile=profile, rescale=rescale, normalize=normalize)


def drawn(call: Call, inputs: Sequence[Input], kept: Kept, ratio_N: Sequence[Number | None] | None = None) -> list[int]:
    """Return the output where these differences are kept; by other scales than those that follow where these are given.

    What happens to differences that are kept is the same as in breadcrumbs.
    """
    same = replace(call, method="breadcrumbs_ties" if call.method in ELECTING else "breadcrumbs")
    return merge(same, inputs, kept_NE=kept, ratio_N=ratio_N)


def masks(name: str, call: Call, elements: int) -> list[list[bool]]:
    """Return for each input but the base what is kept, by its density."""
    dice = Dice(f"mergekit/masks/{name}")
    densities = [float(call.own[position]["density"]) for position in call.others()]
    return [[dice.bits(16) < density * 65536 for _ in range(elements)] for density in densities]


def ratios(call: Call, inputs: Sequence[Input], kept: Kept) -> list[Number | None]:
    """Return the scales that follow from what is kept."""
    columns = [
        [number for bits, (dtype, _) in zip(bits_P, inputs, strict=True) if (number := decode(bits, FORMATS[dtype]))]
        for bits_P in zip(*(bits_E for _, bits_E in inputs), strict=True)
    ]
    return scales(call, columns, kept)


def examined(
    name: str,
    words: str,
    call: Call,
    inputs: Sequence[Input],
    there: Sequence[int],
    *,
    standing: str = "examined",
    warns: bool = False,
) -> Vector:
    """Return a vector of what is there."""
    return vector(f"mask-{name}", "§5.16", words, call, inputs, there=there, standing=standing, warns=warns)


def drawings() -> Iterator[Vector]:
    """Yield outputs that came about as declared."""
    own = ({"weight": "0.6", "density": "0.5"}, None, {"weight": "0.5", "density": "0.75"})
    for method in METHODS:
        for d in ("F32", "BF16", "F16"):
            for profile in (OLD, FMA):
                call = call_of(method, d, *own, profile=profile, normalize=method == "della")
                name = f"{method.replace('_', '-')}-{d.lower()}"
                inputs = related(f"mask-{name}", d, 3, 96)
                inputs = [inputs[0], inputs[2], inputs[1]]
                there = drawn(call, inputs, masks(name, call, 96))
                words = "Two inputs, of which a half and three quarters are kept."
                yield examined(f"{name}-{tail(profile)}", words, call, inputs, there)
    call = call_of("dare_linear", "F32", None, {"weight": "1", "density": "0.5"}, rescale=False)
    inputs = related("mask-plain", "F32", 2, 96)[::-1]
    there = drawn(call, inputs, masks("plain", call, 96))
    yield examined("not-scaled", "Not scaled.", call, inputs, there)
    words = "Density 1: nothing is left to chance; all but one is kept."
    call = call_of("dare_linear", "F32", None, {"weight": "1", "density": "1"})
    yield examined("all", "Density 1.", call, inputs, drawn(call, inputs, [[True] * 96]))
    there = drawn(call, inputs, [[True] * 95 + [False]], [None])
    yield examined("all-but-one", words, call, inputs, there, standing="different")
    call = call_of("dare_linear", "F32", None, {"weight": "1", "density": "0"})
    yield examined("none", "Density 0: the base.", call, inputs, inputs[0][1])
    there = drawn(call, inputs, [[True] + [False] * 95], [None])
    yield examined("none-but-one", "Density 0, and one is kept.", call, inputs, there, standing="different")
    words = "Seven inputs: their combinations are not tried. Where none differs, the base's elements are there."
    own = [{"weight": "1", "density": "0.5"}] * 7
    call = call_of("dare_linear", "BF16", None, *own)
    inputs = [("BF16", [ONE["BF16"]] * 8)] + [("BF16", [ONE["BF16"]] * 4 + [ONE["BF16"] + 5 + n] * 4) for n in range(7)]
    there = [ONE["BF16"]] * 4 + [0x4000, 0, 0x4040, 0xBF80]
    yield examined("seven", words, call, inputs, there)
    there = [ONE["BF16"] + 1, *there[1:]]
    yield examined("seven-support", "An element of these is another.", call, inputs, there, standing="different")


def tampered() -> Iterator[Vector]:
    """Yield outputs that cannot have come about as declared."""
    for d in ("F32", "BF16", "F16"):
        call = call_of("dare_linear", d, None, {"weight": "0.9", "density": "0.5"})
        tuned, base = related(f"mask-tampered-{d}", d, 2, 256, steps=1 << (FORMATS[d].precision - 1))
        tuned = (d, [*base[1][:8], *tuned[1][8:]])
        inputs = [base, tuned]
        kept = masks(f"tampered-{d}", call, 256)
        there = drawn(call, inputs, kept)
        low = d.lower()
        words = "As declared. Eight elements are those of the base in the input too."
        yield examined(f"kept-{low}", words, call, inputs, there)
        words = "One of these eight is one step off."
        off = [*there[:3], there[3] + 1, *there[4:]]
        yield examined(f"support-{low}", words, call, inputs, off, standing="different")
        (ratio,) = ratios(call, inputs, kept)
        assert ratio is not None
        quarter = decode(encode(ratio, FORMATS[d]) + (1 << (FORMATS[d].precision - 3)), FORMATS[d])
        words = "Everything is scaled by a quarter more than what is kept makes."
        other = drawn(call, inputs, kept, [quarter])
        yield examined(f"scale-{low}", words, call, inputs, other, standing="different")
        words = "The second half of the elements has that scale."
        yield examined(f"two-scales-{low}", words, call, inputs, [*there[:128], *other[128:]], standing="different")
        words = "One element is the mean of the base and the input, neither one nor the other."
        halfway = [(a + b) // 2 for a, b in zip(base[1], tuned[1], strict=True)]
        at = max(range(256), key=lambda place: abs(base[1][place] - tuned[1][place]))
        off = [*there[:at], halfway[at], *there[at + 1 :]]
        yield examined(f"halfway-{low}", words, call, inputs, off, standing="different")
        words = "Declared as not scaled."
        call = call_of("dare_linear", d, None, {"weight": "0.9", "density": "0.5"}, rescale=False)
        yield examined(f"scaled-anyway-{low}", words, call, inputs, there, standing="different")
    one, two, half = 0x3F800000, 0x40000000, 0x3F000000
    own = {"weight": "1", "density": "0.5"}
    words = "Differences of both signs in one sum, where only those of one sign count."
    inputs = [("F32", [0] * 4), ("F32", [two] * 4), ("F32", [half | 1 << 31] * 4)]
    for method, standing in (("dare_linear", "examined"), ("dare_ties", "different")):
        call = call_of(method, "F32", None, own, own, rescale=False)
        name = f"both-signs-{method.replace('_', '-')}"
        yield examined(name, words, call, inputs, [0x3FC00000, 0, two, 0], standing=standing)
    words = "density + epsilon is 1: mergekit refuses that."
    call = call_of("della", "F32", None, {"weight": "1", "density": "0.9"})
    inputs = [("F32", [0] * 4), ("F32", [one] * 4)]
    yield examined("della-epsilon", words, call, inputs, [0] * 4, standing="different")


def unlikely() -> Iterator[Vector]:
    """Yield numbers of kept elements that chance hardly gives."""
    own = {"weight": "1", "density": "0.5"}
    one = ONE["F32"]
    for count, standing, words in (
        (
            100,
            "examined",
            "All of a hundred equal differences are kept, at a density of a half: possible, and unlikely.",
        ),
        (1000, "different", "All of a thousand: the scale 1 is out of reach, but for one run in 2^100."),
    ):
        call = call_of("dare_linear", "F32", None, own)
        inputs = [("F32", [0] * count), ("F32", [one] * count)]
        there = [one] * count
        yield examined(f"all-of-{count}", words, call, inputs, there, standing=standing, warns=standing == "examined")
    # With V = 250: one run in 10^9 comes 110.8 away from 500, one in 2^100 211.8.
    for count, standing, words in (
        (390, "examined", "Not scaled, and 110 fewer than expected are kept: possible."),
        (389, "unlikely", "One fewer: one run in 10^9 comes there."),
        (611, "unlikely", "As many more than expected."),
        (289, "unlikely", "211 fewer than expected."),
        (288, "different", "212 fewer: not one run in 2^100 comes there."),
        (0, "different", "The base itself."),
    ):
        call = call_of("dare_linear", "F32", None, own, rescale=False)
        inputs = [("F32", [0] * 1000), ("F32", [one] * 1000)]
        there = [one] * count + [0] * (1000 - count)
        warns = standing == "unlikely"
        standing = "examined" if warns else standing
        yield examined(f"{count}-of-1000", words, call, inputs, there, standing=standing, warns=warns)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this part."""
    for part in (drawings, tampered, unlikely):
        yield from part()
