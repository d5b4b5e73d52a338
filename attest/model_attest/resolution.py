"""A recipe against the tensors of its parents: which operation gives each output tensor. Spec: pipeline §3."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_attest.recipes.recipe import Recipe, identifiers
from model_verify.binding import BLENDABLE_DTYPES, BoundStep, bind_step
from model_verify.digest import CheckpointRoot
from model_verify.errors import RecipeInvalid
from model_verify.merge.coefficient import Weight
from model_verify.models import (
    Coefficient,
    CopyOperation,
    FloatDtype,
    LinearOperation,
    MergeStep,
    StepOutput,
    TensorSelection,
)
from model_verify.tensors import TensorInfo

_FLOAT_DTYPES: Mapping[str, FloatDtype] = {"F32": "F32", "BF16": "BF16", "F16": "F16"}
_UNKNOWN_ROOT = CheckpointRoot(bytes(32))

Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True, slots=True)
class _Blend:
    """What tensors have in common that one linear operation gives."""

    weights: tuple[Weight, ...]
    dtype: FloatDtype


@dataclass(frozen=True, slots=True)
class ResolvedMerge:
    """The step but for its output root, and the operation of every output tensor."""

    step: MergeStep
    bound: BoundStep

    def finished(self, root: CheckpointRoot) -> MergeStep:
        """Return the step with the root of what it gave."""
        return self.step.model_copy(update={"output": StepOutput(checkpoint_root=root)})


def resolve(recipe: Recipe, inputs: Sequence[Tensors]) -> ResolvedMerge:
    """Return the merge that `recipe` means for parents with the tensors `inputs`, in the order of its parents.

    Tensors with equal coefficients and dtype share an operation, and the largest such group is written as `rest`.
    Raises `RecipeInvalid`, naming the tensor, where the recipe leaves something open or cannot be carried out.
    """
    groups: dict[_Blend | None, list[str]] = {}  # None: copied
    for name in sorted({name for tensors in inputs for name in tensors}, key=lambda name: name.encode("utf-8")):
        groups.setdefault(_operation_of(recipe, name, inputs), []).append(name)
    _check_names(recipe, inputs)
    blends = {blend: names for blend, names in groups.items() if blend is not None}
    if not blends:
        raise RecipeInvalid(f"{recipe.path}: the parents have no tensor that can be blended")
    rest = max(blends, key=lambda blend: len(blends[blend]))
    operations: list[LinearOperation | CopyOperation] = [_linear(recipe, rest, "rest")]
    operations += [_linear(recipe, blend, names) for blend, names in blends.items() if blend != rest]
    if copied := groups.get(None):
        assert recipe.copy_from is not None
        operations.append(CopyOperation(op="copy", tensors=copied, source=recipe.copy_from))
    parent_ids = [parent.id for parent in recipe.parents]
    step = MergeStep(
        id=identifiers([*parent_ids, "merge"])[-1],
        type="merge",
        inputs=parent_ids,
        output=StepOutput(checkpoint_root=_UNKNOWN_ROOT),
        profile="linear/f64-v1",
        operations=operations,
    )
    bound = bind_step(step, inputs)
    for finding in bound.findings:
        name = finding.where.removeprefix(f"{step.id}: ")
        raise RecipeInvalid(f"{recipe.path}: tensor {_quoted(name)} cannot be blended: {finding.actual}")
    return ResolvedMerge(step, bound)


def _operation_of(recipe: Recipe, name: str, inputs: Sequence[Tensors]) -> _Blend | None:
    """Return how a tensor is blended, or None where it is copied."""
    if name in recipe.copy_tensors:
        return None
    hint = f"list it in `attest: copy_tensors` to take it from {recipe.copy_from or 'the model in `copy_from`'}"
    for parent, tensors in zip(recipe.parents, inputs, strict=True):
        if name not in tensors:
            raise _invalid(recipe, name, f"is missing from {parent.id}", hint)
    blendable = [tensors[name].dtype in BLENDABLE_DTYPES for tensors in inputs]
    if not any(blendable):
        if recipe.copy_from is None:
            dtype = inputs[0][name].dtype
            raise _invalid(
                recipe, name, f"is {dtype} and cannot be blended", "name the model to take it from: `attest: copy_from`"
            )
        return None
    if not all(blendable):
        other = blendable.index(False)
        problem = f"is {inputs[other][name].dtype} in {recipe.parents[other].id} and cannot be blended"
        raise _invalid(recipe, name, problem, hint)
    weights: list[Weight] = []
    for parent in recipe.parents:
        weight = recipe.weight_of(parent, name)
        if weight is None:
            raise _invalid(
                recipe, name, f"has no weight for {parent.id}", "end the list of weights with one that has no `filter`"
            )
        weights.append(weight)
    return _Blend(tuple(weights), recipe.out_dtype or _FLOAT_DTYPES[inputs[0][name].dtype])


def _check_names(recipe: Recipe, inputs: Sequence[Tensors]) -> None:
    if recipe.copy_from is None:
        return
    position = [parent.id for parent in recipe.parents].index(recipe.copy_from)
    for name in recipe.copy_tensors:
        if name not in inputs[position]:
            raise _invalid(recipe, name, f"of `copy_tensors` is not in {recipe.copy_from}", None)


def _linear(recipe: Recipe, blend: _Blend, tensors: TensorSelection) -> LinearOperation:
    return LinearOperation(
        op="linear",
        tensors=tensors,
        dtype=blend.dtype,
        normalize=recipe.normalize,
        coefficients=[Coefficient(decimal=weight.decimal, float32=weight.float32) for weight in blend.weights],
    )


def _invalid(recipe: Recipe, name: str, problem: str, hint: str | None) -> RecipeInvalid:
    return RecipeInvalid(f"{recipe.path}: tensor {_quoted(name)} {problem}", hint=hint)


def _quoted(text: str) -> str:
    return json.dumps(text)[:200]
