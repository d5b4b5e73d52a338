"""Area `weights`: GGUF files that are read, and files that are refused as WEIGHTS_MALFORMED."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from data import Dice
from gguf_file import ARRAY, BOOL, STRING, U32, assembled, described, gguf, header_digest, pair, parts, string, u32, u64
from merkle import BLOCKS, Tensor, by_name, digest_text, tensor_root
from vector import JsonObject, Vector

FILE = "file.gguf"
ONE = described(b"w", [2], 0, 0)
OTHER = described(b"x", [2], 0, 32)
TWO = bytes.fromhex("0000803f00000040")
GAP = bytes(24)


def _vector(name: str, rule: str, words: str, file: bytes, expected: JsonObject) -> Vector:
    given = {"format": "gguf", "file": {"file": FILE}}
    return Vector("weights", f"gguf-{name}", f"tensor-tree §6.{rule}", words, given, expected, {FILE: file})


def good(name: str, rule: str, words: str, file: bytes, tensors: Sequence[Tensor]) -> Vector:
    """Return a vector of a file that is read."""
    assert by_name(parts(file)[1]) == by_name(list(tensors))
    rows = [
        {"name": one.name, "dtype": one.dtype, "shape": list(one.shape), "root": digest_text(tensor_root(one.data))}
        for one in by_name(list(tensors))
    ]
    expected = {"accepted": True, "header_digest": digest_text(header_digest(file)), "tensors": rows}
    return _vector(name, rule, words, file, expected)


def accepted() -> Iterator[Vector]:
    """Yield files that are read."""
    dice = Dice("weights/gguf")
    mixed = [
        Tensor("output.weight", "F16", (3, 5), bytes(dice.bits(8) for _ in range(30))),
        Tensor("blk.0.w", "GGML_Q8_0", (2, 64), bytes(dice.bits(8) for _ in range(136))),
        Tensor("blk.0.experts", "GGML_Q4_K", (2, 1, 256), bytes(dice.bits(8) for _ in range(288))),
        Tensor("scalar", "F32", (), bytes(4)),
        Tensor("none", "F32", (0, 4), b""),
    ]
    pairs = [
        pair(b"general.architecture", STRING, string(b"llama")),
        pair(b"tokens", ARRAY, u32(STRING) + u64(2) + string(b"\xff") + string(b"")),
        pair(b"flags", ARRAY, u32(BOOL) + u64(3) + bytes([0, 1, 1])),
        pair(b"rate", 12, bytes(8)),
    ]
    words = "Blocks, a scalar, a tensor of no elements, and values of several types."
    yield good("mixed", "6", words, gguf(mixed, pairs), mixed)
    yield good("not-padded", "6", "The file ends with the last tensor.", gguf(mixed, pairs, padded=False), mixed)
    align = pair(b"general.alignment", U32, u32(128))
    yield good("alignment", "3", "An alignment of 128.", gguf(mixed, [align], alignment=128), mixed)
    single = pair(b"general.alignment", U32, u32(1))
    yield good("alignment-1", "3", "An alignment of 1: no padding at all.", gguf(mixed, [single], alignment=1), mixed)
    one = [Tensor("w", "F32", (2,), TWO)]
    yield good("version-2", "1", "Version 2.", assembled([], [ONE], TWO, version=2), one)
    yield good("no-tensors", "6", "No tensors.", assembled(pairs), [])
    yield good("no-tensors-not-padded", "6", "No tensors, no padding.", assembled(pairs, gap=b""), [])
    every = [
        Tensor(f"t.{dtype}", dtype, (elements,), bytes(size))
        for dtype, (elements, size) in BLOCKS.items()
        if dtype != "GGML_Q4_K"
    ]
    yield good("blocks", "5", "One block of each type that can be computed.", gguf(every), every)


REFUSED = {
    "magic": ("1", "Another magic.", b"GGML" + assembled()[4:]),
    "version-1": ("1", "Version 1.", assembled(version=1)),
    "version-4": ("1", "Version 4.", assembled(version=4)),
    "big-endian": ("1", "Version 3 as a big-endian number.", assembled(version=3 << 24)),
    "short": ("1", "The file ends within the counts.", assembled()[:20]),
    "counts": ("2", "More pairs than bytes.", assembled(counts=(0, 1 << 60))),
    "tensor-count": ("4", "More tensors than bytes.", assembled(counts=(1 << 60, 0))),
    "key-bytes": ("2", "A key that is not UTF-8.", assembled([pair(b"\xff", U32, u32(0))])),
    "key-twice": ("2", "A key twice.", assembled([pair(b"k", U32, u32(n)) for n in (1, 2)])),
    "value-type": ("2", "A value of type 13.", assembled([pair(b"k", 13, u64(0))])),
    "array-of-arrays": ("2", "An array of arrays.", assembled([pair(b"k", ARRAY, u32(ARRAY) + u64(0))])),
    "string-long": ("1", "A string of 2^63 bytes.", assembled([pair(b"k", STRING, u64(1 << 63))])),
    "boolean": ("2", "A boolean of 2.", assembled([pair(b"k", BOOL, b"\x02")])),
    "alignment-zero": ("3", "An alignment of 0.", assembled([pair(b"general.alignment", U32, u32(0))])),
    "alignment-odd": ("3", "An alignment of 24.", assembled([pair(b"general.alignment", U32, u32(24))])),
    "alignment-large": ("3", "An alignment of 2^17.", assembled([pair(b"general.alignment", U32, u32(1 << 17))])),
    "alignment-type": ("3", "An alignment as u64.", assembled([pair(b"general.alignment", 10, u64(32))])),
    "name-bytes": ("4", "A name that is not UTF-8.", assembled([], [described(b"\xc3", [2], 0, 0)], TWO)),
    "axes": ("4", "Five axes.", assembled([], [described(b"w", [2, 1, 1, 1, 1], 0, 0)], TWO)),
    "extent": ("4", "An extent of 2^53.", assembled([], [described(b"w", [0, 1 << 53], 0, 0)])),
    "type": ("4", "Type 4, which ggml has no more.", assembled([], [described(b"w", [2], 4, 0)], TWO)),
    "half-block": ("5", "Rows of half a block.", assembled([], [described(b"w", [16, 2], 8, 0)], bytes(34))),
    "bits": ("5", "2^59 bits.", assembled([], [described(b"w", [1 << 30, 1 << 24], 0, 0)])),
    "offset": ("6", "The first offset is 32.", assembled([], [described(b"w", [2], 0, 32)], bytes(32) + TWO)),
    "overlap": ("6", "Two tensors at one place.", assembled([], [ONE, described(b"x", [2], 0, 0)], TWO)),
    "hole": ("6", "A hole of one alignment.", assembled([], [ONE, described(b"x", [2], 0, 64)], TWO + bytes(56) + TWO)),
    "unaligned": ("6", "An offset that is not aligned.", assembled([], [ONE, described(b"x", [2], 0, 8)], TWO * 2)),
    "disorder": ("6", "Described in another order than stored.", assembled([], [OTHER, ONE], TWO + GAP + TWO)),
    "cut": ("6", "The last byte is missing.", assembled([], [ONE], TWO[:-1])),
    "more": ("6", "A byte after the padding.", assembled([], [ONE], TWO + bytes(25))),
    "padding-before": ("6", "A one in the padding before the data.", assembled([], [ONE], TWO, gap=b"\x01" + bytes(6))),
    "padding-between": ("6", "A one between.", assembled([], [ONE, OTHER], TWO + b"\x01" + bytes(23) + TWO)),
    "padding-after": ("6", "A one after the data.", assembled([], [ONE], TWO + bytes(23) + b"\x01")),
    "name-twice": ("7", "A name twice.", assembled([], [ONE, described(b"w", [2], 0, 32)], TWO + GAP + TWO)),
    "name-nfc": (
        "7",
        "Names that are one in NFC.",
        assembled(
            [], [described("\u00e9".encode(), [2], 0, 0), described("e\u0301".encode(), [2], 0, 32)], TWO + GAP + TWO
        ),
    ),
}  # fmt: skip


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern GGUF."""
    yield from accepted()
    for name, (rule, words, file) in REFUSED.items():
        yield _vector(name, rule, words, file, {"accepted": False, "codes": ["WEIGHTS_MALFORMED"]})
