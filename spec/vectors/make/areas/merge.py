"""Area `merge`, small vectors: single effects, and the known-answer checks `edges-*`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from decimal_text import coefficient_bits
from dyadic import FORMATS
from linear import Merge, Refused, direct, effects, merge, values
from vector import JsonObject, Vector

Input = tuple[str, Sequence[int]]
PROFILE = "linear/f64-v1"


def packed(dtype: str, bits_E: Sequence[int]) -> bytes:
    """Return the elements as little-endian bytes."""
    size = FORMATS[dtype].size_bits // 8
    return b"".join(bits.to_bytes(size, "little") for bits in bits_E)


def vector(name: str, clause: str, description: str, plan: Merge, inputs: Sequence[Input]) -> Vector:
    """Return a vector of this merge, with its output or the code that refuses it."""
    files = {f"{'abcde'[n]}.bin": packed(dtype, bits) for n, (dtype, bits) in enumerate(inputs)}
    given = {
        "profile": PROFILE,
        "elements": len(inputs[0][1]),
        "inputs": [{"dtype": dtype, "file": file} for (dtype, _), file in zip(inputs, files, strict=True)],
        "coefficients": [{"decimal": text, "float32": coefficient_bits(text)} for text in plan.coefficients_P],
        "normalize": plan.normalize,
        "dtype": plan.dtype,
    }
    expected: JsonObject
    try:
        output = merge(plan, inputs)
        files["expected.bin"] = packed(plan.dtype, output)
        expected = {"accepted": True, "file": "expected.bin", "effects": effects(plan, inputs, output)}
    except Refused as refusal:
        expected = {"accepted": False, "codes": [refusal.code]}
    return Vector("merge", name, f"merge {clause}", description, given, expected, files)


def known(name: str, clause: str, words: str, plan: Merge, inputs: Sequence[Input], output: Sequence[int]) -> Vector:
    """Return a vector whose output is known by hand."""
    assert merge(plan, inputs) == list(output), (name, [hex(bits) for bits in merge(plan, inputs)])
    return vector(name, clause, words, plan, inputs)


def refused(name: str, clause: str, words: str, plan: Merge, inputs: Sequence[Input], code: str) -> Vector:
    """Return a vector that is refused with this code."""
    made = vector(name, clause, words, plan, inputs)
    assert made.expected == {"accepted": False, "codes": [code]}, (name, made.expected)
    return made


def roundings() -> Iterator[Vector]:
    """Yield the two roundings."""
    plan = Merge(("0.3", "0.7"), "BF16")
    pair = [("BF16", [0x3F80]), ("BF16", [0x3F85])]
    numbers = values([0x3F80, 0x3F85], [FORMATS["BF16"]] * 2)
    assert direct(numbers, plan.weights(), FORMATS["BF16"]) == 0x3F83
    words = "s lies below the middle of two BF16 values, y on it: 3f84. Rounding s directly gives 3f83."
    yield known("double-rounded", "§2.4", words, plan, pair, [0x3F84])
    words = "The same with the signs turned: bf84."
    negative = [("BF16", [0xBF80]), ("BF16", [0xBF85])]
    yield known("double-rounded-negative", "§2.4", words, plan, negative, [0xBF84])
    half = Merge(("0.5", "0.5"), "BF16")
    words = "Exact ties: to even, down and up."
    yield known("ties", "§2.4", words, half, [("BF16", [0x3F80, 0x3F81]), ("BF16", [0x3F81, 0x3F82])], [0x3F80, 0x3F82])
    words = "F32 to F32: one rounding; a tie of float32 that float64 holds."
    inputs = [("F32", [0x3F800001, 0x3F800000]), ("F32", [0x3F800002, 0x3F800001])]
    yield known("ties-f32", "§2.4", words, Merge(("0.5", "0.5"), "F32"), inputs, [0x3F800002, 0x3F800000])
    words = "The sum is rounded to float64 first: what lies below 2^-53 of it is lost before the float32 tie."
    inputs = [("F32", [0x3F800001]), ("F32", [0x20000000])]
    yield known("sum-in-float64", "§2.2", words, Merge(("1.5", "1"), "F32"), inputs, [0x3FC00002])


def zeros() -> Iterator[Vector]:
    """Yield zeros and their signs."""
    plan = Merge(("0.6", "0.4"), "BF16")
    words = "-0 and -0 give -0: the sum does not start from zero. -0 and 0 give 0, as do x and -x."
    inputs = [("BF16", [0x8000, 0x8000, 0x0000, 0x0000]), ("BF16", [0x8000, 0x0000, 0x8000, 0x0000])]
    yield known("minus-zero", "§2.2, §2.5", words, plan, inputs, [0x8000, 0, 0, 0])
    words = "A coefficient of -0 turns the sign of a zero term."
    inputs = [("F32", [0x00000000, 0x3F800000, 0x80000000]), ("F32", [0x80000000, 0x80000000, 0x80000000])]
    yield known("minus-zero-coefficient", "§2.5", words, Merge(("-0", "1"), "F32"), inputs, [0x80000000, 0x80000000, 0])
    words = "x and -x cancel to +0."
    inputs = [("F16", [0x3C00, 0xBC00]), ("F16", [0xBC00, 0x3C00])]
    yield known("cancel", "§2.2", words, Merge(("0.5", "0.5"), "F16"), inputs, [0, 0])
    words = "What is too small for the output keeps its sign as a zero."
    inputs = [("F32", [0x80000001, 0x00000001])]
    yield known("underflow-sign", "§2.5", words, Merge(("0.25",), "F32"), inputs, [0x80000000, 0])
    words = "A negative W turns the sign of a zero."
    inputs = [("F32", [0x00000000, 0x80000000])]
    yield known("minus-zero-normalized", "§2.3", words, Merge(("-2",), "F32", True), inputs, [0, 0x80000000])


def subnormals() -> Iterator[Vector]:
    """Yield values below the smallest normal one."""
    for dtype in ("BF16", "F16", "F32"):
        words = f"Subnormal {dtype} in and out."
        inputs = [(dtype, [1, 2, 5, 0x7F]), (dtype, [3, 2, 1, 0x7E])]
        plan = Merge(("0.5", "0.5"), dtype)
        yield known(f"subnormal-{dtype.lower()}", "§2.5", words, plan, inputs, [2, 2, 3, 0x7E])
    words = "A normal sum of two subnormals; a subnormal difference of two normals."
    inputs = [("F32", [0x00400000, 0x00800001]), ("F32", [0x00400000, 0x80800000])]
    yield known("subnormal-sum", "§2.5", words, Merge(("1", "1"), "F32"), inputs, [0x00800000, 1])
    words = "A subnormal coefficient."
    tiny = Merge(("1e-45", "0"), "F32")
    yield known("subnormal-coefficient", "§1.2, §2.5", words, tiny, [("F32", [0x3F800000]), ("F32", [0])], [1])
    words = "Through float32 first: a subnormal F16 tie that float32 rounds onto."
    inputs = [("F32", [0x33000000, 0x33000001, 0x33C00000, 0x32FFFFFF])]
    yield known("subnormal-f16-ties", "§2.4", words, Merge(("1",), "F16"), inputs, [0, 1, 2, 0])


def limits() -> Iterator[Vector]:
    """Yield inputs and outputs that are not finite."""
    half, ones = ("0.5", "0.5"), ("1", "1")
    words = "65504 + 65504 is beyond F16."
    inputs = [("F16", [0x7BFF]), ("F16", [0x7BFF])]
    yield refused("f16-overflow", "§2.6", words, Merge(ones, "F16"), inputs, "NONFINITE_OUTPUT")
    words = "65520 lies between the largest F16 and 2^16: ties to even, which is infinity."
    f32 = [("F32", [0x477FF000])]
    yield refused("f16-overflow-tie", "§2.6", words, Merge(("1",), "F16"), f32, "NONFINITE_OUTPUT")
    words = "One float32 below 65520 is 65504."
    yield known("f16-below-overflow", "§2.6", words, Merge(("1",), "F16"), [("F32", [0x477FEFFF])], [0x7BFF])
    words = "Twice the largest float32."
    inputs = [("F32", [0x7F7FFFFF]), ("F32", [0x7F7FFFFF])]
    yield refused("f32-overflow", "§2.6", words, Merge(ones, "F32"), inputs, "NONFINITE_OUTPUT")
    words = "The same, negative, in the second of two elements."
    inputs = [("F32", [0, 0xFF7FFFFF]), ("F32", [0, 0xFF7FFFFF])]
    yield refused("f32-overflow-negative", "§2.6", words, Merge(ones, "F32"), inputs, "NONFINITE_OUTPUT")
    words = "The largest float32 rounds to infinity in BF16."
    f32 = [("F32", [0x7F7FFFFF])]
    yield refused("bf16-overflow", "§2.6", words, Merge(("1",), "BF16"), f32, "NONFINITE_OUTPUT")
    words = "A sum beyond float32 on the way comes back: s is float64."
    inputs = [("F32", [0x7F7FFFFF]), ("F32", [0x7F7FFFFF]), ("F32", [0xFF7FFFFF])]
    plan = Merge(("1", "1", "1"), "F32")
    yield known("overflow-on-the-way", "§2.2", words, plan, inputs, [0x7F7FFFFF])
    words = "Above float32 until it is divided by W."
    inputs = [("F32", [0x7F7FFFFF]), ("F32", [0x7F7FFFFF])]
    yield known("overflow-before-division", "§2.3", words, Merge(("3", "5"), "F32", True), inputs, [0x7F7FFFFF])
    for name, dtype, bits in (
        ("infinite-f32", "F32", 0x7F800000), ("infinite-bf16", "BF16", 0xFF80), ("infinite-f16", "F16", 0x7C00),
        ("nan-f32", "F32", 0x7FC00000), ("nan-bf16", "BF16", 0x7F81), ("nan-f16", "F16", 0xFFFF),
    ):  # fmt: skip
        words = f"The {dtype} {bits:x} in the second input, under a coefficient of 0."
        inputs = [(dtype, [0, 0]), (dtype, [0, bits])]
        plan = Merge(("1", "0"), dtype)
        yield refused(name, "§2.1", words, plan, inputs, "NONFINITE_INPUT")
    words = "Infinities that would cancel."
    inputs = [("BF16", [0x7F80]), ("BF16", [0xFF80])]
    yield refused("infinite-both", "§2.1", words, Merge(half, "BF16"), inputs, "NONFINITE_INPUT")


def normalised() -> Iterator[Vector]:
    """Yield merges that divide by W."""
    thirds = Merge(("1", "1", "1"), "F32", True)
    inputs = [("F32", [0x3F800000, 0, 0x00000001]), ("F32", [0x3F800000, 0x3F800000, 0]), ("F32", [0x3F800000, 0, 0])]
    words = "Thirds: a true division, not a product with the reciprocal."
    yield known("thirds", "§2.3", words, thirds, inputs, [0x3F800000, 0x3EAAAAAB, 0])
    inputs = [("BF16", [0x3F80, 0x40A0, 0x4040])]
    words = "One input, normalised: itself, whatever the coefficient."
    yield known("one-normalized", "§2.3", words, Merge(("0.3",), "BF16", True), inputs, [0x3F80, 0x40A0, 0x4040])
    words = "1 and -1 sum to W = 0."
    inputs = [("F32", [0x3F800000]), ("F32", [0x40000000])]
    yield refused("w-zero", "§2.3", words, Merge(("1", "-1"), "F32", True), inputs, "OPERAND_INVALID")
    inputs = [("F32", [0x3F800000]), ("F32", [0x40000000]), ("F32", [0x40400000])]
    words = "0.3, 0.3 and -0.6 as float32 sum to exactly zero."
    plan = Merge(("0.3", "0.3", "-0.6"), "F32", True)
    yield refused("w-zero-three", "§2.3", words, plan, inputs, "OPERAND_INVALID")
    words = "0.1, 0.2 and -0.3 as float32 sum to -7.45e-9: not zero, so it divides."
    yield vector("w-nearly-zero", "§2.3", words, Merge(("0.1", "0.2", "-0.3"), "F32", True), inputs)
    words = "1e30, 1 and -1e30: the 1 is lost, W = 0."
    plan = Merge(("1e30", "1", "-1e30"), "F32", True)
    yield refused("w-absorbed", "§2.3", words, plan, inputs, "OPERAND_INVALID")
    words = "A negative W."
    yield vector("w-negative", "§2.3", words, Merge(("-0.7", "0.2", "0.1"), "F16", True), inputs)


def orders() -> Iterator[Vector]:
    """Yield orders of inputs, and numbers of them."""
    big, one, minus = 0x5F800000, 0x3F800000, 0xDF800000
    words = "2^64 + 1 - 2^64: the 1 is lost."
    ones = Merge(("1", "1", "1"), "F32")
    yield known("order-lost", "§2.2", words, ones, [("F32", [big]), ("F32", [one]), ("F32", [minus])], [0])
    words = "2^64 - 2^64 + 1: the 1 is kept."
    yield known("order-kept", "§2.2", words, ones, [("F32", [big]), ("F32", [minus]), ("F32", [one])], [one])
    a, b = [0x3F80, 0x4049], [0x3F85, 0xC02E]
    for name, texts in (("order-first", ("0.6", "0.4")), ("order-second", ("0.4", "0.6"))):
        words = f"Coefficients {' and '.join(texts)}, in the order of the inputs."
        yield vector(name, "§2", words, Merge(texts, "BF16"), [("BF16", a), ("BF16", b)])
    shared = [("BF16", [0x3F80, 0x4010, 0xBF33]), ("F16", [0x3C01, 0xC200, 0x0001]),
              ("F32", [0x3DCCCCCD, 1, 0x41200000]),
              ("BF16", [0x3E99, 0xBE99, 0x0001]), ("F32", [0xC0490FDB, 0x3F800001, 0x33800000])]  # fmt: skip
    five = ("0.1", "0.2", "-0.3", "0.4", "1.5")
    for count in range(1, 6):
        for dtype in ("F32", "BF16"):
            plan = Merge(five[:count], dtype)
            words = f"{count} inputs of mixed dtypes to {dtype}."
            yield vector(f"parents-{count}-{dtype.lower()}", "§2", words, plan, shared[:count])
    words = "No elements."
    yield known("no-elements", "§2", words, Merge(("0.6", "0.4"), "F32"), [("F32", []), ("F32", [])], [])


def effect_of_parents() -> Iterator[Vector]:
    """Yield inputs that have no effect."""
    inputs = [("BF16", [0x3F80, 0x4049]), ("BF16", [0x3F85, 0xC02E])]
    words = "A coefficient of 1e-30: the second input changes no bit."
    made = vector("no-effect", "§3", words, Merge(("1", "1e-30"), "BF16"), inputs)
    assert made.expected["effects"] == [True, False]
    yield made
    words = "1e-30 of the second input shows where the first is zero."
    inputs = [("BF16", [0x3F80, 0x0000]), ("BF16", [0x3F85, 0x3F80])]
    made = vector("effect-at-zero", "§3", words, Merge(("1", "1e-30"), "BF16"), inputs)
    assert made.expected["effects"] == [True, True]
    yield made
    words = "The effect is the sign of a zero: -0 + 0 is 0, without the second term it is -0."
    inputs = [("F32", [0x80000000]), ("F32", [0x00000000])]
    made = vector("effect-of-zero-sign", "§3", words, Merge(("1", "1"), "F32"), inputs)
    assert made.expected["effects"] == [False, True]
    yield made
    words = "Normalised, a second input equal to the first: left out of s and of W it changes no bit."
    inputs = [("F32", [0x3F800000, 0x40000000]), ("F32", [0x3F800000, 0x40000000])]
    made = vector("no-effect-normalized", "§3", words, Merge(("0.5", "0.5"), "F32", True), inputs)
    assert made.expected["effects"] == [False, False]
    yield made
    words = "The only input of value 0: left out, s is +0."
    made = vector("effect-only", "§3", words, Merge(("1",), "F32"), [("F32", [0])])
    assert made.expected["effects"] == [False]
    yield made


def special(dtype: str) -> list[int]:
    """Return the bits of the special values of a dtype, both signs: zeros, subnormals, limits, ones and neighbours."""
    kind = FORMATS[dtype]
    normal = 1 << (kind.precision - 1)
    sign = 1 << (kind.size_bits - 1)
    infinite = ((1 << (kind.size_bits - kind.precision)) - 1) << (kind.precision - 1)
    one = (-kind.lowest - kind.precision + 2) << (kind.precision - 1)
    positive = [0, 1, 2, 3, normal // 2 - 1, normal // 2, normal // 2 + 1, normal - 2, normal - 1, normal, normal + 1]
    positive += [
        normal + 3,
        2 * normal - 1,
        2 * normal,
        3 * normal,
        one - normal,
        one - 2,
        one - 1,
        one,
        one + 1,
        one + 2,
    ]
    positive += [one + 5, one + normal // 2, one + normal - 1, one + normal, one + 7 * normal + 3]
    positive += [infinite - normal, infinite - normal // 2, infinite - 2, infinite - 1]
    assert len(set(positive)) == 30
    return positive + [bits | sign for bits in positive]


def edges() -> Iterator[Vector]:
    """Yield the known-answer checks: every special value with every other."""
    for dtype in ("BF16", "F16", "F32"):
        points = special(dtype)
        first = [a for a in points for _ in points]
        second = [b for _ in points for b in points]
        words = "Known-answer check: all pairs of 60 special values; what flushes subnormals or rounds twice fails."
        plan = Merge(("0.6875", "0.3125"), dtype)
        yield vector(f"edges-{dtype.lower()}", "§2", words, plan, [(dtype, first), (dtype, second)])


def vectors() -> Iterator[Vector]:
    """Yield the small vectors of this area."""
    for part in (roundings, zeros, subnormals, limits, normalised, orders, effect_of_parents, edges):
        yield from part()
