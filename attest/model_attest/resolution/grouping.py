"""Output tensors with like operations share one, and all operations together are the merge step. Spec: pipeline §3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_attest.recipes.recipe import Recipe, identifiers
from model_attest.resolution.models import Model
from model_attest.resolution.operands import invalid, quoted
from model_attest.resolution.operations import COPY, Kin, Resolved, resolve_tensor
from model_attest.resolution.placement import Placed, only, place
from model_verify.binding import BoundStep, bind_step
from model_verify.digest import CheckpointRoot
from model_verify.errors import RecipeInvalid
from model_verify.merge.coefficient import parse_weight
from model_verify.merge.methods.linear_f64 import LINEAR_F64_V1
from model_verify.models import (
    Coefficient,
    CopyOperation,
    LinearOperation,
    MergekitOperation,
    MergekitStep,
    MergeStep,
    StepOutput,
    TensorSelection,
)

_UNKNOWN_ROOT = CheckpointRoot(bytes(32))

WireOperation = CopyOperation | LinearOperation | MergekitOperation


@dataclass(frozen=True, slots=True)
class ResolvedMerge:
    """The step but for its output root, and the operation of every output tensor."""

    step: MergeStep | MergekitStep
    bound: BoundStep
    left_out: tuple[str, ...] = ()
    """Tensors of the parents that mergekit did not write; `*` stands for the number of a layer."""

    def finished(self, root: CheckpointRoot) -> MergeStep | MergekitStep:
        """Return the step with the root of what it gave."""
        return self.step.model_copy(update={"output": StepOutput(checkpoint_root=root)})


def resolve(recipe: Recipe, profile: str, models: Sequence[Model], *, output: set[str] | None = None) -> ResolvedMerge:
    """Return the merge that `recipe` means for these parents, in their order.

    `output` are the names of the tensors that mergekit wrote, where it has run already. Tensors with equal operations
    share one, and the largest such group is written as `rest`. Raises `RecipeInvalid`, naming the tensor, where the
    recipe leaves something open or cannot be carried out.
    """
    left_out: list[str] = []
    if profile == LINEAR_F64_V1:
        placed = _whole(recipe, models)
    else:
        placed = place(recipe, profile, models, beyond=output is not None)
    if output is not None:
        placed, left_out = only(recipe, placed, output)
    placed.sort(key=lambda tensor: tensor.name.encode("utf-8"))
    _check_listed(recipe, placed, models)
    groups: dict[Kin, list[Resolved]] = {}
    for tensor in placed:
        resolved = resolve_tensor(recipe, profile, tensor, models, made_by_mergekit=output is not None)
        groups.setdefault(resolved.kin, []).append(resolved)
    if all(kin.op == COPY for kin in groups):
        raise RecipeInvalid(f"{recipe.path}: the parents have no tensor that can be blended")
    step = _step(recipe, profile, groups, models)
    bound = bind_step(step, [model.tensors for model in models])
    for finding in bound.findings:
        name = finding.where.removeprefix(f"{step.id}: ")
        raise RecipeInvalid(f"{recipe.path}: tensor {quoted(name)} cannot be blended: {finding.actual}")
    return ResolvedMerge(step, bound, tuple(left_out))


def _whole(recipe: Recipe, models: Sequence[Model]) -> list[Placed]:
    """Return all tensors of all parents under their own names."""
    (part,) = recipe.slices
    count = len(part.contributions)
    names = {name for model in models for name in model.tensors}
    return [Placed(name, part, part.contributions, (name,) * count, template=name) for name in names]


def _check_listed(recipe: Recipe, placed: Sequence[Placed], models: Sequence[Model]) -> None:
    unplaced = set(recipe.copy_tensors) - {tensor.name for tensor in placed}
    for name in sorted(unplaced):
        raise invalid(recipe, name, f"of `copy_tensors` is not in {recipe.copy_from}", None)


def _step(
    recipe: Recipe, profile: str, groups: dict[Kin, list[Resolved]], models: Sequence[Model]
) -> MergeStep | MergekitStep:
    rest = _rest(groups, models)
    ordered = sorted(groups, key=lambda kin: (kin != rest, kin.op == COPY))  # otherwise as they come
    operations = [_operation(recipe, profile, kin, groups[kin], is_rest=kin == rest) for kin in ordered]
    parent_ids = [parent.id for parent in recipe.parents]
    head = {
        "id": identifiers([*parent_ids, "merge"])[-1],
        "type": "merge",
        "inputs": parent_ids,
        "output": StepOutput(checkpoint_root=_UNKNOWN_ROOT),
        "profile": profile,
        "operations": operations,
    }
    return MergeStep.model_validate(head) if profile == LINEAR_F64_V1 else MergekitStep.model_validate(head)


def _rest(groups: dict[Kin, list[Resolved]], models: Sequence[Model]) -> Kin | None:
    """Return the largest group that can be written as `rest`: its tensors are all that no other operation names."""
    candidates = [kin for kin in groups if kin.op != COPY and not any(kin.renamed)]
    if not candidates:
        return None
    largest = max(candidates, key=lambda kin: len(groups[kin]))
    named = {resolved.name for kin, group in groups.items() if kin != largest for resolved in group}
    left = {name for model in models for name in model.tensors} - named
    return largest if left == {resolved.name for resolved in groups[largest]} else None


def _operation(recipe: Recipe, profile: str, kin: Kin, group: Sequence[Resolved], *, is_rest: bool) -> WireOperation:
    ids = [recipe.parents[position].id for position in kin.parents]
    tensors: TensorSelection = "rest" if is_rest else [resolved.name for resolved in group]
    names = {
        parent: [resolved.names[place] for resolved in group]
        for place, (parent, renamed) in enumerate(zip(ids, kin.renamed, strict=True))
        if renamed
    }
    if kin.op == COPY:
        return CopyOperation(op="copy", tensors=tensors, source=ids[0], names=names.get(ids[0]))
    assert kin.dtype is not None
    inputs = None if ids == [parent.id for parent in recipe.parents] else ids
    if profile == LINEAR_F64_V1:
        coefficients = [parse_weight(str(value)) for own in kin.own for _, value in own]
        return LinearOperation(
            op="linear",
            tensors=tensors,
            inputs=inputs,
            names=names or None,
            dtype=kin.dtype,
            normalize=bool(dict(kin.parameters)["normalize"]),
            coefficients=[Coefficient(decimal=weight.decimal, float32=weight.float32) for weight in coefficients],
        )
    assert kin.compute_dtype is not None
    return MergekitOperation(
        op=kin.op,
        tensors=tensors,
        inputs=inputs,
        names=names or None,
        dtype=kin.dtype,
        compute_dtype=kin.compute_dtype,
        base=None if kin.base is None else ids[kin.base],
        parameters=dict(kin.parameters),
        input_parameters=[{name: str(value) for name, value in own} for own in kin.own],
    )
