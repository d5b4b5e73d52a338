"""What a recipe says, whatever language it is written in: whose weights, in which layers, with which parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model_attest.recipes.settings import Settings
from model_verify.models import FloatDtype


@dataclass(frozen=True, slots=True)
class Parent:
    """A model that goes in: its identifier in the statement, its name in the recipe, and its folder."""

    id: str
    reference: str
    folder: Path
    adapter: Path | None = None
    """The folder of an adapter that is merged into it first."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one parent gives to a slice: these of its layers, or all of them where it is None."""

    parent: int
    """Position in the recipe's parents."""
    line: int
    layers: range | None = None
    settings: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slice:
    """Some layers of the output, one after the other, each merged from one layer of every contribution."""

    contributions: tuple[Contribution, ...]
    base: int | None = None
    """Position in the recipe's parents."""
    settings: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A merge, ready to be resolved against the parents' tensors. `path` is the file that it was read from."""

    path: Path
    method: str
    profile: str | None
    """None where a mergekit profile is still to be found."""
    parents: tuple[Parent, ...]
    slices: tuple[Slice, ...]
    module: Settings
    settings: Settings
    """For parents and slices whose own settings do not fit."""
    dtype: FloatDtype | None = None
    """What operands are rounded to first; None: the dtype that holds all of theirs."""
    out_dtype: FloatDtype | None = None
    """None: what the method gives."""
    copy_from: str | None = None
    """Identifier of the parent that gives what cannot be blended, and the files beside the weights."""
    copy_tensors: tuple[str, ...] = ()
    tokenizer: str | None = None
    """The option of mergekit's that may permute the rows of embeddings, as it is written."""
    chat_template: bool = False
    notes: tuple[str, ...] = ()
    """What is written and has no effect."""

    def position(self, parent_id: str) -> int:
        return [parent.id for parent in self.parents].index(parent_id)

    def scopes(self, part: Slice, contribution: Contribution | None) -> tuple[Settings, ...]:
        """Return the settings that count for a slice, or for what one parent gives to it, innermost first."""
        own = () if contribution is None else (contribution.settings,)
        return (*own, part.settings, self.module, self.settings)


def identifiers(names: Sequence[str]) -> list[str]:
    """Return an identifier for each name, made of its own characters where they are allowed, and all distinct.

    Spec: pipeline §1.
    """
    chosen: list[str] = []
    for name in names:
        allowed = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name).lstrip("._-")
        stem = candidate = allowed[:64] or "model"
        number = 1
        while candidate in chosen:
            number += 1
            candidate = f"{stem[: 64 - len(f'-{number}')]}-{number}"
        chosen.append(candidate)
    return chosen
