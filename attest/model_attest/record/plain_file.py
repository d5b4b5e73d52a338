"""A JSON or YAML file as plain values: text, whole numbers, true and false, lists and objects; nothing else.

In YAML, a fraction keeps the text that was written, so that `0.10` and `2e-5` are what they are; in JSON it is written
as text. What YAML reads in two ways (`yes`, `012`, `1:30`) is refused, and so is null.
"""

from __future__ import annotations

import re
from pathlib import Path

from model_attest.recipes import strict_yaml
from model_attest.recipes.members import boolean, is_null
from model_attest.recipes.strict_yaml import Items, Members, Scalar, Value
from model_verify.canonical import MAX_INTEGER, Json, loads
from model_verify.errors import CallerError, MalformedJson, RecipeInvalid
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import read_whole

MAX_FILE_BYTES = 16 << 20
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_AMBIGUOUS = re.compile(r"yes|no|on|off|y|n", re.IGNORECASE)


def read_plain(path: Path) -> dict[str, Json]:
    """Return the object in a file whose name ends in .json, .yaml or .yml.

    Raises `RecipeInvalid` that names the file, `CallerError` for another kind of file, and `SourceError`.
    """
    suffix = path.suffix.lower()
    if suffix not in (".json", ".yaml", ".yml"):
        raise CallerError(f"{path} is neither JSON nor YAML by its name", hint="let it end in .json, .yaml or .yml")
    target = path.resolve()  # named by the caller, so a link may lead anywhere
    data = read_whole(LocalFolder(target.parent), target.name, max_bytes=MAX_FILE_BYTES)
    try:
        found = loads(data, max_bytes=MAX_FILE_BYTES) if suffix == ".json" else _plain(strict_yaml.load(data))
    except MalformedJson as error:
        raise RecipeInvalid(f"{path}: {error.reason}") from error
    except RecipeInvalid as error:
        raise RecipeInvalid(f"{path}: {error.message}", hint=error.hint) from error
    if not isinstance(found, dict):
        raise RecipeInvalid(f"{path}: not an object of names and values")
    return found


def _plain(value: Value) -> Json:
    match value:
        case Members():
            return {name: _plain(member) for name, member in value.values.items()}
        case Items():
            return [_plain(item) for item in value.values]
        case Scalar():
            return _scalar(value)


def _scalar(scalar: Scalar) -> bool | int | str:
    truth = boolean(scalar)
    if scalar.is_quoted:
        return scalar.text
    if truth is not None:
        return truth
    if is_null(scalar):
        strict_yaml.refuse(scalar.line, "nothing is written", hint='leave it out, or write "" for an empty text')
    if _INTEGER.fullmatch(scalar.text) and abs(int(scalar.text)) <= MAX_INTEGER:
        return int(scalar.text)
    if _AMBIGUOUS.fullmatch(scalar.text) or (scalar.is_number and not _DECIMAL.fullmatch(scalar.text)):
        hint = "write true or false, a plain number, or text in quotes"
        strict_yaml.refuse(scalar.line, f"`{scalar.text[:100]}` can be read in two ways", hint=hint)
    return scalar.text
