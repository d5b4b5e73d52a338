"""Load the spec's vectors as `spec/vectors/README.md` describes them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2] / "spec" / "vectors" / "v1"


@dataclass(frozen=True)
class Vector:
    """One vector: its folder and the members of its `vector.json`."""

    folder: Path
    input: dict[str, Any]
    expected: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    def data(self, description: dict[str, Any]) -> bytes:
        """Return the bytes that a data description stands for."""
        ((kind, value),) = description.items()
        match kind:
            case "hex":
                return bytes.fromhex(value)
            case "file":
                return (self.folder / value).read_bytes()
            case "zeros":
                return bytes(value)
            case "repeat":
                return bytes.fromhex(value["hex"]) * value["times"]
            case "stream":
                return stream(value["seed"], value["size_bytes"])
            case "concat":
                return b"".join(self.data(part) for part in value)
        raise AssertionError(f"{self.folder}: unknown data {kind}")


def stream(seed: str, size_bytes: int) -> bytes:
    blocks = range(-(-size_bytes // 32))
    data = b"".join(hashlib.sha256(seed.encode() + block.to_bytes(8, "big")).digest() for block in blocks)
    return data[:size_bytes]


def load(area: str) -> list[Vector]:
    """Return all vectors of an area; there must be some."""
    found = [
        Vector(path.parent, members["input"], members["expected"])
        for path in sorted((ROOT / area).glob("*/vector.json"))
        for members in [json.loads(path.read_bytes())]
    ]
    assert found, f"no vectors in {ROOT / area}"
    return found
