"""What mergekit's own planner wants, beside what this project makes of the same configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_attest.recipes import read_recipe
from model_attest.recipes.methods import WITHOUT_EFFECT
from model_attest.resolution import Model, ResolvedMerge, read_model, resolve
from model_verify.sources.local import LocalFolder
from model_verify.weight_sets import read_weight_sets

_WITHOUT_BASE = ("linear", "passthrough", "karcher")
_WITHOUT_INTERPOLATION = ("multislerp", "karcher")
_MISLED = {"task_arithmetic": {"rescale", "density"}}
"""What mergekit resolves for a method that does nothing with it."""


@dataclass(frozen=True)
class Plan:
    """One output tensor: operands in order as (folder, tensor, own parameters), the base's folder, and the shared."""

    op: str
    operands: tuple[tuple[str, str, tuple[tuple[str, Any], ...]], ...]
    base: str | None
    shared: tuple[tuple[str, Any], ...]


def read_parent(folder: Path) -> Model:
    source = LocalFolder(folder)
    weights = read_weight_sets(source).require()
    return read_model(source, {stored.info.name: stored.info for stored in weights.tensors})


def wanted(plan: list[dict[str, Any]], method: str) -> dict[str, Plan]:
    """Return what mergekit's planner wants, by output tensor."""
    return {output["name"]: _wanted(output, method) for output in plan}


def _wanted(output: Mapping[str, Any], method: str) -> Plan:
    base = output["base"] if method not in _WITHOUT_BASE else None
    operands = tuple(
        (given["model"], given["tensor"], () if given["model"] == base else _values(given["own"], method))
        for given in output["operands"]
    )
    others = tuple(operand for operand in operands if operand[0] != base)
    if base is not None and len(others) == len(operands):
        return Plan(method, operands, base, _values(output["shared"], method))
    if method in _WITHOUT_INTERPOLATION and len(others) == 1:
        return Plan("passthrough", ((*others[0][:2], ()),), None, ())  # it says so when it runs, not when it plans
    if method not in ("linear", "passthrough", *_WITHOUT_INTERPOLATION) and len(operands) == 1:
        return Plan("passthrough", ((*operands[0][:2], ()),), None, ())
    return Plan(method, operands, base, _values(output["shared"], method))


def _values(parameters: Mapping[str, Any], method: str) -> tuple[tuple[str, Any], ...]:
    unused = WITHOUT_EFFECT.keys() | _MISLED.get(method, set())
    return tuple(sorted((k, v) for k, v in parameters.items() if k not in unused and v is not None))


def resolved(config: Path, profile: str, output: set[str] | None) -> tuple[ResolvedMerge, dict[str, Plan]]:
    """Return what this project resolves."""
    recipe = read_recipe(config, made_by_mergekit=True)
    merge = resolve(recipe, profile, [read_parent(parent.folder) for parent in recipe.parents], output=output)
    folders = [str(parent.folder) for parent in recipe.parents]
    found: dict[str, Plan] = {}
    for name, operation in merge.bound.operations.items():
        call = operation.call
        assert call is not None
        operands = tuple(
            (folders[operand.position], operand.info.name, tuple(sorted(own.items())))
            for operand, own in zip(operation.operands, call.own, strict=True)
        )
        base = None if call.base is None else operands[call.base][0]
        found[name] = Plan(call.method, operands, base, tuple(sorted(call.shared.items())))
    return merge, found
