"""Make `spec/vectors/v1`, or check that it is what would be made. Uses nothing but Python's standard library.

python spec/vectors/make            write
python spec/vectors/make --check    exit 1 and name the files that differ
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

import elementary
import keys
import merkle
from vector import Vector, index

ROOT = Path(__file__).resolve().parent.parent
AREAS = [
    "tree", "weights", "weights_gguf", "json_text", "coefficient", "merge", "merge_mass",
    "mergekit", "mergekit_whole", "mergekit_slerp", "mergekit_mass", "mergekit_numbers", "mergekit_masks",
    "form", "statement", "predicate", "confusions", "identity", "timestamps", "chains", "revocations",
    "verify", "verify_files", "verify_weights",
    "verify_pipeline", "verify_steps", "verify_forms", "verify_adapters", "verify_gguf", "verify_ancestors",
    "verify_detached", "verify_mergekit", "verify_training", "verify_evidence", "verify_model_sig", "policy",
    "revocation", "superseded", "commitment", "observation", "sample", "summary", "worked",
]  # fmt: skip


def made() -> dict[str, bytes]:
    """Return every file of `v1/` by its relative path. Raises `AssertionError` if a part of the maker is wrong."""
    merkle.check()
    keys.check()
    elementary.check()
    vectors: list[Vector] = []
    for area in AREAS:
        vectors += importlib.import_module(f"areas.{area}").vectors()
    names = [(vector.area, vector.name) for vector in vectors]
    assert len(set(names)) == len(names), "two vectors of one name"
    files = {path: data for vector in vectors for path, data in vector.rendered().items()}
    files["index.json"] = index(vectors)
    return files


def present(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder` by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(files: dict[str, bytes]) -> None:
    """Write `v1/` beside, then put it in place of the old one."""
    with tempfile.TemporaryDirectory(prefix=".v1-", dir=ROOT) as beside:
        for path, data in files.items():
            target = Path(beside) / "new" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        if (ROOT / "v1").exists():
            (ROOT / "v1").rename(Path(beside) / "old")
        (Path(beside) / "new").rename(ROOT / "v1")


def check(files: dict[str, bytes]) -> int:
    """Return 1, having named them, if the files in place are not those given; else 0."""
    there = present(ROOT / "v1")
    differing = sorted(path for path in files.keys() | there.keys() if files.get(path) != there.get(path))
    for path in differing:
        print(f"differs: v1/{path}", file=sys.stderr)
    return 1 if differing else 0


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="make", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files in place; 1 if any differs")
    arguments = parser.parse_args()
    files = made()
    if arguments.check:
        return check(files)
    write(files)
    return 0


if __name__ == "__main__":
    sys.exit(main())
