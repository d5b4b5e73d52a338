"""No merged LoRA exceeds its own rank, whatever was rounded on the way; other movements do. Spec: pipeline §4.15."""

# Shape suffixes: R rows, C columns, K the rank.

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from model_verify.lineage.rank import Excess, choose_submatrix, measure_excess
from tests.lineage.weights import DTYPES, data_of

FORMATS = ["BF16", "F16", "F32"]
RANKS = [1, 4, 16, 64]


def excess(before_RC: Tensor, after_RC: Tensor, rank: int) -> Excess:
    """Return the excess of the part that a verifier would look at."""
    part = choose_submatrix(tuple(before_RC.shape), rank)
    assert part is not None
    columns = slice(part.first_column, part.first_column + part.columns)
    before, after = (data_of(one_RC[list(part.rows)][:, columns]) for one_RC in (before_RC, after_RC))
    dtype = next(name for name, dtype in DTYPES.items() if dtype == before_RC.dtype)
    found = measure_excess(before, after, dtype, part.columns, rank)
    assert found is not None
    return found


def weight(dtype: str, *, spread: float = 0.02, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(160, 320, generator=generator)).to(DTYPES[dtype])


class OneLayer(torch.nn.Module):
    def __init__(self, weight_RC: Tensor) -> None:
        super().__init__()
        self.proj = torch.nn.Linear(weight_RC.shape[1], weight_RC.shape[0], bias=False, dtype=weight_RC.dtype)
        self.proj.weight = torch.nn.Parameter(weight_RC.clone())

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.proj(x)
        return output


