"""Samples come from all over the tensors, and from where elements moved where few did. Spec: pipeline §4.2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_verify.lineage import samples
from model_verify.lineage.samples import Sample, Stretches, choose_stretches, read_stored, thinned
from model_verify.replay import Stored
from model_verify.sources.local import LocalFolder
from model_verify.tensors import TensorInfo
from tests.lineage.test_training import contradiction, verify_as_training
from tests.lineage.weights import Tensors, blend, data_of, random_model, sibling

ELEMENTS = 200_000


class Bytes:
    """A file in memory."""

    path = "model.safetensors"

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size_bytes = len(data)

    def read(self, offset: int, size_bytes: int) -> bytes:
        assert offset + size_bytes <= len(self._data)
        return self._data[offset : offset + size_bytes]

    def read_into(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = self.read(offset, len(buffer))

    def check_unchanged(self) -> None:
        pass


def stored(name: str, values_E: torch.Tensor) -> Stored:
    return Stored("child", TensorInfo(name, "BF16", (len(values_E),)), Bytes(data_of(values_E)), 0)


def chosen_in(before_E: torch.Tensor, after_E: torch.Tensor) -> Stretches:
    start = stored("t", before_E)
    return choose_stretches(lambda name, stretches: read_stored(start, stretches), {"t": stored("t", after_E)}, ["t"])[
        "t"
    ]


def covered(stretches: Stretches) -> set[int]:
    return {element for start, count in stretches for element in range(start, start + count)}


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SAMPLE_ELEMENTS", 1 << 13)


@pytest.mark.usefixtures("small_samples")
def test_moved_elements_are_in_the_sample_wherever_they_are() -> None:
    before_E = torch.randn(ELEMENTS, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    for first in (0, 77_777, ELEMENTS - 300):
        moved = range(first, first + 300, 3)
        after_E = before_E.clone()
        after_E[list(moved)] += 1
        stretches = chosen_in(before_E, after_E)
        assert set(moved) <= covered(stretches)
        assert sum(count for _, count in stretches) < 10_000


@pytest.mark.usefixtures("small_samples")
def test_stretches_neither_overlap_nor_leave_the_tensor() -> None:
    before_E = torch.randn(ELEMENTS, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    after_E = before_E.clone()
    after_E[torch.randint(0, ELEMENTS, (500,), generator=torch.Generator().manual_seed(3))] += 1
    stretches = list(chosen_in(before_E, after_E))
    assert len(covered(stretches)) == sum(count for _, count in stretches)
    assert stretches == sorted(stretches)
    assert max(covered(stretches)) < ELEMENTS


@pytest.mark.usefixtures("small_samples")
def test_where_everything_moved_the_sample_stays_small() -> None:
    before_E = torch.randn(ELEMENTS, generator=torch.Generator().manual_seed(4)).to(torch.bfloat16)
    stretches = chosen_in(before_E, before_E + 1)
    assert sum(count for _, count in stretches) == 1 << 13
    assert len(stretches) == 32


@pytest.mark.usefixtures("small_samples")
@pytest.mark.parametrize("coefficients", [["0.6", "0.4"], ["0.3827", "0.6173"]])
def test_a_blend_with_a_model_that_is_different_in_a_few_places_is_found(
    tmp_path: Path, coefficients: list[str]
) -> None:
    """In a thousand of half a million elements, which a sample from all over the tensors has missed."""
    parent: Tensors = {f"layers.{i}.up": random_model(i, "BF16")["layers.0.up"].repeat(4) for i in range(4)}
    other = {name: weights_E.clone() for name, weights_E in parent.items()}
    part = slice(100_000, 101_000)
    other["layers.2.up"][part] = sibling({"part": parent["layers.2.up"][part]}, 9, 0.5)["part"]
    child = blend([parent, other], coefficients)
    report = verify_as_training(tmp_path, child, parent=parent, candidates=(other,))
    found = contradiction(report)
    assert report.steps[0].moved_elements is not None
    assert report.steps[0].moved_elements < 1000
    assert found.endswith("·candidate 1, to the bit")


def test_thinning_keeps_the_places_of_all_parents_together() -> None:
    values = [torch.arange(10_000, dtype=torch.float32) + offset for offset in (0.0, 0.5, 1.0)]
    before, other, child = (data_of(one) for one in values)
    sample = Sample("t", before, (("F32", before), ("F32", other)), "F32", child)
    (thin,) = thinned([sample], 3000)
    assert thin.elements == 3334
    first = torch.frombuffer(bytearray(thin.before), dtype=torch.float32)
    assert torch.equal(torch.frombuffer(bytearray(thin.parents[1][1]), dtype=torch.float32), first + 0.5)
    assert torch.equal(torch.frombuffer(bytearray(thin.child), dtype=torch.float32), first + 1)


def test_files_of_a_folder_are_read_as_memory_is(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(range(100)))
    with LocalFolder(tmp_path).open("data") as file:
        info = TensorInfo("t", "BF16", (40,))
        assert read_stored(Stored("a", info, file, 10), [(0, 2), (5, 1)]) == ("BF16", bytes([10, 11, 12, 13, 20, 21]))
