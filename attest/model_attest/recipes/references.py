"""Find the models that a recipe names: folders beside it, folders that the caller gives, and the Hub cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_attest.recipes.hub_cache import cached_snapshot
from model_attest.recipes.recipe import Parent, identifiers
from model_attest.recipes.strict_yaml import refuse
from model_verify.sources.local import LocalFolder


@dataclass(slots=True)
class ModelFinder:
    """Gives every model of a recipe a position; the same folders under two names are one model."""

    recipe_folder: Path
    given: Mapping[str, Path]
    """Folders of models by their names in the recipe."""
    adapters_allowed: bool
    _found: dict[tuple[Path, Path | None], tuple[str, str]] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    def position(self, reference: str, line: int) -> int:
        """Return the position of the model `reference`. Raises `RecipeInvalid` where there is no such model."""
        model, plus, adapter = reference.partition("+")
        if plus and self._is_here(reference):
            model, plus = reference, ""  # a folder that has the sign in its name
        if plus and not self.adapters_allowed:
            hint = "merge the adapter first"
            refuse(line, f"`{reference}`: adapters (`model+lora`) are not supported", hint=hint)
        if "+" in adapter:
            refuse(line, f"`{reference}`: more than one `+`")
        folder = self._find(model, line)
        lora = self._find(adapter, line) if plus else None
        key = (folder.root, None if lora is None else lora.root)
        names = [_name(model, folder)] + ([_name(adapter, lora)] if lora is not None else [])
        self._found.setdefault(key, (reference, "-".join(names)))
        return list(self._found).index(key)

    def unused(self) -> list[str]:
        """Return the names of the given folders that no model of the recipe has."""
        return sorted(set(self.given) - self._used)

    def parents(self) -> tuple[Parent, ...]:
        ids = identifiers([name for _, name in self._found.values()])
        return tuple(
            Parent(parent_id, reference, folder, adapter)
            for parent_id, ((folder, adapter), (reference, _)) in zip(ids, self._found.items(), strict=True)
        )

    def _is_here(self, reference: str) -> bool:
        return reference in self.given or (self.recipe_folder / reference).is_dir()

    def _find(self, reference: str, line: int) -> LocalFolder:
        if reference in self.given:
            self._used.add(reference)
            return LocalFolder(self.given[reference])
        folder = self.recipe_folder / reference
        if folder.is_dir():
            return LocalFolder(folder)
        snapshot = cached_snapshot(reference)
        if snapshot is not None:
            return LocalFolder(snapshot)
        refuse(
            line,
            f"there is no model `{reference}`",
            hint="a path is relative to the recipe; a Hub model must be in the cache: `hf download ORG/NAME`",
        )


def _name(reference: str, folder: LocalFolder) -> str:
    if folder.repository is not None:
        return folder.repository.rsplit("/", 1)[-1]
    name = Path(reference).name
    return folder.root.name if name in ("", ".", "..") else name
