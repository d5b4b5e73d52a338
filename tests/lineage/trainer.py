"""Real training of a small model: gradients and steps by torch, in the formats that people train in."""

# Shape suffixes: N tokens.

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from tests.lineage.weights import DTYPES, Tensors

WIDTH, VOCABULARY, HIDDEN = 96, 200, 384


def train(
    model: Tensors, dtype: str, kind: Literal["sgd", "adamw"], rate: float, *, steps: int, master: bool, seed: int = 0
) -> Tensors:
    """Return `model` after some steps, in `dtype`; with `master`, weights are float32 until the end.

    Gradients of F16 weights are scaled, as they would vanish otherwise.
    """
    generator = torch.Generator().manual_seed(seed)
    held = torch.float32 if master else DTYPES[dtype]
    weights = {name: weights_E.to(held).clone().requires_grad_() for name, weights_E in model.items()}
    epsilon = 1e-4 if held == torch.float16 else 1e-8
    parameters = list(weights.values())
    optimizer = (
        torch.optim.SGD(parameters, lr=rate) if kind == "sgd" else torch.optim.AdamW(parameters, lr=rate, eps=epsilon)
    )
    for _ in range(steps):
        tokens_N = torch.randint(0, VOCABULARY, (64,), generator=generator)
        wanted_N = torch.randint(0, VOCABULARY, (64,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(logits(weights, tokens_N).float(), wanted_N).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    trained = {name: weights_E.detach().to(DTYPES[dtype]) for name, weights_E in weights.items()}
    assert all(torch.isfinite(weights_E).all() for weights_E in trained.values())
    return trained


def logits(weights: Tensors, tokens_N: torch.Tensor) -> torch.Tensor:
    """Return the scores of one layer with its norm, embedding and head."""
    hidden = weights["embedding"].view(VOCABULARY, WIDTH)[tokens_N]
    size = hidden.float().pow(2).mean(-1, keepdim=True).add(1e-6).sqrt().to(hidden.dtype)
    hidden = hidden / size * weights["layers.0.norm"]
    up, down = weights["layers.0.up"].view(WIDTH, HIDDEN), weights["layers.0.down"].view(HIDDEN, WIDTH)
    hidden = hidden + functional.silu(hidden @ up) @ down
    return hidden @ weights["head"].view(WIDTH, VOCABULARY)
