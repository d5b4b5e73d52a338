"""Signed folders whose weights moved, and not as their training says: what is named, and what never is.

Spec: pipeline §4.12, §4.14, §4.15.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from model_verify.models import FullTraining, LoraTraining, OtherTraining
from model_verify.report import Report, ReportFinding
from tests.lineage.test_rank import merged_lora
from tests.lineage.test_training import assert_attested, verify_as_training
from tests.lineage.trainer import train
from tests.lineage.weights import DTYPES, Tensors, random_model

FULL = FullTraining(name="full")
Q, V, GATE = (f"model.layers.0.{part}.weight" for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj"))


def lora(rank: int, *targets: str) -> LoraTraining:
    return LoraTraining(name="lora", rank=rank, alpha="16", targets=list(targets))


def model(dtype: str = "BF16", **more: tuple[int, ...]) -> Tensors:
    """Return a model of matrices of 128 by 160, with further tensors under other names."""
    shapes: Mapping[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (200, 160),
        Q: (128, 160),
        V: (128, 160),
        GATE: (128, 160),
        "model.norm.weight": (160,),
        **more,
    }
    generator = torch.Generator().manual_seed(1)
    made = {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    made["model.norm.weight"] = torch.ones(160)
    return {name: weights_E.to(DTYPES[dtype]) for name, weights_E in made.items()}


def moved(weights_E: torch.Tensor, size: float, seed: int = 2) -> torch.Tensor:
    noise_E = torch.randn(weights_E.shape, generator=torch.Generator().manual_seed(seed))
    return (weights_E.float() + size * noise_E).to(weights_E.dtype)


def only(report: Report, code: str) -> ReportFinding:
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


# How far.


def test_movement_is_told_by_component_and_dtype(tmp_path: Path) -> None:
    parent = model() | {"model.norm.weight": torch.ones(160)}
    child = {name: weights_E.clone() for name, weights_E in parent.items()}
    child[Q].view(torch.int16)[0, :10] ^= 1
    child[V].view(torch.int16)[0, 0] += 40
    child["model.norm.weight"][3] = 1 + 2.0**-20
    report = verify_as_training(tmp_path, child, parent=parent, candidates=())
    rows = {(row.component, row.dtype): row for row in report.steps[0].movement}
    attention = rows["attention", "BF16"]
    assert (attention.tensors, attention.tensors_moved, attention.elements, attention.moved) == (2, 2, 40_960, 11)
    assert (attention.ulp_median, attention.ulp_99, attention.ulp_largest) == (1, 40, 40)
    norm = rows["norm", "F32"]
    assert (norm.moved, norm.ulp_median, norm.ulp_99, norm.ulp_largest) == (1, 8, 8, 8)
    embedding = rows["embedding", "BF16"]
    assert (embedding.tensors_moved, embedding.moved, embedding.ulp_median) == (0, 0, None)
    assert set(rows) == {("attention", "BF16"), ("embedding", "BF16"), ("mlp", "BF16"), ("norm", "F32")}


# Tensors that stood still.


def test_a_matrix_that_a_full_training_left_is_named(tmp_path: Path) -> None:
    parent = model()
    child = {name: moved(weights_E, 1e-3) for name, weights_E in parent.items()} | {GATE: parent[GATE]}
    report = verify_as_training(tmp_path, child, parent=parent, candidates=(), method=FULL)
    assert (report.verdict, report.level, report.steps[0].verdict) == ("VERIFIED", 2, "attested")
    finding = only(report, "TRAINING_PARTIAL")
    assert (finding.severity, finding.actual) == ("warn", f"1 of 5 tensors are as before in every bit: {GATE}")


def test_experts_that_a_full_training_left_are_named_by_their_place(tmp_path: Path) -> None:
    experts = "model.layers.0.mlp.experts.gate_up_proj"
    parent = model(**{experts: (6, 32, 64)})
    child = {name: moved(weights_E, 1e-3) for name, weights_E in parent.items()}
    child[experts][[2, 5]] = parent[experts][[2, 5]]
    report = verify_as_training(tmp_path, child, parent=parent, candidates=(), method=FULL)
    finding = only(report, "TRAINING_PARTIAL")
    assert finding.actual == f"1 of 6 tensors are as before in every bit: {experts} (in blocks 2, 5)"


def test_norms_that_all_stand_still_are_not_named(tmp_path: Path) -> None:
    """In BF16, light training moves no weight near 1: nothing failed."""
    parent = model()
    child = {name: moved(weights_E, 1e-4) for name, weights_E in parent.items()}
    child["model.norm.weight"] = parent["model.norm.weight"]
    report = verify_as_training(tmp_path, child, parent=parent, candidates=(), method=FULL)
    assert "TRAINING_PARTIAL" not in {finding.code for finding in report.findings}


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("master", [True, False])
@pytest.mark.parametrize(
    ("kind", "rate", "steps"), [("adamw", 1e-5, 3), ("adamw", 1e-6, 1), ("sgd", 1e-5, 20), ("sgd", 1e-2, 1)]
)
def test_real_full_training_leaves_nothing_to_name(
    tmp_path: Path, dtype: str, master: bool, kind: str, rate: float, steps: int
) -> None:
    parent = random_model(1, dtype)
    child = train(parent, dtype, kind, rate, steps=steps, master=master)  # type: ignore[arg-type]
    parent, child = ({name: matrix(weights_E) for name, weights_E in model.items()} for model in (parent, child))
    report = verify_as_training(tmp_path, child, parent=parent, candidates=(), method=FULL)
    assert_attested(report)
    assert "TRAINING_PARTIAL" not in {finding.code for finding in report.findings}


def matrix(weights_E: torch.Tensor) -> torch.Tensor:
    """Return weights as a matrix, if they are not those of a norm."""
    return weights_E if len(weights_E) == 96 else weights_E.view(96, -1)


@pytest.mark.parametrize("method", [None, OtherTraining(name="other", description="layers were frozen")])
def test_only_a_training_that_says_it_is_full_is_expected_to_move_everything(
    tmp_path: Path, method: OtherTraining | None
) -> None:
    parent = model()
    child = {name: moved(weights_E, 1e-3) for name, weights_E in parent.items()} | {GATE: parent[GATE]}
    report = verify_as_training(tmp_path, child, parent=parent, candidates=(), method=method)
    assert "TRAINING_PARTIAL" not in {finding.code for finding in report.findings}


# Rank.


def test_a_lora_that_was_declared_with_half_its_rank_is_unsupported(tmp_path: Path) -> None:
    parent = model()
    child = parent | {name: merged_lora(parent[name], 16, adapter=torch.float32, rate=3e-2) for name in (Q, V)}
    report = verify_as_training(
        tmp_path, child, parent=parent, candidates=(), trainable=[Q, V], method=lora(8, "q_proj", "v_proj")
    )
    assert (report.verdict, report.steps[0].verdict) == ("INCOMPLETE", "unsupported")
    found = [finding for finding in report.findings if finding.code == "TRAINING_RANK_EXCEEDED"]
    assert [finding.where for finding in found] == [f"train: {Q}", f"train: {V}"]
    assert {finding.expected for finding in found} == {"a movement of rank 8, and rounding"}
    rank = report.steps[0].rank
    assert rank is not None
    assert (rank.declared, rank.tensors, rank.conclusive, rank.exceeded) == (8, 2, 2, 2)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_a_lora_of_the_declared_rank_is_attested(tmp_path: Path, dtype: str) -> None:
    parent = model(dtype)
    child = parent | {name: merged_lora(parent[name], 8, adapter=torch.float32, rate=3e-2) for name in (Q, V)}
    report = verify_as_training(
        tmp_path, child, parent=parent, candidates=(), trainable=[Q, V], method=lora(8, "q_proj", "self_attn.v_proj")
    )
    assert_attested(report)
    rank = report.steps[0].rank
    assert rank is not None
    assert (rank.tensors, rank.conclusive, rank.exceeded) == (2, 2, 0)


def test_what_was_trained_beside_a_lora_is_not_held_to_its_rank(tmp_path: Path) -> None:
    """Embeddings are often trained whole, and norms have no rank."""
    parent = model()
    child = parent | {
        Q: merged_lora(parent[Q], 4, adapter=torch.float32, rate=3e-2),
        "model.embed_tokens.weight": moved(parent["model.embed_tokens.weight"], 1e-2),
        "model.norm.weight": moved(parent["model.norm.weight"], 1e-1),
    }
    report = verify_as_training(
        tmp_path, child, parent=parent, candidates=(), trainable="all", method=lora(4, "q_proj", "v_proj")
    )
    assert_attested(report)
    rank = report.steps[0].rank
    assert rank is not None
    assert (rank.tensors, rank.conclusive) == (2, 1)


def test_a_tensor_beside_those_of_a_lora_that_moved_contradicts_it(tmp_path: Path) -> None:
    parent = model()
    child = parent | {Q: merged_lora(parent[Q], 4, adapter=torch.float32, rate=3e-2), GATE: moved(parent[GATE], 1e-3)}
    report = verify_as_training(tmp_path, child, parent=parent, candidates=(), trainable=[Q], method=lora(4, "q_proj"))
    assert (report.verdict, report.steps[0].verdict) == ("REJECTED", "contradicted")
    assert only(report, "TRAINING_CHANGED_OTHER").where == f"train: {GATE}"


def test_one_rank_too_many_is_found_where_it_is_large(tmp_path: Path) -> None:
    """Rank 3 and one outer product more: the fourth singular value is all there is beyond it."""
    generator = torch.Generator().manual_seed(3)
    parent = model()
    up, down = torch.randn(128, 4, generator=generator), torch.randn(4, 160, generator=generator)
    child = parent | {Q: (parent[Q].float() + 0.02 * up @ down).to(torch.bfloat16)}
    for declared, exceeded in ((4, 0), (3, 1)):
        folder = tmp_path / str(declared)
        folder.mkdir()
        report = verify_as_training(
            folder, child, parent=parent, candidates=(), trainable=[Q], method=lora(declared, "q_proj")
        )
        rank = report.steps[0].rank
        assert rank is not None
        assert (rank.tensors, rank.exceeded) == (1, exceeded)


def test_a_weight_of_many_chunks_is_looked_at_all_over(tmp_path: Path) -> None:
    """The part that is kept comes in pieces, as chunks pass by."""
    parent = {Q: 0.02 * torch.randn(900, 700, generator=torch.Generator().manual_seed(4))}
    child = {Q: parent[Q].clone()}
    child[Q][640:] = moved(child[Q][640:], 1e-2)
    report = verify_as_training(tmp_path, child, parent=parent, candidates=(), trainable=[Q], method=lora(1, "q_proj"))
    assert only(report, "TRAINING_RANK_EXCEEDED").where == f"train: {Q}"
