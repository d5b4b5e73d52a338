"""Real weights merged by the real mergekit 0.1.5: the command line is not told how it computes, and finds it.

chgnet is no language model, so mergekit infers what its tensors are; its own folder has no configuration that mergekit
reads, and gets one here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_attest import cli
from tests.mergekit.oracle import Mergekit, interpreter_0_1_5
from tests.real import release
from tests.real.fetch import Pair

TENSORS = 136
CONFIGURATION = {"model_type": "vit", "architectures": ["CHGNetForCausalLM"]}
"""Such that transformers knows no model of these tensors: mergekit then takes the names in the files."""

LINEAR = """\
merge_method: linear
models:
  - {model: MODELS/base, parameters: {weight: 0.6}}
  - {model: MODELS/tuned, parameters: {weight: 0.3}}
dtype: float32
"""
SLERP = """\
merge_method: slerp
base_model: MODELS/base
models:
  - {model: MODELS/tuned}
parameters: {t: 0.4}
dtype: float32
"""
TIES = """\
merge_method: ties
base_model: MODELS/base
models:
  - {model: MODELS/tuned, parameters: {weight: 0.7, density: 0.5}}
dtype: float32
"""
TASK_ARITHMETIC = """\
merge_method: task_arithmetic
base_model: MODELS/base
models:
  - {model: MODELS/tuned, parameters: {weight: 0.8}}
parameters: {lambda: 1.2}
dtype: float32
"""
CONFIGS = {"linear": LINEAR, "slerp": SLERP, "ties": TIES, "task_arithmetic": TASK_ARITHMETIC}
DIFFERENT = {
    "linear": {"mergekit-0.1.4": 130, "mergekit-0.1.5/nofma": 130},
    "slerp": {"mergekit-0.1.4": 0, "mergekit-0.1.5/nofma": 0},
    "ties": {"mergekit-0.1.4": 2, "mergekit-0.1.5/nofma": 0},
    "task_arithmetic": {"mergekit-0.1.4": 0, "mergekit-0.1.5/nofma": 0},
}
"""Tensors that the profiles which were not found do not give. Of the other six no element is a sum that rounds."""

Merges = Callable[[str], Path]


@pytest.fixture(scope="module")
def merges(chgnet_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Merges]:
    """Return what mergekit made by a method, beside its parents and its configuration. A test works on a copy."""
    pytest.importorskip("mergekit", reason="mergekit is not installed")
    root = tmp_path_factory.mktemp("chgnet")
    for name, folder in (("base", chgnet_pair.base), ("tuned", chgnet_pair.finetune)):
        shutil.copytree(folder, root / name)
        (root / name / "config.json").write_text(json.dumps(CONFIGURATION))
    with Mergekit(interpreter_0_1_5(), root / "log") as mergekit:

        def merge(method: str) -> Path:
            config = root / f"{method}.yml"
            if not config.exists():
                config.write_text(CONFIGS[method].replace("MODELS", str(root)))
                mergekit.merge(config.read_text(), root / method, write_model_card=False)
            return root / method

        yield merge
    shutil.rmtree(root)


def answer(capsys: pytest.CaptureFixture[str], *arguments: object, exit_code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.run([str(argument) for argument in arguments]) == exit_code
    answered: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answered


@pytest.mark.parametrize("method", CONFIGS)
def test_a_merge_of_real_weights_is_recorded_signed_and_reproduced(
    method: str, merges: Merges, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = merges(method)
    out = shutil.copytree(made, tmp_path / "out")
    recorded = answer(capsys, "record", "mergekit", made.with_suffix(".yml"), out, "--device", "cpu", "--json")
    assert recorded["profile"] == "mergekit-0.1.5/fma"
    tried = {trial["profile"]: trial for trial in recorded["tried"]}
    found = tried.pop("mergekit-0.1.5/fma")
    assert (found["standing"], found["exact"], found["within"], found["different"]) == ("exact", TENSORS, 0, 0)
    assert {profile: trial["different"] for profile, trial in tried.items()} == DIFFERENT[method]

    key = tmp_path / "key"
    assert cli.run(["keygen", "--out", str(key)]) == 0
    assert cli.run(["sign", str(out), "--key", str(key)]) == 0
    parents = [f"--parent={name}={made.parent / name}" for name in ("base", "tuned")]
    report = answer(capsys, "verify", out, "--key", f"{key}.pub", "--device", "cpu", *parents, "--json")
    assert (report["verdict"], report["level"]) == ("VERIFIED", 3)
    assert [(step["type"], step["profile"], step["verdict"]) for step in report["steps"]] == [
        ("merge", "mergekit-0.1.5/fma", "reproduced")
    ]
    assert [material["status"] for material in report["materials"]] == ["matched", "matched"]
    assert report["coverage"]["tensors_reproduced"] == TENSORS
    assert not [finding for finding in report["findings"] if finding["severity"] != "note"]


@pytest.mark.parametrize("method", CONFIGS)
def test_one_other_bit_in_real_weights_is_what_no_profile_gives(
    method: str, merges: Merges, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = merges(method)
    out = shutil.copytree(made, tmp_path / "out")
    name = "angle_embedding.weight"
    release.flip_bit(release.place_of(out, name), 4 * 1000 + 2, 4)
    recorded = answer(
        capsys, "record", "mergekit", made.with_suffix(".yml"), out, "--device", "cpu", "--json", exit_code=1
    )
    assert recorded["profile"] is None
    fma = next(trial for trial in recorded["tried"] if trial["profile"] == "mergekit-0.1.5/fma")
    assert (fma["exact"], fma["different"]) == (TENSORS - 1, 1)
    assert fma["problem"].startswith(f"{name}: first difference at byte ")
    assert not (out / ".attest").exists()
