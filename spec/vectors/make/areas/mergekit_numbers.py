"""Area `mergekit`: methods that need numbers out of whole tensors; what these may be, and what they may not be."""

# Shape suffixes: E elements.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial

from data import Dice
from dyadic import FORMATS, Number, decode, encode, fraction
from mergekit import Call, Input, double, in_lanes, minus, over, rounded, times
from vector import Vector
from whole import Numbers, cosine_steps, is_fused, merge

from areas.mergekit import ALL, FMA, OLD, ONE, refused, tail, vector

SHAPE = (3, 9)
Parameters = Mapping[str, str | bool]
BOTH = (OLD, FMA)


def operation(
    method: str, d: str, parameters: Parameters, *own: Mapping[str, str] | None, profile: str = FMA, dtype: str = ""
) -> Call:
    """Return a call; where the parameters of an input are None, it is the base."""
    base = own.index(None) if None in own else None
    return Call(profile, method, d, dtype or d, parameters, [one or {} for one in own], base)


def made(
    name: str,
    clause: str,
    words: str,
    call: Call,
    inputs: Sequence[Input],
    shape: Sequence[int] = SHAPE,
    *,
    there: Sequence[int] | None = None,
    standing: str = "exact",
) -> Vector:
    """Return a vector of one of these methods."""
    run = partial(merge_of, shape)
    return vector(name, clause, words, call, inputs, shape=shape, there=there, standing=standing, run=run)


def merge_of(shape: Sequence[int], call: Call, inputs: Sequence[Input]) -> list[int]:
    """Return the output of tensors of this shape."""
    return merge(call, inputs, shape)


def related(name: str, d: str, count: int, elements: int = 27, *, steps: int = 0) -> list[Input]:
    """Return tensors of which all but the last are a few steps from it; of values from 1/32 to 2, of either sign."""
    dice, kind = Dice(f"mergekit/{name}"), FORMATS[d]
    reach = steps or 1 << (kind.precision - 3)
    top = 1 << (kind.precision - 1)
    last = []
    for _ in range(elements):
        value = Number(
            bool(dice.bits(1)), top | dice.bits(kind.precision - 1), dice.between(-5, 0) - kind.precision + 1
        )
        last.append(encode(value, kind))
    return [(d, [bits + dice.between(-reach, reach) for bits in last]) for _ in range(count - 1)] + [(d, last)]


def moved(bits_E: Sequence[int], at: int, steps: int) -> list[int]:
    """Return the elements, one of them so many steps further from zero."""
    return [bits + steps if place == at else bits for place, bits in enumerate(bits_E)]


# One cosine.


