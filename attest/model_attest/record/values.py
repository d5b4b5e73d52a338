"""Values of a running program as a record can hold them: text that is UTF-8 and bounded, numbers as decimal text.

What a program has is taken as it is, and never stops a training: text that no JSON can hold is written with escapes,
and what is too long is cut, with a mark that says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from itertools import islice

from model_attest.record.confidential import is_secret, without_secrets
from model_verify.canonical import MAX_INTEGER
from model_verify.models import MAX_ENTRIES, MAX_TEXT

Setting = bool | int | str
MAX_NAME = 128
_MOST_NESTED = 8
_CUT = "…"


def safe_text(value: object, most: int = MAX_TEXT) -> str:
    """Return `value` as text of at most `most` characters that every JSON document can hold."""
    try:
        text = str(value)
    except Exception:  # an object of somebody else's, in the middle of a training
        text = f"a {type(value).__name__} that has no text"
    text = text[: most + 1].encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= most else text[: most - len(_CUT)] + _CUT


def decimal(value: float) -> str:
    """Return the shortest decimal text that means this float64, by the grammar of merge §1; or nan, inf, -inf."""
    return repr(float(value)) if math.isfinite(value) else str(float(value))


def settings(values: Mapping[str, object]) -> dict[str, Setting]:
    """Return settings as a record holds them, by name. What is nested gets names with dots.

    None is left out, and so are secrets.
    """
    flat = ((safe_text(name, MAX_NAME), value) for name, value in _flat("", values, 0) if name and not is_secret(name))
    return dict(islice(flat, MAX_ENTRIES))


def _flat(prefix: str, values: Mapping[str, object], depth: int) -> Iterator[tuple[str, Setting]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        match value:
            case None:
                pass
            case Mapping() if value and depth < _MOST_NESTED:
                yield from _flat(f"{path}.", value, depth + 1)
            case _:
                yield path, _setting(value)


def _setting(value: object) -> Setting:
    match value:
        case Enum():
            return _setting(value.value)
        case bool():
            return value
        case int() if abs(value) <= MAX_INTEGER:
            return int(value)
        case float():
            return decimal(value)
        case list() | tuple() | set() | frozenset():
            items = sorted(map(safe_text, value)) if isinstance(value, set | frozenset) else value
            return safe_text(", ".join(str(_setting(item)) for item in items))
        case _:
            return without_secrets(safe_text(value))


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
