"""Area `weights`: safetensors files that are read, and files that are refused as WEIGHTS_MALFORMED."""

from __future__ import annotations

import json
from collections.abc import Iterator

from data import Data, concat, hexed, repeated
from merkle import Tensor, by_name, digest_text, sha256, tensor_root
from vector import JsonObject, Vector
from weights_file import framed, header_digest, safetensors

FILE = "file.safetensors"
LIMIT = 100_000_000
TWO = [Tensor("a", "F32", (2,), bytes(range(8))), Tensor("b", "BF16", (2, 1), bytes(range(8, 12)))]


def bad(name: str, rule: str, description: str, file: bytes | Data) -> Vector:
    """Return a vector of a file that is refused; `rule` is the number of the rule that it breaks."""
    return _vector(name, rule, description, file, {"accepted": False, "codes": ["WEIGHTS_MALFORMED"]})


def good(name: str, rule: str, description: str, file: bytes | Data, tensors: list[Tensor]) -> Vector:
    """Return a vector of a file that is read, with what must be read from it."""
    made = file if isinstance(file, bytes) else file.make()
    rows = [
        {"name": one.name, "dtype": one.dtype, "shape": list(one.shape), "root": digest_text(tensor_root(one.data))}
        for one in by_name(tensors)
    ]
    expected = {"accepted": True, "header_digest": digest_text(header_digest(made)), "tensors": rows}
    return _vector(name, rule, description, file, expected)


def _vector(name: str, rule: str, description: str, file: bytes | Data, expected: JsonObject) -> Vector:
    clause = f"tensor-tree §5.{rule}"
    if isinstance(file, bytes):
        return Vector("weights", name, clause, description, {"file": {"file": FILE}}, expected, {FILE: file})
    return Vector("weights", name, clause, description, {"file": file.described}, expected)


def header(text: str, data_bytes: int = 0) -> bytes:
    """Return a file of this header and as many bytes of data."""
    return framed(text.encode(), bytes(range(data_bytes)))


def entry_text(dtype: str = '"U8"', shape: str = "[4]", offsets: str = "[0,4]", more: str = "") -> str:
    """Return the JSON text of one tensor."""
    return f'{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}'


def one_tensor(data_bytes: int = 4, **members: str) -> bytes:
    """Return a file of one tensor `t` with these members instead of the usual ones."""
    return header(f'{{"t":{entry_text(**members)}}}', data_bytes)


