"""Strict JSON in, canonical JSON (RFC 8785) out. Spec: statement §1.

The standard library's parser does the reading, with every liberty it takes taken away. Writing relies on two facts
that tests hold against the rfc8785 package: over our values (no any_numbers, no integers past 2^53−1) the standard
library's escapes are those of RFC 8785, and only the order of member names needs care.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NoReturn

from model_verify.errors import MalformedJson

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]

_RULE = "statement §1.1"

MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
# Possessive, and with the last quote left open: a string that never ends is passed over once, not once per quote in it.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(b for b in range(256) if b not in b"[]{}")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def loads(data: bytes, *, max_bytes: int, where: str = "", any_numbers: bool = False) -> Json:
    """Return the value that `data` writes. With `any_numbers`, numbers of any form are accepted; those
    that are no such integers are read as None.

    Raises `MalformedJson`, naming `where`, for anything that statement §1.1 excludes, and for more than `max_bytes`.

    Vectors: json/*.
    """
    try:
        return _loads(data, max_bytes, any_numbers=any_numbers)
    except MalformedJson as error:
        if error.where or not where:
            raise
        raise MalformedJson(error.reason, where=where, rule=error.rule) from error


def _loads(data: bytes, max_bytes: int, *, any_numbers: bool) -> Json:
    if len(data) > max_bytes:
        raise MalformedJson(f"{len(data)} bytes of JSON, over the limit of {max_bytes}", rule="statement §1.2")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJson(f"not UTF-8 at byte {error.start}", rule=_RULE) from error
    if text.startswith("\ufeff"):
        raise MalformedJson("a byte order mark", rule=_RULE)
    _check_depth(data)
    try:
        value: Json = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer_or_none if any_numbers else _integer,
            parse_float=_ignore_fraction if any_numbers else _refuse_fraction,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise MalformedJson(f"{error.msg} at character {error.pos}", rule=_RULE) from error
    except RecursionError as error:  # unreachable at our depth; kept so that no caller ever sees it
        raise MalformedJson("nested too deep", rule=_RULE) from error
    if _SURROGATE_ESCAPE.search(data):
        _refuse_lone_surrogates(value)
    return value


def _check_depth(data: bytes) -> None:
    """Raise if brackets nest deeper than `MAX_DEPTH`, before a recursive parser sees them.

    Each pass removes the innermost pairs at the speed of a byte search, so a bomb costs no more than 64 passes.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRINGS.sub(b"", data).translate(None, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        # Mark, then drop: `{[]}` must lose only its inner pair in one pass.
        left = brackets.replace(b"[]", b"\0").replace(b"{}", b"\0").replace(b"\0", b"")
        if not left:
            return
        if len(left) == len(brackets):
            break
        brackets = left
    raise MalformedJson(f"nested deeper than {MAX_DEPTH}, or brackets that do not match", rule=_RULE)


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise MalformedJson(f"member {json.dumps(name)} twice in one object", rule=_RULE)
            seen.add(name)
    return members


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None or abs(value := int(text)) > MAX_INTEGER:
        raise MalformedJson(f"number {text[:40]} is not an integer within ±(2^53-1)", rule=_RULE)
    return value


def _integer_or_none(text: str) -> int | None:
    try:
        return _integer(text)
    except MalformedJson:
        return None


def _ignore_fraction(text: str) -> None:
    return None


def _refuse_fraction(text: str) -> NoReturn:
    raise MalformedJson(f"number {text[:40]} is not an integer", rule=_RULE)


def _refuse_constant(text: str) -> NoReturn:
    raise MalformedJson(f"{text} is not JSON", rule=_RULE)


def _refuse_lone_surrogates(value: Json) -> None:
    pending: list[Json] = [value]
    while pending:
        item = pending.pop()
        match item:
            case str():
                _require_scalar_values(item)
            case list():
                pending.extend(item)
            case dict():
                for name in item:
                    _require_scalar_values(name)
                pending.extend(item.values())
            case int() | None:
                pass


def _require_scalar_values(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedJson("a lone surrogate in a string", rule=_RULE) from error


def dumps(value: Json | Sequence[Json]) -> bytes:
    """Return the canonical JSON of `value` as UTF-8. Spec: statement §1.3.

    Raises `ValueError` for any_numbers, integers past 2^53−1 and lone surrogates: our own bugs, never input.
    """
    return _ENCODER.encode(_ordered(value)).encode("utf-8")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)


def _ordered(value: object) -> object:
    match value:
        case dict():
            names = sorted(value)
            if not all(name.isascii() for name in names):
                names.sort(key=lambda name: name.encode("utf-16-be"))
            return {name: _ordered(value[name]) for name in names}
        case list() | tuple():
            return [_ordered(item) for item in value]
        case bool() | None | str():
            return value
        case int():
            if abs(value) > MAX_INTEGER:
                raise ValueError(f"{value} is past 2^53-1")
            return value
        case _:
            raise ValueError(f"{type(value).__name__} has no canonical JSON here")
