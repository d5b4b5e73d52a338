"""How far elements moved is counted the same whatever the order, and exactly as integers would have it."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import pytest
import torch

from model_verify.lineage.components import component_of
from model_verify.lineage.probes import MovementProbe
from model_verify.merge.kernel import Block
from model_verify.merge.movement import Moves, count_moves
from model_verify.tensors import TensorInfo
from tests.lineage.weights import DTYPES, data_of

SIZES = {"BF16": 2, "F16": 2, "F32": 4}


def ordinal(bits: int, size: int) -> int:
    """Return the place of a number among all of its format: −0 comes just before +0."""
    sign = 1 << (8 * size - 1)
    return bits if bits < sign else sign - 1 - bits


def distances(before: bytes, after: bytes, size: int) -> list[int]:
    pairs = zip(
        struct.iter_unpack("<H" if size == 2 else "<I", before),
        struct.iter_unpack("<H" if size == 2 else "<I", after),
        strict=True,
    )
    return sorted(abs(ordinal(a, size) - ordinal(b, size)) for (a,), (b,) in pairs if a != b)


def four_bits(distance: int) -> int:
    """Return a distance with all but its four leading bits cleared."""
    low = max(0, distance.bit_length() - 4)
    return distance >> low << low


@pytest.mark.parametrize("dtype", SIZES)
def test_percentiles_are_those_of_all_distances_in_order_to_four_bits(dtype: str) -> None:
    for seed, spread in enumerate((1e-3, 0.1, 3.0)):
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(5000, generator=generator)
        moved = values * (1 + spread * torch.randn(5000, generator=generator))
        before, after = data_of(values.to(DTYPES[dtype])), data_of(moved.to(DTYPES[dtype]))
        wanted = distances(before, after, SIZES[dtype])
        found = count_moves(before, after, dtype)
        assert (found.moved, found.largest) == (len(wanted), wanted[-1])
        for percent in (1, 50, 99, 100):
            assert found.percentile(percent) == four_bits(wanted[-(-percent * len(wanted) // 100) - 1])


def test_each_distance_up_to_fifteen_is_told_apart() -> None:
    for distance in range(1, 16):
        after = struct.pack("<H", 0x3F80 + distance)
        assert count_moves(struct.pack("<H", 0x3F80), after, "BF16").percentile(50) == distance


@pytest.mark.parametrize(("distance", "kept"), [(16, 16), (17, 16), (18, 18), (255, 240), (256, 256), (0x7F80, 0x7800)])
def test_longer_distances_keep_four_bits(distance: int, kept: int) -> None:
    found = count_moves(struct.pack("<H", 0), struct.pack("<H", distance), "BF16")
    assert (found.percentile(50), found.largest) == (kept, distance)


def test_zeros_of_both_signs_are_one_apart() -> None:
    assert count_moves(struct.pack("<I", 0), struct.pack("<I", 1 << 31), "F32").largest == 1


def test_the_whole_range_of_float32_is_a_distance() -> None:
    lowest, highest = struct.pack("<f", float("-inf")), struct.pack("<f", float("inf"))
    assert count_moves(lowest, highest, "F32").largest == 2 * 0x7F80_0000 + 1


def test_integers_move_without_a_distance() -> None:
    found = count_moves(struct.pack("<3q", 1, 2, 3), struct.pack("<3q", 1, 5, 9), "I64")
    assert (found.moved, found.percentile(50), found.largest) == (2, None, 0)


def test_what_did_not_move_has_no_percentile() -> None:
    assert count_moves(bytes(8), bytes(8), "BF16") == Moves()


def test_counts_of_parts_add_up_in_any_order() -> None:
    chance = random.Random(1)
    values = torch.randn(4096, generator=torch.Generator().manual_seed(2))
    before, after = data_of(values), data_of(values * 1.001)
    cuts = [0, *sorted(chance.sample(range(1, 4096), 6)), 4096]
    parts = [slice(4 * start, 4 * stop) for start, stop in pairwise(cuts)]
    chance.shuffle(parts)
    total = Moves()
    for part in parts:
        total += count_moves(before[part], after[part], "F32")
    assert total == count_moves(before, after, "F32")


@pytest.mark.parametrize("cut", [1, 5, 12, 100])
def test_blocks_that_were_touched_are_found_wherever_units_are_cut(cut: int) -> None:
    info = TensorInfo("experts", "BF16", (5, 4, 3))
    before = torch.arange(60, dtype=torch.float32).to(torch.bfloat16)
    after = before.clone()
    after[[12, 23, 48]] += 1  # the first and the last of block 1, the first of block 4
    probe = MovementProbe(info, (("a", "experts"), ("b", "experts")))
    for start in range(0, 60, cut):
        blocks = [Block("BF16", (0,), data_of(one)[2 * start : 2 * (start + cut)]) for one in (before, after)]
        probe.look(blocks, start)
    assert probe.touched == bytes([0, 1, 0, 0, 1])
    assert probe.moves.moved == 3


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("model.embed_tokens.weight", "embedding"),
        ("transformer.wte.weight", "embedding"),
        ("bert.embeddings.word_embeddings.weight", "embedding"),
        ("model.layers.0.self_attn.q_proj.weight", "attention"),
        ("model.layers.0.self_attn.q_norm.weight", "norm"),
        ("model.layers.0.post_attention_layernorm.weight", "norm"),
        ("transformer.h.0.ln_1.bias", "norm"),
        ("model.norm.weight", "norm"),
        ("model.layers.0.mlp.gate_proj.weight", "mlp"),
        ("model.layers.0.mlp.gate.weight", "router"),
        ("model.layers.0.block_sparse_moe.gate.weight", "router"),
        ("model.layers.0.mlp.router.weight", "router"),
        ("model.layers.0.mlp.shared_expert_gate.weight", "router"),
        ("model.layers.0.mlp.experts.17.up_proj.weight", "experts"),
        ("model.layers.0.block_sparse_moe.experts.3.w1.weight", "experts"),
        ("model.layers.0.mlp.shared_experts.down_proj.weight", "experts"),
        ("lm_head.weight", "head"),
        ("embed_out.weight", "head"),
        ("score.weight", "head"),
        ("model.layers.0.mixer.in_proj.weight", "other"),
        ("atom_embedding.weight", "embedding"),
        ("", "other"),
    ],
)
def test_components_are_told_by_name(name: str, component: str) -> None:
    assert component_of(name) == component
