"""Area `mergekit`: the profiles of mergekit, single effects. `mergekit_mass` has elements by the hundred."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from dyadic import FORMATS
from linear import Refused
from mergekit import Call, Input, Tied, by_fours, merge
from vector import JsonObject, Vector

from areas.merge import packed

OLD, FMA, NOFMA = "mergekit-0.1.4", "mergekit-0.1.5/fma", "mergekit-0.1.5/nofma"
NEW = (FMA, NOFMA)
ALL = (OLD, *NEW)
ONE = {"F32": 0x3F800000, "BF16": 0x3F80, "F16": 0x3C00}


Run = Callable[[Call, Sequence[Input]], list[int]]


def vector(
    name: str,
    clause: str,
    words: str,
    call: Call,
    inputs: Sequence[Input],
    *,
    shape: Sequence[int] | None = None,
    there: Sequence[int] | None = None,
    standing: str = "exact",
    warns: bool | None = None,
    run: Run = merge,
) -> Vector:
    """Return a vector of this call: its output, or the code that refuses it; or how `there` stands to it."""
    files = {f"{'abcdefghijklmnopqrstuvwx'[n]}.bin": packed(dtype, bits) for n, (dtype, bits) in enumerate(inputs)}
    given: dict[str, object] = {
        "profile": call.profile,
        "method": call.method,
        "computeDtype": call.compute_dtype,
        "dtype": call.dtype,
        "shape": list(shape or [len(inputs[0][1])]),
        "inputs": [{"dtype": dtype, "file": file} for (dtype, _), file in zip(inputs, files, strict=True)],
        "base": call.base,
        "parameters": dict(call.parameters),
        "inputParameters": [dict(own) for own in call.own],
    }
    expected: JsonObject
    if there is not None:
        files["there.bin"] = packed(call.dtype, there)
        given["there"] = "there.bin"
        expected = {"standing": standing} if warns is None else {"standing": standing, "warns": warns}
    else:
        try:
            output = run(call, inputs)
            files["expected.bin"] = packed(call.dtype, output)
            expected = {"accepted": True, "file": "expected.bin", "effects": effects(call, inputs, output, run)}
        except Refused as refusal:
            expected = {"accepted": False, "codes": [refusal.code]}
    return Vector("mergekit", name, f"merge {clause}", words, given, expected, files)


def effects(call: Call, inputs: Sequence[Input], output: Sequence[int], run: Run = merge) -> list[bool]:
    """Return for each input whether zeros in its place change the output. Spec: merge §3."""
    found = []
    for position, (dtype, bits_E) in enumerate(inputs):
        zeroed = list(inputs)
        zeroed[position] = (dtype, [0] * len(bits_E))
        try:
            found.append(run(call, zeroed) != list(output))
        except (Refused, Tied):  # not finite, or another choice: not what it was
            found.append(True)
    return found


def known(name: str, clause: str, words: str, call: Call, inputs: Sequence[Input], output: Sequence[int]) -> Vector:
    """Return a vector whose output is known by hand."""
    made = merge(call, inputs)
    assert made == list(output), (name, [hex(bits) for bits in made])
    return vector(name, clause, words, call, inputs)


def refused(
    name: str,
    clause: str,
    words: str,
    call: Call,
    inputs: Sequence[Input],
    code: str,
    *,
    shape: Sequence[int] | None = None,
    run: Run = merge,
) -> Vector:
    """Return a vector that is refused with this code."""
    made = vector(name, clause, words, call, inputs, shape=shape, run=run)
    assert made.expected == {"accepted": False, "codes": [code]}, (name, made.expected)
    return made


def tail(profile: str) -> str:
    """Return a profile's part of a vector's name."""
    return {OLD: "0.1.4", FMA: "fma", NOFMA: "nofma"}[profile]


def linear(profile: str, d: str, *weights: str, normalize: bool = False, dtype: str | None = None) -> Call:
    """Return a call of `linear`."""
    own = [{"weight": weight} for weight in weights]
    return Call(profile, "linear", d, dtype or d, {"normalize": normalize}, own)


def delta_call(
    method: str,
    d: str,
    *own: Mapping[str, str] | None,
    profile: str = FMA,
    normalize: bool = False,
    scale: str = "1",
    dtype: str | None = None,
    rescale: bool = False,
) -> Call:
    """Return a call of a method that adds differences; the parameters of the base are None."""
    base = own.index(None)
    parameters: dict[str, str | bool] = {"normalize": normalize, "lambda": scale}
    if method != "task_arithmetic":
        parameters["rescale"] = rescale
    return Call(profile, method, d, dtype or d, parameters, [one or {} for one in own], base)


def linears() -> Iterator[Vector]:
    """Yield the three arithmetics of `linear`, told apart."""
    words = "The product 1 + 2^-11 + 2^-24 is a tie of float32: rounded before it is added, the sum is 0, else 2^-24."
    weights = ("-1", "1.000244140625")
    inputs = [("F32", [0x3F801000]), ("F32", [0x3F800800])]
    for profile, output in ((OLD, 0), (FMA, 0x33800000), (NOFMA, 0)):
        yield known(f"fused-{tail(profile)}", "§5.3", words, linear(profile, "F32", *weights), inputs, [output])
    words = "1 + p is just above a tie of float32, but on it as float64: it is rounded once, to 1 + 2^-23; then 1 goes."
    # (2^30 + 1) · 2^-54 = 205/128 · 5237765 · 2^-47
    call = linear(FMA, "BF16", "1", "3.7216569808379063e-8", "-1")
    inputs = [("BF16", [0x3F80]), ("BF16", [0x3FCD]), ("BF16", [0x3F80])]
    yield known("fused-once", "§5.3", words, call, inputs, [0x3400])
    words = "Every step rounded to BF16: 0.6 is 0.6015625 and 0.4 is 0.400390625. In 0.1.5 the result alone is rounded."
    inputs = [("BF16", [0x3F09, 0x3F85, 0x4063]), ("BF16", [0x3EC0, 0x3EF8, 0x4004])]
    for profile, outputs in ((OLD, [0x3EF2, 0x3F52, 0x403E]), (FMA, [0x3EF1, 0x3F51, 0x403D])):
        yield known(f"steps-{tail(profile)}", "§5.3", words, linear(profile, "BF16", "0.6", "0.4"), inputs, outputs)
    words = "Sums begin at +0: −0 does not come through."
    inputs = [("BF16", [0x8000]), ("BF16", [0x8000])]
    for profile in ALL:
        yield known(f"minus-zero-{tail(profile)}", "§5.2", words, linear(profile, "BF16", "1", "1"), inputs, [0])
    for d in ("F32", "BF16", "F16"):
        for profile in ALL:
            words = f"Subnormals of {d}, in and out."
            name = f"subnormal-{tail(profile)}-{d.lower()}"
            inputs = [(d, [1, 3, 0x7F]), (d, [2, 1, 1])]
            yield known(name, "§5.1", words, linear(profile, d, "1", "1"), inputs, [3, 4, 0x80])
    words = "The weight is rounded to float32 first, where it is a tie of BF16, and then to even."
    call = linear(OLD, "BF16", "1.00390625000001")
    yield known("weight-rounded-twice", "§5.1", words, call, [("BF16", [0x3F80])], [0x3F80])
    words = "As a float64 the weight is a tie of float32, which goes to even; the decimal text lies above it."
    text = "0.5000000298023223876953125000000000000000001"
    yield known("weight-as-double", "§5.1", words, linear(FMA, "F32", text), [("F32", [ONE["F32"]])], [0x3F000000])
    words = "Operands are rounded to the compute dtype when they are loaded, and the output when it is saved."
    inputs = [("F32", [0x3F808001, 0x3F818000]), ("F16", [0x3C01, 0x3C01])]
    call = linear(FMA, "BF16", "1", "0", dtype="F32")
    yield known("loaded-and-saved", "§5.1", words, call, inputs, [0x3F810000, 0x3F820000])
    words = "Normalised by W, with W a float32 in 0.1.5 and rounded to D in 0.1.4, where 0.6 + 0.4 is 1."
    inputs = [("BF16", [0x3F56]), ("BF16", [0x3EE0])]
    for profile, output in ((OLD, 0x3F2E), (FMA, 0x3F2D)):
        call = linear(profile, "BF16", "0.6", "0.4", normalize=True)
        yield known(f"normalized-{tail(profile)}", "§5.3", words, call, inputs, [output])
    words = "W = 0: the quotient is not finite."
    inputs = [("F32", [ONE["F32"]]), ("F32", [ONE["F32"]])]
    for profile in ALL:
        call = linear(profile, "F32", "1", "-1", normalize=True)
        yield refused(f"weights-cancel-{tail(profile)}", "§5.1", words, call, inputs, "NONFINITE_OUTPUT")
    words = "A sum beyond F16 that a small weight would have brought back is not finite."
    inputs = [("F16", [0x7BFF]), ("F16", [0x7BFF])]
    call = linear(OLD, "F16", "1", "1", normalize=True)
    yield refused("f16-overflow-on-the-way-0.1.4", "§5.1", words, call, inputs, "NONFINITE_OUTPUT")
    words = "In float32 it is no overflow."
    yield known("f16-no-overflow-fma", "§5.3", words, linear(FMA, "F16", "1", "1", normalize=True), inputs, [0x7BFF])
    words = "An operand that is beyond the compute dtype."
    inputs = [("F32", [0x47800000]), ("F32", [ONE["F32"]])]
    yield refused(
        "beyond-compute-dtype", "§5.1", words, linear(FMA, "F16", "0.5", "0.5", dtype="F32"), inputs, "NONFINITE_OUTPUT"
    )


def orders() -> Iterator[Vector]:
    """Yield sums in which the order shows."""
    words = "Nine terms, one after the other. W is added in lanes."
    values = [
        0x3F800000,
        0x33800000,
        0x33800000,
        0x33800000,
        0x33800000,
        0xBF800000,
        0x33800000,
        0x33000000,
        0x32800000,
    ]
    inputs = [("F32", [bits, bits, bits, bits]) for bits in values]
    weights = ["1", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8"]
    for profile in ALL:
        call = linear(profile, "F32", *weights, normalize=True)
        yield vector(f"order-of-nine-{tail(profile)}", "§5.2, §5.3", words, call, inputs)
    words = "Eighteen terms: the first sixteen are added first."
    inputs = [("F32", [bits] * 3) for bits in [*values, *values]]
    call = linear(OLD, "F32", *["1"] * 18)
    yield vector("order-of-eighteen", "§5.2", words, call, inputs)
    five = linear(OLD, "F32", *["1"] * 5)
    # (1 + 2^-24) + 2^-24 + … in order is 1; by fours 1 + 2^-24·2 comes first.
    column = [0x3F800000, 0x33800000, 0xBF800000, 0x33800000, 0x33800000]
    inputs = [("F32", [bits] * 5) for bits in column]
    in_turn, fours = merge(five, inputs), merge(five, inputs, add_up=by_fours)
    assert in_turn[0] != fours[0]
    words = "Five terms: two elements are sums by fours, as torch adds at the end of a stretch."
    there = [*in_turn[:3], *fours[3:]]
    yield vector("order-by-fours", "§5.2", words, five, inputs, there=there, standing="within")
    words = "The same, one bit beside both sums."
    yield vector(
        "order-by-neither", "§5.2", words, five, inputs, there=[*there[:4], there[4] + 1], standing="different"
    )
    words = "Four terms have one sum, whatever the order: another is different."
    four = linear(OLD, "F32", *["1"] * 4)
    made = merge(four, inputs[:4])
    yield vector("order-of-four", "§5.2", words, four, inputs[:4], there=[*made[:4], made[4] + 1], standing="different")


def tasks() -> Iterator[Vector]:
    """Yield `task_arithmetic`."""
    weights = ({"weight": "0.6"}, None, {"weight": "0.4"})
    words = "Differences, products, their sum and the output are rounded to BF16 each; the base is the second input."
    inputs = [
        ("BF16", [0x3F85, 0x3E51, 0xC02E]),
        ("BF16", [0x3F81, 0x3E22, 0xC031]),
        ("BF16", [0x3F91, 0x3E61, 0xC01E]),
    ]
    yield vector("task-steps", "§5.4", words, delta_call("task_arithmetic", "BF16", *weights), inputs)
    words = "λ is a float32, not rounded to BF16."
    call = delta_call("task_arithmetic", "BF16", None, {"weight": "1"}, scale="0.3")
    inputs = [("BF16", [0, 0, 0]), ("BF16", [0x3F81, 0x3F83, 0x3FB5])]
    yield vector("task-lambda", "§5.4", words, call, inputs)
    words = "A λ of exactly 1 is left out; so is nothing else."
    call = delta_call("task_arithmetic", "F32", None, {"weight": "1"}, scale="1")
    inputs = [("F32", [0x3F800000]), ("F32", [0x3F800001])]
    yield known("task-lambda-one", "§5.4", words, call, inputs, [0x3F800001])
    for d, smallest in (("F32", "9.9e-9"), ("BF16", "9.9e-9"), ("F32", "-9.9e-9")):
        words = "A divisor of magnitude below R(1e-8) is 1."
        call = delta_call("task_arithmetic", d, None, {"weight": smallest}, normalize=True)
        name = f"task-small-divisor-{d.lower()}{'-negative' if smallest[0] == '-' else ''}"
        yield vector(name, "§5.4", words, call, [(d, [0]), (d, [ONE[d]])])
    words = "A divisor of 1e-8 is not below R(1e-8)."
    call = delta_call("task_arithmetic", "F32", None, {"weight": "1e-8"}, normalize=True)
    yield known("task-divisor", "§5.4", words, call, [("F32", [0]), ("F32", [ONE["F32"]])], [ONE["F32"]])
    words = "In F16 R(1e-8) is 0, below which no divisor is: 0 / 0."
    call = delta_call("task_arithmetic", "F16", None, {"weight": "1e-8"}, normalize=True)
    inputs = [("F16", [0]), ("F16", [ONE["F16"]])]
    yield refused("task-zero-divisor-f16", "§5.4", words, call, inputs, "NONFINITE_OUTPUT")
    words = "Weights that cancel: the divisor is 1."
    call = delta_call("task_arithmetic", "BF16", None, {"weight": "0.5"}, {"weight": "-0.5"}, normalize=True)
    inputs = [("BF16", [0x3F80]), ("BF16", [0x4000]), ("BF16", [0x4040])]
    yield known("task-weights-cancel", "§5.4", words, call, inputs, [0x3F00])
    words = "−0 + 0 is 0: the base's −0 stays only where the sum of differences is −0, which no sum is."
    call = delta_call("task_arithmetic", "BF16", None, {"weight": "1"})
    inputs = [("BF16", [0x8000]), ("BF16", [0x8000])]
    yield known("task-minus-zero", "§5.2", words, call, inputs, [0])
    words = "A subnormal difference of normal numbers."
    call = delta_call("task_arithmetic", "F32", None, {"weight": "2"})
    inputs = [("F32", [0x00800000]), ("F32", [0x00800001])]
    yield known("task-subnormal", "§5.1", words, call, inputs, [0x00800002])
    words = "A difference beyond F16."
    call = delta_call("task_arithmetic", "F16", None, {"weight": "0.001"})
    inputs = [("F16", [0x7BFF]), ("F16", [0xFBFF])]
    yield refused("task-overflow", "§5.1", words, call, inputs, "NONFINITE_OUTPUT")
    words = "An infinite input is refused, whatever its weight."
    call = delta_call("task_arithmetic", "F16", None, {"weight": "0"})
    inputs = [("F16", [0x3C00]), ("F16", [0x7C00])]
    yield refused("infinite-input", "§5.1", words, call, inputs, "NONFINITE_INPUT")
    words = "An input equal to the base has no effect where the other decides; nor has one of weight 0."
    call = delta_call("task_arithmetic", "BF16", None, {"weight": "0"}, {"weight": "1"})
    inputs = [("BF16", [0x3F80, 0x4000]), ("BF16", [0x3F90, 0x4001]), ("BF16", [0x3FA0, 0x4002])]
    made = vector("task-no-effect", "§3", words, call, inputs)
    assert made.expected["effects"] == [False, False, True], made.expected
    yield made


def passthroughs() -> Iterator[Vector]:
    """Yield `passthrough`."""
    for d in ("F32", "BF16", "F16"):
        words = "Without scale: the operand in D, −0 and subnormals as they are."
        sign = 1 << (FORMATS[d].size_bits - 1)
        bits = [sign, 1, sign | 3, ONE[d]]
        yield known(
            f"passthrough-{d.lower()}", "§5.5", words, Call(FMA, "passthrough", d, d, {}, [{}]), [(d, bits)], bits
        )
    words = "The scale is a float32, not rounded to BF16."
    for profile in ALL:
        call = Call(profile, "passthrough", "BF16", "BF16", {}, [{"scale": "0.3"}])
        inputs = [("BF16", [0x3F81, 0x3F83, 0x3FB5, 0x8000])]
        yield vector(f"passthrough-scaled-{tail(profile)}", "§5.5", words, call, inputs)
    words = "Two roundings: to F16, where it is a tie, and then to BF16."
    call = Call(FMA, "passthrough", "F16", "BF16", {}, [{}])
    yield known("passthrough-f16-to-bf16", "§5.1", words, call, [("F32", [0x3F808001, 0x3F817FFF])], [0x3F80, 0x3F82])
    words = "A scale that loses all."
    call = Call(FMA, "passthrough", "F16", "F16", {}, [{"scale": "1e-8"}])
    yield known("passthrough-vanishes", "§5.5", words, call, [("F16", [0xBC00])], [0x8000])
    words = "One element of no dimension."
    call = Call(OLD, "passthrough", "BF16", "BF16", {}, [{"scale": "2"}])
    made = vector("passthrough-scalar", "§5.5", words, call, [("BF16", [0x3F80])])
    yield replace(made, input={**made.input, "shape": []})
    words = "No elements."
    yield known("passthrough-empty", "§5.5", words, call, [("BF16", [])], [])


def nearswaps() -> Iterator[Vector]:
    """Yield `nearswap`."""
    for d in ("F32", "BF16", "F16"):
        words = "The share is R(R(1 / distance) · t): no division of t by the distance."
        call = Call(FMA, "nearswap", d, d, {"t": "0.001"}, [{}, {}], 0)
        one = ONE[d]
        near = [one, one + 1, one + 3, one + 5, 2 * one - one, one | 1 << (FORMATS[d].size_bits - 1)]
        inputs = [(d, [one] * 6), (d, near)]
        yield vector(f"nearswap-{d.lower()}", "§5.8", words, call, inputs)
    words = "Equal elements of F16: 1 / R(1e-6) is infinite, the share 1. The base is the second input."
    call = Call(OLD, "nearswap", "F16", "F16", {"t": "0.001"}, [{}, {}], 1)
    inputs = [("F16", [0x3C00, 0x3C01]), ("F16", [0x3C00, 0x3C01])]
    yield known("nearswap-equal-f16", "§5.8", words, call, inputs, [0x3C00, 0x3C01])
    words = "The same with t = 0: infinity · 0."
    call = Call(OLD, "nearswap", "F16", "F16", {"t": "0"}, [{}, {}], 1)
    yield refused("nearswap-zero-f16", "§5.8", words, call, inputs, "NONFINITE_OUTPUT")
    words = "A negative t: the share is cut to 0, and the base stays."
    call = Call(FMA, "nearswap", "F32", "F32", {"t": "-1"}, [{}, {}], 0)
    inputs = [("F32", [0x3F800000]), ("F32", [0x40000000])]
    yield known("nearswap-negative", "§5.8", words, call, inputs, [0x3F800000])


def vectors() -> Iterator[Vector]:
    """Yield the vectors of elementwise methods."""
    for part in (linears, orders, tasks, passthroughs, nearswaps):
        yield from part()