def stocks() -> Iterator[Vector]:
    """Yield `model_stock`."""
    for profile in ALL:
        for d in ("F32", "BF16", "F16"):
            for by_rows in (False, True):
                call = operation("model_stock", d, {"filter_wise": by_rows}, {}, None, {}, {}, profile=profile)
                name = f"stock-{'rows' if by_rows else 'whole'}-{d.lower()}-{tail(profile)}"
                inputs = related(f"stock-{d}", d, 4)
                yield made(name, "§5.11", "Three inputs: the mean of three cosines.", call, inputs)
    two = operation("model_stock", "F32", {"filter_wise": False}, {}, {}, None)
    words = "Opposite differences: 1 + c is 0. 0.1.5 keeps the base; in 0.1.4 nothing finite comes out."
    one = ONE["F32"]
    inputs = [("F32", [0x40000000, one]), ("F32", [0, one]), ("F32", [one, one])]
    yield made("stock-opposite-fma", "§5.11", words, two, inputs, (2,))
    old = operation("model_stock", "F32", {"filter_wise": False}, {}, {}, None, profile=OLD)
    run = partial(merge_of, (2,))
    yield refused("stock-opposite-0.1.4", "§5.11", words, old, inputs, "NONFINITE_OUTPUT", run=run)
    words = "An input that is the base: its norm is 0, and so is the cosine."
    inputs = [("F32", [0x40000000, one]), ("F32", [one, one]), ("F32", [one, one])]
    yield made("stock-same-as-base", "§5.11", words, two, inputs, (2,))
    yield made("stock-scalar", "§5.11", "Tensors without a dimension.", two, [(d, bits[:1]) for d, bits in inputs], ())
    for d in ("F32", "BF16", "F16"):
        yield from cosines("stock", "§5.11", operation("model_stock", d, {"filter_wise": False}, {}, {}, None))
    words = "The base itself, from which the inputs differ by few steps of BF16, in like directions."
    call = operation("model_stock", "BF16", {"filter_wise": False}, {}, {}, None)
    dice = Dice("mergekit/stock-base")
    ((_, base),) = related("stock-base", "BF16", 1)
    common = [bits + dice.between(-3, 3) for bits in base]
    inputs = [("BF16", [bits + dice.between(-1, 1) for bits in common]) for _ in range(2)] + [("BF16", base)]
    there = base
    assert there != merge(call, inputs, SHAPE)
    yield made("stock-base-alone", "§5.10", words, call, inputs, there=there, standing="different")
    words = "One element is one step of BF16 off."
    there = moved(merge(call, inputs, SHAPE), 13, 1)
    yield made("stock-one-element", "§5.10", words, call, inputs, there=there, standing="different")
    words = "Each row has a cosine of its own, one step beside the one that is computed."
    call = operation("model_stock", "F32", {"filter_wise": True}, {}, {}, None)
    inputs = related("stock-steps", "F32", 3)
    there = merge(call, inputs, SHAPE, numbers=Numbers(is_fused(call), cosines={0: 1, 1: -1, 2: 2}))
    assert there != merge(call, inputs, SHAPE)
    yield made("stock-rows-within", "§5.11", words, call, inputs, there=there, standing="within")
    words = "Elements of one row come from two cosines."
    other = merge(call, inputs, SHAPE, numbers=Numbers(is_fused(call), cosines={0: -3}))
    there = [*there[:4], *other[4:9], *there[9:]]
    yield made("stock-two-cosines", "§5.11", words, call, inputs, there=there, standing="different")


def cosines(name: str, clause: str, call: Call) -> Iterator[Vector]:
    """Yield outputs by the last cosine that is within, and by one beyond."""
    d = call.compute_dtype
    inputs = related(f"{name}-cosine-{d}", d, len(call.own))
    usual = merge(call, inputs, SHAPE)
    least, most = cosine_steps(call, inputs, SHAPE)
    within = {steps: by_cosine(call, inputs, steps) for steps in range(least, most + 1)}
    for steps, where in ((most, "above"), (least, "below")):
        words = f"The cosine is {abs(steps)} steps {where} the one that is computed, as far as sums may be off."
        there = within[steps]
        if there != usual:
            yield made(f"{name}-last-{where}-{d.lower()}", clause, words, call, inputs, there=there, standing="within")
    beyond = next(n for n in range(least - 8, least - 500, -1) if by_cosine(call, inputs, n) not in within.values())
    words = f"The cosine is {-beyond} steps below, where {-least} are the most."
    there = by_cosine(call, inputs, beyond)
    yield made(f"{name}-beyond-{d.lower()}", clause, words, call, inputs, there=there, standing="different")


def by_cosine(call: Call, inputs: Sequence[Input], steps: int) -> list[int]:
    """Return the output where the cosine is so many steps above the usual one."""
    return merge(call, inputs, SHAPE, numbers=Numbers(is_fused(call), cosines={0: steps}))


def nuslerp_call(d: str, *weights: str | None, flat: bool = True, columns: bool = False, profile: str = FMA) -> Call:
    """Return a call of `nuslerp`; None is the base."""
    parameters = {"nuslerp_flatten": flat, "nuslerp_row_wise": columns}
    own = [None if weight is None else {"weight": weight} for weight in weights]
    return operation("nuslerp", d, parameters, *own, profile=profile)


