"""What an attacker writes so that a search takes long: it ends after so many tries. Spec: merge §5.10, §5.16."""

# Shape suffixes: E elements of one tensor.

from __future__ import annotations

import pytest
import torch

from model_verify.merge.kernel import Block, Call, Standing
from model_verify.merge.methods import chosen, cosine_search, load
from model_verify.merge.methods.karcher import Karcher
from model_verify.merge.methods.multislerp import Multislerp
from model_verify.merge.methods.nuslerp import Nuslerp
from model_verify.merge.tensor import TorchBackend

ELEMENTS = 3000


def tensors(count: int, dtype: torch.dtype, elements: int = ELEMENTS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base_E = torch.randn(elements, generator=generator)
    return [(base_E + 0.3 * torch.randn(elements, generator=generator)).to(dtype) for _ in range(count)]


def block(dtype: str, values_E: torch.Tensor) -> Block:
    return Block(dtype, tuple(values_E.shape), values_E.view(torch.uint8).numpy().tobytes())


def nearly(dtype: str, kernel: Karcher | Multislerp | Nuslerp, given: list[Block]) -> Block:
    """Return the output with one bit of one element turned."""
    size = len(given[0].data)
    out = Block(dtype, given[0].shape, memoryview(bytearray(size)))
    kernel.run(TorchBackend("cpu"), given, out)
    changed = bytearray(out.data)
    changed[size // 3 // 4 * 4] ^= 1
    return Block(dtype, given[0].shape, bytes(changed))


@pytest.mark.parametrize("count", [2, 5, 12])
def test_no_more_than_so_many_outputs_are_computed(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = {"eps": 1e-8, "normalize_weights": True}
    call = Call("mergekit-0.1.4", "multislerp", "F16", "F16", shared=shared, own=({"weight": 0.3},) * count)
    kernel = Multislerp(call)
    given = [block("F16", values_E) for values_E in tensors(count, torch.float16)]
    there = nearly("F16", kernel, given)
    tried = []
    result = Multislerp.result

    def counted(self: Multislerp, *arguments: object) -> chosen.Result:
        tried.append(1)
        return result(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Multislerp, "result", counted)
    opinion = kernel.judge(given, there, there)
    assert opinion.standing >= Standing.EXAMINED
    assert len(tried) <= 2 * chosen._MOST_CHOICES


def test_large_tensors_get_fewer_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "_MOST_WORK", 20 * ELEMENTS)
    call = Call("mergekit-0.1.5/fma", "karcher", "F16", "F16", shared={"max_iter": 100.0, "tol": 0.0}, own=({},) * 3)
    kernel = Karcher(call)
    given = [block("F16", values_E) for values_E in tensors(3, torch.float16)]
    there = nearly("F16", kernel, given)
    tried = []
    norm = chosen.Choices.norm
    monkeypatch.setattr(chosen.Choices, "norm", lambda self, values_E: tried.append(1) or norm(self, values_E))
    assert kernel.judge(given, there, there).standing >= Standing.EXAMINED
    assert len(tried) <= 2 * 2 * (100 + 10) * 2  # the first output is finished, on the CPU and as on CUDA


@pytest.mark.parametrize("factor", [1.0, 1e-4])
def test_the_search_for_a_cosine_ends(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near 0 a cosine in float32 has very many values."""
    monkeypatch.setattr(cosine_search, "_MOST_WORK", 1 << 22)
    shared = {"nuslerp_flatten": True, "nuslerp_row_wise": False}
    own = ({"weight": 0.6}, {"weight": 0.3})
    kernel = Nuslerp(Call("mergekit-0.1.5/fma", "nuslerp", "F32", "F32", shared=shared, own=own))
    one_E, other_E = tensors(2, torch.float32)
    other_E = factor * one_E + (other_E - one_E * (one_E @ other_E) / (one_E @ one_E))
    given = [block("F32", one_E), block("F32", other_E)]
    there = nearly("F32", kernel, given)
    worked = []
    fits = cosine_search._Search._fits

    def counted(self: cosine_search._Search, *arguments: object) -> torch.Tensor:
        found = fits(self, *arguments)  # type: ignore[arg-type]
        worked.append(self._work)
        return found

    monkeypatch.setattr(cosine_search._Search, "_fits", counted)
    assert kernel.judge(given, there, there).standing >= Standing.EXAMINED
    assert max(worked) < 1 << 29


SPARSE = {"normalize": True, "lambda": 1.0, "rescale": False}


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("ties", {"weight": 1.0, "density": -1.7e308}),
        ("breadcrumbs", {"weight": 1.0, "density": 0.0, "gamma": 1.7e308}),
        ("breadcrumbs_ties", {"weight": 1.0, "density": 0.0, "gamma": 1.7e308}),
    ],
)
def test_a_share_of_any_size_is_counted(method: str, own: dict[str, float]) -> None:
    """Times the number of elements it is infinite. Nothing is kept, which leaves the base."""
    kernel = load(Call("mergekit-0.1.5/fma", method, "F32", "F32", base=0, shared=SPARSE, own=({}, own)))
    base, other = (block("F32", values_E) for values_E in tensors(2, torch.float32))
    out = Block("F32", base.shape, memoryview(bytearray(len(base.data))))
    assert kernel.run(TorchBackend("cpu"), [base, other], out, expected=base.data).as_expected
    assert kernel.judge([base, other], out, other).standing is Standing.DIFFERENT
