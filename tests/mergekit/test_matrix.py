"""Methods x dtypes x shapes: the real mergekit merges, what it made is recorded, and some of it signed and verified."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from model_attest.recipes import read_recipe
from model_attest.record.mergekit import RecordedMerge, record_merge
from model_attest.sign import sign_folder
from model_verify.merge.kernel import Standing
from model_verify.merge.methods.table import METHODS
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.mergekit.matrix import BOUNDED, CASES, COMPUTED, DTYPES, EXACT, Parents, write_parents
from tests.mergekit.oracle import Mergekit
from tests.models import new_signer

SHAPES = ("llama", "qwen2", "mixtral")
SHAPES_0_1_4 = ("llama", "qwen2", "mixtral-0.1.4")


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Parents]:
    root = tmp_path_factory.mktemp("matrix")
    families = sorted({*SHAPES, *SHAPES_0_1_4})
    return {(f, dtype): write_parents(root / f / dtype, f, dtype) for f in families for dtype in DTYPES}


def merge_and_record(
    worker: Mergekit, given: Parents, case: str, dtype: str, out: Path, profile: str | None
) -> RecordedMerge:
    config = given.config(case, dtype)
    worker.merge(config, out)
    recipe = read_recipe(out / "mergekit_config.yml", made_by_mergekit=True)  # mergekit writes it verbatim
    return record_merge(recipe, out, profile=profile, device="cpu")


def check(found: RecordedMerge, case: str, counts: Counter[str]) -> None:
    """Fail unless the output stands as it should to the best profile, and count its tensors."""
    outcome = found.best.outcome
    assert found.matches, outcome.problem
    if case in EXACT:
        assert outcome.standing is Standing.EXACT
    elif case in BOUNDED:
        assert outcome.standing <= Standing.WITHIN
    else:
        assert outcome.standing is Standing.EXAMINED
    counts["merges"] += 1
    for standing in ("exact", "within", "examined"):
        counts[standing] += getattr(outcome, standing)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", COMPUTED)
def test_what_mergekit_made_is_found_again(
    case: str,
    dtype: str,
    parents: dict[tuple[str, str], Parents],
    mergekit: Mergekit,
    tmp_path: Path,
    matrix_counts: Counter[str],
) -> None:
    for shape in SHAPES:
        told = "mergekit-0.1.5/fma" if shape == "mixtral" else None
        found = merge_and_record(mergekit, parents[shape, dtype], case, dtype, tmp_path / shape, told)
        check(found, case, matrix_counts)
        assert found.best.profile == "mergekit-0.1.5/fma"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", COMPUTED)
def test_what_mergekit_0_1_4_made_is_found_again(
    case: str,
    dtype: str,
    parents: dict[tuple[str, str], Parents],
    mergekit_0_1_4: Mergekit,
    tmp_path: Path,
    matrix_counts: Counter[str],
) -> None:
    for shape in SHAPES_0_1_4:
        told = "mergekit-0.1.4" if shape == "llama" else None
        found = merge_and_record(mergekit_0_1_4, parents[shape, dtype], case, dtype, tmp_path / shape, told)
        check(found, case, matrix_counts)


@pytest.mark.parametrize("case", COMPUTED)
def test_what_was_recorded_is_signed_and_verified(
    case: str, parents: dict[tuple[str, str], Parents], mergekit: Mergekit, tmp_path: Path
) -> None:
    given = parents["qwen2", "bfloat16"]
    found = merge_and_record(mergekit, given, case, "bfloat16", tmp_path / "out", None)
    signer = new_signer()
    sign_folder(tmp_path / "out", signer, name="merged", version=None, uri=None)
    sources = {material.name: LocalFolder(given.root / material.name) for material in found.materials}
    request = Request(LocalFolder(tmp_path / "out"), expected_signer=signer.public_key, parents=sources, device="cpu")
    report = verify(request)
    verdict, level = {
        Standing.EXACT: ("reproduced", 3),
        Standing.WITHIN: ("reproduced-within", 2),
        Standing.EXAMINED: ("attested", 2),
    }[found.best.standing]
    assert (report.verdict, report.level, report.steps[0].verdict) == ("VERIFIED", level, verdict), report.findings


def test_the_matrix_has_every_method_of_the_profiles() -> None:
    assert {method for method, _ in CASES.values()} >= set(METHODS)
