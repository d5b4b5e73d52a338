"""One test vector, and how it is written to disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

JsonObject = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector: what it tests (`clause`), what goes in, what must come out, and the files that lie beside it.

    `files` maps a path relative to the vector's folder to the file's bytes.
    """

    area: str
    name: str
    clause: str
    description: str
    input: JsonObject
    expected: JsonObject
    files: Mapping[str, bytes] = field(default_factory=dict)

    def rendered(self) -> dict[str, bytes]:
        """Return every file of the vector by its path relative to `v1/`, `vector.json` included."""
        document = {
            "area": self.area,
            "name": self.name,
            "clause": self.clause,
            "description": self.description,
            "input": self.input,
            "expected": self.expected,
        }
        folder = f"{self.area}/{self.name}"
        out = {f"{folder}/{path}": data for path, data in self.files.items()}
        out[f"{folder}/vector.json"] = pretty(document)
        return out


def index(vectors: list[Vector]) -> bytes:
    """Return `index.json`: area, name and clause of every vector, in the order of area and name."""
    rows = [{"area": v.area, "name": v.name, "clause": v.clause} for v in vectors]
    return pretty({"vectors": sorted(rows, key=lambda row: (row["area"], row["name"]))})


def pretty(document: JsonObject) -> bytes:
    """Return `document` as JSON in ASCII with two spaces of indentation and a final newline."""
    return (json.dumps(document, indent=2, ensure_ascii=True) + "\n").encode("ascii")
