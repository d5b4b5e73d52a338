"""A whole verification with `device="cuda"` gives the same report as on the CPU. Spec: verification §6.

Where torch finds no CUDA device, that half is skipped; the other runs the code for CUDA with torch on the CPU.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from model_verify.merge import selection
from model_verify.merge.tensor import TorchBackend
from model_verify.report import Report
from tests.models import RECIPE, SignedMerge, make_signed_merge

ELEMENTS = 1_500_000
"""Rows of 4: 24 MB, so that a tensor spans many chunks."""


@pytest.fixture(params=["torch cpu", pytest.param("torch cuda", marks=pytest.mark.gpu)])
def on_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make `device="cuda"` mean this backend, and return its name."""
    name: str = request.param
    if name == "torch cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device")
    else:
        monkeypatch.setattr(selection, "_torch_backend", lambda: TorchBackend("cpu"))
    return name


@pytest.fixture(scope="module", params=["false", "true"], ids=["plain", "normalized"])
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SignedMerge:
    recipe = RECIPE.replace("normalize: false", f"normalize: {request.param}").replace("weight: 0.4", "weight: 0.7")
    return make_signed_merge(tmp_path_factory.mktemp("signed") / "models", elements=ELEMENTS, recipe=recipe)


def without_run(report: Report) -> tuple[dict[str, Any], str | None]:
    document: dict[str, Any] = json.loads(report.canonical())
    device: str | None = document.pop("run")["device"]
    return document, device


def test_reports_of_device_and_cpu_are_the_same_but_for_the_run(signed: SignedMerge, on_device: str) -> None:
    here, cpu = without_run(signed.verify(device="cpu"))
    there, device = without_run(signed.verify(device="cuda"))
    assert (cpu, device) == ("numba", on_device)
    assert here == there
    assert (there["verdict"], there["level"]) == ("VERIFIED", 3)


def test_reports_of_device_and_cpu_name_the_same_difference(
    signed: SignedMerge, on_device: str, tmp_path: Path
) -> None:
    copy = signed.copy(tmp_path / "models")
    path = copy.merged / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    here, _ = without_run(copy.verify(device="cpu"))
    there, device = without_run(copy.verify(device="cuda"))
    assert device == on_device
    assert here == there
    assert there["verdict"] == "REJECTED"
    assert [finding["code"] for finding in there["findings"]] == ["TENSOR_MISMATCH"]
    assert "1 element differs" in there["findings"][0]["actual"]
