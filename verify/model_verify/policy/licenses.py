"""SPDX licence expressions, and whether one can be satisfied under a policy. Spec: policy §4.

Which identifiers exist is not looked at: they are compared as text, without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_DEPTH = 16
"""Parentheses within each other."""

_TOKEN = re.compile(r"\s*(?:(?P<mark>[()])|(?P<word>[A-Za-z0-9.-]+(?::[A-Za-z0-9.-]+)?\+?))", re.ASCII)
_OPERATORS = frozenset({"AND", "OR", "WITH"})


class MalformedLicense(ValueError):
    """Text that is no licence expression."""


@dataclass(frozen=True, slots=True)
class License:
    """One licence: its identifier, perhaps with `+`, and its exception, both in lower case."""

    identifier: str
    exception: str | None = None

    @property
    def bare(self) -> License:
        """The licence without `+` and exception: whoever denies it denies these forms too."""
        return License(self.identifier.removesuffix("+"))


@dataclass(frozen=True, slots=True)
class Expression:
    """A choice between lists of licences, each of which binds whoever chooses the list."""

    choices: frozenset[frozenset[License]]

    def is_satisfied(self, accepts: Callable[[License], bool]) -> bool:
        """Return whether there is a choice with nothing but licences that are accepted."""
        return any(all(map(accepts, choice)) for choice in self.choices)


MAX_CHOICES = 256
"""Choices that an expression may come to; `(A OR B) AND (C OR D)` comes to four."""


def read_license(text: str) -> License:
    """Return the one licence that `text` names; raises `MalformedLicense` for an expression of several."""
    listed = [license for choice in read_expression(text).choices for license in choice]
    if len(listed) != 1:
        raise MalformedLicense("more than one licence")
    return listed[0]


def read_expression(text: str) -> Expression:
    """Return the expression that `text` writes; raises `MalformedLicense`."""
    reader = _Reader(_tokens(text))
    choices = reader.read_or(0)
    if reader.next is not None:
        raise MalformedLicense(f"nothing expected at `{reader.next}`")
    return Expression(choices)


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    place, text = 0, text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise MalformedLicense(f"no licence expression from character {place}")
        token = match["mark"] or match["word"]
        # SPDX takes operators in upper case and in lower case, and nothing between.
        tokens.append(token.upper() if token.islower() and token.upper() in _OPERATORS else token)
        place = match.end()
    return tokens


Choices = frozenset[frozenset[License]]


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.place = 0

    @property
    def next(self) -> str | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self, token: str) -> bool:
        if self.next != token:
            return False
        self.place += 1
        return True

    def read_or(self, depth: int) -> Choices:
        choices = self.read_and(depth)
        while self.take("OR"):
            choices = _limited(choices | self.read_and(depth))
        return choices

    def read_and(self, depth: int) -> Choices:
        choices = self.read_one(depth)
        while self.take("AND"):
            others = self.read_one(depth)
            choices = _limited(frozenset(one | other for one in choices for other in others))
        return choices

    def read_one(self, depth: int) -> Choices:
        if self.take("("):
            if depth == MAX_DEPTH:
                raise MalformedLicense(f"more than {MAX_DEPTH} parentheses within each other")
            choices = self.read_or(depth + 1)
            if not self.take(")"):
                raise MalformedLicense("a parenthesis is not closed")
            return choices
        identifier = self.read_word()
        exception = self.read_word() if self.take("WITH") else None
        return frozenset({frozenset({License(identifier, exception)})})

    def read_word(self) -> str:
        word = self.next
        if word is None or word in _OPERATORS or word in "()":
            raise MalformedLicense(f"a licence is expected, not {f'`{word}`' if word else 'the end'}")
        self.place += 1
        return word.lower()


def _limited(choices: Choices) -> Choices:
    if len(choices) > MAX_CHOICES:
        raise MalformedLicense(f"more than {MAX_CHOICES} choices")
    return choices
