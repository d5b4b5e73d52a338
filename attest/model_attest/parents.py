"""The parents of a merge: their folders are opened, read once and hashed, whoever merges or records.

folder   a model or an adapter on this machine: a material
parent   what the recipe merges: a folder, or an adapter merged into a model, which is a step of its own
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from model_attest.adapters import AdapterParts, read_config, read_parts
from model_attest.recipes.recipe import Recipe, identifiers
from model_attest.record.inputs import named_records
from model_attest.record.steps import joined_records, main_records, read_records, record_of
from model_attest.resolution import Model, read_model
from model_verify.binding import BoundStep, bind_step
from model_verify.digest import CheckpointRoot
from model_verify.errors import AmbiguousWeights, MalformedDocument, MalformedWeights, RecipeInvalid
from model_verify.models import (
    FloatDtype,
    LoraStep,
    LoraTarget,
    Material,
    MaterialDigest,
    MergekitStep,
    MergeStep,
    StepOutput,
    StepRecord,
)
from model_verify.operations import BLENDABLE_DTYPES
from model_verify.sources.local import LocalFolder
from model_verify.tensors import TensorInfo
from model_verify.weight_sets import FolderWeights, read_weight_sets

if TYPE_CHECKING:
    from model_verify.checkpoints import JobBoard, OpenCheckpoint
    from model_verify.replay import ReplayResult

_UNKNOWN_ROOT = CheckpointRoot(bytes(32))

Node = tuple[str, Mapping[str, TensorInfo]]
"""A checkpoint of the engine, and its tensors."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with weights: its identifier in the statement, its weights' layout, what its config.json says.

    `records` are those of the steps that gave weights in this folder. Where they gave those that are there, the last of
    them is the input, and not a material.
    """

    id: str
    source: LocalFolder
    weights: FolderWeights
    model: Model
    records: tuple[StepRecord, ...] = ()

    @property
    def node(self) -> str:
        return f"parent {self.id}"

    def lineage(self, result: ReplayResult) -> tuple[StepRecord, ...]:
        """Return the records of the steps that gave the weights that were read, the last under this identifier."""
        if not self.records or self.records[-1].step.output.checkpoint_root != result.checkpoint_root(self.node):
            return ()
        return named_records(self.records, self.id)[1]

    def material(self, result: ReplayResult) -> Material:
        """Return the folder as a statement names it, pinned by the root of what was read."""
        source = self.source
        uri = f"{source.repository}@{source.commit}" if source.repository and source.commit else None
        digest = MaterialDigest(checkpoint_root=result.checkpoint_root(self.node))
        return Material(name=self.id, digest=digest, uri=uri)


@dataclass(frozen=True, slots=True)
class AdaptedParent:
    """An adapter merged into a model: positions of both among the folders, and the step but for its output root."""

    model: int
    adapter: int
    step: LoraStep
    bound: BoundStep


@dataclass(frozen=True, slots=True)
class Parents:
    """All folders, and what each parent of the recipe is: the position of a folder, or an adapter merged into one."""

    folders: tuple[Folder, ...]
    parents: tuple[int | AdaptedParent, ...]

    @property
    def models(self) -> list[Model]:
        """Return the parents as the recipe is resolved against them."""
        return [
            self.folders[parent].model
            if isinstance(parent, int)
            else replace(self.folders[parent.model].model, tensors=parent.bound.outputs)
            for parent in self.parents
        ]

    @property
    def adapted(self) -> list[AdaptedParent]:
        return [parent for parent in self.parents if not isinstance(parent, int)]

    def open(self, stack: ExitStack) -> list[OpenCheckpoint]:
        """Return all folders, open until `stack` closes."""
        from model_verify.checkpoints import open_checkpoint

        return [
            open_checkpoint(
                folder.node,
                folder.source,
                {stored.info.name: stored for stored in folder.weights.require().tensors},
                folder.weights.files,
                stack,
            )
            for folder in self.folders
        ]

    def put(
        self,
        board: JobBoard,
        opened: Sequence[OpenCheckpoint],
        name: str,
        only: Sequence[AbstractSet[str]] | None = None,
    ) -> list[Node]:
        """Put the steps of adapters on the board; return the node of each parent, and its tensors.

        `name` tells nodes of the same step apart. With `only`, no more than these tensors of each parent are computed.
        """
        nodes: list[Node] = []
        for position, parent in enumerate(self.parents):
            if isinstance(parent, int):
                nodes.append((opened[parent].node, opened[parent].infos))
                continue
            bound = parent.bound if only is None else _restricted(parent.bound, only[position])
            node = _adapted_node(name, parent)
            inputs = [(opened[at].node, opened[at].infos) for at in (parent.model, parent.adapter)]
            board.add_step(node, bound, inputs)
            nodes.append((node, bound.outputs))
        return nodes

    def needed(self, only: Sequence[AbstractSet[str]]) -> list[set[str]]:
        """Return the tensors of each folder that these tensors of each parent come from."""
        needed: list[set[str]] = [set() for _ in self.folders]
        for parent, names in zip(self.parents, only, strict=True):
            if isinstance(parent, int):
                needed[parent] |= names
                continue
            for name in names:
                for operand in parent.bound.operations[name].operands:
                    needed[(parent.model, parent.adapter)[operand.position]].add(operand.info.name)
        return needed

    def records(self, result: ReplayResult, name: str, merge: MergeStep | MergekitStep) -> list[StepRecord]:
        """Return the records of all that leads to the merge, and its own.

        First those of the parents' own steps, then the adapters', with the roots of what was computed under `name`.
        Raises `CallerError` where one identifier stands for two things.
        """
        records = [record for folder in self.folders for record in folder.lineage(result)]
        for parent in self.adapted:
            root = result.checkpoint_root(_adapted_node(name, parent))
            step = parent.step.model_copy(update={"output": StepOutput(checkpoint_root=root)})
            records.append(record_of(step, self._new_materials([parent.model, parent.adapter], result)))
        direct = [parent for parent in self.parents if isinstance(parent, int)]
        return joined_records([*records, record_of(merge, self._new_materials(direct, result))])

    def _new_materials(self, folders: Sequence[int], result: ReplayResult) -> list[Material]:
        return [self.folders[at].material(result) for at in folders if not self.folders[at].lineage(result)]

    def materials(self, result: ReplayResult) -> list[Material]:
        return [folder.material(result) for folder in self.folders]

    def without_effect(self, result: ReplayResult, name: str, merge_node: str) -> list[str]:
        """Return the identifiers of what changes nothing: of folders, and of adapted parents."""
        steps = [(merge_node, list(zip(self._ids, self._nodes(name), strict=True)))]
        for parent in self.adapted:
            folders = [self.folders[at] for at in (parent.model, parent.adapter)]
            steps.append((_adapted_node(name, parent), [(folder.id, folder.node) for folder in folders]))
        return [one for step, inputs in steps for one, node in inputs if (step, node) not in result.effective]

    @property
    def _ids(self) -> list[str]:
        return [self.folders[p].id if isinstance(p, int) else p.step.id for p in self.parents]

    def _nodes(self, name: str) -> list[str]:
        return [self.folders[p].node if isinstance(p, int) else _adapted_node(name, p) for p in self.parents]


def _adapted_node(name: str, parent: AdaptedParent) -> str:
    return f"{name}: {parent.step.id}"


def _restricted(bound: BoundStep, names: AbstractSet[str]) -> BoundStep:
    return BoundStep({name: operation for name, operation in bound.operations.items() if name in names}, ())


# Reading.


@dataclass(frozen=True, slots=True)
class ParentFolders:
    """The folders of a recipe's parents; adapters are not yet bound to a dtype in which their model was loaded."""

    recipe: Recipe
    folders: tuple[Folder, ...]
    places: tuple[tuple[int, int | None], ...]
    """For each parent, the positions of its model and of its adapter."""
    parts: Mapping[int, AdapterParts]
    """By the parent's position."""

    @property
    def models(self) -> list[Folder]:
        """Return the model of each parent."""
        return [self.folders[model] for model, _ in self.places]

    @property
    def copied_source(self) -> LocalFolder | None:
        """Return the model whose other files go with the result, where the recipe names one."""
        if self.recipe.copy_from is None:
            return None
        return self.models[self.recipe.position(self.recipe.copy_from)].source

    @property
    def load_dtypes(self) -> list[FloatDtype | None]:
        """Return the dtypes in which models with adapters may have been loaded; None: as they are stored."""
        stored = {
            info.dtype
            for model, adapter in self.places
            if adapter is not None
            for info in self.folders[model].model.tensors.values()
            if info.dtype in BLENDABLE_DTYPES
        }
        others: list[FloatDtype | None] = [dtype for dtype in _FLOATS if stored != {dtype}]
        return [None, *others] if stored else [None]

    def loaded_as(self, dtype: FloatDtype | None) -> Parents:
        """Return the parents with every adapter merged by peft into its model, loaded in `dtype`.

        Raises `RecipeInvalid` for an adapter that is for another model.
        """
        parents: list[int | AdaptedParent] = []
        for position, (model, adapter) in enumerate(self.places):
            if adapter is None:
                parents.append(model)
            else:
                parents.append(self._adapted(position, model, adapter, dtype))
        return Parents(self.folders, tuple(parents))

    def _adapted(self, position: int, model: int, adapter: int, dtype: FloatDtype | None) -> AdaptedParent:
        parts = self.parts[position]
        tensors = self.folders[model].model.tensors
        step = LoraStep(
            id=self.recipe.parents[position].id,
            type="lora",
            profile="peft",
            inputs=[self.folders[model].id, self.folders[adapter].id],
            output=StepOutput(checkpoint_root=_UNKNOWN_ROOT),
            dtype=dtype,
            targets=[_rounded(target, parts, dtype or tensors[target.tensor].dtype) for target in parts.targets],
            replaced=list(parts.replaced) or None,
        )
        bound = bind_step(step, [tensors, self.folders[adapter].model.tensors])
        for finding in bound.findings:
            where = finding.where.removeprefix(f"{step.id}: ")
            reference = self.recipe.parents[position].reference
            raise RecipeInvalid(f"{self.recipe.path}: `{reference}`: {where}: {finding.actual}")
        return AdaptedParent(model, adapter, step, bound)


