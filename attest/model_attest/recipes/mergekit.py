"""Read the subset of mergekit's YAML that is a linear merge, and an `attest:` block.

    merge_method: linear
    models:
      - model: ../lab-a-7b                  # relative to this file, or ORG/NAME in the Hub cache
        parameters:
          weight:
            - {filter: embed_tokens, value: 1}
            - value: 0.6
      - model: ../lab-b-7b
        parameters: {weight: 0.4}
    parameters: {normalize: false}          # always written: mergekit takes true where it is left out
    out_dtype: bfloat16
    attest: {copy_from: lab-a-7b, copy_tensors: [model.rotary.inv_freq]}

Nothing is passed over: a key that has no effect here is refused by name, with its line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from model_attest.recipes.hub_cache import cached_snapshot
from model_attest.recipes.recipe import Parent, Recipe, Rule, Rules, identifiers
from model_attest.recipes.strict_yaml import MAX_YAML_BYTES, Items, Members, Scalar, Value, load, refuse
from model_verify.errors import RecipeInvalid, SourceError, SourceMissing
from model_verify.merge.coefficient import Weight, parse_weight
from model_verify.merge.methods.linear_f64 import LINEAR_F64_V1
from model_verify.models import FloatDtype
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import read_whole

_DTYPES: Mapping[str, FloatDtype] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = frozenset({"null", "Null", "NULL", "~", ""})

_TOKENIZER_HINT = "the tokenizer's files are copied from the model that `attest: copy_from` names"
_UNSUPPORTED = {
    "slices": "list whole models under `models`",
    "modules": "list whole models under `models`",
    "base_model": "a linear merge has no base: list it under `models` with its weight",
    "tokenizer_source": _TOKENIZER_HINT,
    "tokenizer": _TOKENIZER_HINT,
    "chat_template": _TOKENIZER_HINT,
    "dtype": "linear/f64-v1 computes in float64; `out_dtype` is the dtype of the result",
    "name": "`attest sign --name` gives the name",
}
"""What mergekit knows and this reader does not, and what to do instead."""


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in the file at `path`; relative model paths start at its folder.

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
        return _recipe(path, load(data))
    except RecipeInvalid as error:
        raise RecipeInvalid(f"{path}: {error.message}", hint=error.hint) from error


def _recipe(path: Path, document: Value) -> Recipe:
    top = _members(document, "the recipe")
    _refuse_others(top, ("merge_method", "models", "parameters", "out_dtype", "attest"), "in a recipe")
    method = _text(_required(top, "merge_method", "the recipe"), "merge_method")
    if method != "linear":
        refuse(top.lines["merge_method"], f"merge_method `{method[:100]}` is not supported", hint="`linear` is, so far")
    rules, normalize = _shared_parameters(top)
    parents = _parents(_required(top, "models", "the recipe"), path.parent)
    profile, copy_from, copy_tensors = _attest_block(top, parents)
    return Recipe(
        path=path,
        profile=profile,
        parents=parents,
        rules=rules,
        normalize=normalize,
        out_dtype=_out_dtype(top),
        copy_from=copy_from,
        copy_tensors=copy_tensors,
    )


def _shared_parameters(top: Members) -> tuple[Rules, bool]:
    hint = "write `parameters: {normalize: false}`, or true: mergekit takes true where it is left out"
    if "parameters" not in top.values:
        refuse(top.line, "`normalize` is not written", hint=hint)
    parameters = _members(top.values["parameters"], "parameters")
    _refuse_others(parameters, ("weight", "normalize"), "in the parameters of a linear merge")
    if "normalize" not in parameters.values:
        refuse(parameters.line, "`normalize` is not written", hint=hint)
    normalize = parameters.values["normalize"]
    if not isinstance(normalize, Scalar) or normalize.is_quoted or normalize.text not in _BOOLEANS:
        refuse(normalize.line, "`normalize` is neither true nor false")
    rules = _rules(parameters.values["weight"]) if "weight" in parameters.values else ()
    return rules, _BOOLEANS[normalize.text]


def _parents(value: Value, recipe_folder: Path) -> tuple[Parent, ...]:
    if not isinstance(value, Items):
        refuse(value.line, "`models` is not a list")
    if len(value.values) < 2:
        refuse(value.line, "a merge has at least two models")
    found: list[tuple[str, Path, Rules]] = []
    names: list[str] = []
    lines: dict[Path, int] = {}
    for item in value.values:
        entry = _members(item, "a model")
        _refuse_others(entry, ("model", "parameters"), "of a model")
        reference = _text(_required(entry, "model", "the entry"), "model")
        folder = _find_model(reference, recipe_folder, entry.lines["model"])
        if folder.root in lines:
            refuse(entry.line, f"`{reference}` is the model of line {lines[folder.root]} again")
        lines[folder.root] = entry.line
        found.append((reference, folder.root, _own_rules(entry)))
        names.append(_model_name(reference, folder))
    return tuple(
        Parent(parent_id, reference, root, rules)
        for parent_id, (reference, root, rules) in zip(identifiers(names), found, strict=True)
    )


def _own_rules(entry: Members) -> Rules:
    if "parameters" not in entry.values:
        return ()
    parameters = _members(entry.values["parameters"], "parameters")
    if "normalize" in parameters.values:
        refuse(parameters.lines["normalize"], "`normalize` is not for one model", hint="write it at the top level")
    _refuse_others(parameters, ("weight",), "in the parameters of a model")
    return _rules(parameters.values["weight"]) if "weight" in parameters.values else ()


def _find_model(reference: str, recipe_folder: Path, line: int) -> LocalFolder:
    folder = recipe_folder / reference
    if folder.is_dir():
        return LocalFolder(folder)
    if "+" in reference:
        refuse(line, f"`{reference}`: adapters (`model+lora`) are not supported", hint="merge the adapter first")
    snapshot = cached_snapshot(reference)
    if snapshot is not None:
        return LocalFolder(snapshot)
    refuse(
        line,
        f"there is no model `{reference}`",
        hint="a path is relative to the recipe; a Hub model must be in the cache: `hf download ORG/NAME`",
    )


def _model_name(reference: str, folder: LocalFolder) -> str:
    if folder.repository is not None:
        return folder.repository.rsplit("/", 1)[-1]
    name = Path(reference).name
    return folder.root.name if name in ("", ".", "..") else name


def _rules(value: Value) -> Rules:
    """Return a weight as rules: a number, or a list of conditional numbers."""
    match value:
        case Scalar():
            return (Rule(_number(value)),)
        case Items():
            if not value.values:
                refuse(value.line, "`weight` is an empty list")
            return tuple(_rule(item) for item in value.values)
        case Members():
            refuse(value.line, "`weight` is neither a number nor a list of `filter` and `value`")


def _rule(item: Value) -> Rule:
    if not isinstance(item, Members):
        refuse(
            item.line,
            "gradients (lists of numbers) are not supported",
            hint="write a list of {filter: PART OF A NAME, value: NUMBER}",
        )
    _refuse_others(item, ("filter", "value"), "of a conditional weight")
    weight = _number(_required(item, "value", "the conditional weight"))
    pattern = item.values.get("filter")
    if pattern is None or (isinstance(pattern, Scalar) and not pattern.is_quoted and pattern.text in _NULLS):
        return Rule(weight)
    return Rule(weight, _text(pattern, "filter"))


def _number(value: Value) -> Weight:
    match value:
        case Items():
            refuse(value.line, "gradients (lists of numbers) are not supported", hint="write one number")
        case Scalar(is_quoted=False):
            try:
                return parse_weight(value.text)
            except RecipeInvalid as error:
                refuse(value.line, error.message, hint=error.hint)
        case _:
            refuse(value.line, "not a number", hint="write it without quotes, like 0.6 or 1e-3")


def _out_dtype(top: Members) -> FloatDtype | None:
    if "out_dtype" not in top.values:
        return None
    name = _text(top.values["out_dtype"], "out_dtype")
    if name not in _DTYPES:
        refuse(top.lines["out_dtype"], f"out_dtype `{name[:100]}` is not one of {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _attest_block(top: Members, parents: Iterable[Parent]) -> tuple[str, str | None, tuple[str, ...]]:
    """Return profile, `copy_from` as an identifier, and `copy_tensors`."""
    if "attest" not in top.values:
        return LINEAR_F64_V1, None, ()
    block = _members(top.values["attest"], "attest")
    _refuse_others(block, ("profile", "copy_from", "copy_tensors"), "in the `attest` block")
    profile = LINEAR_F64_V1
    if "profile" in block.values:
        profile = _text(block.values["profile"], "profile")
        if profile != LINEAR_F64_V1:
            refuse(block.lines["profile"], f"profile `{profile[:100]}` is not known", hint=f"`{LINEAR_F64_V1}` is")
    copy_from: str | None = None
    if "copy_from" in block.values:
        wanted = _text(block.values["copy_from"], "copy_from")
        named = {parent.reference: parent.id for parent in parents} | {parent.id: parent.id for parent in parents}
        if wanted not in named:
            known = ", ".join(sorted(set(named.values())))
            refuse(block.lines["copy_from"], f"copy_from `{wanted[:100]}` is none of {known}")
        copy_from = named[wanted]
    return profile, copy_from, _copy_tensors(block, copy_from)


def _copy_tensors(block: Members, copy_from: str | None) -> tuple[str, ...]:
    if "copy_tensors" not in block.values:
        return ()
    value = block.values["copy_tensors"]
    if not isinstance(value, Items):
        refuse(value.line, "`copy_tensors` is not a list of tensor names")
    if copy_from is None:
        refuse(value.line, "`copy_tensors` without `copy_from`", hint="name the model that they come from")
    names = [_text(item, "a tensor name") for item in value.values]
    if len(set(names)) != len(names):
        refuse(value.line, "`copy_tensors` names a tensor twice")
    return tuple(names)


def _members(value: Value, what: str) -> Members:
    if not isinstance(value, Members):
        refuse(value.line, f"{what} is not a mapping of names to values")
    return value


def _required(members: Members, name: str, what: str) -> Value:
    if name not in members.values:
        refuse(members.line, f"{what} has no `{name}`")
    return members.values[name]


def _text(value: Value, what: str) -> str:
    if not isinstance(value, Scalar) or not value.is_text or not value.text:
        refuse(value.line, f"{what} is not text", hint="put it in quotes if it is meant")
    return value.text


def _refuse_others(members: Members, known: Iterable[str], where: str) -> None:
    for name, line in members.lines.items():
        if name in known:
            continue
        if name in _UNSUPPORTED and where == "in a recipe":
            refuse(line, f"`{name}` is not supported", hint=_UNSUPPORTED[name])
        refuse(line, f"`{name[:100]}` has no meaning {where}")
