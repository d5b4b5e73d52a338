"""Write `roots-0.1.4.json`: the checkpoint roots of what mergekit 0.1.4 makes of the matrix.

    MERGEKIT_0_1_4_PYTHON=PATH python -m tests.mergekit.roots

mergekit 0.1.4 needs an environment of its own, so that not every run of the tests has it. The parents are the same
bytes everywhere, and so are these roots.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.mergekit.matrix import DTYPES, EXACT, Parents, write_parents
from tests.mergekit.oracle import Mergekit, interpreter_0_1_4
from tests.publisher.conftest import expected_root

PATH = Path(__file__).with_name("roots-0.1.4.json")
SHAPES = ("llama", "qwen2", "mixtral-0.1.4")


def names() -> Iterator[tuple[str, str, str]]:
    """Yield shape, dtype and case of each merge."""
    return ((shape, dtype, case) for shape in SHAPES for dtype in DTYPES for case in EXACT)


def main() -> None:
    python = interpreter_0_1_4()
    assert python is not None, "MERGEKIT_0_1_4_PYTHON names no interpreter"
    roots: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, Mergekit(python, Path(folder) / "log") as worker:
        for shape, dtype, case in names():
            root = Path(folder) / shape / dtype
            parents = Parents(root) if root.exists() else write_parents(root, shape, dtype)
            worker.merge(parents.config(case, dtype), root / case)
            roots[f"{shape}/{dtype}/{case}"] = expected_root(root / case / "model.safetensors")
    PATH.write_text(json.dumps(roots, indent=1) + "\n")


if __name__ == "__main__":
    main()
