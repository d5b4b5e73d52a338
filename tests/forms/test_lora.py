"""Adapters: the kernels against the definition, written out with Python's own numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from model_verify.errors import BackendUnavailable
from model_verify.merge.kernel import Block, Call, Standing
from model_verify.merge.known_answers import MethodAnswer
from model_verify.merge.methods.lora import LoraFloat64, LoraPeft
from model_verify.merge.tensor import TorchBackend
from model_verify.merge.torch_kernel import TorchKernel
from tests.forms.kernels import computed, judged

FORMATS = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def lora(profile: str, dtype: str, scale: float = 2.0, **parameters: object) -> Call:
    return Call(profile, "lora", dtype, shared={"scale": scale, "transposed": False, **parameters})  # type: ignore[dict-item]


def operands(dtype: torch.dtype, rows: int, columns: int, rank: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, columns, generator=generator).mul(0.02).to(dtype)
    return (
        w,
        torch.randn(rank, columns, generator=generator).mul(0.05),
        torch.randn(rows, rank, generator=generator).mul(0.05),
    )


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("transposed", [False, True])
def test_canonical_values_are_float64_sums_from_left_to_right(dtype: str, transposed: bool) -> None:
    w, a, b = operands(FORMATS[dtype], 5, 7, 6)
    if transposed:
        a, b = b.T.contiguous(), a.T.contiguous()
    given = computed(lora("lora/f64-v1", dtype, 0.1, transposed=transposed), w, a, b)
    for i in range(5):
        for j in range(7):
            pairs = [(b[j, k], a[k, i]) if transposed else (b[i, k], a[k, j]) for k in range(6)]
            total = pairs[0][0].item() * pairs[0][1].item()
            for left, right in pairs[1:]:
                total += left.item() * right.item()
            value = torch.tensor(total * 0.1 + w[i, j].item(), dtype=torch.float64)
            assert given[i, j] == value.to(torch.float32).to(FORMATS[dtype])


@pytest.mark.parametrize("profile", ["lora/f64-v1", "peft"])
def test_pieces_do_not_show(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in FORMATS:
        given = operands(FORMATS[dtype], 67, 33, 5)
        whole = computed(lora(profile, dtype), *given)
        monkeypatch.setattr("model_verify.merge.methods.lora._CPU_PIECE", 100)
        assert torch.equal(computed(lora(profile, dtype), *given), whole)
        monkeypatch.undo()


def test_the_shortcut_gives_what_adding_up_every_element_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in FORMATS:
        for rank in (1, 3, 17, 200):
            given = operands(FORMATS[dtype], 40, 50, rank)
            short = computed(lora("peft", dtype, 1.3), *given)
            monkeypatch.setattr("model_verify.merge.methods.lora._FEW", 10**9)
            assert torch.equal(computed(lora("peft", dtype, 1.3), *given), short)
            monkeypatch.undo()


@pytest.mark.parametrize("rank", [2, 16, 64, 300])
@pytest.mark.parametrize("dtype", FORMATS)
def test_float32_sums_in_any_order_are_within(dtype: str, rank: int) -> None:
    w, a, b = operands(FORMATS[dtype], 48, 64, rank, seed=rank)
    call = lora("peft", dtype, 1.7)
    for seed in range(5):
        order = torch.randperm(rank, generator=torch.Generator().manual_seed(seed))
        total = torch.zeros(48, 64)
        for k in order:
            total = total + b[:, k : k + 1] * a[k : k + 1]
        there = (w.to(torch.float32) + total * 1.7).to(FORMATS[dtype])
        assert judged(call, (w, a, b), there).standing is Standing.WITHIN
    pairwise = (b[:, :, None] * a[None]).sum(dim=1)  # torch's own order
    there = (w.to(torch.float32) + pairwise * 1.7).to(FORMATS[dtype])
    assert judged(call, (w, a, b), there).standing is Standing.WITHIN


def test_what_no_order_gives_is_different() -> None:
    w, a, b = operands(torch.float32, 48, 64, 16)
    there = computed(lora("peft", "F32"), w, a, b).clone()
    there[3, 5] += 2.0**-20  # the bound is about 2^-23 here
    assert judged(lora("peft", "F32"), (w, a, b), there).standing is Standing.DIFFERENT
    there[3, 5] = torch.nan
    assert judged(lora("peft", "F32"), (w, a, b), there).standing is Standing.DIFFERENT
    scaled = computed(lora("peft", "F32", 2.0001), w, a, b)
    assert judged(lora("peft", "F32"), (w, a, b), scaled).standing is Standing.DIFFERENT
    half = (b.bfloat16() @ a.bfloat16()).float()
    assert judged(lora("peft", "F32"), (w, a, b), w + half * 2).standing is Standing.DIFFERENT


class _Float32Sum(LoraFloat64):
    """A sum in the wrong precision."""

    def compute(self, operands: list[torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        w, a, b = operands
        left, right = (a.T, b.T) if self.call.shared["transposed"] else (b, a)
        delta = (left.to(torch.float32) @ right.to(torch.float32)) * self.scale
        return (w.to(torch.float32) + delta).to(FORMATS[self.call.dtype])


class _Float64Sum(LoraPeft):
    """A sum in too good a precision."""

    def compute(self, operands: list[torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        w, a, b = operands
        left, right = (a.T, b.T) if self.call.shared["transposed"] else (b, a)
        delta = (left.to(torch.float64) @ right.to(torch.float64)) * self.scale
        return (w.to(torch.float64) + delta).to(torch.float32).to(FORMATS[self.call.dtype])


@pytest.mark.parametrize("wrong", [_Float32Sum, _Float64Sum])
def test_another_precision_does_not_pass_the_known_answers(wrong: type[TorchKernel]) -> None:
    kernel = wrong(lora("peft", "F32"))
    with pytest.raises(BackendUnavailable, match="other bits"):
        kernel._prove(TorchBackend("cpu"))


@pytest.fixture
def flushed_subnormals() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals")
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("kernel", [LoraFloat64, LoraPeft])
@pytest.mark.usefixtures("flushed_subnormals")
def test_flushed_subnormals_do_not_pass_the_known_answers(kernel: type[TorchKernel]) -> None:
    failed = [answer.name for answer in kernel.known_answers if not gives(kernel, answer)]
    assert any("subnormal" in name for name in failed)


def gives(kernel: type[TorchKernel], answer: MethodAnswer) -> bool:
    out = Block(answer.call.dtype, answer.shape, memoryview(bytearray(len(answer.expected))))
    kernel(answer.call)._run(TorchBackend("cpu"), answer.blocks(), out, None)
    return bytes(out.data) == answer.expected
