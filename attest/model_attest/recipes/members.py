"""Parts of a YAML document taken apart, with errors that name the line. Nothing is passed over."""

from __future__ import annotations

from collections.abc import Iterable

from model_attest.recipes.strict_yaml import Items, Members, Scalar, Value, refuse

_NULLS = frozenset({"null", "Null", "NULL", "~", ""})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def mapping(value: Value, what: str) -> Members:
    if not isinstance(value, Members):
        refuse(value.line, f"{what} is not a mapping of names to values")
    return value


def items(value: Value, what: str) -> Items:
    if not isinstance(value, Items):
        refuse(value.line, f"{what} is not a list")
    return value


def required(members: Members, name: str, what: str) -> Value:
    if name not in members.values:
        refuse(members.line, f"{what} has no `{name}`")
    return members.values[name]


def text(value: Value, what: str) -> str:
    if not isinstance(value, Scalar) or not value.is_text or not value.text:
        refuse(value.line, f"{what} is not text", hint="put it in quotes if it is meant")
    return value.text


def boolean(value: Value) -> bool | None:
    """Return what a plain `true` or `false` says, or None. `yes` and `on` are booleans to YAML 1.1 alone."""
    if isinstance(value, Scalar) and not value.is_quoted:
        return _BOOLEANS.get(value.text)
    return None


def is_null(value: Value) -> bool:
    return isinstance(value, Scalar) and not value.is_quoted and value.text in _NULLS


def refuse_others(members: Members, known: Iterable[str], where: str) -> None:
    """Refuse every key that is not known, by name."""
    for name, line in members.lines.items():
        if name not in known:
            refuse(line, f"`{name[:100]}` has no meaning {where}")
