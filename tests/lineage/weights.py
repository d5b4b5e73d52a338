"""Weights for tests: parents that are related as models are, and blends by torch, which is another implementation."""

# Shape suffixes: E elements of one tensor.

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import torch
from torch import Tensor

from model_verify.lineage.samples import Sample

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
SHAPES = {
    "embedding": 96 * 200,
    "layers.0.up": 96 * 384,
    "layers.0.down": 96 * 384,
    "layers.0.norm": 96,
    "head": 96 * 200,
}

Tensors = dict[str, Tensor]


def random_model(seed: int, dtype: str) -> Tensors:
    """Return weights as initialised: normal, and ones for norms."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.ones(size) if "norm" in name else 0.05 * torch.randn(size, generator=generator)).to(DTYPES[dtype])
        for name, size in SHAPES.items()
    }


def sibling(model: Tensors, seed: int, distance: float) -> Tensors:
    """Return a model whose weights differ from those of `model` by `distance`, relative to each tensor's own size."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (
            weights_E.float()
            + distance * weights_E.float().std(correction=0).clamp(min=0.05) * _noise(weights_E, generator)
        ).to(weights_E.dtype)
        for name, weights_E in model.items()
    }


def _noise(weights_E: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(weights_E.shape, generator=generator)


def float32_of(decimal: str) -> float:
    """Return the float32 nearest to a decimal of few digits, for which two roundings give what one does."""
    value = torch.tensor(float(Decimal(decimal)), dtype=torch.float64).to(torch.float32)
    assert abs(Fraction(value.item()) - Fraction(decimal)) <= Fraction(abs(Fraction(decimal)), 2**24)
    return value.item()


def blend(models: Sequence[Tensors], coefficients: Sequence[str], *, normalize: bool = False) -> Tensors:
    """Return the merge of `models` under linear/f64-v1, by torch."""
    weights = [float32_of(decimal) for decimal in coefficients]
    return {name: blend_tensor([model[name] for model in models], weights, normalize) for name in models[0]}


def blend_tensor(parents: Sequence[Tensor], weights: Sequence[float], normalize: bool) -> Tensor:
    sum_E = parents[0].double() * weights[0]
    total = weights[0]
    for parent_E, weight in zip(parents[1:], weights[1:], strict=True):
        sum_E = sum_E + parent_E.double() * weight
        total += weight
    if normalize:
        sum_E = sum_E / total
    return sum_E.float().to(parents[0].dtype)


def samples(parents: Sequence[Tensors], child: Tensors, dtype: str, *, before: Tensors | None = None) -> list[Sample]:
    """Return all elements of all tensors; what went in is the first parent unless `before` says otherwise."""
    start = parents[0] if before is None else before
    return [
        Sample(
            name,
            data_of(start[name]),
            tuple((dtype, data_of(parent[name])) for parent in parents),
            dtype,
            data_of(child[name]),
        )
        for name in child
    ]


def data_of(weights_E: Tensor) -> bytes:
    return weights_E.contiguous().view(torch.uint8).numpy().tobytes()
