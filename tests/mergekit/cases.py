"""Calls and operands on which mergekit and the kernels are held against each other."""

# Shape suffixes: E elements of one tensor.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_verify.merge.kernel import Block, Call
from tests.gpu.blocks import KINDS

Bits = NDArray[Any]
DTYPES = ("F32", "BF16", "F16")


def calls(method: str, profile: str, dtype: str) -> Iterator[Call]:
    """Yield calls of a method with parameters of all kinds, in one compute dtype."""
    for call in _calls(method, profile):
        yield replace(call, compute_dtype=dtype, dtype=dtype)


def _calls(method: str, profile: str) -> Iterator[Call]:
    def call(own: Sequence[dict[str, float]], base: int | None = None, **shared: float | bool) -> Call:
        named = {name.rstrip("_"): value for name, value in shared.items()}
        if own[-1].keys() | own[0].keys() >= {"density"}:
            named.setdefault("rescale", False)
        return Call(profile, method, "BF16", base=base, shared=named, own=tuple(own))

    def weights(*numbers: float, **more: float) -> list[dict[str, float]]:
        return [{"weight": number, **more} for number in numbers]

    match method:
        case "linear":
            for normalize in (False, True):
                yield call(weights(0.6, 0.4), normalize=normalize)
                yield call(weights(0.7), normalize=normalize)
                yield call(weights(0.5, 0.5), normalize=normalize)
                yield call(weights(1.0, -0.3, 0.7), normalize=normalize)
                yield call(weights(0.1, 0.2, 0.3, 0.4), normalize=normalize)
                yield call(weights(1e-39, 1e-20), normalize=normalize)
        case "passthrough":
            yield call([{}])
            for scale in (1.0, 0.3, -1.7, 1e-3, 0.0):
                yield call([{"scale": scale}])
        case "nearswap":
            for base, t in ((0, 1e-3), (1, 1e-4), (0, 0.3), (1, 0.0), (0, 1.0)):
                yield call([{}, {}], base=base, t=t)
        case "slerp":
            for base, t in ((0, 0.3), (1, 0.5), (0, 0.97), (0, 0.0), (1, 1.0), (0, 1.2)):
                yield call([{}, {}], base=base, t=t)
        case "model_stock":
            for filter_wise in (False, True):
                yield call([{}, {}, {}], base=0, filter_wise=filter_wise)
                yield call([{}, {}, {}, {}], base=3, filter_wise=filter_wise)
        case "nuslerp":
            for flat, strided in ((True, False), (False, False), (False, True)):
                shapes = {"nuslerp_flatten": flat, "nuslerp_row_wise": strided}
                yield call(weights(0.6, 0.3), **shapes)
                yield call([*weights(0.5), {}, *weights(0.7)], base=1, **shapes)
                yield call(weights(1.0, 0.0), **shapes)
        case "karcher":
            for count, steps in ((2, 10.0), (3, 10.0), (5, 2.0), (1, 10.0), (2, 0.0)):
                yield call([{}] * count, max_iter=steps, tol=1e-5)
        case "multislerp":
            for normalize in (True, False):
                shared = {"eps": 1e-8, "normalize_weights": normalize}
                yield call(weights(0.6, 0.3), **shared)
                yield call(weights(0.2, 0.5, 0.4), **shared)
                yield call([*weights(0.6), {}, *weights(0.7)], base=1, **shared)
        case "sce":
            for density in (1.0, 0.7, 0.2):
                yield call([{}, {}, {}], base=0, select_topk=density)
                yield call([{}, {}, {}, {}], base=2, select_topk=density)
        case "dare_linear" | "dare_ties":
            for density in (0.5, 0.9, 1.0):
                yield from _masked(call, weights, {"density": density})
        case "della" | "della_linear":
            for density, epsilon in ((0.5, 0.2), (0.8, 0.1)):
                yield from _masked(call, weights, {"density": density, "epsilon": epsilon})
        case "task_arithmetic":
            yield from _deltas(call, weights, {})
        case "ties":
            for density in (0.5, 0.31, 1.0):
                yield from _deltas(call, weights, {"density": density})
        case "breadcrumbs" | "breadcrumbs_ties":
            for density, gamma in ((0.9, 0.01), (0.5, 0.1), (0.31, 0.004), (0.95, 0.2), (1.0, 0.1)):
                yield from _deltas(call, weights, {"density": density, "gamma": gamma})
        case _:
            raise AssertionError(method)


def _deltas(call: Any, weights: Any, more: dict[str, float]) -> Iterator[Call]:
    yield call([{}, *weights(0.6, 0.4, **more)], base=0, normalize=False, lambda_=1.0)
    yield call([*weights(0.6, **more), {}, *weights(0.5, **more)], base=1, normalize=True, lambda_=0.7)
    yield call([*weights(1.0, **more), {}], base=1, normalize=False, lambda_=1.3)
    yield call([{}, *weights(0.3, -0.25, 0.7, 1.0, **more)], base=0, normalize=True, lambda_=1.0)
    yield call([{}, *weights(0.5, -0.5, **more)], base=0, normalize=True, lambda_=1.0)


def _masked(call: Any, weights: Any, more: dict[str, float]) -> Iterator[Call]:
    for rescale in (True, False):
        yield call([{}, *weights(0.6, **more)], base=0, normalize=False, lambda_=1.0, rescale=rescale)
        yield call(
            [*weights(0.6, **more), {}, *weights(0.5, **more)], base=1, normalize=True, lambda_=0.7, rescale=rescale
        )
        yield call([{}, *weights(0.3, -0.25, 0.7, **more)], base=0, normalize=False, lambda_=1.0, rescale=rescale)


def data_kinds() -> list[str]:
    return [kind.__name__.strip("_") for kind in KINDS] + ["tuned", "equal", "opposite"]


def operands(kind: str, dtypes: Sequence[str], shape: tuple[int, ...], seed: int) -> tuple[Block, ...]:
    """Return one tensor for each dtype. All values are finite."""
    generator = np.random.default_rng([seed, data_kinds().index(kind)])
    elements = int(np.prod(shape, dtype=np.int64))
    match kind:
        case "tuned":
            base_E = 0.02 * generator.standard_normal(elements)
            values = [base_E + 1e-3 * generator.standard_normal(elements) for _ in dtypes]
        case "equal":
            # Few distinct differences: many of equal magnitude, and zeros among them.
            base_E = generator.integers(-2, 3, elements) / 8
            values = [base_E + generator.integers(-2, 3, elements) / 64 for _ in dtypes]
        case "opposite":
            base_E = generator.standard_normal(elements)
            values = [base_E * (-1) ** number for number in range(len(dtypes))]
        case _:
            (make,) = (make for make in KINDS if make.__name__.strip("_") == kind)
            data = make(generator, dtypes, elements)
            return tuple(Block(dtype, shape, bits_E.tobytes()) for dtype, bits_E in zip(dtypes, data, strict=True))
    return tuple(Block(dtype, shape, _bits(dtype, v).tobytes()) for dtype, v in zip(dtypes, values, strict=True))


def _bits(dtype: str, values_E: NDArray[np.float64]) -> Bits:
    single_E = values_E.astype(np.float32)
    if dtype == "F16":
        return single_E.astype(np.float16).view(np.uint16)
    bits_E = single_E.view(np.uint32)
    return bits_E if dtype == "F32" else (bits_E >> np.uint32(16)).astype(np.uint16)
