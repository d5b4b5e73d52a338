"""The spec, the code and the vectors name the same reason codes, and the vectors are what their generator makes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from model_verify.findings import REASONS
from tests.vectors.vector import ROOT

SPEC = Path(__file__).parents[2] / "spec"
NOT_STORABLE = {
    "FILE_NOT_REGULAR",  # links, FIFOs and devices do not survive version control; tests/unit/test_local.py has them
    "OMS_FILE_NOT_REGULAR",  # so is it; tests/oms/test_links.py has them
    "COMMIT_NOT_ON_BRANCH",  # what the Hub says of a commit; tests/hub/test_verify.py has these three
    "MATERIAL_NOT_ON_BRANCH",
    "WEIGHTS_NOT_READ",
    "STEP_TOO_LARGE",  # a limit that a verifier may have; tests/hostile/test_forms.py has it
    "NO_MERGE_BACKEND",  # a property of the machine; tests/unit/test_procedure.py has it
}


def spec_codes() -> dict[str, tuple[str, str]]:
    row = r"\| ([A-Z_]+) \| (\w+) \| ([VS]\d+) \|"
    table = (SPEC / "v1" / "verification.md").read_text().split("## 4. Reason codes")[1].split("## 5.")[0]
    return {code: (severity, step) for code, severity, step in re.findall(row, table)}


def test_code_and_spec_have_the_same_reason_codes_severities_and_clauses() -> None:
    assert spec_codes() == {code: (severity.value, clause) for code, (severity, clause) in REASONS.items()}


def test_every_reason_code_is_shown_by_a_vector() -> None:
    shown: set[str] = set()
    for path in ROOT.glob("*/*/vector.json"):
        shown.update(json.loads(path.read_bytes())["expected"].get("codes", ()))
    notes = {code for code, (severity, _) in REASONS.items() if severity.value == "note"}
    assert REASONS.keys() - notes - shown == NOT_STORABLE


def test_every_vector_is_in_the_index_and_cites_a_chapter_that_exists() -> None:
    listed = json.loads((ROOT / "index.json").read_bytes())
    rows = listed["vectors"] if isinstance(listed, dict) else listed
    assert {(row["area"], row["name"]) for row in rows} == {
        (path.parent.parent.name, path.parent.name) for path in ROOT.glob("*/*/vector.json")
    }
    chapters = {path.stem for path in (SPEC / "v1").glob("*.md")}
    assert {row["clause"].split(" ")[0] for row in rows} <= chapters


def test_the_generator_makes_exactly_these_vectors() -> None:
    made = subprocess.run(
        [sys.executable, SPEC / "vectors" / "make", "--check"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr


def test_the_generator_imports_nothing_but_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {path.stem for path in (SPEC / "vectors" / "make").rglob("*.py")} | {"areas"}
    for path in (SPEC / "vectors" / "make").rglob("*.py"):
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE):
            assert name in allowed, f"{path} imports {name}"
