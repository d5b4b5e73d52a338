"""Area `json`: documents that are read, with their canonical form, and documents that are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

from jcs import canonical
from vector import Vector

MAX = 2**53 - 1


def good(name: str, description: str, text: str | bytes, expected: str) -> Vector:
    """Return a vector of a document that is read; `expected` is its canonical form, written by hand."""
    made = text if isinstance(text, bytes) else text.encode()
    assert canonical(json.loads(made)) == expected.encode(), (name, canonical(json.loads(made)))
    out = {"accepted": True, "canonical": {"hex": expected.encode().hex()}}
    return Vector("json", name, "statement §1.1, §1.3", description, {"document": {"hex": made.hex()}}, out)


def bad(name: str, description: str, text: str | bytes) -> Vector:
    """Return a vector of a document that is refused."""
    made = text if isinstance(text, bytes) else text.encode()
    return Vector("json", name, "statement §1.1", description, {"document": {"hex": made.hex()}}, {"accepted": False})


def names() -> Iterator[Vector]:
    """Yield member names: equal ones, and their order."""
    yield bad("duplicate", "Two equal names.", '{"a":1,"a":1}')
    yield bad("duplicate-apart", "Two equal names with another between.", '{"a":1,"b":2,"a":3}')
    yield bad("duplicate-escaped", "Equal after unescaping.", '{"a":1,"\\u0061":2}')
    yield bad(
        "duplicate-pair", "A character beyond the BMP, and its surrogate pair.", '{"\U0001f600":1,"\\ud83d\\ude00":2}'
    )
    yield bad("duplicate-solidus", "`/` and its escape.", '{"a/b":1,"a\\/b":2}')
    yield bad("duplicate-empty", "Two empty names.", '{"":1,"":2}')
    yield bad("duplicate-nested", "Two equal names deep inside.", '[{"x":[{"a":1,"a":2}]}]')
    yield good(
        "same-name-elsewhere", "One name in two objects.", '{"b":{"a":1},"a":{"a":2}}', '{"a":{"a":2},"b":{"a":1}}'
    )
    yield good(
        "names-not-normalised",
        "Equal under NFC, yet two names.",
        '{"\u00e9":1,"e\u0301":2}',
        '{"e\u0301":2,"\u00e9":1}',
    )
    words = "The example of RFC 8785: order by UTF-16 units, so the emoji comes before U+FB33."
    yield good(
        "name-order",
        words,
        '{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\ud83d\\ude00":5,"\\u0080":6,"\\u00f6":7}',
        '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}',
    )
    yield good(
        "name-order-prefix",
        "A prefix comes before what it begins.",
        '{"ab":1,"a":2,"":3,"B":4}',
        '{"":3,"B":4,"a":2,"ab":1}',
    )


def numbers() -> Iterator[Vector]:
    """Yield numbers."""
    yield good("integers", "Integers up to the limits.", f"[0,-1,10,{MAX},-{MAX}]", f"[0,-1,10,{MAX},-{MAX}]")
    wrong = {
        "fraction": "1.5", "fraction-zero": "1.0", "exponent": "1e2", "exponent-upper": "1E2", "exponent-plus": "1e+2",
        "minus-zero": "-0", "minus-zero-fraction": "-0.0", "too-large": str(MAX + 1), "too-small": str(-MAX - 1),
        "huge": "9" * 400, "leading-zero": "01", "minus-leading-zero": "-01", "leading-plus": "+1",
        "hexadecimal": "0x10",
        "bare-point": ".5", "point-last": "5.", "minus-alone": "-", "nan": "NaN", "infinity": "Infinity",
        "minus-infinity": "-Infinity", "huge-exponent": "1e400", "underscore": "1_000", "arabic-digit": "\u0661",
    }  # fmt: skip
    for name, text in wrong.items():
        shown = text if len(text) < 40 else "four hundred digits"
        yield bad(f"number-{name}", f"The number {shown}.", f"[{text}]")


def strings() -> Iterator[Vector]:
    """Yield strings: escapes, controls, surrogates."""
    yield good("escapes", "Every short escape.", '["\\"\\\\\\/\\b\\f\\n\\r\\t"]', '["\\"\\\\/\\b\\f\\n\\r\\t"]')
    words = "Escapes that are not needed are undone; those that are get the shortest form, in lower case."
    yield good(
        "escapes-shortest", words, '["\\u0041\\u00E9\\u000A\\u001F\\u0000\\u002f"]', '["A\u00e9\\n\\u001f\\u0000/"]'
    )
    yield good(
        "raw-characters",
        "DEL, U+2028, U+FFFF and U+10FFFF as they are.",
        '["\x7f\u2028\uffff\U0010ffff"]',
        '["\x7f\u2028\uffff\U0010ffff"]',
    )
    yield good("surrogate-pair", "A surrogate pair is one character.", '["\\uD83D\\uDE00"]', '["\U0001f600"]')
    yield bad("surrogate-high", "A lone high surrogate.", '["\\ud83d"]')
    yield bad("surrogate-low", "A lone low surrogate.", '["\\ude00"]')
    yield bad("surrogate-reversed", "A low surrogate before a high one.", '["\\ude00\\ud83d"]')
    yield bad("surrogate-twice", "Two high surrogates and a low one.", '["\\ud83d\\ud83d\\ude00"]')
    yield bad("surrogate-in-name", "A lone surrogate in a name.", '{"\\udfff":1}')
    yield bad("surrogate-apart", "A character between the two surrogates.", '["\\ud83dx\\ude00"]')
    yield bad("control-newline", "A newline inside a string.", '["a\nb"]')
    yield bad("control-nul", "A zero byte inside a string.", '["a\x00b"]')
    yield bad("control-tab", "A tab inside a string.", '["a\tb"]')
    yield bad("control-1f", "U+001F inside a string.", '["a\x1fb"]')
    yield bad("escape-unknown", "An escape that JSON does not have.", '["\\x41"]')
    yield bad("escape-short", "Three hexadecimal digits.", '["\\u041"]')
    yield bad("escape-not-hex", "A sign among the hexadecimal digits.", '["\\u+041"]')
    yield bad("string-open", "A string without an end.", '["a]')
    yield bad("quote-single", "Single quotes.", "['a']")


def encodings() -> Iterator[Vector]:
    """Yield bytes that are not UTF-8 without a byte order mark."""
    yield bad("bom", "A byte order mark.", b"\xef\xbb\xbf{}")
    yield bad("utf16", "UTF-16 with a byte order mark.", '{"a":1}'.encode("utf-16"))
    yield bad("utf16-plain", "UTF-16 without one.", '{"a":1}'.encode("utf-16-le"))
    wrong = {
        "byte-ff": b"\xff", "latin-1": b"\xe9", "overlong": b"\xc0\xaf", "overlong-nul": b"\xc0\x80",
        "surrogate": b"\xed\xa0\x80", "surrogate-pair": b"\xed\xa0\xbd\xed\xb8\x80", "beyond": b"\xf4\x90\x80\x80",
        "cut": b"\xe2\x82",
    }  # fmt: skip
    for name, raw in wrong.items():
        yield bad(f"utf8-{name}", f"The bytes {raw.hex(' ')} in a string.", b'["' + raw + b'"]')


def grammar() -> Iterator[Vector]:
    """Yield nesting, white space and what is not JSON."""
    for opening, closing, inner, name in (("[", "]", "", "arrays"), ('{"a":', "}", "0", "objects")):
        deep = opening * 64 + (inner or "") + closing * 64
        yield good(f"depth-64-{name}", f"64 {name}, one in another.", deep, deep)
        yield bad(f"depth-65-{name}", f"65 {name}, one in another.", opening * 65 + inner + closing * 65)
    mixed = '[{"a":' * 32
    yield bad("depth-65-mixed", "Arrays and objects in turn, 65 deep.", mixed + "[]" + "}]" * 32)
    yield bad("depth-bomb", "2,000 brackets, not closed.", "[" * 2000)
    words = "White space of the four kinds, everywhere."
    yield good("white-space", words, ' \t\r\n{ "a" : [ 1 , true , false , null ] } \n', '{"a":[1,true,false,null]}')
    for name, text, canon in (
        ("scalar-string", '"a"', '"a"'), ("scalar-number", "7", "7"), ("scalar-null", "null", "null"),
        ("empty-object", "{}", "{}"), ("empty-array", "[ ]", "[]"), ("empty-string", '{"":""}', '{"":""}'),
    ):  # fmt: skip
        yield good(name, "A small document.", text, canon)
    wrong = {
        "empty": ("", "No bytes."), "only-space": (" ", "A space."),
        "trailing-garbage": ("{}x", "A letter at the end."),
        "trailing-nul": ("{}\0", "A zero byte at the end."), "two-documents": ("{} {}", "Two documents."),
        "trailing-comma": ("[1,]", "A comma too many."), "trailing-comma-object": ('{"a":1,}', "A comma too many."),
        "comment": ("[1] // one", "A comment."), "true-upper": ("[True]", "True in upper case."),
        "name-unquoted": ("{a:1}", "A name without quotes."), "name-number": ("{1:1}", "A number as a name."),
        "colon-missing": ('{"a" 1}', "No colon."), "comma-missing": ("[1 2]", "No comma."),
        "bracket-wrong": ("[1}", "The wrong bracket."), "form-feed": ("[1,\f2]", "A form feed as white space."),
        "vertical-tab": ("[1,\v2]", "A vertical tab as white space."),
        "nbsp": ("[1,\u00a02]", "U+00A0 as white space."),
        "cut": ('{"a":', "The end is missing."), "undefined": ("[undefined]", "A word that JSON does not have."),
    }  # fmt: skip
    for name, (text, words) in wrong.items():
        yield bad(name, words, text)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area."""
    for part in (names, numbers, strings, encodings, grammar):
        yield from part()