def arcs() -> Iterator[Vector]:
    """Yield `nuslerp`."""
    for profile in BOTH:
        for d in ("F32", "BF16", "F16"):
            for shape, (flat, columns) in {
                "flat": (True, True),
                "rows": (False, False),
                "columns": (False, True),
            }.items():
                for weights in (("0.6", "0.4"), ("0.7", None, "0.2")):
                    call = nuslerp_call(d, *weights, flat=flat, columns=columns, profile=profile)
                    based = "-base" if None in weights else ""
                    name = f"nuslerp-{shape}{based}-{d.lower()}-{tail(profile)}"
                    # Far apart: 0.1.4 has no result in F16 where the cosine is 1.
                    inputs = related(f"nuslerp-{d}", d, 4, steps=1 << (FORMATS[d].precision - 1))[: len(weights)]
                    yield made(name, "§5.12", "Two directions, and the angle between them.", call, inputs)
    words = "Directions that are equal to the bit: a line in place of an arc. In F16 0.1.4 has no result."
    for d in ("F32", "F16"):
        for profile in BOTH:
            call = nuslerp_call(d, "0.6", "0.4", profile=profile)
            inputs = [(d, [ONE[d], 0, 0, 0]), (d, [ONE[d] + (1 << (FORMATS[d].precision - 1)), 0, 0, 0])]
            name = f"nuslerp-line-{d.lower()}-{tail(profile)}"
            if d == "F16" and profile == OLD:
                run = partial(merge_of, (4,))
                yield refused(name, "§5.12", words, call, inputs, "NONFINITE_OUTPUT", run=run)
            else:
                yield made(name, "§5.12", words, call, inputs, (4,))
    words = "Opposite directions. 0.1.4 divides by the sine of the float32 nearest to π, which is not 0."
    for profile in BOTH:
        call = nuslerp_call("F32", "0.6", "0.4", profile=profile)
        inputs = [("F32", [ONE["F32"], 0]), ("F32", [ONE["F32"] | 1 << 31, 0])]
        yield made(f"nuslerp-opposite-{tail(profile)}", "§5.12", words, call, inputs, (2,))
    words = "Weights that cancel: halfway."
    yield made("nuslerp-weights-cancel", "§5.12", words, nuslerp_call("F32", "1", "-1"), related("nuslerp-c", "F32", 2))
    words = "Vectors of nothing but zeros."
    inputs = [("F32", [0, 0]), ("F32", [ONE["F32"], 0])]
    yield made("nuslerp-zero", "§5.12", words, nuslerp_call("F32", "0.5", "0.5"), inputs, (2,))
    for d in ("BF16", "F16"):
        yield from cosines("nuslerp", "§5.12", nuslerp_call(d, "0.6", "0.4"))
    words = "A weight that differs in the third digit."
    call, inputs = nuslerp_call("F32", "0.6", "0.4"), related("nuslerp-third", "F32", 2)
    there = merge(nuslerp_call("F32", "0.601", "0.399"), inputs, SHAPE)
    yield made("nuslerp-third-digit", "§5.10", words, call, inputs, there=there, standing="different")
    words = "In every row another cosine, a step beside the one that is computed."
    call = nuslerp_call("F32", "0.6", "0.4", flat=False)
    there = merge(call, inputs, SHAPE, numbers=Numbers(is_fused(call), cosines={0: 1, 1: -1, 2: -2}))
    assert there != merge(call, inputs, SHAPE)
    yield made("nuslerp-rows-within", "§5.12", words, call, inputs, there=there, standing="within")


# Several numbers.


