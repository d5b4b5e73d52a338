"""Who takes part in an output tensor in the end, under which names, and in which dtypes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_attest.recipes.methods import METHODS
from model_attest.recipes.recipe import Contribution, Recipe
from model_attest.resolution.layers import is_known, stand_ins
from model_attest.resolution.models import Model
from model_attest.resolution.placement import Placed
from model_verify.errors import RecipeInvalid
from model_verify.models import FloatDtype
from model_verify.operations import BLENDABLE_DTYPES
from model_verify.tensors import TensorInfo

FLOAT_DTYPES: Mapping[str, FloatDtype] = {"F32": "F32", "BF16": "BF16", "F16": "F16"}
_WHOLE_NUMBERS = frozenset({"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"})


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor of a parent, as the parent has it; `asked` is its name where the parent has no other one for it."""

    contribution: Contribution
    info: TensorInfo
    asked: str

    @property
    def parent(self) -> int:
        return self.contribution.parent


def gather(recipe: Recipe, profile: str, placed: Placed, models: Sequence[Model], *, may_lack: bool) -> list[Operand]:
    """Return the operands of an output tensor in order. A model that ties the tensor gives what it is tied to.

    `may_lack` says that a parent without the tensor does not take part, which is how mergekit treats the tensors that
    its tables call optional; otherwise that is refused. Raises `RecipeInvalid`.
    """
    operands: list[Operand] = []
    for contribution, name in zip(placed.contributions, placed.names, strict=True):
        model = models[contribution.parent]
        tied = stand_ins(name) if is_known(model.architecture, profile) else ()
        there = next((other for other in (name, *tied) if other in model.tensors), None)
        if there is not None:
            operands.append(Operand(contribution, model.tensors[there], name))
        elif not may_lack:
            parent = recipe.parents[contribution.parent].id
            raise invalid(recipe, placed.name, f"is missing from {parent}", hint(recipe))
    return operands


def copied(recipe: Recipe, name: str, operands: Sequence[Operand], *, first_will_do: bool) -> Operand | None:
    """Return the operand that is copied because nothing can be blended, or None where all can be.

    Where `first_will_do`, whole numbers of one dtype are taken from the first parent that has them: mergekit makes sure
    that all have the same. Raises `RecipeInvalid` where some can be blended, or nobody says whose is to be copied.
    """
    blendable = [operand.info.dtype in BLENDABLE_DTYPES for operand in operands]
    if all(blendable):
        return None
    if any(blendable):
        other = operands[blendable.index(False)]
        parent = recipe.parents[other.parent].id
        raise invalid(recipe, name, f"is {other.info.dtype} in {parent} and cannot be blended", hint(recipe))
    if recipe.copy_from is not None:
        chosen = recipe.position(recipe.copy_from)
        for operand in operands:
            if operand.parent == chosen:
                return operand
    dtypes = {operand.info.dtype for operand in operands}
    if first_will_do and len(dtypes) == 1 and dtypes <= _WHOLE_NUMBERS:
        return operands[0]
    how = "name the model to take it from: `attest: copy_from`"
    raise invalid(recipe, name, f"is {operands[0].info.dtype} and cannot be blended", how)


def compute_dtype(recipe: Recipe, profile: str, name: str, operands: Sequence[Operand], base: int | None) -> FloatDtype:
    """Return what the operands are rounded to first; `base` is a position among them."""
    dtypes = [FLOAT_DTYPES[operand.info.dtype] for operand in operands]
    if recipe.dtype is not None or len(set(dtypes)) == 1:
        return recipe.dtype or dtypes[0]
    if profile == "mergekit-0.1.4" and recipe.method != "linear":
        if base is not None and "lambda" in METHODS[recipe.method].shared:
            return dtypes[base]  # the methods on task vectors go by the base
        listed = ", ".join(sorted(set(dtypes)))
        raise invalid(recipe, name, f"is {listed}, which {recipe.method} of {profile} mixes", "write the `dtype`")
    return "F32"  # holds both BF16 and F16


def hint(recipe: Recipe) -> str:
    return f"list it in `attest: copy_tensors` to take it from {recipe.copy_from or 'the model in `copy_from`'}"


def invalid(recipe: Recipe, name: str, problem: str, hint: str | None) -> RecipeInvalid:
    return RecipeInvalid(f"{recipe.path}: tensor {quoted(name)} {problem}", hint=hint)


def quoted(text: str) -> str:
    return json.dumps(text)[:200]
