"""Byte strings that a vector describes instead of storing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from vector import JsonObject


@dataclass(frozen=True, slots=True)
class Data:
    """A description as it stands in `vector.json`, and how to make the bytes that it describes."""

    described: JsonObject
    make: Callable[[], bytes]


def hexed(value: bytes) -> Data:
    """Return the description of `value` itself, in hexadecimal."""
    return Data({"hex": value.hex()}, lambda: value)


def stored(path: str, value: bytes) -> Data:
    """Return the description of a file beside `vector.json`."""
    return Data({"file": path}, lambda: value)


def zeros(size_bytes: int) -> Data:
    """Return `size_bytes` bytes of value zero."""
    return Data({"zeros": size_bytes}, lambda: bytes(size_bytes))


def repeated(unit: bytes, times: int) -> Data:
    """Return `unit`, `times` over."""
    return Data({"repeat": {"hex": unit.hex(), "times": times}}, lambda: unit * times)


def stream(seed: str, size_bytes: int) -> Data:
    """Return the first `size_bytes` of SHA-256(seed || u64be(0)) || SHA-256(seed || u64be(1)) …"""
    return Data({"stream": {"seed": seed, "size_bytes": size_bytes}}, lambda: stream_bytes(seed, size_bytes))


def concat(*parts: Data) -> Data:
    """Return the parts one after the other."""
    return Data({"concat": [part.described for part in parts]}, lambda: b"".join(part.make() for part in parts))


def stream_bytes(seed: str, size_bytes: int) -> bytes:
    """Return the bytes that `stream` describes."""
    prefix = hashlib.sha256(seed.encode())
    blocks = []
    for counter in range(-(-size_bytes // 32)):
        block = prefix.copy()
        block.update(counter.to_bytes(8, "big"))
        blocks.append(block.digest())
    return b"".join(blocks)[:size_bytes]


class Dice:
    """Deterministic choices, drawn from the stream of a seed, so that every run makes the same vectors."""

    def __init__(self, seed: str) -> None:
        self._prefix = hashlib.sha256(seed.encode())
        self._counter = 0
        self._pool = b""

    def bits(self, count: int) -> int:
        """Return an integer of `count` random bits."""
        need = (count + 7) // 8
        while len(self._pool) < need:
            block = self._prefix.copy()
            block.update(self._counter.to_bytes(8, "big"))
            self._counter += 1
            self._pool += block.digest()
        value, self._pool = int.from_bytes(self._pool[:need], "big"), self._pool[need:]
        return value >> (8 * need - count)

    def between(self, low: int, high: int) -> int:
        """Return an integer from `low` to `high`, both included; nearly uniform, which is enough here."""
        return low + self.bits(48) % (high - low + 1)
