"""Methods that are not fixed to the bit, and methods that draw masks, against the real mergekit. Spec: merge §5.10.

mergekit's own warnings do not concern us, so they are no errors here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from model_verify.merge.kernel import Block, Call, Standing
from model_verify.merge.methods import load
from model_verify.merge.tensor import TorchBackend
from model_verify.merge.torch_kernel import TORCH_DTYPES, load_block
from tests.gpu.blocks import FORMATS
from tests.mergekit.cases import DTYPES, calls, data_kinds, operands
from tests.mergekit.tensors import data, room
from tests.mergekit.test_tensors import profile

pytestmark = pytest.mark.filterwarnings("default")
mergekit = pytest.importorskip("mergekit", reason="mergekit is not installed")

CPU = TorchBackend("cpu")
SHAPES: tuple[tuple[int, ...], ...] = ((257,), (16, 33), (1,), (), (3, 5, 7))
BOUNDED = ("karcher", "model_stock", "multislerp", "nuslerp", "sce")
MASKED = ("dare_linear", "dare_ties", "della", "della_linear")


def merged(call: Call, given: tuple[Block, ...], *, threads: int = 1) -> bytes | None:
    """Return mergekit's output on so many threads, None where it stops or is not finite."""
    from tests.mergekit.tensor_oracle import merge

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        output = merge(call, given)
    except (AssertionError, IndexError, RuntimeError, ValueError):
        return None
    finally:
        torch.set_num_threads(before)
    return data(output) if bool(output.isfinite().all()) else None


def standing(call: Call, given: tuple[Block, ...], output: bytes) -> tuple[Standing, str]:
    """Return how an output stands, and what the kernel says of it, the warning instead where there is one."""
    kernel, out = load(call), room(call.dtype, given[0].shape)
    there = Block(call.dtype, out.shape, output)
    if kernel.best is Standing.EXAMINED:
        opinion = kernel.judge(given, there, there)
    elif kernel.run(CPU, given, out, expected=output).as_expected:
        return Standing.EXACT, ""
    else:
        opinion = kernel.judge(given, out, there)
    return opinion.standing, opinion.warning or opinion.text


def every_case(method: str, dtype: str, kinds: list[str]) -> Iterator[tuple[str, Call, tuple[Block, ...]]]:
    for kind in kinds:
        for shape in SHAPES:
            for seed, call in enumerate(calls(method, profile(), dtype)):
                yield f"{kind} {shape} {seed}", call, operands(kind, [dtype] * len(call.own), shape, seed)


