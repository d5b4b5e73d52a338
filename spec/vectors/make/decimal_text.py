"""Coefficients: decimal text to float32 bits, in one rounding. Spec: merge §1."""

from __future__ import annotations

import string

from dyadic import F32, Infinite, Number, encode, round_ratio

MAX_CHARACTERS = 128


class Refused(ValueError):
    """Text that is not a coefficient, or one that rounds to infinity."""


def coefficient(text: str) -> Number:
    """Return the float32 nearest to the decimal number. Raises `Refused`. Spec: merge §1.1, §1.2."""
    negative, digits, exponent = split(text)
    try:
        return round_ratio(negative, digits * 10 ** max(exponent, 0), 10 ** max(-exponent, 0), F32)
    except Infinite:
        raise Refused("rounds to infinity") from None


def coefficient_bits(text: str) -> str:
    """Return the eight hexadecimal digits of the coefficient. Raises `Refused`. Spec: merge §1.3."""
    return f"{encode(coefficient(text), F32):08x}"


def split(text: str) -> tuple[bool, int, int]:
    """Return sign, digits and exponent of ten of a text of the grammar, read character by character, no pattern."""
    if len(text) > MAX_CHARACTERS:
        raise Refused("too long")
    rest = text[1:] if text.startswith("-") else text
    whole, rest = take_digits(rest)
    if not whole or (whole[0] == "0" and len(whole) > 1):
        raise Refused("whole part")
    after = ""
    if rest.startswith("."):
        after, rest = take_digits(rest[1:])
        if not after:
            raise Refused("no digits after the point")
    return text.startswith("-"), int(whole + after), exponent_of(rest) - len(after)


def exponent_of(rest: str) -> int:
    """Return the exponent that `rest` states; 0 for no text."""
    if not rest:
        return 0
    if rest[0] not in "eE":
        raise Refused("characters after the number")
    sign, rest = (rest[1], rest[2:]) if rest[1:2] in ("+", "-") else ("", rest[1:])
    digits, rest = take_digits(rest)
    if not 1 <= len(digits) <= 3 or rest:
        raise Refused("exponent")
    return -int(digits) if sign == "-" else int(digits)


def take_digits(text: str) -> tuple[str, str]:
    """Return the ASCII digits at the start of `text`, and the rest."""
    size = 0
    while size < len(text) and text[size] in string.digits:
        size += 1
    return text[:size], text[size:]
