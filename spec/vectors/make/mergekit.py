"""The mergekit profiles, in integers. Spec: merge §5."""

# Shape suffixes: P inputs, N inputs but for the base, E elements.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from decimal_text import split
from dyadic import (
    F32,
    F64,
    FORMATS,
    Format,
    Infinite,
    Number,
    add,
    decode,
    divide,
    encode,
    fraction,
    multiply,
    round_number,
    round_ratio,
)
from linear import Refused

ZERO = Number(False, 0, 0)
ONE = Number(False, 1, 0)
Adder = Callable[[Sequence[Number]], Number]
Input = tuple[str, Sequence[int]]


class Tied(Exception):
    """A cut among equal magnitudes: the standard does not say which of them are kept."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation: parameters are decimal text or booleans, `own` those of each input, `base` its position."""

    profile: str
    method: str
    compute_dtype: str
    dtype: str
    parameters: Mapping[str, str | bool]
    own: Sequence[Mapping[str, str]]
    base: int | None = None

    @property
    def d(self) -> Format:
        """The compute dtype."""
        return FORMATS[self.compute_dtype]

    def others(self) -> list[int]:
        """Return the positions of the inputs but for the base."""
        return [position for position in range(len(self.own)) if position != self.base]

    def text(self, name: str) -> str:
        """Return a shared parameter that is a number."""
        value = self.parameters[name]
        assert isinstance(value, str)
        return value


# Numbers and operations. Spec: merge §5.1.


def double(text: str) -> Number:
    """Return the float64 nearest to the decimal number."""
    negative, digits, exponent = split(text)
    return round_ratio(negative, digits * 10 ** max(exponent, 0), 10 ** max(-exponent, 0), F64)


def number(text: str) -> Number:
    """Return the float32 nearest to the float64 nearest to the decimal number."""
    return round_number(double(text), F32)


def rounded(value: Number, d: Format) -> Number:
    """Return R(value): through float32 to D."""
    return round_number(round_number(value, F32), d)


def plus(a: Number, b: Number, d: Format) -> Number:
    """Return R(a + b)."""
    return round_number(add(a, b, F32), d)


def minus(a: Number, b: Number, d: Format) -> Number:
    """Return R(a − b)."""
    return plus(a, b._replace(negative=not b.negative), d)


def times(a: Number, b: Number, d: Format) -> Number:
    """Return R(a · b)."""
    return rounded(multiply(a, b), d)


def over(a: Number, b: Number, d: Format) -> Number:
    """Return R(a / b). Raises `Infinite` where b is zero."""
    if b.significand == 0:
        raise Infinite
    return round_number(divide(a, b, F32), d)


# Sums over inputs. Spec: merge §5.2.


def in_order(terms: Sequence[Number]) -> Number:
    """Return the float32 sum in runs of sixteen."""
    runs = []
    for start in range(0, len(terms), 16):
        run = ZERO
        for term in terms[start : start + 16]:
            run = add(run, term, F32)
        runs.append(run)
    total = ZERO
    for run in runs:
        total = add(total, run, F32)
    return total


def by_fours(terms: Sequence[Number]) -> Number:
    """Return the float32 sum of four sums of every fourth term."""
    fours = len(terms) // 4 * 4
    partial = [in_order([terms[n] for n in range(k, fours, 4)]) for k in range(4)]
    for term in terms[fours:]:
        partial[0] = add(partial[0], term, F32)
    total = partial[0]
    for other in partial[1:]:
        total = add(total, other, F32)
    return total


def in_lanes(terms: Sequence[Number], d: Format) -> Number:
    """Return the float32 sum of eight lanes, of terms that have the format `d`."""
    at_once = 1 if d == F32 else 2
    vectors = len(terms) // (8 * at_once)
    if vectors == 0:
        return by_fours(terms)
    total = ZERO
    for term in terms[vectors * 8 * at_once :]:
        total = add(total, term, F32)
    for lane in range(8):
        column = []
        for vector in range(vectors):
            first = terms[vector * 8 * at_once + lane]
            column.append(first if at_once == 1 else add(first, terms[vector * 16 + 8 + lane], F32))
        total = add(total, by_fours(column), F32)
    return total


# Methods. Each returns the result of one element in D or float32. Spec: merge §5.3 and on.


