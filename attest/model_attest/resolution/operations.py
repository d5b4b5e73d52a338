"""Method and parameters of each output tensor, with mergekit's defaults written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from model_attest.recipes.methods import METHODS, Alone, Method, Parameter
from model_attest.recipes.recipe import Recipe
from model_attest.recipes.settings import Setpoint, look_up
from model_attest.resolution.models import Model
from model_attest.resolution.operands import FLOAT_DTYPES, Operand, compute_dtype, copied, gather, invalid
from model_attest.resolution.placement import Placed
from model_verify.merge.methods.linear_f64 import LINEAR_F64_V1
from model_verify.merge.methods.table import Kind
from model_verify.models import FloatDtype

Values = tuple[tuple[str, Setpoint], ...]
"""Parameters by name."""
COPY = "copy"
_AS_IT_IS = "passthrough"


@dataclass(frozen=True, slots=True)
class Kin:
    """What output tensors have in common that one operation gives; `base` is a position among `parents`."""

    op: str
    parents: tuple[int, ...] = ()
    renamed: tuple[bool, ...] = ()
    """Which of the parents know the tensors by other names."""
    base: int | None = None
    compute_dtype: FloatDtype | None = None
    dtype: FloatDtype | None = None
    parameters: Values = ()
    own: tuple[Values, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolved:
    """An output tensor, and the name of the operand in each parent that takes part."""

    name: str
    kin: Kin
    names: tuple[str, ...]


def resolve_tensor(
    recipe: Recipe, profile: str, placed: Placed, models: Sequence[Model], *, made_by_mergekit: bool
) -> Resolved:
    """Return the operation of one output tensor. Raises `RecipeInvalid`, naming it, where the recipe leaves it open."""
    if placed.name in recipe.copy_tensors:
        return _listed(recipe, placed, models)
    operands = gather(recipe, profile, placed, models, may_lack=made_by_mergekit)
    if source := copied(recipe, placed.name, operands, first_will_do=made_by_mergekit):
        return _resolved(placed, [source], Kin(COPY))
    method = METHODS[recipe.method]
    base = next((operand for operand in operands if operand.parent == placed.part.base), None)
    others = [operand for operand in operands if operand is not base]
    # A value that is asked for must be there even where it does not count, because a tensor comes out as it is.
    parameters = _values(recipe, placed, method.shared, None)
    own = tuple(() if operand is base else _values(recipe, placed, method.own, operand) for operand in operands)
    if alone := _alone(method, base, others):
        dtype = None if profile == LINEAR_F64_V1 else compute_dtype(recipe, profile, placed.name, [alone], None)
        kin = Kin(_AS_IT_IS, compute_dtype=dtype, dtype=recipe.out_dtype or dtype, own=((),))
        return _resolved(placed, [alone], kin)
    if base is None and placed.part.base is not None:
        raise invalid(recipe, placed.name, f"is missing from {recipe.parents[placed.part.base].id}, the base", None)
    if len(others) < method.fewest:
        raise invalid(recipe, placed.name, f"is in too few models for {recipe.method}", None)
    position = None if base is None else operands.index(base)
    if profile == LINEAR_F64_V1:
        dtype, out_dtype = None, FLOAT_DTYPES[operands[0].info.dtype]
    else:
        dtype = out_dtype = compute_dtype(recipe, profile, placed.name, operands, position)
    kin = Kin(
        recipe.method,
        base=position,
        compute_dtype=dtype,
        dtype=recipe.out_dtype or out_dtype,
        parameters=parameters,
        own=own,
    )
    return _resolved(placed, operands, kin)


def _listed(recipe: Recipe, placed: Placed, models: Sequence[Model]) -> Resolved:
    """Return the copy of a tensor that the recipe lists in `copy_tensors`."""
    assert recipe.copy_from is not None
    chosen = recipe.position(recipe.copy_from)
    names = {c.parent: name for c, name in zip(placed.contributions, placed.names, strict=True)}
    name = names.get(chosen, placed.name)
    if name not in models[chosen].tensors:
        raise invalid(recipe, name, f"of `copy_tensors` is not in {recipe.copy_from}", None)
    return Resolved(placed.name, Kin(COPY, (chosen,), (name != placed.name,)), (name,))


def _alone(method: Method, base: Operand | None, others: Sequence[Operand]) -> Operand | None:
    """Return the operand that comes out as it is, or None where the method computes."""
    match method.alone:
        case Alone.BASE if not others:
            return base
        case Alone.ANY if len(others) + (base is not None) == 1:
            return base or others[0]
        case Alone.NO_BASE if len(others) == 1:
            return others[0]
        case _:
            return None


def _resolved(placed: Placed, operands: Sequence[Operand], kin: Kin) -> Resolved:
    names = tuple(operand.info.name for operand in operands)
    parents = tuple(operand.parent for operand in operands)
    renamed = tuple(name != placed.name for name in names)
    return Resolved(placed.name, replace(kin, parents=parents, renamed=renamed), names)


def _values(recipe: Recipe, placed: Placed, parameters: Mapping[str, Parameter], operand: Operand | None) -> Values:
    """Return the parameters of an operation or, with an operand, its own, in the order of the method's table."""
    contribution = None if operand is None else operand.contribution
    asked = placed.name if operand is None else operand.asked
    values: list[tuple[str, Setpoint]] = []
    for name, parameter in parameters.items():
        value = look_up(name, recipe.scopes(placed.part, contribution), asked, placed.t)
        if value is None:
            value = parameter.default
        if value is not None:
            values.append((name, _written(recipe, placed, name, parameter, value)))
        elif not parameter.may_be_left_out:
            whose = "" if operand is None else f" for {recipe.parents[operand.parent].id}"
            how = f"end the list of `{name}` with one that has no `filter`"
            raise invalid(recipe, placed.name, f"has no {name}{whose}", how)
    return tuple(values)


def _written(recipe: Recipe, placed: Placed, name: str, parameter: Parameter, value: Setpoint) -> Setpoint:
    if parameter.kind is not Kind.WHOLE or isinstance(value, bool):
        return value
    if not float(value).is_integer():
        raise invalid(recipe, placed.name, f"has the {name} {value}, which is no whole number", None)
    return str(int(float(value)))
