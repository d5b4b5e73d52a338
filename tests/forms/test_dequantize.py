"""FP8 weights, against torch's own FP8 and the code of transformers that reads DeepSeek's checkpoints."""

from __future__ import annotations

import pytest
import torch
from transformers.integrations import finegrained_fp8

from model_verify.merge.kernel import Call
from model_verify.merge.methods.dequantize import block_parameters
from tests.forms.kernels import computed

FORMATS = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def dequantize(dtype: str, *block: int) -> Call:
    return Call("dequantize/v1", "dequantize", dtype, shared=block_parameters(block))


def codes(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    every = torch.tensor([code for code in range(256) if code & 0x7F != 0x7F], dtype=torch.uint8)
    return every[torch.randint(254, shape, generator=generator)].view(torch.float8_e4m3fn)


def test_every_code_has_torchs_value() -> None:
    every = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    numbers = every[(every & 0x7F) != 0x7F].view(torch.float8_e4m3fn)
    given = computed(dequantize("F32", 254), numbers, torch.ones(1))
    assert torch.equal(given, numbers.to(torch.float32))
    assert torch.equal(torch.signbit(given), torch.signbit(numbers.to(torch.float32)))


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("scales_dtype", [torch.float32, torch.bfloat16])
def test_blocks_as_transformers_reads_them(dtype: str, scales_dtype: torch.dtype) -> None:
    weight = codes(256, 384)
    scales = (torch.rand(2, 3, generator=torch.Generator().manual_seed(1)) * 1e-3 + 1e-5).to(scales_dtype)
    read = finegrained_fp8.Fp8Dequantize(None)._dequantize_one(weight, scales, FORMATS[dtype])
    assert torch.equal(computed(dequantize(dtype, 128, 128), weight, scales), read)


@pytest.mark.parametrize("dtype", FORMATS)
def test_blocks_that_are_cut_off_as_deepseek_reads_them(dtype: str) -> None:
    # Element (i, j) of the reference kernel: the float32 product with the scale at (i // 128, j // 128), then stored.
    weight, scales = codes(130, 300), torch.rand(2, 3, generator=torch.Generator().manual_seed(2)) * 0.01
    rows, columns = torch.arange(130) // 128, torch.arange(300) // 128
    expected = (weight.to(torch.float32) * scales[rows][:, columns]).to(FORMATS[dtype])
    assert torch.equal(computed(dequantize(dtype, 128, 128), weight, scales), expected)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_scale_for_a_tensor(shape: tuple[int, ...]) -> None:
    weight, scale = codes(33, 65), torch.full(shape, 0.0123)
    expected = (weight.to(torch.float32) * torch.tensor(0.0123)).to(torch.bfloat16)
    assert torch.equal(computed(dequantize("BF16", 33, 65), weight, scale), expected)


@pytest.mark.parametrize("shape", [(70,), (70, 1)])
def test_a_scale_for_each_channel_as_compressed_tensors_reads_it(shape: tuple[int, ...]) -> None:
    # x_q.to(scale.dtype) * scale, with scales in BF16.
    weight = codes(70, 65)
    scales = (torch.rand(*shape, generator=torch.Generator().manual_seed(3)) * 0.01).to(torch.bfloat16)
    expected = weight.to(torch.bfloat16) * scales.reshape(70, 1)
    assert torch.equal(computed(dequantize("BF16", 1, 65), weight, scales), expected)


def test_stacked_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, scales = codes(3, 4, 10, 12), torch.rand(3, 2, 5, 3, generator=torch.Generator().manual_seed(4))
    expected = torch.empty(3, 4, 10, 12)
    for e in range(3):
        for h in range(4):
            grid = scales[e, h // 2].repeat_interleave(2, 0).repeat_interleave(4, 1)
            expected[e, h] = weight[e, h].to(torch.float32) * grid
    call = dequantize("F32", 1, 2, 2, 4)
    assert torch.equal(computed(call, weight, scales), expected)
    monkeypatch.setattr("model_verify.merge.methods.dequantize._PIECE_ELEMENTS", 40)
    assert torch.equal(computed(call, weight, scales), expected)


def test_many_small_matrices_take_no_longer_than_their_elements() -> None:
    weight, scales = codes(200_000, 1, 2), torch.rand(100_000, 1, 1, generator=torch.Generator().manual_seed(5))
    expected = weight.to(torch.float32) * scales.repeat_interleave(2, 0)
    assert torch.equal(computed(dequantize("F32", 2, 1, 2), weight, scales), expected)


def test_extents_beyond_the_tensor_need_no_memory() -> None:
    weight, scales = codes(3, 5), torch.tensor([[0.5]])
    expected = weight.to(torch.float32) * 0.5
    assert torch.equal(computed(dequantize("F32", 2**53 - 1, 2**53 - 1), weight, scales), expected)