def sizes() -> Iterator[Vector]:
    """Yield rule 1."""
    whole = safetensors(TWO)
    size = int.from_bytes(whole[:8], "little")
    yield good("two-tensors", "1", "Two tensors.", whole, TWO)
    yield good("two-tensors-metadata", "4", "Metadata of strings.", safetensors(TWO, metadata={"format": "pt"}), TWO)
    yield good("no-tensors", "1", "N = 2: the header `{}`, no data.", header("{}"), [])
    yield bad("empty-file", "1", "No bytes at all.", b"")
    yield bad("seven-bytes", "1", "Seven bytes.", b"\x02" + bytes(6))
    yield bad("cut-in-header", "1", "The file ends inside the header.", whole[: 8 + size // 2])
    yield bad("cut-before-header", "1", "The file ends after N.", whole[:8])
    yield bad("cut-before-data", "7", "The file ends after the header.", whole[: 8 + size])
    yield bad("cut-in-data", "7", "The last byte of the data is missing.", whole[:-1])
    yield bad("n-zero", "1", "N = 0.", framed(b""))
    yield bad("n-one", "1", "N = 1.", framed(b"{"))
    yield bad("n-one-beyond", "1", "N is one more than the file holds.", framed(b"{}", stated=3))
    yield bad("n-terabytes", "1", "N claims 2^40 bytes.", framed(b"{}", stated=2**40))
    yield bad("n-largest", "1", "N = 2^64 - 1: 8 + N overflows 64 bits.", framed(b"{}", stated=2**64 - 1))
    yield bad("n-negative", "1", "N = 2^63: negative if read as signed.", framed(b"{}", stated=2**63))
    words = "N = 100,000,000, all of it in the file: `{}` and spaces."
    yield good("n-limit", "1", words, padded(LIMIT), [])
    yield bad("n-over-limit", "1", "N = 100,000,001, all of it in the file.", padded(LIMIT + 1))


def padded(size: int) -> Data:
    """Return a file of no tensors whose header has `size` bytes."""
    return concat(hexed(size.to_bytes(8, "little") + b"{}"), repeated(b" ", size - 2))


def frames() -> Iterator[Vector]:
    """Yield rules 2 and 3."""
    plain = f'{{"t":{entry_text()}}}'
    tensor = [Tensor("t", "U8", (4,), bytes(range(4)))]
    yield good("trailing-spaces", "2", "Spaces after the object.", header(plain + "   ", 4), tensor)
    yield good(
        "spaces-inside",
        "2",
        "White space of every kind inside the object.",
        header('{\n\t"t" : \r\n' + entry_text() + " }", 4),
        tensor,
    )
    yield bad("leading-space", "2", "A space before the object.", header(" " + plain, 4))
    yield bad("leading-newline", "2", "A newline before the object.", header("\n" + plain, 4))
    yield bad("leading-bom", "2", "A byte order mark before the object.", header("\ufeff" + plain, 4))
    yield bad("trailing-newline", "2", "A newline after the object.", header(plain + "\n", 4))
    yield bad("trailing-nul", "2", "A zero byte after the object.", header(plain + "\0", 4))
    yield bad("trailing-tab", "2", "A tab after the object.", header(plain + " \t ", 4))
    yield bad("trailing-object", "2", "A second object.", header(plain + "{}", 4))
    yield bad("not-an-object", "2", "The header is an array.", header("[]"))
    yield bad("unfinished", "3", "The object is not closed.", header(plain[:-1] + "  ", 4))
    yield bad("not-utf8", "3", "A name that is not UTF-8.", framed(plain.encode().replace(b"t", b"\xff", 1), bytes(4)))
    twice = f'{{"t":{entry_text()},"t":{entry_text()}}}'
    yield bad("name-twice", "3", "The same entry twice under one name.", header(twice, 4))
    other = f'{{"t":{entry_text()},"t":{entry_text(offsets="[4,8]")}}}'
    yield bad("name-twice-other", "3", "Two entries of one name that tile the data.", header(other, 8))
    escaped = f'{{"t":{entry_text()},"\\u0074":{entry_text(offsets="[4,8]")}}}'
    yield bad("name-twice-escaped", "3", "The second name is spelt with an escape.", header(escaped, 8))
    words = "A member of an entry twice."
    yield bad("member-twice", "3", words, one_tensor(more=',"dtype":"U8"'))
    yield bad("lone-surrogate", "3", "A name that is a lone surrogate.", header(f'{{"\\ud800":{entry_text()}}}', 4))


def metadata() -> Iterator[Vector]:
    """Yield rule 4, and what `__metadata__` is in rules 3 and 8."""

    def with_metadata(text: str) -> bytes:
        return header(f'{{"__metadata__":{text},"t":{entry_text()}}}', 4)

    tensor = [Tensor("t", "U8", (4,), bytes(range(4)))]
    yield good("metadata-empty", "4", "Empty metadata.", with_metadata("{}"), tensor)
    words = "Only metadata, no tensor, no data."
    yield good("metadata-only", "4", words, header('{"__metadata__":{"a":"b"}}'), [])
    yield good(
        "metadata-last",
        "4",
        "`__metadata__` need not come first.",
        header(f'{{"t":{entry_text()},"__metadata__":{{"a":"b"}}}}', 4),
        tensor,
    )
    escaped = header(f'{{"__metadat\\u0061__":{{"a":"b"}},"t":{entry_text()}}}', 4)
    yield good("metadata-escaped", "4", "`__metadata__` spelt with an escape is `__metadata__`.", escaped, tensor)
    words = "`__metadata__` that looks like a tensor is not one: its values are not strings."
    yield bad("metadata-like-tensor", "4", words, header(f'{{"__metadata__":{entry_text()}}}', 4))
    upper = header(f'{{"__Metadata__":{entry_text()}}}', 4)
    words = "`__Metadata__` is a tensor's name."
    yield good("metadata-other-case", "5", words, upper, [Tensor("__Metadata__", "U8", (4,), bytes(range(4)))])
    wrong = {
        "null": ("null", "null."), "array": ("[]", "an array."), "string": ('"x"', "a string."),
        "value-number": ('{"a":1}', "an object with a number."), "value-null": ('{"a":null}', "an object with null."),
        "value-object": ('{"a":{}}', "an object with an object."),
    }  # fmt: skip
    for name, (text, words) in wrong.items():
        yield bad(f"metadata-{name}", "4", f"Metadata is {words}", with_metadata(text))
    yield bad("metadata-key-twice", "3", "A metadata key twice.", with_metadata('{"a":"b","a":"b"}'))
    words = "A metadata key twice, once escaped."
    yield bad("metadata-key-twice-escaped", "3", words, with_metadata('{"a":"b","\\u0061":"c"}'))
    twice = header(f'{{"__metadata__":{{}},"t":{entry_text()},"__metadata__":{{}}}}', 4)
    yield bad("metadata-twice", "3", "`__metadata__` twice.", twice)


def entries() -> Iterator[Vector]:
    """Yield rule 5."""
    changes: dict[str, tuple[str, dict[str, str]]] = {
        "extra-field": ("An extra member in an entry.", {"more": ',"note":"x"'}),
        "dtype-unknown": ("A dtype that is not in the table.", {"dtype": '"F8"'}),
        "dtype-lower-case": ("A dtype in lower case.", {"dtype": '"u8"'}),
        "dtype-number": ("A dtype that is a number.", {"dtype": "8"}),
        "dim-negative": ("A negative dimension.", {"shape": "[-4]"}),
        "dims-negative": ("Two negative dimensions, whose product fits.", {"shape": "[-2,-2]"}),
        "dim-fraction": ("A dimension written 4.0.", {"shape": "[4.0]"}),
        "dim-exponent": ("A dimension written 4e0.", {"shape": "[4e0]"}),
        "dim-minus-zero": ("A dimension written -0.", {"shape": "[4,-0]", "offsets": "[0,0]"}),
        "dim-string": ("A dimension that is a string.", {"shape": '["4"]'}),
        "dim-boolean": ("A dimension that is true.", {"shape": "[4,true]"}),
        "dim-null": ("A dimension that is null.", {"shape": "[4,null]"}),
        "shape-number": ("A shape that is a number.", {"shape": "4"}),
        "shape-null": ("A shape that is null.", {"shape": "null"}),
        "offsets-three": ("Three offsets.", {"offsets": "[0,4,4]"}),
        "offsets-one": ("One offset.", {"offsets": "[4]"}),
        "offsets-string": ("Offsets that are strings.", {"offsets": '["0","4"]'}),
        "offsets-boolean": ("An offset that is false.", {"offsets": "[false,4]"}),
        "offsets-fraction": ("Offsets with fractions.", {"offsets": "[0.0,4.0]"}),
        "offsets-negative": ("A negative begin.", {"offsets": "[-4,0]"}),
        "offsets-object": ("Offsets as an object.", {"offsets": '{"0":0,"1":4}'}),
        "dim-2-53": ("A dimension of 2^53 beside a zero.", {"shape": f"[0,{2**53}]", "offsets": "[0,0]"}),
    }
    for name, (words, members) in changes.items():
        empty = members.get("offsets") == "[0,0]"
        yield bad(name, "5", words, one_tensor(data_bytes=0 if empty else 4, **members))
    yield bad("offsets-reversed", "5", "Begin after end.", one_tensor(offsets="[4,0]"))
    for missing in ("dtype", "shape", "data_offsets"):
        entry = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
        del entry[missing]
        yield bad(f"missing-{missing.replace('_', '-')}", "5", f"No `{missing}`.", header(json.dumps({"t": entry}), 4))
    yield bad("entry-null", "5", "An entry that is null.", header('{"t":null}'))
    yield bad("entry-array", "5", "An entry that is an array.", header('{"t":["U8",[4],[0,4]]}', 4))
    yield bad("dims-65", "5", "65 dimensions.", one_tensor(1, shape=f"[{'1,' * 64}1]", offsets="[0,1]"))
    one = Tensor("t", "U8", (1,) * 64, b"\x00")
    yield good("dims-64", "5", "64 dimensions.", one_tensor(1, shape=f"[{'1,' * 63}1]", offsets="[0,1]"), [one])


def products() -> Iterator[Vector]:
    """Yield rule 6."""
    huge = 2**53 - 1
    empty = one_tensor(0, dtype='"F32"', shape=f"[0,{huge}]", offsets="[0,0]")
    words = "A dimension of zero beside 2^53 - 1: no bytes."
    yield good("empty-huge", "6", words, empty, [Tensor("t", "F32", (0, huge), b"")])
    zero_last = one_tensor(0, dtype='"F64"', shape=f"[{huge},{huge},{huge},{huge},0]", offsets="[0,0]")
    words = "The zero comes last, after a product that overflows 64 bits."
    yield good("empty-huge-first", "6", words, zero_last, [Tensor("t", "F64", (huge,) * 4 + (0,), b"")])
    scalar = Tensor("t", "F32", (), bytes(range(4)))
    yield good("scalar", "6", "An empty shape.", one_tensor(4, dtype='"F32"', shape="[]"), [scalar])
    yield bad("size-too-small", "6", "Four bytes for five elements of U8.", one_tensor(shape="[5]"))
    yield bad("size-too-large", "6", "Four bytes for three elements of U8.", one_tensor(shape="[3]"))
    yield bad("size-other-dtype", "6", "Four bytes for four elements of F32.", one_tensor(dtype='"F32"'))
    wraps = f"[{2**32},{2**32}]"
    words = "2^64 elements: the product is 0 in 64 bits, and the offsets say 0."
    yield bad("product-wraps-to-zero", "6", words, one_tensor(0, shape=wraps, offsets="[0,0]"))
    words = "2^61 elements of U8: bits x product is 2^64, which is 0 in 64 bits."
    yield bad("bits-wrap-to-zero", "6", words, one_tensor(0, shape=f"[{2**31},{2**30}]", offsets="[0,0]"))
    words = "The product is 4 modulo 2^64."
    yield bad("product-wraps", "6", words, one_tensor(4, shape=f"[{2**52},{2**12},1]", offsets="[0,4]"))
    words = "2^53 bytes: bits x product is 2^56, not below it."
    big = one_tensor(4, shape=f"[{2**27},{2**26}]", offsets=f"[0,{2**53 - 1}]")
    yield bad("bits-2-56", "6", words, big)
    yield bad("f4-odd", "6", "Three elements of four bits.", one_tensor(2, dtype='"F4"', shape="[3]", offsets="[0,2]"))
    yield bad(
        "f6-odd", "6", "Two elements of six bits.", one_tensor(2, dtype='"F6_E2M3"', shape="[2]", offsets="[0,2]")
    )
    words = "Four elements of six bits are three bytes."
    six = Tensor("t", "F6_E3M2", (2, 2), bytes(range(3)))
    file = one_tensor(3, dtype='"F6_E3M2"', shape="[2,2]", offsets="[0,3]")
    yield good("f6-whole", "6", words, file, [six])


def layouts() -> Iterator[Vector]:
    """Yield rule 7."""

    def three(*offsets: str) -> str:
        return "{" + ",".join(f'"{"abc"[n]}":{entry_text(offsets=text)}' for n, text in enumerate(offsets)) + "}"

    yield bad("trailing-byte", "7", "One byte after the last tensor.", one_tensor(5))
    yield bad("data-without-tensors", "7", "Data, and no tensors.", header("{}", 4))
    yield bad("hole-first", "7", "The first tensor begins at 4.", header(three("[4,8]"), 8))
    yield bad("hole-between", "7", "A hole between two tensors.", header(three("[0,4]", "[8,12]"), 12))
    yield bad("overlap", "7", "Two tensors share two bytes.", header(three("[0,4]", "[2,6]"), 6))
    yield bad("overlap-whole", "7", "Two tensors share all bytes.", header(three("[0,4]", "[0,4]"), 4))
    words = "A hole and an overlap of one size: the sum of the sizes fits."
    yield bad("hole-and-overlap", "7", words, header(three("[0,4]", "[0,4]", "[8,12]"), 12))
    yield bad("beyond-file", "7", "The last tensor ends after the file.", header(three("[0,4]", "[4,8]"), 7))
    data = bytes(range(12))
    parts = [Tensor(name, "U8", (4,), data[at : at + 4]) for name, at in (("a", 8), ("b", 0), ("c", 4))]
    words = "The order in the JSON is not the order of the data."
    yield good("other-order", "7", words, header(three("[8,12]", "[0,4]", "[4,8]"), 12), parts)
    text = f'{{"e":{entry_text(shape="[0]", offsets="[1,1]")},"x":{entry_text(shape="[1]", offsets="[0,1]")},'
    text += f'"w":{entry_text(dtype=chr(34) + "F32" + chr(34), shape="[1]", offsets="[1,5]")}}}'
    made = [
        Tensor("e", "U8", (0,), b""),
        Tensor("x", "U8", (1,), b"\x00"),
        Tensor("w", "F32", (1,), bytes(range(1, 5))),
    ]
    words = "An F32 tensor at offset 1, under a header of odd length; an empty tensor at the same begin."
    yield good("unaligned", "7", words, header(text + " " * (1 - len(text) % 2), 5), made)
    lone = f'{{"e":{entry_text(shape="[0]", offsets="[4,4]")},"t":{entry_text()}}}'
    both = [Tensor("e", "U8", (0,), b""), Tensor("t", "U8", (4,), bytes(range(4)))]
    yield good("empty-at-end", "7", "An empty tensor at the end of the data.", header(lone, 4), both)
    inside = lone.replace("[4,4]", "[2,2]")
    yield bad("empty-inside", "7", "An empty tensor inside another one.", header(inside, 4))


def names() -> Iterator[Vector]:
    """Yield rule 8 and names that are names like any others."""

    def two_names(first: str, second: str) -> bytes:
        return header(f'{{"{first}":{entry_text()},"{second}":{entry_text(offsets="[4,8]")}}}', 8)

    yield bad("nfc-twins", "8", "U+00E9, and e with U+0301.", two_names("w\u00e9", "we\u0301"))
    yield bad("nfc-twins-both", "8", "U+212B and A with U+030A: neither is U+00C5.", two_names("\u212b", "A\u030a"))
    parts = [Tensor("\ufb01", "U8", (4,), bytes(range(4))), Tensor("fi", "U8", (4,), bytes(range(4, 8)))]
    words = "Equal under NFKC, not under NFC: two names."
    yield good("nfkc-twins", "8", words, two_names("\ufb01", "fi"), parts)
    one = [Tensor("e\u0301", "U8", (4,), bytes(range(4)))]
    words = "A name that is not in NFC stays as it is."
    yield good("name-not-nfc", "8", words, header(f'{{"e\u0301":{entry_text()}}}', 4), one)
    for name, text, words in (
        ("empty-name", "", "An empty name."),
        ("name-path", "../../etc/passwd", "A name with `../`."),
        ("name-control", "a\\n\\u0000\\u001b[31m", "A name with control characters."),
        ("name-bidi", "\u202eevil", "A name with a bidirectional override."),
        ("name-slash", "a/b\\\\c", "A name with slashes both ways."),
    ):
        tensor = Tensor(json.loads(f'"{text}"'), "U8", (4,), bytes(range(4)))
        yield good(name, "8", words, header(f'{{"{text}":{entry_text()}}}', 4), [tensor])


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area."""
    assert sha256(padded(9).make()[:8] + b"{}" + b" " * 7) == header_digest(padded(9).make())
    for part in (sizes, frames, metadata, entries, products, layouts, names):
        yield from part()
