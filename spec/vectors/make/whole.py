"""Methods of the mergekit profiles that need numbers out of whole tensors, in integers. Spec: merge §5.10 to §5.15."""

# Shape suffixes: N inputs but for the base, R rows, E elements of a row or of the tensor.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations

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
from elementary import arc_cosine, cosine, root, sine
from linear import Refused
from mergekit import (
    ONE,
    ZERO,
    Call,
    Input,
    Tied,
    by_fours,
    double,
    in_lanes,
    in_order,
    minus,
    number,
    over,
    plus,
    rounded,
    times,
)

Values = Sequence[Number]
_RUN = 65536
MINUS_ONE = Number(True, 1, 0)


# Sums over elements. Spec: merge §5.10.


def total(terms: Values) -> Number:
    """Return the float64 sum by halves, of runs."""
    return _halved([_halved(terms[n : n + _RUN]) for n in range(0, len(terms), _RUN)])


def _halved(terms: Values) -> Number:
    left = list(terms) or [ZERO]
    while len(left) & (len(left) - 1):
        left.append(ZERO)
    while len(left) > 1:
        half = len(left) // 2
        left = [add(left[n], left[n + half], F64) for n in range(half)]
    return left[0]


def lane_norm(values: Values, lanes: int, *, pairs: bool, fused: bool) -> Number:
    """Return the float32 norm that so many lanes give."""
    if len(values) == 1:
        return values[0]._replace(negative=False)
    group = 2 * lanes if pairs and lanes > 1 else lanes
    whole = len(values) // group * group
    sums = [ZERO] * lanes
    for place, value in enumerate(values[:whole]):
        sums[place % lanes] = add(sums[place % lanes], _square(value), F32)
    norm = sums[0]
    for other in sums[1:]:
        norm = add(norm, other, F32)
    plain = len(values) - (len(values) - whole) % 4 if fused else len(values)
    for place, value in enumerate(values[whole:], whole):
        norm = add(norm, _square(value) if place < plain else multiply(value, value), F32)
    return root(norm, F32)


def _square(value: Number) -> Number:
    return round_number(multiply(value, value), F32)


def true_norm(values: Values) -> Number:
    """Return the float32 nearest to the root of the float64 sum."""
    if len(values) == 1:
        return values[0]._replace(negative=False)
    return round_number(root(total([multiply(value, value) for value in values]), F64), F32)


