"""YAML with everything taken away that a recipe does not need: one document of mappings, lists and plain scalars.

Scalars keep the text that was written, because a coefficient is an exact decimal: `0.60` stays `0.60`, and no parser's
idea of a number comes in between. Every error names the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import yaml
from yaml.events import AliasEvent, CollectionStartEvent, ScalarEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from model_verify.errors import RecipeInvalid

MAX_YAML_BYTES = 1 << 20
MAX_DEPTH = 16
_STRING_TAG = "tag:yaml.org,2002:str"
_NUMBER_TAGS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar as it was written.

    `is_text`: quoted, or nothing that YAML would take for a number, boolean or null. `is_number`: what YAML 1.1 takes
    for a number, which is less and more than JSON does: not `1e-3`, but `1:30`.
    """

    text: str
    line: int
    is_text: bool
    is_quoted: bool
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    values: tuple[Value, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Members:
    """A mapping; `lines` has the line of each key."""

    values: dict[str, Value]
    lines: dict[str, int]
    line: int


Value = Scalar | Items | Members


class _Loader(yaml.SafeLoader):
    """Composes nodes and never makes an object of one."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent) or event.anchor is not None:
            raise RecipeInvalid(f"line {line}: anchors and aliases are not supported", hint="write the value out")
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
            raise RecipeInvalid(f"line {line}: tags are not supported: {event.tag[:100]}")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RecipeInvalid(f"line {line}: nested deeper than {MAX_DEPTH}")
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def load(data: bytes) -> Value:
    """Return the one document in `data`. Raises `RecipeInvalid` for whatever is no such document."""
    if len(data) > MAX_YAML_BYTES:
        raise RecipeInvalid(f"{len(data)} bytes of YAML, over the limit of {MAX_YAML_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeInvalid(f"not UTF-8 at byte {error.start}") from error
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise RecipeInvalid(f"line {line}: {error.problem or error.context or 'not YAML'}") from error
    except yaml.YAMLError as error:
        raise RecipeInvalid(f"not YAML: {str(error).splitlines()[0]}") from error
    if node is None:
        raise RecipeInvalid("the file is empty")
    return _value(node)


def _value(node: Node) -> Value:
    line = node.start_mark.line + 1
    match node:
        case ScalarNode():
            quoted = node.style is not None
            return Scalar(node.value, line, quoted or node.tag == _STRING_TAG, quoted, node.tag in _NUMBER_TAGS)
        case SequenceNode():
            return Items(tuple(_value(item) for item in node.value), line)
        case MappingNode():
            return _members(node, line)
        case _:
            raise AssertionError(node)  # YAML has no fourth kind


def _members(node: MappingNode, line: int) -> Members:
    values: dict[str, Value] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key = _value(key_node)
        if not isinstance(key, Scalar) or (key.text == "<<" and not key.is_quoted):
            refuse(key.line, "a key is not a plain name")
        if key.text in values:
            refuse(key.line, f"`{key.text[:100]}` is there twice, first in line {lines[key.text]}")
        values[key.text] = _value(value_node)
        lines[key.text] = key.line
    return Members(values, lines, line)


def refuse(line: int, problem: str, *, hint: str | None = None) -> NoReturn:
    """Raise `RecipeInvalid` for what stands in `line`."""
    raise RecipeInvalid(f"line {line}: {problem}", hint=hint)