def kinds_of(method: str, dtype: str) -> list[str]:
    """Return the kinds of operands that a method has a bound for: not opposite directions, where it takes an angle."""
    angles = dtype == "F32" and method in ("karcher", "nuslerp")
    return [kind for kind in data_kinds() if not angles or kind != "opposite"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", BOUNDED)
def test_what_mergekit_gives_is_exact_or_within(
    method: str, dtype: str, record_property: Callable[[str, object], None]
) -> None:
    counts: Counter[Standing] = Counter()
    for name, call, given in every_case(method, dtype, kinds_of(method, dtype)):
        output = merged(call, given)
        if output is None:
            continue
        found, text = standing(call, given, output)
        # A float32 without a shape, whose cosine is 1 or -1 and nothing between: there are too many choices.
        worst = Standing.EXAMINED if (method, dtype, given[0].shape) == ("nuslerp", "F32", ()) else Standing.WITHIN
        assert found <= worst, f"{name}: {text}"
        counts[found] += 1
    assert counts[Standing.EXACT] > counts[Standing.WITHIN]
    for found, count in counts.items():
        record_property(found.name, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", BOUNDED)
def test_on_many_threads_it_is_within_and_what_it_does_not_give_is_different(method: str, dtype: str) -> None:
    width = FORMATS[dtype].bits // 8
    for seed, call in enumerate(calls(method, profile(), dtype)):
        if len(call.own) == 1 or _is_the_first(call):
            continue
        shape = (400, 250) if seed < 2 else (40, 25)  # torch shares no less than 32768 elements among threads
        given = operands("tuned", [dtype] * len(call.own), shape, seed)
        output = merged(call, given, threads=4)
        assert output is not None
        found, text = standing(call, given, output)
        assert found <= Standing.WITHIN, f"{seed}: {text}"
        changed = bytearray(output)
        changed[701 * width - 1] ^= 0x40  # in the exponent of one element
        assert standing(call, given, bytes(changed))[0] is Standing.DIFFERENT
        for position, operand in enumerate(given):
            if position != call.base:
                assert standing(call, given, bytes(operand.data))[0] is Standing.DIFFERENT, "a parent for its merge"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["multislerp", "nuslerp"])
def test_another_weight_is_told(method: str, dtype: str) -> None:
    """By the third digit, of models that differ by a twentieth of a weight's size."""
    for seed, call in enumerate(calls(method, profile(), dtype)):
        if _is_the_first(call):
            continue
        given = operands("tuned", [dtype] * len(call.own), (64, 33), seed)
        (place, *_) = (place for place, own in enumerate(call.own) if own)
        own = tuple({"weight": one["weight"] + 0.004 * (at == place)} if one else {} for at, one in enumerate(call.own))
        output = merged(replace(call, own=own), given)
        assert output is not None
        assert standing(call, given, output)[0] is Standing.DIFFERENT


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", MASKED)
def test_what_mergekit_draws_is_examined(method: str, dtype: str) -> None:
    looked_at = 0
    for name, call, given in every_case(method, dtype, ["weights", "tuned", "equal"]):
        output = merged(call, given)
        if output is None:
            continue
        found, text = standing(call, given, output)
        assert found is Standing.EXAMINED, f"{name}: {text}"
        assert "expected" not in text, f"{name}: {text}"
        looked_at += 1
    assert looked_at > 50


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", MASKED)
def test_what_cannot_have_been_drawn_is_different(method: str, dtype: str) -> None:
    width = FORMATS[dtype].bits // 8
    for seed, call in enumerate(calls(method, profile(), dtype)):
        given = operands("tuned", [dtype] * len(call.own), (64, 200), seed)
        output = merged(call, given)
        assert output is not None
        changed = bytearray(output)
        changed[7_001 * width - 1] ^= 0x40  # in the exponent of one element
        assert standing(call, given, bytes(changed))[0] is Standing.DIFFERENT
        mean = np.mean([_values(block) for block in given], axis=0)
        blend = torch.tensor(mean).to(TORCH_DTYPES[dtype])
        assert standing(call, given, data(blend))[0] is Standing.DIFFERENT, "a blend, for what was drawn"
        if any(own and own["density"] < 1 for own in call.own):
            assert call.base is not None
            base = bytes(given[call.base].data)
            assert standing(call, given, base)[0] is Standing.DIFFERENT, "the base, for what was drawn"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["dare_linear", "della_linear"])
def test_another_weight_and_another_density_are_told(method: str, dtype: str) -> None:
    own = {"weight": 0.6, "density": 0.5} | ({"epsilon": 0.1} if method.startswith("della") else {})
    shared = {"normalize": False, "lambda": 1.0, "rescale": True}
    call = Call(profile(), method, dtype, compute_dtype=dtype, base=0, shared=shared, own=({}, own))
    given = operands("tuned", [dtype] * 2, (64, 200), 1)
    for other in ({"weight": 0.5}, {"density": 0.8}):
        output = merged(replace(call, own=({}, {**own, **other})), given)
        assert output is not None
        assert standing(call, given, output)[0] is Standing.DIFFERENT, other


def _is_the_first(call: Call) -> bool:
    """Return whether the weights are those that give the first parent."""
    return {own.get("weight") for own in call.own} >= {1.0, 0.0}


def _values(block: Block) -> np.ndarray:
    return load_block(block, "cpu").double().numpy()