def linear(call: Call, x_P: Sequence[Number], add_up: Adder) -> Number:
    """Spec: merge §5.3."""
    numbers = [number(own["weight"]) for own in call.own]
    if call.profile == "mergekit-0.1.4":
        weights, kind = [round_number(w, call.d) for w in numbers], call.d
        s = round_number(add_up([times(w, x, kind) for w, x in zip(weights, x_P, strict=True)]), kind)
    else:
        weights, kind, s = numbers, F32, ZERO
        for w, x in zip(weights, x_P, strict=True):
            product = multiply(w, x) if call.profile.endswith("/fma") else round_number(multiply(w, x), F32)
            s = add(s, product, F32)
    if call.parameters["normalize"]:
        s = over(s, round_number(in_lanes(weights, kind), kind), kind)
    return s


def passthrough(call: Call, x_P: Sequence[Number], add_up: Adder) -> Number:
    """Spec: merge §5.5."""
    (x,), (own,) = x_P, call.own
    return times(x, number(own["scale"]), call.d) if "scale" in own else x


def nearswap(call: Call, x_P: Sequence[Number], add_up: Adder) -> Number:
    """Spec: merge §5.8."""
    assert call.base is not None
    a, b, d = x_P[call.base], x_P[1 - call.base], call.d
    distance = minus(a, b, d)._replace(negative=False)
    smallest = rounded(double("1e-6"), d)
    if fraction(distance) < fraction(smallest):
        distance = smallest
    t = number(call.text("t"))
    try:
        share = times(over(ONE, distance, d), t, d)
    except Infinite:  # an infinite reciprocal, or product, is cut to 1 or 0; no t of 0 goes with one
        if t.significand == 0:
            raise
        share = Number(t.negative, 2, 0)
    share = ZERO if fraction(share) < 0 else ONE if fraction(share) > 1 else share
    return plus(times(share, b, d), times(minus(ONE, share, d), a, d), d)


def deltas(
    call: Call, x_P: Sequence[Number], kept_N: Sequence[bool], ratio_N: Sequence[Number | None], add_up: Adder
) -> Number:
    """The methods that add differences, where `kept_N` says which of them are kept. Spec: merge §5.4, §5.6, §5.7."""
    assert call.base is not None
    d, base = call.d, x_P[call.base]
    weights = [rounded(double(call.own[position]["weight"]), d) for position in call.others()]
    terms = []
    for position, weight, kept, ratio in zip(call.others(), weights, kept_N, ratio_N, strict=True):
        delta = times(minus(x_P[position], base, d), ONE if kept else ZERO, d)
        terms.append(times(delta if ratio is None else times(delta, ratio, d), weight, d))
    chosen = [True] * len(terms)
    if call.method in ("ties", "breadcrumbs_ties"):
        positive = fraction(round_number(add_up(terms), d)) >= 0
        chosen = [fraction(term) > 0 if positive else fraction(term) < 0 for term in terms]
    masks = [ONE if one else ZERO for one in chosen]
    mixed = round_number(add_up([times(term, mask, d) for term, mask in zip(terms, masks, strict=True)]), d)
    if call.parameters["normalize"]:
        if call.method in ("ties", "breadcrumbs_ties"):
            shares = [times(weight, mask, d) for weight, mask in zip(weights, masks, strict=True)]
            divisor = round_number(add_up(shares), d)
            small = divisor.significand == 0
        else:
            divisor = round_number(in_lanes(weights, d), d)
            small = abs(fraction(divisor)) < fraction(rounded(double("1e-8"), d))
        mixed = over(mixed, ONE if small else divisor, d)
    if fraction(double(call.text("lambda"))) != 1:
        mixed = times(mixed, number(call.text("lambda")), d)
    return plus(base, mixed, d)


def spans(call: Call, elements: int) -> list[tuple[int, int]]:
    """Return for each input but the base what is kept, as positions in ascending order. Spec: merge §5.6, §5.7.

    Raises `Refused`.
    """
    found = []
    for position in call.others():
        own = call.own[position]
        density = fraction(double(own["density"])) if "density" in own else Fraction(1)
        if density >= 1:
            found.append((0, elements))
            continue
        count = share(own["density"], elements)
        if call.method == "ties":
            if call.profile == "mergekit-0.1.4":
                if count <= 0:
                    raise Refused("OPERAND_INVALID")
            else:
                count = max(count, 1) if density > 0 else 0
            found.append((elements - count, elements))
            continue
        if density < 0 or fraction(double(own["gamma"])) < 0:
            raise Refused("OPERAND_INVALID")
        largest = min(share(own["gamma"], elements), elements - count)
        none = call.profile == "mergekit-0.1.4" and largest == 0
        found.append((0, 0) if none else (elements - largest - count, elements - largest))
    return found


