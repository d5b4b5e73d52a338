"""What a recipe says, whatever language it is written in: whose weights, in which parts, with which coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_verify.merge.coefficient import Weight
from model_verify.models import FloatDtype


@dataclass(frozen=True, slots=True)
class Rule:
    """A coefficient for the tensors whose names contain `filter`; for all of them where it is None or `*`."""

    weight: Weight
    filter: str | None = None

    def fits(self, tensor_name: str) -> bool:
        return self.filter is None or self.filter == "*" or self.filter in tensor_name


Rules = tuple[Rule, ...]


def first_fit(rules: Rules, tensor_name: str) -> Weight | None:
    """Return the coefficient of the first rule that fits, or None."""
    return next((rule.weight for rule in rules if rule.fits(tensor_name)), None)


@dataclass(frozen=True, slots=True)
class Parent:
    """A model that goes in: its identifier in the statement, its name in the recipe, and its folder."""

    id: str
    reference: str
    folder: Path
    rules: Rules


@dataclass(frozen=True, slots=True)
class Recipe:
    """A linear merge, ready to be resolved against the parents' tensors. `path` is the file that it was read from."""

    path: Path
    profile: str
    parents: tuple[Parent, ...]
    rules: Rules
    """For the parents whose own rules do not fit."""
    normalize: bool
    out_dtype: FloatDtype | None
    """None: each tensor's dtype in the first parent."""
    copy_from: str | None
    """Identifier of the parent that gives what cannot be blended, and the files beside the weights."""
    copy_tensors: tuple[str, ...]

    def weight_of(self, parent: Parent, tensor_name: str) -> Weight | None:
        """Return the coefficient of a tensor of a parent, or None where no rule fits; its own rules go first."""
        own = first_fit(parent.rules, tensor_name)
        return first_fit(self.rules, tensor_name) if own is None else own

    def parent(self, parent_id: str) -> Parent:
        return next(parent for parent in self.parents if parent.id == parent_id)


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
