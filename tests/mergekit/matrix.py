"""Merges of every method in several shapes and dtypes, and what mergekit makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from model_verify.merge.methods import _KERNELS
from tests.mergekit.shapes import write_model

LAYERS = 3
DTYPES: Mapping[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
FAMILIES: Mapping[str, tuple[str, str, str]] = {
    "llama": ("llama", "llama", "llama"),
    "qwen2": ("qwen2-tied", "qwen2", "qwen2-tied"),
    "mixtral": ("mixtral", "mixtral", "mixtral"),
    "mixtral-0.1.4": ("mixtral-0.1.4", "mixtral-0.1.4", "mixtral-0.1.4"),
}
"""Shapes of `base`, `a` and `b`."""


def models(a: str, b: str, *, base: bool = True) -> str:
    """Return a configuration's models with parameters of their own, and its base."""
    listed = f"models:\n  - {{model: A, parameters: {{{a}}}}}\n  - {{model: B, parameters: {{{b}}}}}\n"
    return (f"base_model: BASE\n{listed}") if base else listed


WEIGHTS = ("weight: 0.6", "weight: [0.2, 0.5]")
SPARSE = ("weight: 0.6, density: 0.5", "weight: [0.2, 0.5], density: [{filter: mlp, value: 0.3}, {value: 0.7}]")
TWO = "base_model: A\nmodels: [{model: A}, {model: B}]\n"
STACKED = """\
slices:
  - sources: [{model: A, layer_range: [1, 3], parameters: {scale: [{filter: o_proj, value: 0.5}]}}]
  - sources: [{model: B, layer_range: [1, 2]}]
"""
SLICED = """\
base_model: BASE
slices:
  - sources:
      - {model: BASE, layer_range: [1, 3]}
      - {model: A, layer_range: [0, 2], parameters: {weight: 0.3, density: 0.6}}
  - sources:
      - {model: B, layer_range: [2, 3], parameters: {weight: 0.9, density: 0.4}}
      - {model: BASE, layer_range: [0, 1]}
"""

EXACT: Mapping[str, tuple[str, str]] = {
    "linear": ("linear", models(*WEIGHTS, base=False)),
    "linear-sum": ("linear", models(*WEIGHTS) + "parameters: {normalize: false, weight: 0.1}\n"),
    "task_arithmetic": ("task_arithmetic", models(*WEIGHTS) + "parameters: {lambda: 0.9}\n"),
    "ties": ("ties", models(*SPARSE) + "parameters: {int8_mask: true}\n"),
    "ties-sliced": ("ties", SLICED + "parameters: {normalize: false, lambda: 1.1}\n"),
    "breadcrumbs": ("breadcrumbs", models(*SPARSE) + "parameters: {gamma: 0.05}\n"),
    "breadcrumbs_ties": ("breadcrumbs_ties", models(*SPARSE) + "parameters: {gamma: [0.02, 0.1], normalize: true}\n"),
    "nearswap": ("nearswap", TWO + "parameters: {t: [0.01, 0.1]}\n"),
    "passthrough": ("passthrough", STACKED),
}
"""Name -> method and the rest of the configuration. To the bit."""
BOUNDED: Mapping[str, tuple[str, str]] = {
    "slerp": ("slerp", TWO + "parameters: {t: [{filter: self_attn, value: [0, 0.5, 1]}, {value: 0.3}]}\n"),
    "nuslerp": ("nuslerp", models("weight: 0.6", "weight: 0.3", base=False)),
    "nuslerp-base": ("nuslerp", models("weight: 0.6", "weight: 0.3") + "parameters: {nuslerp_flatten: false}\n"),
    "multislerp": ("multislerp", models("weight: 0.6", "weight: 0.3", base=False)),
    "karcher": ("karcher", "models: [{model: A}, {model: B}]\n"),
    "model_stock": ("model_stock", "base_model: BASE\nmodels: [{model: A}, {model: B}]\n"),
    "sce": ("sce", "base_model: BASE\nmodels: [{model: A}, {model: B}]\nparameters: {select_topk: 0.7}\n"),
}
"""To the bit or within the bound of the method."""
RANDOM: Mapping[str, tuple[str, str]] = {
    "dare_linear": ("dare_linear", models(*SPARSE)),
    "dare_ties": ("dare_ties", models(*SPARSE)),
    "della": ("della", models(*SPARSE)),
    "della_linear": ("della_linear", models(*SPARSE) + "parameters: {epsilon: 0.1}\n"),
}
"""Random numbers go in that nobody recorded."""
CASES: Mapping[str, tuple[str, str]] = {**EXACT, **BOUNDED, **RANDOM}
COMPUTED = [case for case, (method, _) in CASES.items() if ("mergekit-0.1.5/fma", method) in _KERNELS]
"""The cases whose method has a kernel."""


@dataclass(frozen=True)
class Parents:
    """`base`, and `a` and `b`, which lie near it."""

    root: Path

    def config(self, case: str, dtype: str) -> str:
        """Return a case as mergekit's YAML over these parents."""
        method, rest = CASES[case]
        for name in ("BASE", "A", "B"):
            rest = rest.replace(f"model: {name}\n", f"model: {self.root / name.lower()}\n")
            rest = rest.replace(f"model: {name},", f"model: {self.root / name.lower()},")
            rest = rest.replace(f"model: {name}}}", f"model: {self.root / name.lower()}}}")
        return f"merge_method: {method}\n{rest}dtype: {dtype}\n"


def write_parents(root: Path, family: str, dtype: str) -> Parents:
    base, a, b = FAMILIES[family]
    near = write_model(root / "base", base, layers=LAYERS, seed=0, dtype=DTYPES[dtype])
    for seed, (name, shape) in enumerate((("a", a), ("b", b)), start=1):
        write_model(root / name, shape, layers=LAYERS, seed=seed, dtype=DTYPES[dtype], near=near)
    return Parents(root)