def means() -> Iterator[Vector]:
    """Yield `karcher`."""
    usual = {"max_iter": "10", "tol": "1e-05"}
    for profile in BOTH:
        for d in ("F32", "BF16", "F16"):
            for count in (2, 3):
                call = operation("karcher", d, usual, *[{}] * count, profile=profile)
                inputs = related(f"karcher-{d}", d, 4, steps=1 << (FORMATS[d].precision - 1))[:count]
                yield made(f"karcher-{count}-{d.lower()}-{tail(profile)}", "§5.13", f"{count} inputs.", call, inputs)
    three = operation("karcher", "F32", usual, {}, {}, {})
    zero = ("F32", [0] * 27)
    inputs = [*related("karcher-zero", "F32", 2), zero]
    words = "An input of zeros has no direction, and a length of 0."
    yield made("karcher-one-zero", "§5.13", words, three, inputs)
    yield made("karcher-all-zero", "§5.13", "Nothing but zeros.", three, [zero, zero, ("F32", [1 << 31] * 27)])
    two = operation("karcher", "F32", usual, {}, {})
    words = "Opposite directions: that of the first input."
    inputs = [("F32", [ONE["F32"], 0]), ("F32", [ONE["F32"] | 1 << 31, 0])]
    yield made("karcher-opposite", "§5.13", words, two, inputs, (2,))
    one = operation("karcher", "F32", usual, {})
    yield made("karcher-alone", "§5.13", "One input is the result.", one, related("karcher-alone", "F32", 1))
    for steps in ("0", "1"):
        call = operation("karcher", "BF16", {"max_iter": steps, "tol": "0"}, {}, {}, {})
        inputs = related("karcher-BF16", "BF16", 3)
        yield made(f"karcher-steps-{steps}", "§5.13", f"{steps} steps at most.", call, inputs)
    call = operation("karcher", "F32", {"max_iter": "101", "tol": "0"}, {}, {})
    run = partial(merge_of, SHAPE)
    words = "More steps than are replayed."
    inputs = related("karcher-many", "F32", 2)
    yield refused("karcher-too-many-steps", "§5.13", words, call, inputs, "OPERAND_INVALID", run=run, shape=SHAPE)
    yield from bounds("karcher", "§5.13", three, karcher_terms)


def karcher_terms(call: Call, inputs: Sequence[Input]) -> list[Fraction]:
    """Return T of each element. Spec: merge §5.13."""
    tensors = decoded(call, inputs)
    numbers = Numbers(is_fused(call))
    lengths = [fraction(numbers.norm(x, call.d, widened=True)) for x in tensors]
    units = [[abs(fraction(value)) / n for value in x] for x, n in zip(tensors, lengths, strict=True)]
    means = [sum(fraction(x[at]) / n for x, n in zip(tensors, lengths, strict=True)) for at in range(len(tensors[0]))]
    squares = sum((mean / len(tensors)) ** 2 for mean in means)
    agreement = Fraction(float(squares) ** 0.5)
    length = sum(lengths) / len(lengths)
    return [max(column) * length / min(Fraction(1), agreement) for column in zip(*units, strict=True)]


def decoded(call: Call, inputs: Sequence[Input]) -> list[list[Number]]:
    """Return the values of inputs in D."""
    values = [[decode(bits, FORMATS[dtype]) for bits in bits_E] for dtype, bits_E in inputs]
    return [[rounded(value, call.d) for value in x if value is not None] for x in values]


def bounds(
    name: str, clause: str, call: Call, terms: Callable[[Call, Sequence[Input]], list[Fraction]]
) -> Iterator[Vector]:
    """Yield outputs of which an element is near the bound, on this side and on the other."""
    inputs = related(f"{name}-bound", "F32", len(call.own))
    usual = merge(call, inputs, SHAPE)
    at = max(range(27), key=lambda place: usual[place] & ((1 << 31) - 1))
    value = decode(usual[at], FORMATS["F32"])
    assert value is not None
    step = Fraction(2) ** (value.exponent + value.significand.bit_length() - 24)
    most = (32 + 2 * len(call.own)) * terms(call, inputs)[at] / 2**24 / step
    for share, standing in ((Fraction(9, 10), "within"), (Fraction(5, 4), "different")):
        for sign, side in ((1, "above"), (-1, "below")):
            there = moved(usual, at, sign * int(share * most))
            words = f"One element is {float(share)} of the bound {side} what is computed."
            yield made(f"{name}-{standing}-{side}", clause, words, call, inputs, there=there, standing=standing)


def slerp_call(d: str, *weights: str | None, normalize: bool = True, profile: str = FMA, eps: str = "1e-08") -> Call:
    """Return a call of `multislerp`; None is the base."""
    own = [None if weight is None else {"weight": weight} for weight in weights]
    return operation("multislerp", d, {"normalize_weights": normalize, "eps": eps}, *own, profile=profile)


