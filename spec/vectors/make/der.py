"""DER of the kinds that certificates and timestamps are made of. X.690."""

from __future__ import annotations

from datetime import UTC, datetime

from keys import der, der_integer

NULL = der(0x05)


def sequence(*content: bytes) -> bytes:
    return der(0x30, *content)


def set_of(*content: bytes) -> bytes:
    """Return a SET OF, in the order that DER wants."""
    return der(0x31, *sorted(content))


def oid(text: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = (int(part) for part in text.split("."))
    return der(0x06, b"".join(_arc(value) for value in (40 * first + second, *rest)))


def _arc(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | value & 0x7F)
    return bytes(reversed(digits))


def utf8(text: str) -> bytes:
    return der(0x0C, text.encode())


def octets(data: bytes) -> bytes:
    return der(0x04, data)


def bits(data: bytes) -> bytes:
    """Return a BIT STRING of whole bytes."""
    return der(0x03, b"\0" + data)


def tagged(number: int, *content: bytes) -> bytes:
    """Return content under a context-specific, constructed tag."""
    return der(0xA0 | number, *content)


def utc_time(seconds: int) -> bytes:
    return der(0x17, datetime.fromtimestamp(seconds, UTC).strftime("%y%m%d%H%M%SZ").encode())


def generalized_time(seconds: int) -> bytes:
    return der(0x18, datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%SZ").encode())


__all__ = [
    "NULL", "bits", "der", "der_integer", "generalized_time", "octets", "oid", "sequence", "set_of", "tagged",
    "utc_time", "utf8",
]  # fmt: skip
