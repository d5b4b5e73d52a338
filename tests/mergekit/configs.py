"""Configurations as hypothesis makes them up: every method, wherever a parameter can be written and however."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from model_attest.recipes.methods import METHODS, Method, Parameter
from model_verify.merge.methods.table import Base, Kind

FILTERS = ("self_attn", "mlp", "layers.1", "norm", "embed", "lm_head", "weight", "zzz", "*", None)

numbers = st.one_of(
    st.integers(-3, 3),
    st.decimals(-2, 2, places=3).map(float),
    st.floats(-1e6, 1e6, allow_nan=False),
    st.sampled_from([1e-5, 1e-9, 5e-324, 1e22, 0.1, 1 / 3]),
)


def setpoints(parameter: Parameter) -> SearchStrategy[Any]:
    match parameter.kind:
        case Kind.BOOL:
            return st.booleans()
        case Kind.WHOLE:
            return st.integers(0, 20)
        case Kind.DECIMAL:
            return numbers


@dataclass(frozen=True)
class Language:
    """What a version of mergekit takes: 0.1.4 knows no gradients of truths, and conditions in lists alone."""

    gradients: frozenset[Kind] = frozenset({Kind.DECIMAL, Kind.BOOL})
    lone_conditions: bool = True

    def settings(self, parameter: Parameter) -> SearchStrategy[Any]:
        point = setpoints(parameter)
        gradient = st.lists(point, min_size=1, max_size=5)
        values = st.one_of(point, gradient) if parameter.kind in self.gradients else point
        condition = st.fixed_dictionaries({"value": values}, optional={"filter": st.sampled_from(FILTERS)})
        conditions = st.lists(condition, min_size=1, max_size=3)
        return st.one_of(values, conditions, condition) if self.lone_conditions else st.one_of(values, conditions)

    def scope(self, *parameters: Mapping[str, Parameter]) -> SearchStrategy[dict[str, Any]]:
        """Return a `parameters` block with some of these, or none."""
        known = {name: self.settings(parameter) for given in parameters for name, parameter in given.items()}
        block = st.fixed_dictionaries({}, optional=known)
        return block.map(lambda chosen: {"parameters": chosen} if chosen else {})


MERGEKIT_0_1_5 = Language()
MERGEKIT_0_1_4 = Language(gradients=frozenset({Kind.DECIMAL}), lone_conditions=False)


@st.composite
def configurations(draw: DrawFn, language: Language, models: Sequence[Path], layers: int) -> dict[str, Any]:
    """Return a configuration over some of `models`, all of which have `layers` layers."""
    name = draw(st.sampled_from(sorted(METHODS)))
    method = METHODS[name]
    has_base = method.base is Base.REQUIRED or (method.base is Base.OPTIONAL and draw(st.booleans()))
    base = draw(st.sampled_from(models)) if has_base else None
    config: dict[str, Any] = {"merge_method": name, "dtype": "bfloat16"}
    if base is not None:
        config["base_model"] = str(base)
    config |= draw(language.scope(method.shared, method.own))
    # What mergekit asks for is mostly there, so that it seldom refuses.
    required = {
        name: parameter
        for name, parameter in {**method.shared, **method.own}.items()
        if parameter.default is None and not parameter.may_be_left_out
    }
    if required and draw(st.integers(0, 9)):
        known = config.setdefault("parameters", {})
        known.update({n: draw(setpoints(p)) for n, p in required.items() if n not in known or draw(st.booleans())})
    holder: dict[str, Any] = config
    if draw(st.booleans()):
        holder = draw(language.scope(method.shared, method.own))
        config["modules"] = {"default": holder}
    if draw(st.booleans()):
        givers = draw(_givers(method, base, models, base_is_listed=draw(st.booleans())))
        holder["models"] = [{"model": str(model), **draw(language.scope(method.own))} for model in givers]
    else:
        count = draw(st.integers(1, 3))
        holder["slices"] = [draw(_slices(language, method, base, models, layers)) for _ in range(count)]
    return config


@st.composite
def _givers(
    draw: DrawFn, method: Method, base: Path | None, models: Sequence[Path], *, base_is_listed: bool
) -> list[Path]:
    others = [model for model in models if model != base]
    most = len(others) if method.most is None else method.most
    least = method.fewest if base_is_listed and base is not None else max(1, method.fewest)
    chosen = draw(st.lists(st.sampled_from(others), unique=True, min_size=least, max_size=most))
    if base is not None and base_is_listed:
        chosen.insert(draw(st.integers(0, len(chosen))), base)
    return chosen


@st.composite
def _slices(
    draw: DrawFn, language: Language, method: Method, base: Path | None, models: Sequence[Path], layers: int
) -> dict[str, Any]:
    length = draw(st.integers(1, layers))
    sources = []
    for model in draw(_givers(method, base, models, base_is_listed=True)):
        start = draw(st.integers(0, layers - length))
        source = {"model": str(model), "layer_range": [start, start + length]}
        sources.append(source | draw(language.scope(method.own)))
    return {"sources": sources, **draw(language.scope(method.shared, method.own))}