def spheres() -> Iterator[Vector]:
    """Yield `multislerp`."""
    for profile in BOTH:
        for d in ("F32", "BF16", "F16"):
            for number, weights in enumerate((("0.6", "0.4"), ("0.5", None, "0.3", "0.4"))):
                call = slerp_call(d, *weights, normalize=number == 0, profile=profile)
                inputs = related(f"multislerp-{d}", d, 4)[: len(weights)]
                name = f"multislerp-{len(weights)}-{d.lower()}-{tail(profile)}"
                yield made(name, "§5.14", "Directions, their mean, and the mean length.", call, inputs)
    one, minus_one = ONE["F32"], ONE["F32"] | 1 << 31
    words = "Directions that cancel: of two inputs the plain sum, of three nothing."
    inputs = [("F32", [one, 0]), ("F32", [minus_one, 0])]
    yield made("multislerp-opposite", "§5.14", words, slerp_call("F32", "0.5", "0.5"), inputs, (2,))
    yield made(
        "multislerp-opposite-base", "§5.14", words, slerp_call("F32", "0.5", "0.5", None),
        [("F32", [0x40000000, 0]), ("F32", [0, 0]), ("F32", [one, 0])], (2,),
    )  # fmt: skip
    run = partial(merge_of, (2,))
    inputs = [("F32", [one, 0]), ("F32", [minus_one, 0]), ("F32", [0, 0])]
    call = slerp_call("F32", "0.5", "0.5", "1")
    yield refused("multislerp-cancel-three", "§5.14", words, call, inputs, "OPERAND_INVALID", run=run)
    words = "Tensors of one element, whose squares float32 does not have."
    inputs = [("F32", [0x7149F2CA]), ("F32", [0x71C9F2CA])]
    yield made("multislerp-one-large", "§5.10", words, slerp_call("F32", "0.5", "0.25"), inputs, (1,))
    words = "One input beside the base is the result, whatever its weight."
    yield made("multislerp-alone", "§5.14", words, slerp_call("F32", "0.5", None), related("multislerp-1", "F32", 2))
    yield from bounds("multislerp", "§5.14", slerp_call("F32", "0.6", "0.4", "0.5"), slerp_terms)
    words = "The inputs in another order, which 0.1.4 leaves open. 0.1.5 does not."
    # Two that cancel, and little beside them: what is added to one of the two first loses bits.
    (_, one), (_, two) = related("multislerp-order", "BF16", 2)
    inputs = [("BF16", one), ("BF16", [bits ^ 1 << 15 for bits in one]), ("BF16", two)]
    little = "9.5367431640625e-07"
    there = merge(slerp_call("BF16", little, "1", "1", normalize=False), [inputs[2], *inputs[:2]], SHAPE)
    for profile, standing in ((OLD, "within"), (FMA, "different")):
        call = slerp_call("BF16", "1", "1", little, normalize=False, profile=profile)
        assert there != merge(call, inputs, SHAPE)
        name = f"multislerp-order-{tail(profile)}"
        yield made(name, "§5.14", words, call, inputs, there=there, standing=standing)


def slerp_terms(call: Call, inputs: Sequence[Input]) -> list[Fraction]:
    """Return T of each element, of inputs without a base. Spec: merge §5.14."""
    tensors, d = decoded(call, inputs), call.d
    weights = [rounded(double(own["weight"]), d) for own in call.own]
    divisor = in_lanes(weights, d)
    weights = [over(weight, divisor, d) for weight in weights]
    numbers = Numbers(is_fused(call))
    lengths = [numbers.norm(x, d) for x in tensors]
    terms = [
        [fraction(times(over(v, n, d), w, d)) for v in x] for x, n, w in zip(tensors, lengths, weights, strict=True)
    ]
    together = [sum(abs(term) for term in column) for column in zip(*terms, strict=True)]
    agreement = Fraction(float(sum(sum(column) ** 2 for column in zip(*terms, strict=True))) ** 0.5)
    length = sum(fraction(n) * fraction(w) for n, w in zip(lengths, weights, strict=True))
    share = 1 + sum(abs(fraction(w)) for w in weights)
    return [abs(length) * (one + share * one / agreement) for one in together]


