"""Which tensors of which parents give each output tensor: layers are cut, stacked and numbered anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NoReturn

from model_attest.recipes.recipe import Contribution, Recipe, Slice
from model_attest.recipes.settings import has_gradient
from model_attest.resolution.layers import is_known, joined, split, stacks, stands_before
from model_attest.resolution.models import Model
from model_verify.errors import RecipeInvalid


@dataclass(frozen=True, slots=True)
class Placed:
    """An output tensor: who gives to it, and under which names. `names` are parallel to `contributions`."""

    name: str
    part: Slice
    contributions: tuple[Contribution, ...]
    names: tuple[str, ...]
    t: float = 0.0
    """Where its layer lies in the slice: 0 is the first, 1 the last, and the only one."""
    template: str = ""
    """The name without the number of a layer."""


def place(recipe: Recipe, profile: str, models: Sequence[Model], *, beyond: bool) -> list[Placed]:
    """Return the output tensors of a mergekit profile, the layers in their order.

    `beyond` says that layers which config.json does not count are left out, and not refused. Raises `RecipeInvalid`
    where layers are asked for that a model does not have.
    """
    found = stacks({name for model in models for name in model.tensors})
    if len(found) != 1:
        return _without_layers(recipe, found, models)
    ((prefix, _),) = found.items()
    counts = [_layer_count(recipe, position, model, prefix, beyond) for position, model in enumerate(models)]
    layered = [_by_layer(model, prefix) for model in models]
    placed: list[Placed] = []
    layer = 0
    known = all(is_known(model.architecture, profile) for model in models)
    first, last = recipe.slices[0], recipe.slices[-1]
    for name in _loose(first, models, prefix):
        if stands_before(name) or not known or first is last:
            placed.append(Placed(name, first, first.contributions, (name,) * len(first.contributions), template=name))
    for part in recipe.slices:
        ranges = [_layers(recipe, contribution, counts) for contribution in part.contributions]
        length = len(ranges[0])
        for other, contribution in zip(ranges, part.contributions, strict=True):
            if len(other) != length:
                ids = [recipe.parents[c.parent].id for c in (part.contributions[0], contribution)]
                _refuse(recipe, contribution, f"{ids[0]} has {length} layers and {ids[1]} has {len(other)}")
        for offset in range(length):
            t = offset / (length - 1) if length > 1 else 1.0
            numbers = [layers[offset] for layers in ranges]
            rests = [layered[c.parent].get(n, []) for c, n in zip(part.contributions, numbers, strict=True)]
            for rest in sorted({name for names in rests for name in names}):
                there = tuple(joined(prefix, number, rest) for number in numbers)
                name = joined(prefix, layer, rest)
                placed.append(Placed(name, part, part.contributions, there, t, template=f"{prefix}.*.{rest}"))
            layer += 1
    if known and first is not last:
        # As many as the first slice has: what else gives to the last one does not take part here.
        giving = last.contributions[: len(first.contributions)]
        for name in _loose(last, models, prefix):
            if not stands_before(name):
                placed.append(Placed(name, last, giving, (name,) * len(giving), template=name))
    return placed


def only(recipe: Recipe, placed: Sequence[Placed], outputs: AbstractSet[str]) -> tuple[list[Placed], list[str]]:
    """Return what is in an output that mergekit wrote, and what it left out.

    mergekit writes the tensors that its tables name, so that some may be missing in every layer. Raises `RecipeInvalid`
    where the output has another tensor, or lacks one in some layers alone: then this recipe did not give it.
    """
    if unknown := sorted(outputs - {tensor.name for tensor in placed}):
        hint = None
        if any("experts" in name for name in unknown):
            hint = "mergekit 0.1.5 packs the experts of a layer into one tensor: only packed parents can be recorded"
        raise RecipeInvalid(f"{recipe.path}: no parent gives the output's tensor {unknown[0]!r}", hint=hint)
    there = [tensor for tensor in placed if tensor.name in outputs]
    left_out = [tensor for tensor in placed if tensor.name not in outputs]
    written = {tensor.template for tensor in there}
    for tensor in left_out:
        if tensor.template in written:
            raise RecipeInvalid(f"{recipe.path}: the output has no tensor {tensor.name!r}, which the recipe gives")
    return there, sorted({tensor.template for tensor in left_out})


def _without_layers(recipe: Recipe, found: Mapping[str, int], models: Sequence[Model]) -> list[Placed]:
    """Return whole models side by side, where no stack of layers stands out."""
    which = f"several stacks of layers: {', '.join(sorted(found))}" if found else "no layers that can be told"
    scopes = [recipe.settings, recipe.module]
    for part in recipe.slices:
        scopes += [part.settings, *(c.settings for c in part.contributions)]
        if any(c.layers is not None for c in part.contributions):
            _refuse(recipe, part.contributions[0], f"the models have {which}", hint="list whole models under `models`")
    if any(has_gradient(settings) for settings in scopes):
        hint = "write a number, or a list of {filter: PART OF A NAME, value: NUMBER}"
        raise RecipeInvalid(f"{recipe.path}: a gradient, and the models have {which}", hint=hint)
    (part,) = recipe.slices
    names = {name for c in part.contributions for name in models[c.parent].tensors}
    count = len(part.contributions)
    return [
        Placed(name, part, part.contributions, (name,) * count, template=_template(name, found))
        for name in sorted(names)
    ]


def _template(name: str, found: Mapping[str, int]) -> str:
    numbered = split(name, found)
    return name if numbered is None else f"{numbered[0]}.*.{numbered[2]}"


def _layer_count(recipe: Recipe, position: int, model: Model, prefix: str, beyond: bool) -> int:
    """Return the number of layers of a parent: its tensors and its config.json must agree."""
    parent = recipe.parents[position].id
    own = stacks(model.tensors)
    if prefix not in own:
        raise RecipeInvalid(f"{recipe.path}: {parent} has no whole layers {prefix}.0, {prefix}.1 and so on")
    if model.layers is None or model.layers == own[prefix] or (beyond and model.layers < own[prefix]):
        return own[prefix] if model.layers is None else model.layers
    counts = f"its config.json says {model.layers} layers, and its tensors have {own[prefix]}"
    raise RecipeInvalid(f"{recipe.path}: {parent}: {counts}")


def _layers(recipe: Recipe, contribution: Contribution, counts: Sequence[int]) -> range:
    count = counts[contribution.parent]
    if contribution.layers is None:
        return range(count)
    if contribution.layers.stop > count:
        parent = recipe.parents[contribution.parent].id
        asked = f"[{contribution.layers.start}, {contribution.layers.stop}]"
        _refuse(recipe, contribution, f"`layer_range` {asked}, and {parent} has {count} layers")
    return contribution.layers


def _loose(part: Slice, models: Sequence[Model], prefix: str) -> list[str]:
    """Return the tensors that are of no layer, of all who give to a slice."""
    names = {name for c in part.contributions for name in models[c.parent].tensors}
    return sorted(name for name in names if split(name, (prefix,)) is None)


def _by_layer(model: Model, prefix: str) -> dict[int, list[str]]:
    """Return what each layer of a model has, by its names without their numbers."""
    layers: dict[int, list[str]] = {}
    for name in model.tensors:
        if numbered := split(name, (prefix,)):
            layers.setdefault(numbered[1], []).append(numbered[2])
    return layers


def _refuse(recipe: Recipe, contribution: Contribution, problem: str, hint: str | None = None) -> NoReturn:
    raise RecipeInvalid(f"{recipe.path}: line {contribution.line}: {problem}", hint=hint)
