"""The parents of a merge: their folders are opened, read once and hashed, whoever merges or records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_attest.recipes.recipe import Parent, Recipe
from model_attest.resolution import Model, read_model
from model_verify.errors import AmbiguousWeights, MalformedWeights
from model_verify.models import Material, MaterialDigest
from model_verify.sources.local import LocalFolder
from model_verify.tensors import TensorInfo
from model_verify.weight_sets import FolderWeights, read_weight_sets

if TYPE_CHECKING:
    from model_verify.checkpoints import JobBoard
    from model_verify.replay import ReplayResult


@dataclass(frozen=True, slots=True)
class ParentModel:
    """A parent with its weights' layout, and what its config.json says."""

    parent: Parent
    source: LocalFolder
    weights: FolderWeights
    model: Model

    @property
    def node(self) -> str:
        return f"parent {self.parent.id}"

    def material(self, result: ReplayResult) -> Material:
        """Return the parent as a statement names it, pinned by the root of what was read."""
        source = self.source
        uri = f"{source.repository}@{source.commit}" if source.repository and source.commit else None
        digest = MaterialDigest(checkpoint_root=result.checkpoint_root(self.node))
        return Material(name=self.parent.id, digest=digest, uri=uri)


def read_parents(recipe: Recipe) -> list[ParentModel]:
    """Return the recipe's parents, weights not yet read. Raises `MalformedInput` and `SourceError`, naming one."""
    return [_read_parent(parent) for parent in recipe.parents]


def _read_parent(parent: Parent) -> ParentModel:
    source = LocalFolder(parent.folder)
    try:
        weights = read_weight_sets(source)
        tensors = {stored.info.name: stored.info for stored in weights.require().tensors}
    except (AmbiguousWeights, MalformedWeights) as error:
        where = f"parent {parent.id}: {error.where}".removesuffix(": ")
        raise type(error)(error.reason, where=where, rule=error.rule) from error
    return ParentModel(parent, source, weights, read_model(source, tensors))


def open_parents(
    parents: Sequence[ParentModel], board: JobBoard, stack: ExitStack
) -> list[tuple[str, Mapping[str, TensorInfo]]]:
    """Put all parents on the board; return the engine's node and the tensors of each. Open until `stack` closes."""
    from model_verify.checkpoints import open_checkpoint

    inputs: list[tuple[str, Mapping[str, TensorInfo]]] = []
    for parent in parents:
        tensors = {stored.info.name: stored for stored in parent.weights.require().tensors}
        checkpoint = open_checkpoint(parent.node, parent.source, tensors, parent.weights.files, stack)
        board.add_checkpoint(checkpoint)
        inputs.append((checkpoint.node, checkpoint.infos))
    return inputs


def total_bytes(recipe: Recipe) -> int:
    """Return about how many bytes the parents' weights have, for whoever shows progress."""
    weights = [read_weight_sets(LocalFolder(parent.folder)).require() for parent in recipe.parents]
    return sum(stored.info.size_bytes for weight_set in weights for stored in weight_set.tensors)