def selections() -> Iterator[Vector]:
    """Yield `sce`."""
    for profile in BOTH:
        for d in ("F32", "BF16", "F16"):
            for share in ("1", "0.52"):
                call = operation("sce", d, {"select_topk": share}, {}, None, {}, profile=profile)
                inputs = untied(f"sce-{d}", call)
                name = f"sce-{'all' if share == '1' else 'some'}-{d.lower()}-{tail(profile)}"
                yield made(name, "§5.15", "Two inputs and a base.", call, inputs)
    words = "Nothing is selected: the base; 0.1.4 makes tensors of another shape then."
    inputs = related("sce-none", "F32", 3)
    for profile in BOTH:
        call = operation("sce", "F32", {"select_topk": "0.01"}, {}, {}, None, profile=profile)
        name = f"sce-none-{tail(profile)}"
        if profile == OLD:
            run = partial(merge_of, SHAPE)
            yield refused(name, "§5.15", words, call, inputs, "OPERAND_INVALID", run=run, shape=SHAPE)
        else:
            yield made(name, "§5.15", words, call, inputs)
    words = "Mean squares below 1e-6 together: equal weights."
    call = operation("sce", "F32", {"select_topk": "1"}, {}, {}, None)
    yield made("sce-small", "§5.15", words, call, related("sce-small", "F32", 3, steps=1 << 10))
    yield from bounds("sce", "§5.15", call, sce_terms)
    yield from equal_variances()


def untied(name: str, call: Call) -> list[Input]:
    """Return inputs whose variances differ where the selection ends."""
    from mergekit import Tied

    for attempt in range(1000):
        inputs = related(f"{name}-{attempt}", call.compute_dtype, len(call.own))
        try:
            merge(call, inputs, SHAPE)
        except Tied:
            continue
        return inputs
    raise AssertionError


def sce_terms(call: Call, inputs: Sequence[Input]) -> list[Fraction]:
    """Return T of each element. Spec: merge §5.15."""
    assert call.base is not None
    tensors = decoded(call, inputs)
    base = tensors[call.base]
    others = [tensors[n] for n in call.others()]
    return [abs(fraction(b)) + max(abs(fraction(minus(x[at], b, call.d))) for x in others) for at, b in enumerate(base)]


def equal_variances() -> Iterator[Vector]:
    """Yield selections that end among equal variances."""
    for d, shift in (("BF16", 0), ("F32", 16)):
        call = operation("sce", d, {"select_topk": "0.5"}, {}, {}, None)
        one, two, four, half = (bits << shift for bits in (0x3F80, 0x4000, 0x4080, 0x3F00))
        # Variances 4, 1, 1, 1, 1, 1/4, 1/4, 1/4: the first and three of the next four are selected.
        first = [four, two, two, two, two, one, one, one]
        inputs = [(d, first), (d, [0] * 8), (d, [half] * 8)]
        words = "Variances 4, four times 1, and smaller ones: the first and three of the four, whichever they are."
        for number, left in enumerate((1, 2, 4)):
            there = merge(call, inputs, (8,), selected={0, 1, 2, 3, 4} - {left})
            name = f"sce-equal-{number}-{d.lower()}"
            yield made(name, "§5.15", words, call, inputs, (8,), there=there, standing="within")
        for name, chosen, words in (
            ("too-many", {0, 1, 2, 3, 4}, "All four are selected."),
            ("too-few", {0, 1, 2}, "Two of the four are selected."),
            ("off-the-cut", {0, 1, 2, 6}, "A smaller one is selected in place of one of the four."),
        ):
            there = merge(call, inputs, (8,), selected=chosen)
            name = f"sce-equal-{name}-{d.lower()}"
            yield made(name, "§5.15", words, call, inputs, (8,), there=there, standing="different")


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this part."""
    for part in (stocks, arcs, means, spheres, selections):
        yield from part()
