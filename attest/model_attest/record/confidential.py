"""What does not go into a record, which will be published: secrets, by the names that they are given and by their form.

This is care, and no guarantee: whoever signs a record reads it first (`attest inspect` shows it afterwards).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

WITHHELD = "(withheld)"

_WORDS = frozenset({"secret", "secrets", "password", "passwd", "passphrase", "credential", "credentials", "apikey"})
_KINDS_OF_KEY = frozenset({"api", "access", "private", "secret", "account", "signing", "encryption"})
_TOKENS_OF_TEXT = frozenset({"eos", "bos", "pad", "unk", "sep", "cls", "mask", "image", "audio", "video", "special"})
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_FORMS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{16,}|gh[a-z]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|xox[a-z]-[A-Za-z0-9-]{10,}|AKIA[A-Z0-9]{16}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_.-]+)"
)
"""Tokens of well-known services, and JSON Web Tokens."""
_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^/@\s]*@", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Return whether a setting, an option or a variable of this name holds a secret."""
    parts = [part.lower() for part in _PART.findall(name)]
    if not parts:
        return False
    before = parts[-2] if len(parts) > 1 else ""
    return (
        not _WORDS.isdisjoint(parts)
        or (parts[-1] == "token" and before not in _TOKENS_OF_TEXT)
        or (parts[-1] in ("key", "keys") and before in _KINDS_OF_KEY)
    )


def without_secrets(text: str) -> str:
    """Return `text` without tokens of well-known forms and without the user and the password of an address."""
    return _USER.sub(r"\1", _FORMS.sub(WITHHELD, text))


def arguments_without_secrets(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the values of options withheld whose names say that they are secrets."""
    return list(_withholding(arguments))


def _withholding(arguments: Sequence[str]) -> Iterator[str]:
    withhold_next = False
    for argument in arguments:
        if withhold_next and not argument.startswith("-"):
            withhold_next = False
            yield WITHHELD
            continue
        option, equals, _ = argument.partition("=")
        names_secret = is_secret(option) and (option.startswith("-") or bool(equals))
        withhold_next = names_secret and not equals
        yield f"{option}={WITHHELD}" if names_secret and equals else without_secrets(argument)