def share(text: str, elements: int) -> int:
    """Return the product of the number and the count in float64, cut off towards zero."""
    product = fraction(round_number(multiply(double(text), Number(False, elements, 0)), F64))
    return int(product)


def kept_elements(call: Call, columns: Sequence[Sequence[Number]]) -> list[list[bool]]:
    """Return for each input but the base which elements are kept. Raises `Tied`."""
    assert call.base is not None
    kept = []
    for position, (first, last) in zip(call.others(), spans(call, len(columns)), strict=True):
        magnitude = [abs(fraction(minus(x_P[position], x_P[call.base], call.d))) for x_P in columns]
        order = sorted(range(len(columns)), key=lambda at: magnitude[at])
        for cut in (first, last):
            if first < last and 0 < cut < len(order) and magnitude[order[cut - 1]] == magnitude[order[cut]]:
                raise Tied
        chosen = set(order[first:last])
        kept.append([at in chosen for at in range(len(columns))])
    return kept


def scales(call: Call, columns: Sequence[Sequence[Number]], kept_NE: Sequence[Sequence[bool]]) -> list[Number | None]:
    """Return for each input but the base what kept differences are multiplied by, None where they are not."""
    assert call.base is not None
    found: list[Number | None] = []
    for position, kept_E in zip(call.others(), kept_NE, strict=True):
        own = call.own[position]
        if not call.parameters.get("rescale") or fraction(double(own["density"])) >= 1:
            found.append(None)
            continue
        magnitude = [abs(fraction(minus(x_P[position], x_P[call.base], call.d))) for x_P in columns]
        before = rounded_fraction(sum(magnitude, Fraction(0)), call.d)
        after = rounded_fraction(
            sum((m for m, kept in zip(magnitude, kept_E, strict=True) if kept), Fraction(0)), call.d
        )
        smallest = fraction(rounded(double("1e-7"), call.d))
        small = fraction(before) < smallest or fraction(after) < smallest
        found.append(None if small else over(before, after, call.d))
    return found


def rounded_fraction(value: Fraction, d: Format) -> Number:
    """Return R of a fraction that is not negative."""
    return round_number(round_ratio(False, value.numerator, value.denominator, F32), d)


ELEMENTWISE = {"linear": linear, "passthrough": passthrough, "nearswap": nearswap}


def merge(
    call: Call,
    inputs_PE: Sequence[Input],
    *,
    add_up: Adder = in_order,
    kept_NE: Sequence[Sequence[bool]] | None = None,
    ratio_N: Sequence[Number | None] | None = None,
) -> list[int]:
    """Return the bits of the output. `kept_NE` and `ratio_N` override what the method would keep and scale by.

    Raises `Refused` with NONFINITE_INPUT, NONFINITE_OUTPUT or OPERAND_INVALID.
    """
    columns = []
    for bits_P in zip(*(bits_E for _, bits_E in inputs_PE), strict=True):
        numbers = [decode(bits, FORMATS[dtype]) for bits, (dtype, _) in zip(bits_P, inputs_PE, strict=True)]
        if None in numbers:
            raise Refused("NONFINITE_INPUT")
        columns.append([one for one in numbers if one is not None])
    out = FORMATS[call.dtype]
    try:
        columns = [[rounded(x, call.d) for x in x_P] for x_P in columns]
        if call.method in ELEMENTWISE:
            results = [ELEMENTWISE[call.method](call, x_P, add_up) for x_P in columns]
        else:
            kept = kept_elements(call, columns) if kept_NE is None else kept_NE
            ratios = scales(call, columns, kept) if ratio_N is None else ratio_N
            results = [deltas(call, x_P, [k[at] for k in kept], ratios, add_up) for at, x_P in enumerate(columns)]
        return [encode(round_number(round_number(y, call.d), out), out) for y in results]
    except Infinite:
        raise Refused("NONFINITE_OUTPUT") from None
