"""What mergekit's methods take in its YAML, and what it takes for granted. The same in 0.1.4 and 0.1.5.

`model_verify.merge.methods.table` has what a statement says of them: there every parameter is written out, so that
the defaults are here alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from model_attest.recipes.settings import Setpoint
from model_verify.merge.methods.table import Base, Kind


@dataclass(frozen=True, slots=True)
class Parameter:
    """`default` is None where mergekit asks for a value, or, if `may_be_left_out`, does without."""

    kind: Kind
    default: Setpoint | None = None
    may_be_left_out: bool = False


class Alone(Enum):
    """Whose tensor comes out as it is where it is alone, because other models do not have it."""

    NOBODY = "nobody"
    BASE = "the base"
    ANY = "any model"
    NO_BASE = "a model with nothing but a base beside it"


@dataclass(frozen=True, slots=True)
class Method:
    """A `merge_method`: its parameters, and how many models it takes.

    `base` REQUIRED or OPTIONAL sets one model apart, which has no parameters of its own; with FORBIDDEN `base_model`
    is one more model. `fewest` and `most` count the models but for a base that is set apart.
    """

    shared: Mapping[str, Parameter] = field(default_factory=dict)
    own: Mapping[str, Parameter] = field(default_factory=dict)
    base: Base = Base.FORBIDDEN
    fewest: int = 1
    most: int | None = None
    alone: Alone = Alone.NOBODY


def _number(default: str | None = None) -> Parameter:
    return Parameter(Kind.DECIMAL, default)


def _truth(default: bool) -> Parameter:
    return Parameter(Kind.BOOL, default)


_WEIGHT = {"weight": _number()}


def _task(*, normalize: bool, rescale: bool | None = None, own: Mapping[str, Parameter] | None = None) -> Method:
    shared = {"normalize": _truth(normalize), "lambda": _number("1.0")}
    if rescale is None:
        return Method(shared, _WEIGHT, Base.REQUIRED, fewest=0, alone=Alone.BASE)
    own = {**_WEIGHT, "density": _number("1.0"), **(own or {})}
    return Method({**shared, "rescale": _truth(rescale)}, own, Base.REQUIRED, fewest=0, alone=Alone.BASE)


_GAMMA = {"gamma": _number("0.01")}
_EPSILON = {"epsilon": _number("0.15")}

METHODS: Mapping[str, Method] = {
    "linear": Method({"normalize": _truth(True)}, _WEIGHT),
    "passthrough": Method(own={"scale": Parameter(Kind.DECIMAL, may_be_left_out=True)}, most=1),
    "nearswap": Method({"t": _number()}, base=Base.REQUIRED, most=1, alone=Alone.BASE),
    "slerp": Method({"t": _number()}, base=Base.REQUIRED, most=1, alone=Alone.ANY),
    "task_arithmetic": _task(normalize=False),
    "ties": _task(normalize=True, rescale=False),
    "breadcrumbs": _task(normalize=False, rescale=False, own=_GAMMA),
    "breadcrumbs_ties": _task(normalize=False, rescale=False, own=_GAMMA),
    "dare_linear": _task(normalize=False, rescale=True),
    "dare_ties": _task(normalize=False, rescale=True),
    "della": _task(normalize=True, rescale=True, own=_EPSILON),
    "della_linear": _task(normalize=False, rescale=True, own=_EPSILON),
    "nuslerp": Method(
        {"nuslerp_row_wise": _truth(False), "nuslerp_flatten": _truth(True)},
        _WEIGHT,
        Base.OPTIONAL,
        fewest=2,
        most=2,
        alone=Alone.ANY,
    ),
    "multislerp": Method(
        {"normalize_weights": _truth(True), "eps": _number("1e-08")}, _WEIGHT, Base.OPTIONAL, alone=Alone.NO_BASE
    ),
    "karcher": Method({"max_iter": Parameter(Kind.WHOLE, "10"), "tol": _number("1e-05")}, alone=Alone.NO_BASE),
    "model_stock": Method({"filter_wise": _truth(False)}, base=Base.REQUIRED, fewest=2, alone=Alone.BASE),
    "sce": Method({"select_topk": _number("1.0")}, base=Base.REQUIRED, fewest=0, alone=Alone.BASE),
}
"""`arcee_fusion`, `ram` and `ramplus_tl` are mergekit's too, and not known here."""

WITHOUT_EFFECT: Mapping[str, str] = {"int8_mask": "it saves memory and changes no bit"}
"""What some methods take and no result depends on."""

KNOWN_PARAMETERS = frozenset(
    {name for method in METHODS.values() for name in (*method.shared, *method.own)} | WITHOUT_EFFECT.keys()
)
