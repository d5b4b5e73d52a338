"""What each method of the mergekit profiles takes: pure data, for whoever checks a statement before anything is
computed. Spec: merge §5. Needs the standard library alone.

A method's kernel is in the file that `methods/__init__.py` names; `whole` and `best` here are those of the kernel
class, and a test keeps them equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from model_verify.merge.kernel import Standing

PROFILES = ("mergekit-0.1.4", "mergekit-0.1.5/fma", "mergekit-0.1.5/nofma")
MOST_OPERANDS = 64
"""As many as there can be materials and steps. Spec: pipeline §1."""


class Kind(Enum):
    """How a parameter is written: decimal text (merge §1.1), true or false, or decimal text of a whole number."""

    DECIMAL = "decimal"
    BOOL = "bool"
    WHOLE = "whole"


class Base(Enum):
    REQUIRED = "required"
    OPTIONAL = "optional"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class Method:
    """One method. Every parameter is written out, but for those in `optional`; no others are allowed."""

    shared: Mapping[str, Kind] = field(default_factory=dict)
    """Of the operation (`parameters`)."""
    own: Mapping[str, Kind] = field(default_factory=dict)
    """Of every input that takes part, but for the base (`inputParameters`)."""
    optional: frozenset[str] = frozenset()
    """Names in `own` that may be left out."""
    base: Base = Base.FORBIDDEN
    fewest: int = 1
    """Operands, a base among them."""
    most: int = MOST_OPERANDS
    others: int | None = None
    """How many operands there are but for a base, where that is one number."""
    whole: bool = False
    """Whether it needs whole tensors. Spec: merge §5.1."""
    best: Standing = Standing.EXACT
    profiles: tuple[str, ...] = PROFILES


# What changes no bit is no parameter here: `int8_mask`, and a `density` or `rescale` where nothing is left out.
_WEIGHT = {"weight": Kind.DECIMAL}
_TASK = {"normalize": Kind.BOOL, "lambda": Kind.DECIMAL}
_SPARSE_TASK = {**_TASK, "rescale": Kind.BOOL}

METHODS: dict[str, Method] = {
    # Elementwise.
    "linear": Method({"normalize": Kind.BOOL}, _WEIGHT),
    "nearswap": Method({"t": Kind.DECIMAL}, base=Base.REQUIRED, fewest=2, most=2),
    "passthrough": Method(own={"scale": Kind.DECIMAL}, optional=frozenset({"scale"}), most=1),
    "task_arithmetic": Method(_TASK, _WEIGHT, base=Base.REQUIRED, fewest=2),
    # Of whole tensors.
    "breadcrumbs": Method(
        _SPARSE_TASK,
        {**_WEIGHT, "density": Kind.DECIMAL, "gamma": Kind.DECIMAL},
        base=Base.REQUIRED,
        fewest=2,
        whole=True,
    ),
    "breadcrumbs_ties": Method(
        _SPARSE_TASK,
        {**_WEIGHT, "density": Kind.DECIMAL, "gamma": Kind.DECIMAL},
        base=Base.REQUIRED,
        fewest=2,
        whole=True,
    ),
    **{
        method: Method(
            _SPARSE_TASK,
            {**_WEIGHT, "density": Kind.DECIMAL, **more},
            base=Base.REQUIRED,
            fewest=2,
            whole=True,
            best=Standing.EXAMINED,
        )
        for method, more in (
            ("dare_linear", {}),
            ("dare_ties", {}),
            ("della", {"epsilon": Kind.DECIMAL}),
            ("della_linear", {"epsilon": Kind.DECIMAL}),
        )
    },
    "karcher": Method({"max_iter": Kind.WHOLE, "tol": Kind.DECIMAL}, whole=True),
    "model_stock": Method({"filter_wise": Kind.BOOL}, base=Base.REQUIRED, fewest=3, whole=True),
    "multislerp": Method(
        {"eps": Kind.DECIMAL, "normalize_weights": Kind.BOOL}, _WEIGHT, base=Base.OPTIONAL, whole=True
    ),
    "nuslerp": Method(
        {"nuslerp_flatten": Kind.BOOL, "nuslerp_row_wise": Kind.BOOL},
        _WEIGHT,
        base=Base.OPTIONAL,
        fewest=2,
        most=3,
        others=2,
        whole=True,
    ),
    "sce": Method({"select_topk": Kind.DECIMAL}, base=Base.REQUIRED, fewest=2, whole=True),
    "slerp": Method({"t": Kind.DECIMAL}, base=Base.REQUIRED, fewest=2, most=2, whole=True),
    "ties": Method(_SPARSE_TASK, {**_WEIGHT, "density": Kind.DECIMAL}, base=Base.REQUIRED, fewest=2, whole=True),
}
"""mergekit's `merge_method` -> what it takes."""