_FLOATS: tuple[FloatDtype, ...] = ("F32", "BF16", "F16")


def _rounded(target: LoraTarget, parts: AdapterParts, dtype: str) -> LoraTarget:
    """Return a target as peft merges it, which rounds what is added to embeddings."""
    rounded = next((one for one in _FLOATS if one == dtype and one != "F32"), None)
    if rounded is None or target.tensor not in parts.embeddings:
        return target
    return target.model_copy(update={"delta_dtype": rounded})


def read_parents(recipe: Recipe) -> ParentFolders:
    """Return the folders of the recipe's parents, weights not yet read.

    Raises `MalformedInput` and `SourceError`, naming one; `RecipeInvalid` for an adapter that has no step.
    """
    paths: list[Path] = []
    names: dict[Path, str] = {}
    for parent in recipe.parents:
        for path in (parent.folder,) if parent.adapter is None else (parent.folder, parent.adapter):
            if path not in paths:
                paths.append(path)
        if parent.adapter is None:
            names[parent.folder] = parent.id
    taken = [parent.id for parent in recipe.parents]
    for path in paths:
        if path not in names:
            names[path] = identifiers([*taken, _name(path)])[-1]
            taken.append(names[path])
    folders = tuple(_read_folder(names[path], path) for path in paths)
    places = tuple(
        (paths.index(parent.folder), None if parent.adapter is None else paths.index(parent.adapter))
        for parent in recipe.parents
    )
    parts = {
        position: read_parts(
            read_config(folders[adapter].source), folders[adapter].model.tensors, folders[model].model.tensors
        )
        for position, (model, adapter) in enumerate(places)
        if adapter is not None
    }
    return ParentFolders(recipe, folders, places, parts)


def _name(path: Path) -> str:
    source = LocalFolder(path)
    return source.repository.rsplit("/", 1)[-1] if source.repository is not None else path.name


def _read_folder(name: str, path: Path) -> Folder:
    source = LocalFolder(path)
    try:
        weights = read_weight_sets(source)
        tensors = {stored.info.name: stored.info for stored in weights.require().tensors}
    except (AmbiguousWeights, MalformedWeights) as error:
        where = f"parent {name}: {error.where}".removesuffix(": ")
        raise type(error)(error.reason, where=where, rule=error.rule) from error
    try:
        records = tuple(main_records(read_records(path)))
    except MalformedDocument as error:
        where = f"parent {name}: {error.where}"
        raise MalformedDocument(error.code, error.reason, where=where, rule=error.rule) from error
    return Folder(name, source, weights, read_model(source, tensors), records)


def total_bytes(recipe: Recipe) -> int:
    """Return about how many bytes the parents' weights have, for whoever shows progress."""
    paths = {path for parent in recipe.parents for path in (parent.folder, parent.adapter) if path is not None}
    weights = [read_weight_sets(LocalFolder(path)).require() for path in paths]
    return sum(stored.info.size_bytes for weight_set in weights for stored in weight_set.tensors)