@dataclass(slots=True)
class Numbers:
    """Gives the numbers that come out of sums: the usual ones, unless something else is said.

    `spreads` says by how many times what they may be off all sums are; `norms` takes another norm than the usual one;
    `sums` and `cosines` move single ones, counted from 0, by so many steps. What was given is noted in `given_cosines`.
    """

    fused: bool
    spreads: int = 0
    norms: Callable[[Values, Format], Number] | None = None
    sums: Mapping[int, int] = field(default_factory=dict)
    cosines: Mapping[int, int] = field(default_factory=dict)
    given_cosines: list[Number] = field(default_factory=list)
    given_sums: list[tuple[Number, Fraction]] = field(default_factory=list)

    def sum(self, terms: Values, d: Format, *, alone: bool = False) -> Number:
        """Return R of the sum of terms; `alone` says that threads may share it."""
        exact = total(terms)
        spread = fraction(total([term._replace(negative=False) for term in terms])) / 2**20
        if alone and d != F32:
            size = max(1, -(-len(terms) // 64))
            parts = (total(terms[n : n + size]) for n in range(0, len(terms), size))
            spread += sum((abs(fraction(part)) for part in parts), Fraction(0)) / 2 ** (d.precision - 1)
        steps = self.sums.get(len(self.given_sums), 0)
        self.given_sums.append((exact, spread))
        value = rounded_fraction(fraction(exact) + self.spreads * spread, d) if self.spreads else rounded(exact, d)
        return stepped(value, steps, d) if steps else value

    def cosine(self, value: Number, d: Format) -> Number:
        """Return the cosine of a row."""
        steps = self.cosines.get(len(self.given_cosines), 0)
        self.given_cosines.append(value)
        return stepped(value, steps, d) if steps else value

    def norm(self, values: Values, d: Format, *, strided: bool = False, widened: bool = False) -> Number:
        """Return a norm in float32."""
        if self.norms is not None:
            return self.norms(values, d)
        one_lane = strided or (d == FORMATS["F16"] and not widened)
        pairs = d == FORMATS["BF16"] and not widened
        return lane_norm(values, 1 if one_lane else 8, pairs=pairs, fused=self.fused)


OTHER_NORMS: tuple[Callable[[Values, Format], Number], ...] = (
    lambda values, d: true_norm(values),
    lambda values, d: lane_norm(values, 1, pairs=False, fused=True),
    lambda values, d: lane_norm(values, 4, pairs=d == FORMATS["BF16"], fused=True),
    lambda values, d: lane_norm(values, 16, pairs=d == FORMATS["BF16"], fused=True),
)
"""But for those of a single row of F16, which no vector needs."""


def rounded_fraction(value: Fraction, d: Format) -> Number:
    """Return R of a fraction."""
    return round_number(round_ratio(value < 0, abs(value.numerator), value.denominator, F32), d)


def stepped(value: Number, steps: int, d: Format) -> Number:
    """Return the value of `d` that is so many steps above."""
    ordinal = _ordinal(value, d) + steps
    moved = decode(abs(ordinal), d)
    assert moved is not None
    return moved._replace(negative=ordinal < 0)


def least(value: Number, smallest: Number) -> Number:
    """Return the value, or the smallest where it is less."""
    return smallest if fraction(value) < fraction(smallest) else value


def cut(value: Number) -> Number:
    """Return the value cut to the range from −1 to 1."""
    return MINUS_ONE if fraction(value) < -1 else ONE if fraction(value) > 1 else value


def is_below(value: Number, limit: Number) -> bool:
    """Return whether the magnitude is below the limit."""
    return abs(fraction(value)) < fraction(limit)


# Methods. Each returns the results of all elements in D. Spec: merge §5.11 to §5.15.

Tensor = list[Number]
Shape = Sequence[int]


def rows_of(tensor: Values, shape: Shape, *, by_rows: bool, columns: bool = False) -> list[list[int]]:
    """Return the places of the elements of each row."""
    elements = range(len(tensor))
    if not by_rows or not shape:
        return [list(elements)]
    if columns and len(shape) == 2:
        return [[n for n in elements if n % shape[1] == column] for column in range(shape[1])]
    assert not columns or len(shape) == 1
    width = shape[-1]
    return [list(elements[n : n + width]) for n in range(0, len(tensor), width)]


def model_stock(call: Call, tensors: Sequence[Tensor], shape: Shape, numbers: Numbers) -> Tensor:
    """Spec: merge §5.11."""
    assert call.base is not None
    d, base = call.d, tensors[call.base]
    others = [tensors[n] for n in call.others()]
    out = list(base)
    rows = rows_of(base, shape, by_rows=bool(call.parameters["filter_wise"]))
    for places in rows:
        deltas = [[minus(x[at], base[at], d) for at in places] for x in others]
        norms = [round_number(numbers.norm(delta, d), d) for delta in deltas]
        cosines = []
        for (i, one), (j, other) in combinations(enumerate(deltas), 2):
            products = [times(a, b, d) for a, b in zip(one, other, strict=True)]
            both = least(times(norms[i], norms[j], d), rounded(double("1e-6"), d))
            cosines.append(cut(over(numbers.sum(products, d, alone=len(rows) == 1), both, d)))
        add_up = by_fours if len(rows) == 1 else in_order
        mean = round_number(divide(add_up(cosines), Number(False, len(cosines), 0), F32), d)
        mean = numbers.cosine(mean, d)
        count, fewer = Number(False, len(others), 0), Number(False, len(others) - 1, 0)
        divisor = plus(ONE, times(fewer, mean, d), d)
        if call.profile != "mergekit-0.1.4" and is_below(divisor, rounded(double("1e-6"), d)):
            share = ZERO
        else:
            share = over(times(count, mean, d), divisor, d)
        for at in places:
            sum_ = add(others[0][at], ZERO, F32)
            for x in others[1:]:
                sum_ = plus(sum_, x[at], d)
            average = over(sum_, count, d)
            out[at] = plus(times(share, average, d), times(minus(ONE, share, d), base[at], d), d)
    return out


def share_of(call: Call) -> Number:
    """Return the float64 share of the second input. Spec: merge §5.12."""
    first, second = (double(call.own[n]["weight"]) for n in call.others())
    both = add(first, second, F64)
    return Number(False, 1, -1) if is_below(both, double("1e-6")) else divide(second, both, F64)


def nuslerp(call: Call, tensors: Sequence[Tensor], shape: Shape, numbers: Numbers) -> Tensor:
    """Spec: merge §5.12."""
    d = call.d
    base = None if call.base is None else tensors[call.base]
    one, other = (tensors[n] for n in call.others())
    if base is not None:
        one, other = ([minus(x, b, d) for x, b in zip(v, base, strict=True)] for v in (one, other))
    columns = bool(call.parameters["nuslerp_row_wise"])
    t = share_of(call)
    share, rest = (round_number(value, F32) for value in (t, add(ONE, t._replace(negative=not t.negative), F64)))
    out = list(one)
    rows = rows_of(one, shape, by_rows=not call.parameters["nuslerp_flatten"], columns=columns)
    for places in rows:
        units = []
        for vector in (one, other):
            row = [vector[at] for at in places]
            norm = round_number(numbers.norm(row, d, strided=columns and len(rows) > 1), d)
            norm = least(norm, rounded(double("1e-7"), d))
            units.append([over(value, norm, d) for value in row])
        products = [times(a, b, d) for a, b in zip(*units, strict=True)]
        c = numbers.cosine(cut(numbers.sum(products, d, alone=len(rows) == 1)), d)
        angle = round_number(arc_cosine(c), d)
        whole = round_number(sine(angle), d)
        if call.profile == "mergekit-0.1.4":
            straight = is_below(whole, rounded(double("1e-8"), d))
        else:
            left = minus(ONE, times(c, c, d), d)
            straight = fraction(left) <= fraction(rounded(double("1e-16"), d))
        first, second = rest, share
        if not straight:
            first, second = (round_number(sine(times(part, angle, d)), d) for part in (rest, share))
        for at in places:
            out[at] = plus(times(first, one[at], d), times(second, other[at], d), d)
            if not straight:
                out[at] = over(out[at], whole, d)
    return out if base is None else [plus(b, r, d) for b, r in zip(base, out, strict=True)]


def karcher(call: Call, tensors: Sequence[Tensor], shape: Shape, numbers: Numbers) -> Tensor:
    """Spec: merge §5.13."""
    d, count = call.d, len(tensors)
    tolerance = fraction(double(call.text("tol")))
    if fraction(double(call.text("max_iter"))) > 100:
        raise Refused("OPERAND_INVALID")
    if count == 1:
        return tensors[0]
    part = divide(ONE, Number(False, count, 0), F64)
    lengths = [numbers.norm(x, d, widened=True) for x in tensors]
    units = [[over(v, n, d) for v in x] for x, n in zip(tensors, lengths, strict=True) if fraction(n) > tolerance]
    if not units:
        return [ZERO] * len(tensors[0])
    both = ZERO
    for _ in units:
        both = add(both, part, F64)
    share = round_number(divide(part, both, F64), F32)
    mean = [ZERO] * len(tensors[0])
    for unit in units:
        mean = [plus(m, times(share, u, d), d) for m, u in zip(mean, unit, strict=True)]
    q = numbers.norm(mean, d, widened=True)
    mean = units[0] if fraction(q) < tolerance else [over(m, q, d) for m in mean]
    for _ in range(int(fraction(double(call.text("max_iter"))))):
        tangent = [ZERO] * len(mean)
        for unit in units:
            c = cut(numbers.sum([multiply(m, u) for m, u in zip(mean, unit, strict=True)], d))
            angle = round_number(arc_cosine(c), d)
            if fraction(angle) < tolerance:
                continue
            weight = times(share, over(angle, round_number(sine(angle), d), d), d)
            seen = [minus(u, times(c, m, d), d) for m, u in zip(mean, unit, strict=True)]
            tangent = [plus(g, times(weight, v, d), d) for g, v in zip(tangent, seen, strict=True)]
        step = numbers.norm(tangent, d, widened=True)
        if fraction(step) < tolerance:
            break
        cos, sin = (round_number(of(step), d) for of in (cosine, sine))
        mean = [plus(times(cos, m, d), times(sin, over(g, step, d), d), d) for m, g in zip(mean, tangent, strict=True)]
        q = numbers.norm(mean, d, widened=True)
        if fraction(q) > tolerance:
            mean = [over(m, q, d) for m in mean]
    if call.profile == "mergekit-0.1.4":
        exact = ZERO
        for length in lengths:
            exact = add(exact, round_number(multiply(part, length), F64), F64)
        length = round_number(exact, F32)
    else:
        length = ZERO
        for one in lengths:
            length = add(length, round_number(multiply(round_number(part, F32), one), F32), F32)
        length = round_number(length, d)
    return [times(length, m, d) for m in mean]


def multislerp(call: Call, tensors: Sequence[Tensor], shape: Shape, numbers: Numbers) -> Tensor:
    """Spec: merge §5.14."""
    d = call.d
    base = None if call.base is None else tensors[call.base]
    points = [tensors[n] for n in call.others()]
    if len(points) == 1:
        return points[0]
    if base is not None:
        points = [[minus(x, b, d) for x, b in zip(point, base, strict=True)] for point in points]
    weights = [rounded(double(call.own[n]["weight"]), d) for n in call.others()]
    if call.parameters["normalize_weights"]:
        divisor = round_number(in_lanes(weights, d), d)
        weights = [over(weight, divisor, d) for weight in weights]
    smallest = number(call.text("eps"))
    lengths = [round_number(numbers.norm(point, d), d) for point in points]
    units = [[over(v, plus(n, smallest, d), d) for v in x] for x, n in zip(points, lengths, strict=True)]

    def mixed(vectors: Sequence[Tensor]) -> Tensor:
        columns = zip(*vectors, strict=True)
        terms = ([times(v, w, d) for v, w in zip(column, weights, strict=True)] for column in columns)
        return [round_number(in_order(list(term)), d) for term in terms]

    summed = mixed(units)
    q = round_number(numbers.norm(summed, d), d)
    if fraction(q) < fraction(round_number(smallest, d)):
        if len(points) > 2:
            raise Refused("OPERAND_INVALID")
        one, other = ([times(v, w, d) for v in x] for x, w in zip(points, weights, strict=True))
        out = [plus(a, b, d) for a, b in zip(one, other, strict=True)]
    else:
        mean = [over(s, q, d) for s in summed]
        dots = [numbers.sum([times(u, m, d) for u, m in zip(unit, mean, strict=True)], d) for unit in units]
        tangents = [
            [minus(u, times(c, m, d), d) for u, m in zip(unit, mean, strict=True)]
            for unit, c in zip(units, dots, strict=True)
        ]
        tangent = mixed(tangents)
        angle = plus(round_number(numbers.norm(tangent, d), d), smallest, d)
        cos, sin = (round_number(of(angle), d) for of in (cosine, sine))
        length = round_number(in_lanes([times(n, w, d) for n, w in zip(lengths, weights, strict=True)], d), d)
        part = over(sin, angle, d)
        out = [
            times(plus(times(m, cos, d), times(g, part, d), d), length, d) for m, g in zip(mean, tangent, strict=True)
        ]
    return out if base is None else [plus(r, b, d) for r, b in zip(out, base, strict=True)]


def sce(
    call: Call,
    tensors: Sequence[Tensor],
    shape: Shape,
    numbers: Numbers,
    selected: set[int] | None = None,
) -> Tensor:
    """`selected` overrides which elements are. Spec: merge §5.15. Raises `Tied` where that is open."""
    assert call.base is not None
    d, base = call.d, tensors[call.base]
    elements = range(len(base))
    deltas = [[minus(tensors[n][at], base[at], d) for at in elements] for n in call.others()]
    if fraction(double(call.text("select_topk"))) < 1:
        chosen = selection(call, deltas) if selected is None else selected
        deltas = [[times(v, ONE if at in chosen else ZERO, d) for at, v in enumerate(delta)] for delta in deltas]
    means = []
    for delta in deltas:
        squares = [times(v, v, d) for v in delta]
        means.append(rounded(divide(total(squares), Number(False, len(base), 0), F64), d))
    both = round_number(in_lanes(means, d), d)
    if is_below(both, double("1e-6")):
        weights = [over(ONE, Number(False, len(means), 0), d)] * len(means)
    else:
        weights = [over(mean, both, d) for mean in means]
    out = []
    for at in elements:
        column = [delta[at] for delta in deltas]
        positive = fraction(round_number(in_order(column), d)) >= 0
        counts = [fraction(v) > 0 if positive else fraction(v) < 0 for v in column]
        shares = [weight if one else ZERO for weight, one in zip(weights, counts, strict=True)]
        terms = [times(v, share, d) for v, share in zip(column, shares, strict=True)]
        divisor = least(round_number(in_order(shares), d), rounded(double("1e-6"), d))
        out.append(plus(base[at], over(round_number(in_order(terms), d), divisor, d), d))
    return out


def variances(call: Call, deltas: Sequence[Tensor]) -> list[Number]:
    """Return the variance over the inputs of each element, in D."""
    out = []
    for column in zip(*deltas, strict=True):
        exact = [fraction(value) for value in column]
        mean = sum(exact, Fraction(0)) / len(exact)
        variance = sum(((value - mean) ** 2 for value in exact), Fraction(0)) / len(exact)
        near = round_ratio(False, variance.numerator, variance.denominator, F64)
        out.append(rounded(near, call.d))
    return out


def selection(call: Call, deltas: Sequence[Tensor]) -> set[int]:
    """Return the elements of the largest variance. Raises `Tied`."""
    variance = variances(call, deltas)
    nonzero = sum(value.significand > 0 for value in variance)
    share = round_number(multiply(round_number(Number(False, nonzero, 0), F32), number(call.text("select_topk"))), F32)
    count = int(fraction(share))
    if count <= 0:
        if call.profile == "mergekit-0.1.4":
            raise Refused("OPERAND_INVALID")
        return set()
    order = sorted(range(len(variance)), key=lambda at: fraction(variance[at]), reverse=True)
    if count < len(order) and fraction(variance[order[count - 1]]) == fraction(variance[order[count]]):
        raise Tied
    return set(order[:count])


METHODS: Mapping[str, Callable[..., Tensor]] = {
    "model_stock": model_stock,
    "nuslerp": nuslerp,
    "karcher": karcher,
    "multislerp": multislerp,
    "sce": sce,
}


def merge(
    call: Call,
    inputs: Sequence[Input],
    shape: Shape,
    *,
    numbers: Numbers | None = None,
    selected: set[int] | None = None,
) -> list[int]:
    """Return the bits of the output; `numbers` and `selected` override what is open. Raises `Refused`, `Tied`."""
    tensors = []
    for dtype, bits_E in inputs:
        decoded = [decode(bits, FORMATS[dtype]) for bits in bits_E]
        if None in decoded:
            raise Refused("NONFINITE_INPUT")
        tensors.append([rounded(value, call.d) for value in decoded if value is not None])
    out = FORMATS[call.dtype]
    more = {} if selected is None else {"selected": selected}
    try:
        results = METHODS[call.method](call, tensors, shape, numbers or Numbers(is_fused(call)), **more)
        return [encode(round_number(value, out), out) for value in results]
    except Infinite:
        raise Refused("NONFINITE_OUTPUT") from None


def is_fused(call: Call) -> bool:
    """Return whether the last squares of a norm are added by a fused multiply-add."""
    return call.profile != "mergekit-0.1.5/nofma"


def cosine_steps(call: Call, inputs: Sequence[Input], shape: Shape) -> tuple[int, int]:
    """Return by how many steps the cosine of the only row may come out below and above the usual one."""
    values = []
    for norms in (None, *OTHER_NORMS):
        for spreads in (-1, 0, 1):
            numbers = Numbers(is_fused(call), spreads, norms)
            merge(call, inputs, shape, numbers=numbers)
            values.append(_ordinal(numbers.given_cosines[0], call.d))
    usual = values[1]
    return min(values) - usual, max(values) - usual


def _ordinal(value: Number, d: Format) -> int:
    magnitude = encode(value._replace(negative=False), d)
    return -magnitude if value.negative else magnitude
