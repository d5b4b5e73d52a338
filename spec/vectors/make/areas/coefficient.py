"""Area `coefficient`: decimal text to the bits of a float32."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from decimal_text import MAX_CHARACTERS, Refused, coefficient_bits
from dyadic import F32, decode, fraction
from vector import Vector

HALF_TIE = "0.5000000298023223876953125"
MAX_TEXT = "340282346638528859811704183484516925440"
# Halfway between the largest float32 and 2^128: ties to even, which is infinity.
OVERFLOW_TIE = "340282356779733661637539395458142568448"
BELOW_OVERFLOW_TIE = "340282356779733661637539395458142568447"

# Bits written by hand from IEEE 754; `good` compares them with what is computed.
KNOWN = {
    "one": ("1", "3f800000"), "zero": ("0", "00000000"), "minus-zero": ("-0", "80000000"), "half": ("0.5", "3f000000"),
    "minus-one": ("-1", "bf800000"), "two-fifths": ("0.4", "3ecccccd"), "three-fifths": ("0.6", "3f19999a"),
    "three-tenths": ("0.3", "3e99999a"), "seven-tenths": ("0.7", "3f333333"), "tenth": ("0.1", "3dcccccd"),
    "trailing-zeros": ("1.500", "3fc00000"), "exponent": ("15e-1", "3fc00000"), "exponent-upper": ("1.5E0", "3fc00000"),
    "exponent-plus": ("1.5e+0", "3fc00000"), "exponent-zeros": ("1.5e000", "3fc00000"),
    "third": ("0.333333333", "3eaaaaab"),
    "zero-point-zero": ("0.0", "00000000"), "minus-zero-point-zero": ("-0.0e5", "80000000"),
    "zero-large-exponent": ("0e999", "00000000"), "integer-large": ("16777217", "4b800000"),
    "integer-tie-up": ("16777219", "4b800002"), "max": (MAX_TEXT, "7f7fffff"),
    "max-short": ("3.4028235e38", "7f7fffff"),
    "below-overflow": (BELOW_OVERFLOW_TIE, "7f7fffff"), "min-normal": ("1.17549435e-38", "00800000"),
    "below-min-normal": ("1.1754942e-38", "007fffff"), "min-subnormal": ("1.401298464324817e-45", "00000001"),
    "e-45": ("1e-45", "00000001"), "minus-e-45": ("-1e-45", "80000001"), "e-46": ("1e-46", "00000000"),
    "minus-e-46": ("-1e-46", "80000000"), "e-400": ("1e-400", "00000000"), "subnormal": ("1e-40", "000116c2"),
    "e-30": ("1e-30", "0da24260"),
}  # fmt: skip

ROUNDING = {
    "double-rounding": (HALF_TIE + "000000000000000000" + "1", "3f000001",
                        "Just above halfway; as a float64 it is halfway, and ties to even would go down."),
    "double-rounding-tie": (HALF_TIE, "3f000000", "Exactly halfway: ties to even, down."),
    "double-rounding-below": ("0.5000000298023223876953124999999999999999999", "3f000000", "Just below halfway."),
    "double-rounding-up-tie": ("0.5000000894069671630859375", "3f000002", "Exactly halfway: ties to even, up."),
    "double-rounding-up-below": ("0.5000000894069671630859374999999999999999999", "3f000001",
                                 "Just below halfway; as a float64 it is halfway, and would go up."),
    "double-rounding-three-fifths": ("0.6000000536441802978515625", "3f19999a", "Exactly halfway: ties to even, down."),
    "double-rounding-three-fifths-above": ("0.60000005364418029785156250000000000000001", "3f19999b",
                                           "Just above halfway; as a float64 it is halfway, and would go down."),
}  # fmt: skip

WRONG = {
    "e400": "1e400", "overflow": "3.5e38", "overflow-tie": OVERFLOW_TIE, "minus-overflow": "-1e39",
    "overflow-long": "9" * MAX_CHARACTERS, "nan": "NaN", "nan-lower": "nan", "inf": "inf", "infinity": "Infinity",
    "point-first": ".5", "point-last": "5.", "point-before-exponent": "5.e1", "leading-zero": "01",
    "leading-zeros": "00.5", "minus-leading-zero": "-01", "plus": "+1", "minus-minus": "--1", "minus-alone": "-",
    "space-before": " 1", "space-after": "1 ", "space-inside": "- 1", "newline-after": "1\n", "empty": "",
    "underscore": "1_0", "comma": "0,6", "fraction": "1/3", "percent": "60%", "hexadecimal": "0x1p-1",
    "exponent-empty": "1e", "exponent-sign-only": "1e-", "exponent-four-digits": "1e0001", "exponent-fraction": "1e1.0",
    "exponent-twice": "1e1e1", "suffix": "1f", "letter-d": "1d0", "arabic-digits": "\u0660.\u0666",
    "full-width-digit": "\uff11", "minus-unicode": "\u22121", "nul-after": "1\x00",
}  # fmt: skip


def good(name: str, text: str, bits: str, description: str) -> Vector:
    """Return a vector of a coefficient that has these bits."""
    assert coefficient_bits(text) == bits, (name, text, coefficient_bits(text))
    expected = {"accepted": True, "float32": bits}
    return Vector("coefficient", name, "merge §1.2", description, {"decimal": text}, expected)


def bad(name: str, text: str, description: str) -> Vector:
    """Return a vector of text that is refused."""
    try:
        coefficient_bits(text)
    except Refused:
        return Vector("coefficient", name, "merge §1.1", description, {"decimal": text}, {"accepted": False})
    raise AssertionError(f"{name} is a coefficient")


def is_halfway(text: str, below: str) -> bool:
    """Return whether the text lies exactly between the float32 of these bits and the next one."""
    low, high = (decode(int(below, 16) + step, F32) for step in (0, 1))
    assert low is not None
    assert high is not None
    return Fraction(text) * 2 == fraction(low) + fraction(high)


def limits() -> Iterator[Vector]:
    """Yield texts of 128 and 129 characters."""
    longest = "0." + "1" * (MAX_CHARACTERS - 2)
    yield good("characters-128", longest, "3de38e39", "128 characters.")
    yield bad("characters-129", longest + "1", "129 characters.")


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area."""
    for name, (text, bits) in KNOWN.items():
        yield good(name, text, bits, f"The coefficient {text}.")
    assert is_halfway(HALF_TIE, "3f000000")
    assert is_halfway("0.6000000536441802978515625", "3f19999a")
    assert is_halfway("0.5000000894069671630859375", "3f000001")
    for name, (text, bits, words) in ROUNDING.items():
        yield good(name, text, bits, words)
    for name, text in WRONG.items():
        yield bad(name, text, "Refused: " + ascii(text[:40]))
    yield from limits()