def merged_lora(weight_RC: Tensor, rank: int, *, adapter: torch.dtype, rate: float) -> Tensor:
    """Return the weight after three steps of AdamW on a LoRA by peft, and its `merge_and_unload`."""
    from peft import LoraConfig, get_peft_model
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread that outlives this
    torch.manual_seed(rank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft has something to say of models without a configuration
        model = get_peft_model(
            OneLayer(weight_RC),  # type: ignore[arg-type]
            LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["proj"]),
            autocast_adapter_dtype=False,
        )
    layer = model.base_model.model.proj
    down_KC, up_RK = layer.lora_A.default.weight, layer.lora_B.default.weight
    down_KC.data, up_RK.data = down_KC.data.float(), up_RK.data.float()
    optimizer = torch.optim.AdamW([down_KC, up_RK], lr=rate)
    for _ in range(3):
        x = torch.randn(64, weight_RC.shape[1])
        wanted = torch.randn(64, weight_RC.shape[0])
        output = x @ weight_RC.float().T + 2 * (x @ down_KC.T) @ up_RK.T
        optimizer.zero_grad()
        ((output - wanted) ** 2).mean().backward()
        optimizer.step()
    down_KC.data, up_RK.data = down_KC.data.to(adapter), up_RK.data.to(adapter)
    merged: Tensor = model.merge_and_unload().proj.weight.detach()
    assert not torch.equal(merged, weight_RC)
    return merged


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("adapter", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("rank", RANKS)
def test_a_lora_that_peft_merged_never_exceeds_its_rank(dtype: str, adapter: str, rank: int) -> None:
    for seed, (rate, spread) in enumerate([(1e-4, 0.02), (1e-3, 0.02), (3e-2, 0.02), (1e-3, 1.0)]):
        before_RC = weight(dtype, spread=spread, seed=seed)
        after_RC = merged_lora(before_RC, rank, adapter=DTYPES[adapter], rate=rate)
        found = excess(before_RC, after_RC, rank)
        assert found.beyond < 0.5 * found.rounding
        assert not found.is_exceeded


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("rank", RANKS)
def test_a_lora_whose_product_was_computed_in_tf32_does_not_exceed_its_rank(dtype: str, rank: int) -> None:
    """On a GPU, torch may round the factors to ten bits of mantissa."""
    generator = torch.Generator().manual_seed(rank)
    down_KC = torch.randn(rank, 320, generator=generator)
    up_RK = 1e-3 * torch.randn(160, rank, generator=generator)
    before_RC = weight(dtype)
    after_RC = (before_RC.float() + tf32(up_RK) @ tf32(down_KC)).to(DTYPES[dtype])
    exact_RC = (before_RC.double() + up_RK.double() @ down_KC.double()).to(DTYPES[dtype])
    assert not torch.equal(after_RC, exact_RC)
    assert not excess(before_RC, after_RC, rank).is_exceeded


def tf32(values: Tensor) -> Tensor:
    bits = values.view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("rank", [4, 16, 64])
def test_a_lora_of_twice_the_rank_exceeds_it(dtype: str, rank: int) -> None:
    before_RC = weight(dtype)
    after_RC = merged_lora(before_RC, 2 * rank, adapter=torch.float32, rate=3e-2)
    found = excess(before_RC, after_RC, rank)
    assert found.is_exceeded
    assert found.is_conclusive


@pytest.mark.parametrize("dtype", FORMATS)
def test_training_of_the_whole_matrix_exceeds_any_rank(dtype: str) -> None:
    before_RC = weight(dtype)
    noise_RC = torch.randn(before_RC.shape, generator=torch.Generator().manual_seed(5))
    after_RC = (before_RC.float() + 1e-3 * noise_RC).to(DTYPES[dtype])
    for rank in RANKS:
        assert excess(before_RC, after_RC, rank).is_exceeded


def test_a_movement_of_a_few_ulp_says_nothing_of_its_rank() -> None:
    """Rounding alone could have made it, whatever its rank."""
    before_RC = weight("BF16")
    after_RC = before_RC.clone()
    after_RC.view(torch.int16)[::3] ^= 1
    found = excess(before_RC, after_RC, 1)
    assert not found.is_exceeded
    assert not found.is_conclusive


def test_a_base_that_was_quantized_first_exceeds_the_rank() -> None:
    """The step has another input than it says: what was merged into is not the weight that it names."""
    before_RC = weight("BF16")
    scale = before_RC.abs().max() / 7
    coarse_RC = (before_RC / scale).round() * scale
    after_RC = merged_lora(coarse_RC, 4, adapter=torch.float32, rate=1e-3)
    assert excess(before_RC, after_RC, 4).is_exceeded


def test_four_equal_singular_values_leave_three_beyond_the_first() -> None:
    before_RC = torch.zeros(4, 4)
    after_RC = torch.diag(torch.full((4,), 0.5))
    found = excess(before_RC, after_RC, 1)
    assert found.beyond == pytest.approx(0.75)
    assert found.rounding == pytest.approx(4 * (2.0**-25 + 2.0**-9 + 2.0**-25) ** 2, rel=1e-6)
    assert found.is_exceeded


@pytest.mark.parametrize("shape", [(64,), (2, 3, 4), (16, 400), (400, 16)])
def test_nothing_is_looked_at_where_every_matrix_has_the_rank(shape: tuple[int, ...]) -> None:
    assert choose_submatrix(shape, 16) is None


@pytest.mark.parametrize(("shape", "rank"), [((4096, 4096), 16), ((70, 5000), 8), ((2000, 600), 200), ((5, 5), 4)])
def test_a_submatrix_lies_within_its_matrix_and_has_room_for_more_than_the_rank(
    shape: tuple[int, int], rank: int
) -> None:
    part = choose_submatrix(shape, rank)
    assert part is not None
    assert list(part.rows) == sorted(set(part.rows))
    assert part.rows[-1] < shape[0]
    assert 0 <= part.first_column <= part.first_column + part.columns <= shape[1]
    assert min(len(part.rows), part.columns) > rank
    assert part.elements <= 512 * 512


def test_values_that_are_not_finite_say_nothing() -> None:
    before_RC = torch.zeros(8, 8)
    after_RC = before_RC.clone()
    after_RC[3, 3] = torch.inf
    assert measure_excess(data_of(before_RC), data_of(after_RC), "F32", 8, 1) is None
