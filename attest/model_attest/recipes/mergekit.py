"""Read mergekit's YAML, as people write it, and an `attest:` block.

    merge_method: ties
    base_model: ../base-7b                  # relative to this file, or ORG/NAME in the Hub cache
    models:
      - model: ../lab-a-7b
        parameters:
          weight: [0, 0.5, 1]               # a gradient over the layers
          density:
            - {filter: mlp, value: 0.4}
            - value: 0.6
      - model: ../lab-b-7b
        parameters: {weight: 0.4, density: 0.5}
    dtype: bfloat16
    attest: {profile: mergekit-0.1.5/fma, copy_from: base-7b, copy_tensors: [model.rotary.inv_freq]}

`slices` with `sources` and `layer_range`, and `modules` with the one module `default`, are read too. Nothing is passed
over: a key that has no effect here is refused by name, with its line.

A linear merge of profile `linear/f64-v1` is written in a subset: whole models, numbers without gradients, no `dtype`,
and `normalize` always there, because mergekit takes true where it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_attest.recipes.members import boolean, items, mapping, refuse_others, required, text
from model_attest.recipes.methods import METHODS, Method
from model_attest.recipes.parameters import ParameterReader
from model_attest.recipes.recipe import Contribution, Parent, Recipe, Slice
from model_attest.recipes.references import ModelFinder
from model_attest.recipes.settings import Settings
from model_attest.recipes.strict_yaml import MAX_YAML_BYTES, Members, Scalar, Value, load, refuse
from model_verify.errors import CallerError, RecipeInvalid, SourceError, SourceMissing
from model_verify.merge.methods.linear_f64 import LINEAR_F64_V1
from model_verify.merge.methods.table import PROFILES, Base
from model_verify.models import FloatDtype
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import read_whole

DEFAULT_PROFILE = "mergekit-0.1.5/fma"
_DTYPES: Mapping[str, FloatDtype] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_OUTPUTS = ("models", "slices", "modules")
_KEYS = (
    *_OUTPUTS,
    *("merge_method", "base_model", "parameters", "dtype", "out_dtype", "attest"),
    *("tokenizer_source", "tokenizer", "chat_template"),
)

_TOKENIZER_HINT = "the tokenizer's files are copied from the model that `attest: copy_from` names"
_WHOLE_MODELS = "list whole models under `models`, or name a mergekit profile: `attest: {profile: …}`"
_BEYOND_LINEAR_F64 = {
    "slices": _WHOLE_MODELS,
    "modules": _WHOLE_MODELS,
    "base_model": "a linear merge has no base: list it under `models` with its weight",
    "tokenizer_source": _TOKENIZER_HINT,
    "tokenizer": _TOKENIZER_HINT,
    "chat_template": _TOKENIZER_HINT,
    "dtype": "linear/f64-v1 computes in float64; `out_dtype` is the dtype of the result",
}
"""What mergekit knows and `linear/f64-v1` does not, and what to do instead."""
_NORMALIZE_HINT = "write `parameters: {normalize: false}`, or true: mergekit takes true where it is left out"


def read_recipe(path: Path, *, given: Mapping[str, Path] | None = None, made_by_mergekit: bool = False) -> Recipe:
    """Return the recipe in the file at `path`; relative model paths start at its folder.

    `given` are folders of models by their names in the recipe. Without a profile in the `attest:` block, a linear merge
    is `linear/f64-v1` and every other one `DEFAULT_PROFILE`; where mergekit itself has run it, it is left open.

    Raises `RecipeInvalid`, naming the file and the line, for whatever is not exactly understood, and `SourceError`.
    """
    try:
        target = path.resolve()
        data = read_whole(LocalFolder(target.parent), target.name, max_bytes=MAX_YAML_BYTES)
    except SourceMissing as error:
        raise SourceMissing(f"there is no recipe at {path}") from error
    except SourceError as error:
        raise type(error)(f"{path.parent}: {error.message}", hint=error.hint) from error
    try:
        return _recipe(path, mapping(load(data), "the recipe"), given or {}, made_by_mergekit)
    except RecipeInvalid as error:
        raise RecipeInvalid(f"{path}: {error.message}", hint=error.hint) from error


def _recipe(path: Path, top: Members, given: Mapping[str, Path], made_by_mergekit: bool) -> Recipe:
    if "name" in top.values:
        refuse(top.lines["name"], "`name` is not supported", hint="`attest sign --name` gives the name")
    refuse_others(top, _KEYS, "in a recipe")
    name = text(required(top, "merge_method", "the recipe"), "merge_method")
    if name not in METHODS:
        known = ", ".join(f"`{known}`" for known in METHODS)
        refuse(top.lines["merge_method"], f"merge_method `{name[:100]}` is not supported", hint=f"these are: {known}")
    profile = _profile(top, name, made_by_mergekit)
    notes: list[str] = []
    finder = ModelFinder(path.parent, given, adapters_allowed=profile != LINEAR_F64_V1)
    reader = _SliceReader(ParameterReader(name, METHODS[name], profile == LINEAR_F64_V1, notes), finder)
    if profile == LINEAR_F64_V1:
        _refuse_beyond_linear_f64(top)
    settings = reader.parameters.read(top)
    slices, module = reader.read(top)
    if profile == LINEAR_F64_V1 and len(slices[0].contributions) < 2:
        refuse(top.values["models"].line, "a merge has at least two models")
    if unused := finder.unused():
        raise CallerError(f"{path} names no model `{unused[0]}`", hint="write it as the recipe does")
    parents = finder.parents()
    copy_from, copy_tensors = _copies(top, parents)
    return Recipe(
        path=path,
        method=name,
        profile=profile,
        parents=parents,
        slices=slices,
        module=module,
        settings=settings,
        dtype=_dtype(top, "dtype"),
        out_dtype=_dtype(top, "out_dtype"),
        copy_from=copy_from,
        copy_tensors=copy_tensors,
        tokenizer=_tokenizer(top),
        chat_template="chat_template" in top.values,
        notes=tuple(notes),
    )


def _profile(top: Members, method: str, made_by_mergekit: bool) -> str | None:
    block = mapping(top.values["attest"], "attest") if "attest" in top.values else None
    if block is not None and "profile" in block.values:
        profile = text(block.values["profile"], "profile")
        known = (LINEAR_F64_V1, *PROFILES) if method == "linear" else PROFILES
        if profile not in known:
            line = block.lines["profile"]
            if profile == LINEAR_F64_V1:
                refuse(line, f"profile `{profile}` has no method `{method}`", hint=f"`{DEFAULT_PROFILE}` has it")
            listed = ", ".join(f"`{name}`" for name in known)
            refuse(line, f"profile `{profile[:100]}` is not known", hint=f"these are: {listed}")
        return profile
    if made_by_mergekit:
        return None
    return LINEAR_F64_V1 if method == "linear" else DEFAULT_PROFILE


def _refuse_beyond_linear_f64(top: Members) -> None:
    for name, hint in _BEYOND_LINEAR_F64.items():
        if name in top.values:
            refuse(top.lines[name], f"`{name}` is not supported", hint=hint)
    if "parameters" not in top.values:
        refuse(top.line, "`normalize` is not written", hint=_NORMALIZE_HINT)
    parameters = mapping(top.values["parameters"], "parameters")
    if "normalize" not in parameters.values:
        refuse(parameters.line, "`normalize` is not written", hint=_NORMALIZE_HINT)
    if boolean(parameters.values["normalize"]) is None:
        refuse(parameters.values["normalize"].line, "`normalize` is neither true nor false")


@dataclass(frozen=True, slots=True)
class _SliceReader:
    """Reads who gives which layers: `models`, `slices`, or the one module in `modules`."""

    parameters: ParameterReader
    finder: ModelFinder

    @property
    def method(self) -> Method:
        return self.parameters.method

    def read(self, top: Members) -> tuple[tuple[Slice, ...], Settings]:
        """Return the slices, and the settings of the module."""
        there = [name for name in _OUTPUTS if name in top.values]
        if not there:
            refuse(top.line, "the recipe has no `models`")
        if len(there) > 1:
            refuse(top.lines[there[1]], f"`{there[1]}` beside `{there[0]}`", hint="write one of them")
        if there == ["modules"]:
            return self._module(mapping(top.values["modules"], "modules"), top)
        return self._slices(top, there[0], top), {}

    def _module(self, modules: Members, top: Members) -> tuple[tuple[Slice, ...], Settings]:
        for name, line in modules.lines.items():
            if name != "default":
                refuse(line, f"the module `{name[:100]}` is not supported", hint="models of one module have `default`")
        module = mapping(required(modules, "default", "modules"), "a module")
        refuse_others(module, ("models", "slices", "parameters"), "in a module")
        there = [name for name in ("models", "slices") if name in module.values]
        if len(there) != 1:
            refuse(module.line, "a module has `models` or `slices`")
        return self._slices(module, there[0], top), self.parameters.read(module)

    def _slices(self, holder: Members, name: str, top: Members) -> tuple[Slice, ...]:
        value = items(holder.values[name], f"`{name}`")
        if not value.values:
            refuse(value.line, f"`{name}` is an empty list")
        if name == "models":
            return (self._whole_models(value.values, value.line, top),)
        return tuple(self._slice(mapping(item, "a slice"), top) for item in value.values)

    def _whole_models(self, values: tuple[Value, ...], line: int, top: Members) -> Slice:
        contributions: list[Contribution] = []
        for item in values:
            entry = mapping(item, "a model")
            refuse_others(entry, ("model", "parameters"), "of a model")
            self._add(contributions, entry, None)
        base = self._base(top)
        if base is not None and base not in [c.parent for c in contributions]:
            contributions.append(Contribution(base, line))
        return self._checked(contributions, base, {}, line)

    def _slice(self, members: Members, top: Members) -> Slice:
        if "residual_weight" in members.values:
            hint = "mergekit passes over it: take the line out"
            refuse(members.lines["residual_weight"], "`residual_weight` has no effect", hint=hint)
        refuse_others(members, ("sources", "base_model", "parameters"), "of a slice")
        sources = items(required(members, "sources", "the slice"), "`sources`")
        contributions: list[Contribution] = []
        for item in sources.values:
            entry = mapping(item, "a source")
            refuse_others(entry, ("model", "layer_range", "parameters"), "of a source")
            self._add(contributions, entry, _layer_range(required(entry, "layer_range", "the source")))
        lengths = {len(c.layers or ()) for c in contributions}
        if len(lengths) > 1:
            refuse(sources.line, f"the sources of a slice have {min(lengths)} and {max(lengths)} layers")
        holder = members if "base_model" in members.values else top
        if self.method.base is Base.FORBIDDEN and "base_model" in holder.values:
            reason = f"{self.parameters.name} does not set one apart"
            self.parameters.note(holder.lines["base_model"], "base_model", reason)
            holder = Members({}, {}, members.line)
        return self._checked(contributions, self._base(holder), self.parameters.read(members), sources.line)

    def _base(self, members: Members) -> int | None:
        if "base_model" not in members.values:
            return None
        reference = text(members.values["base_model"], "base_model")
        return self.finder.position(reference, members.lines["base_model"])

    def _add(self, contributions: list[Contribution], entry: Members, layers: range | None) -> None:
        reference = text(required(entry, "model", "the entry"), "model")
        parent = self.finder.position(reference, entry.lines["model"])
        for other in contributions:
            if other.parent == parent:
                refuse(entry.line, f"`{reference}` is the model of line {other.line} again")
        settings = self.parameters.read(entry, of_a_model=True)
        contributions.append(Contribution(parent, entry.line, layers, settings))

    def _checked(self, contributions: list[Contribution], base: int | None, settings: Settings, line: int) -> Slice:
        """Return the slice, if the method takes so many models and such a base."""
        name = self.parameters.name
        if self.method.base is Base.FORBIDDEN:
            base = None
        elif base is None and self.method.base is Base.REQUIRED:
            refuse(line, f"{name} needs a `base_model`")
        if base is not None and base not in [c.parent for c in contributions]:
            refuse(line, "the `base_model` is none of the sources")
        count = len(contributions) - (base is not None)
        if not self.method.fewest <= count <= (count if self.method.most is None else self.method.most):
            beside = " beside its base" if base is not None else ""
            refuse(line, f"{name} does not merge {count} model{'s' if count != 1 else ''}{beside}")
        return Slice(tuple(contributions), base, settings)


def _layer_range(value: Value) -> range:
    pair = items(value, "`layer_range`")
    numbers = [item.text for item in pair.values if isinstance(item, Scalar) and not item.is_quoted]
    if len(pair.values) != 2 or len(numbers) != 2 or not all(_is_layer(number) for number in numbers):
        refuse(pair.line, "`layer_range` is not two layer numbers", hint="write it like [0, 16]: 0 up to, not with, 16")
    start, stop = (int(number) for number in numbers)
    if start >= stop:
        refuse(pair.line, f"`layer_range` [{start}, {stop}] has no layers")
    return range(start, stop)


def _is_layer(number: str) -> bool:
    return number.isascii() and number.isdigit() and len(number) < 7 and (number == "0" or number[0] != "0")


def _dtype(top: Members, key: str) -> FloatDtype | None:
    if key not in top.values:
        return None
    name = text(top.values[key], key)
    if name.removeprefix("torch.") not in _DTYPES:
        refuse(top.lines[key], f"{key} `{name[:100]}` is not one of {', '.join(_DTYPES)}")
    return _DTYPES[name.removeprefix("torch.")]


def _tokenizer(top: Members) -> str | None:
    """Return the option that may change rows of embeddings, as it is written, or None."""
    if "tokenizer" not in top.values:
        source = top.values.get("tokenizer_source")
        return None if source is None else f"tokenizer_source: {text(source, 'tokenizer_source')}"
    if "tokenizer_source" in top.values:
        refuse(top.lines["tokenizer"], "`tokenizer` beside `tokenizer_source`", hint="write one of them")
    block = mapping(top.values["tokenizer"], "tokenizer")
    for name, change in (("tokens", "replaces"), ("pad_to_multiple_of", "adds")):
        if name in block.values:
            refuse(block.lines[name], f"`{name}` {change} rows of the embeddings, which no profile computes")
    refuse_others(block, ("source",), "in `tokenizer`")
    chosen = text(block.values["source"], "source") if "source" in block.values else "union"
    return f"tokenizer: {{source: {chosen}}}"


def _copies(top: Members, parents: tuple[Parent, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Return `copy_from` as an identifier, and `copy_tensors`."""
    if "attest" not in top.values:
        return None, ()
    block = mapping(top.values["attest"], "attest")
    refuse_others(block, ("profile", "copy_from", "copy_tensors"), "in the `attest` block")
    copy_from: str | None = None
    if "copy_from" in block.values:
        wanted = text(block.values["copy_from"], "copy_from")
        named = {parent.reference: parent.id for parent in parents} | {parent.id: parent.id for parent in parents}
        if wanted not in named:
            known = ", ".join(sorted(set(named.values())))
            refuse(block.lines["copy_from"], f"copy_from `{wanted[:100]}` is none of {known}")
        copy_from = named[wanted]
    if "copy_tensors" not in block.values:
        return copy_from, ()
    value = items(block.values["copy_tensors"], "`copy_tensors`")
    if copy_from is None:
        refuse(value.line, "`copy_tensors` without `copy_from`", hint="name the model that they come from")
    names = [text(item, "a tensor name") for item in value.values]
    if len(set(names)) != len(names):
        refuse(value.line, "`copy_tensors` names a tensor twice")
    return copy_from, tuple(names)
