"""Area `form`: the arithmetic of adapters, FP8 weights and blocks of ggml, one tensor each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from adapters import Adapter, Matrix, dequantize, e4m3
from data import Dice
from dyadic import FORMATS
from ggml import Quantizer
from linear import Refused
from merkle import BLOCKS
from toy import floats
from vector import JsonObject, Vector

ONE, HALF, TWO = 0x3F800000, 0x3F000000, 0x40000000


def random(seed: str, dtype: str, *shape: int) -> Matrix:
    """Return a matrix of values from 1/32 to 2, of either sign."""
    data = floats(Dice(f"form/{seed}"), dtype, prod(shape))
    size = FORMATS[dtype].size_bits // 8
    bits = tuple(int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size))
    return Matrix(dtype, shape, bits)


def column(dtype: str, *bits: int) -> Matrix:
    return Matrix(dtype, (len(bits), 1), bits)


def row(dtype: str, *bits: int) -> Matrix:
    return Matrix(dtype, (1, len(bits)), bits)


def operand(dtype: str, shape: Sequence[int], data: bytes) -> JsonObject:
    return {"dtype": dtype, "shape": list(shape), "data": {"hex": data.hex()}}


def given(*matrices: Matrix) -> list[JsonObject]:
    return [operand(one.dtype, one.shape, one.data()) for one in matrices]


def adapter(
    name: str,
    clause: str,
    words: str,
    plan: Adapter,
    base: Matrix,
    a: Matrix,
    b: Matrix,
    *,
    judged: Sequence[Mapping[str, object]] = (),
) -> Vector:
    """Return a vector of one target."""
    parameters: dict[str, object] = {"scale": plan.scale, "transposed": plan.transposed}
    if plan.delta_dtype is not None:
        parameters["deltaDtype"] = plan.delta_dtype
    stated = {
        "type": "lora",
        "profile": plan.profile,
        "dtype": plan.dtype,
        "parameters": parameters,
        "operands": given(base, a, b),
    }
    expected: JsonObject
    try:
        expected = {"accepted": True, "data": {"hex": plan.apply(base, a, b).data().hex()}}
        if judged:
            expected = {**expected, "judged": list(judged)}
    except Refused as refusal:
        expected = {"accepted": False, "codes": [refusal.code]}
    return Vector("form", name, f"forms {clause}", words, stated, expected)


def known(output: Sequence[int], made: Vector, dtype: str) -> Vector:
    """Return a vector whose output is known by hand."""
    data = Matrix(dtype, (len(output),), tuple(output)).data()
    assert made.expected["data"] == {"hex": data.hex()}, (made.name, made.expected)
    return made


def both() -> Iterator[Vector]:
    """Yield what holds for both profiles."""
    for profile in ("lora/f64-v1", "peft"):
        stem = "lora-" + ("f64" if profile != "peft" else "peft")
        for dtype in ("BF16", "F16", "F32"):
            base, a, b = random("w", dtype, 4, 6), random("a", "F32", 3, 6), random("b", "F32", 4, 3)
            words = f"A matrix of {dtype}, an adapter of rank 3."
            plan = Adapter(profile, dtype, "1.7")
            yield adapter(f"{stem}-{dtype.lower()}", "§2.3, §2.4", words, plan, base, a, b)
        words = "The matrix is stored input first."
        base, a, b = random("w", "BF16", 4, 6), random("a", "BF16", 2, 4), random("b", "F16", 6, 2)
        yield adapter(f"{stem}-transposed", "§2.2", words, Adapter(profile, "BF16", "0.5", True), base, a, b)
        words = "1.00390625 + 2^-16 is cast to BF16, up to 1.0078125, before -2^-7 is added."
        plan = Adapter(profile, "BF16", "1")
        tie, one, step = row("F32", 0x3F808080), row("F32", ONE), row("F32", 0xBC000000)
        yield known([0x3F80], adapter(f"{stem}-cast-first", "§2.2", words, plan, tie, one, step), "BF16")
        words = "2^100 - 2^100 + 1, in the order of the rank."
        plan = Adapter(profile, "F32", "1")
        a, b = column("F32", ONE, ONE, ONE), row("F32", 0x71800000, 0xF1800000, ONE)
        yield known([ONE], adapter(f"{stem}-order", "§2.3, §2.4", words, plan, row("F32", 0), a, b), "F32")
        words = "Subnormals, in the matrix and in the product."
        small = adapter(
            f"{stem}-subnormal", "§1.2", words, plan, row("F32", 1), column("F32", ONE, HALF), row("F32", 1, 4)
        )
        yield known([4], small, "F32")
        words = "An infinity in B, where A is zero."
        yield adapter(f"{stem}-infinite", "§1.2", words, plan, row("F32", 0), row("F32", 0), row("F32", 0x7F800000))
        words = "The sum is beyond F16."
        plan = Adapter(profile, "F16", "1")
        yield adapter(
            f"{stem}-overflow", "§1.2", words, plan, row("F16", 0x7BFF), row("F16", 0x7BFF), row("F16", 0x3C00)
        )


def in_float64() -> Iterator[Vector]:
    """Yield forms §2.3."""
    plan = Adapter("lora/f64-v1", "BF16", "1")
    words = "1 + 2^-7 + 2^-8 - 2^-40: float32 rounds onto a tie of BF16."
    a, b = column("F32", ONE, ONE), row("F32", 0x3B800000, 0xAB800000)
    made = adapter("lora-f64-two-roundings", "§2.3", words, plan, row("BF16", 0x3F81), a, b)
    yield known([0x3F82], made, "BF16")
    words = "30 times 0.1 is 3 in float64, where 1 times 0.1 plus 29 times 0.1 is not; nothing remains of 3 - 3."
    plan = Adapter("lora/f64-v1", "F32", "0.1")
    a, b = column("F32", ONE, ONE), row("F32", ONE, 0x41E80000)
    yield known([0], adapter("lora-f64-scaled-sum", "§2.3", words, plan, row("F32", 0xC0400000), a, b), "F32")
    words = "-0 and -0: the sum does not start from zero."
    plan = Adapter("lora/f64-v1", "BF16", "1")
    a, b = column("F32", ONE, ONE), row("F32", 0x80000000, 0x80000000)
    yield known([0x8000], adapter("lora-f64-minus-zero", "§2.3", words, plan, row("BF16", 0x8000), a, b), "BF16")


def in_float32() -> Iterator[Vector]:
    """Yield forms §2.4 and §2.5."""
    plan = Adapter("peft", "F32", "1")
    words = "(1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 where multiply and add are fused."
    a, b = column("F32", ONE, 0x3F800800), row("F32", 0xBF801000, 0x3F800800)
    yield known([0x33800000], adapter("lora-peft-fused", "§2.4", words, plan, row("F32", 0), a, b), "F32")
    words = "A scale of 0.1 is a float32."
    scaled = Adapter("peft", "F32", "0.1")
    one = row("F32", ONE)
    yield known([0], adapter("lora-peft-scale", "§2.4", words, scaled, row("F32", 0xBDCCCCCD), one, one), "F32")
    words = "One product keeps the sign of its zero."
    zero, minus = row("F32", 0), row("F32", 0x80000000)
    yield known([0x80000000], adapter("lora-peft-minus-zero", "§2.4", words, plan, minus, one, minus), "F32")
    words = "Two products are added to +0."
    made = adapter(
        "lora-peft-plus-zero", "§2.4", words, plan, minus, column("F32", ONE, ONE), row("F32", 0x80000000, 0x80000000)
    )
    yield known([0], made, "F32")
    words = "1 + 2^-9 is rounded to BF16 before it is added."
    rounded = Adapter("peft", "F32", "1", delta_dtype="BF16")
    made = adapter("lora-peft-delta-dtype", "§2.4", words, rounded, zero, one, row("F32", 0x3F804000))
    yield known([ONE], made, "F32")
    for rank, blocks in (
        (192, "one block"),
        (193, "192 and 1"),
        (194, "97 and 97"),
        (384, "192 and 192"),
        (400, "192, 192, 16"),
    ):
        words = f"Rank {rank}: {blocks}."
        base, a, b = random("w", "F32", 2, 2), random(f"a{rank}", "F32", rank, 2), random(f"b{rank}", "F32", 2, rank)
        yield adapter(f"lora-peft-rank-{rank}", "§2.4", words, plan, base, a, b)
    base, a, b = random("w", "F32", 2, 3), random("a", "F32", 5, 3), random("b", "F32", 2, 5)
    output = plan.apply(base, a, b)
    other = plan.apply(base, a, b, order=lambda rank: range(rank - 1, -1, -1))
    far = Matrix("F32", output.shape, tuple(bits + 64 for bits in output.bits))
    assert other != output
    judged = [
        {"data": {"hex": other.data().hex()}, "standing": "reproduced-within"},
        {"data": {"hex": far.data().hex()}, "standing": "contradicted"},
    ]
    words = "Added from the last to the first, unfused, it is within; 64 ULP off it is another adapter."
    yield adapter("lora-peft-within", "§2.5", words, plan, base, a, b, judged=judged)
    huge = row("F32", 0x501502F9, 0xD01502F8)
    a, b = Matrix("F32", (2, 1), huge.bits), Matrix("F32", (1, 2), (ONE, ONE))
    words = "10^10 less nearly as much: inside of so wide a bound is everything, and the output is not within."
    judged = [{"data": {"hex": one.data().hex()}, "standing": "attested"}]
    yield adapter("lora-peft-cancels", "§2.5", words, plan, zero, a, b, judged=judged)


def fp8(
    name: str,
    clause: str,
    words: str,
    codes: bytes,
    shape: Sequence[int],
    scales: Matrix,
    block: Sequence[int],
    dtype: str,
) -> Vector:
    """Return a vector of one target of `dequantize`."""
    stated = {
        "type": "dequantize",
        "dtype": dtype,
        "block": list(block),
        "operands": [operand("F8_E4M3", shape, codes), *given(scales)],
    }
    expected: JsonObject
    try:
        output = dequantize(codes, shape, scales, block, dtype)
        expected = {"accepted": True, "data": {"hex": output.data().hex()}}
    except Refused as refusal:
        expected = {"accepted": False, "codes": [refusal.code]}
    return Vector("form", f"fp8-{name}", f"forms {clause}", words, stated, expected)


def weights() -> Iterator[Vector]:
    """Yield forms §3."""
    every = bytes(code for code in range(256) if e4m3(code) is not None)
    one = Matrix("F32", (), (ONE,))
    yield fp8("values", "§3.2", "Every code that is a number.", every, (254,), one, (254,), "F32")
    yield fp8("no-number", "§3.2", "The code 0x7f.", b"\x38\x7f", (2,), one, (2,), "BF16")
    yield fp8("no-number-negative", "§3.2", "The code 0xff.", b"\xff\x38", (2,), one, (2,), "BF16")
    dice = Dice("form/codes")
    codes = bytes(every[dice.between(0, 253)] for _ in range(35))
    grid = random("grid", "F32", 3, 3)
    for dtype in ("BF16", "F16", "F32"):
        words = f"Blocks of 2 by 3, the last ones cut off, to {dtype}."
        yield fp8(f"blocks-{dtype.lower()}", "§3.1, §3.3", words, codes, (5, 7), grid, (2, 3), dtype)
    words = "A scale for each channel, in BF16."
    yield fp8("channels", "§3.1", words, codes, (5, 7), random("rows", "BF16", 5, 1), (1, 7), "BF16")
    words = "Extents of 2^53 - 1: one block."
    largest = (2**53 - 1, 2**53 - 1)
    yield fp8("extents-large", "§3.1", words, codes, (5, 7), random("one", "F32", 1, 1), largest, "F32")
    words = "A scale for the tensor."
    yield fp8("tensor", "§3.1", words, codes, (5, 7), random("one", "F32", 1), (5, 7), "BF16")
    words = "Stacked matrices, with blocks in each."
    stacked = bytes(every[dice.between(0, 253)] for _ in range(24))
    yield fp8("stacked", "§3.1", words, stacked, (2, 3, 4), random("stack", "F32", 2, 2, 2), (1, 2, 2), "F16")
    words = "1.125 times a scale lies just above a tie of BF16, onto which float32 rounds it."
    yield fp8("two-roundings", "§3.3", words, b"\x39", (1,), Matrix("F32", (1,), (0x3FE238E4,)), (1,), "BF16")
    words = "448 times 512 is beyond F16."
    yield fp8("overflow", "§1.2", words, b"\x7e", (1,), Matrix("F32", (1,), (0x44000000,)), (1,), "F16")
    words = "A scale that is infinite."
    yield fp8("infinite-scale", "§1.2", words, b"\x00", (1,), Matrix("F32", (1,), (0x7F800000,)), (1,), "F16")


def blocks(name: str, clause: str, words: str, plan: Quantizer, *sources: Matrix) -> Vector:
    """Return a vector of one target of `quantize`."""
    parameters: dict[str, object] = {}
    if plan.heads is not None:
        parameters["permuteHeads"] = plan.heads
    if plan.added is not None:
        parameters["add"] = plan.added
    stated = {
        "type": "quantize",
        "profile": plan.profile,
        "dtype": plan.dtype,
        "parameters": parameters,
        "operands": given(*sources),
    }
    expected: JsonObject
    try:
        expected = {"accepted": True, "data": {"hex": plan.apply(*sources).hex()}}
    except Refused as refusal:
        expected = {"accepted": False, "codes": [refusal.code]}
    return Vector("form", f"ggml-{name}", f"forms {clause}", words, stated, expected)


FUSED = {
    "GGML_Q4_0": "e2bf87bf24bf843fac3d09bf46bf7abe983fa43f5fbfc1be083e943e89bf143f"
    "4f3f643ff03f7d3f20beb6bf7fbd29bf8d3fb5bda0bf01bfbf3f2abf413e873f",
    "GGML_Q5_0": "513e5bbc0bbf7dbfb03f7e3daf3e1e3ff8be95bf21be6cbe26bf19bfc0bf453f"
    "9abf73bf8abf1dbd6cbf2e3c8fbf8f3ed83cfbbe29bf55bf42bf8dbf44bfac3c",
}
"""Blocks of BF16 in which one code is another where the multiply-add is fused."""


def block_bits(text: str) -> tuple[int, ...]:
    data = bytes.fromhex(text)
    return tuple(int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2))


def quantized() -> Iterator[Vector]:
    """Yield forms §4."""
    for dtype in BLOCKS:
        if dtype == "GGML_Q4_K":
            continue
        name, wide = dtype.removeprefix("GGML_").lower().replace("_", "-"), BLOCKS[dtype][0]
        clause = "§4.7" if wide == 256 else "§4.6" if dtype == "GGML_MXFP4" else "§4.5"
        words = f"Random values in {dtype}."
        yield blocks(name, clause, words, Quantizer(dtype), random(dtype, "F32", 2, 256))
        words = "Zeros of both signs, −0 first."
        zeros = Matrix("F32", (1, wide), (0x80000000, 0) * (wide // 2))
        yield blocks(f"{name}-zeros", clause, words, Quantizer(dtype), zeros)
        words = "Subnormals, and a block that they share with larger values."
        tiny = Matrix("F32", (1, wide), (0x03800000, 0x00400000, 0x80000001, *[0] * (wide - 3)))
        yield blocks(f"{name}-subnormal", "§1.2", words, Quantizer(dtype), tiny)
        words = "A block whose scale has no inverse."
        small = Matrix("F32", (1, wide), (2, 0x80000003, *[0] * (wide - 2)))
        yield blocks(f"{name}-tiny", "§4.4", words, Quantizer(dtype), small)
        words = "A block whose scale is infinite as F16; MXFP4 has scales for it."
        large = Matrix("F32", (1, wide), (0x4F000000, 0xCF000000, *[0] * (wide - 2)))
        yield blocks(f"{name}-large", "§4.4", words, Quantizer(dtype), large)
        words = "A value that is infinite."
        infinite = Matrix("F32", (1, wide), (0x7F800000, *[0] * (wide - 1)))
        yield blocks(f"{name}-infinite", "§1.2", words, Quantizer(dtype), infinite)
    for dtype, text in FUSED.items():
        name, source = dtype.removeprefix("GGML_").lower().replace("_", "-"), Matrix("BF16", (1, 32), block_bits(text))
        fused, plain = Quantizer(dtype, "ggml/fma"), Quantizer(dtype)
        assert fused.apply(source) != plain.apply(source)
        words = "A code that hangs on whether the multiply-add is fused"
        yield blocks(f"{name}-fused", "§4.3", f"{words}: it is.", fused, source)
        yield blocks(f"{name}-not-fused", "§4.3", f"{words}: it is not.", plain, source)
    tops = (0x3F7FFFFF, 0x40FFFFFF, 0x447FFFFE, 0x7E7FFFE0, 0x017FFFE0, 0x43000000, 0x42FFFFF0)
    for bits in tops:
        words = "The logarithm of a value close below a power of two."
        source = Matrix("F32", (1, 32), (bits, *[0] * 31))
        yield blocks(f"mxfp4-near-{bits:08x}", "§4.6", words, Quantizer("GGML_MXFP4"), source)
    source = random("heads", "BF16", 8, 32)
    words = "Rows of two heads, permuted."
    yield blocks("permuted", "§4.2.1", words, Quantizer("F16", heads=2), source)
    for dtype in ("BF16", "F16", "F32"):
        words = f"1.1 is added to {dtype}."
        yield blocks(f"added-{dtype.lower()}", "§4.2.2", words, Quantizer("F32", added="1.1"), random("add", dtype, 4))
    words = "Two matrices, stacked."
    stack = random("one", "BF16", 2, 32), random("two", "BF16", 2, 32)
    yield blocks("stacked", "§4.1.1", words, Quantizer("GGML_Q8_0"), *stack)
    words = "65520 is infinite as F16."
    yield blocks("f16-overflow", "§1.2", words, Quantizer("F16"), Matrix("F32", (1,), (0x477FF000,)))


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area."""
    for part in (both, in_float64, in_float32, weights, quantized):
        yield from part()
