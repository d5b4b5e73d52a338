"""What goes into a step: weights on this machine, hashed, and how they came to be where that was recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from model_attest.diff import Tensor, Weights, open_weights, read_weights
from model_attest.recipes.hub_cache import cached_snapshot
from model_attest.recipes.recipe import identifiers
from model_attest.record.steps import joined_records, read_records
from model_verify.digest import CheckpointRoot
from model_verify.errors import CallerError, SourceMissing
from model_verify.models import Identifier, Material, MaterialDigest, StepRecord

_IDENTIFIER = TypeAdapter(Identifier)


@dataclass(frozen=True, slots=True)
class HashedWeights:
    """Weights by their roots."""

    root: CheckpointRoot
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a step. `records` are the steps that gave it, none where it is a material of its own."""

    id: str
    path: Path
    weights: HashedWeights
    uri: str | None
    records: tuple[StepRecord, ...]

    @property
    def material(self) -> Material | None:
        """The material, where no step on record gives the input."""
        if self.records:
            return None
        return Material(name=self.id, digest=MaterialDigest(checkpoint_root=self.weights.root), uri=self.uri)


def hash_weights(
    path: Path, *, threads: int | None = None, progress: Callable[[int], None] | None = None
) -> HashedWeights:
    """Return the roots of the weights at `path`: a model folder, a weight index, or one safetensors file.

    Raises `SourceError`, and `MalformedInput` for what no loader would take.
    """
    (checkpoint,), _ = read_weights([open_weights(str(path))], threads=threads, progress=progress)
    return HashedWeights(checkpoint.root, checkpoint.tensors)


def locate(reference: str | Path) -> Path:
    """Return the path that `reference` is, or the folder of ORG/NAME or ORG/NAME@REVISION in the Hugging Face cache.

    Raises `SourceMissing`.
    """
    if not str(reference):
        raise CallerError("an empty path", hint="a variable in the command line may have been empty")
    path = Path(reference)
    if path.exists():
        return path
    found = cached_snapshot(str(reference))
    if found is None:
        raise SourceMissing(
            f"{reference} is neither a path nor a model in the Hugging Face cache of this machine",
            hint="nothing is downloaded: `hf download ORG/NAME` puts a model there",
        )
    return found


def take_input(
    reference: str | Path,
    *,
    name: str | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Input:
    """Return the weights at `reference` as an input, hashed. Raises `CallerError`, `SourceError`, `MalformedInput`.

    A folder whose step records lead to these very weights brings these steps along, and the last of them is the input.
    `name` is its identifier: by default that of this step, or else one made of the name of the folder.
    """
    if name is not None:
        check_identifier(name)
    path = locate(reference)
    weights: Weights = open_weights(str(path))
    (checkpoint,), _ = read_weights([weights], threads=threads, progress=progress)
    records = tuple(read_records(path)) if path.is_dir() else ()
    if records and records[-1].step.output.checkpoint_root != checkpoint.root:
        records = ()  # of weights that are no longer there
    source = weights.source
    if records:
        name, records = named_records(records, name)
    elif name is None:
        (name,) = identifiers([(source.repository or "").rpartition("/")[2] or path.resolve().name])
    uri = f"{source.repository}@{source.commit}" if source.repository and source.commit else None
    return Input(name, path.absolute(), HashedWeights(checkpoint.root, checkpoint.tensors), uri, records)


def check_identifier(name: str) -> None:
    """Raise `CallerError` where `name` cannot be the identifier of a material or a step. Spec: pipeline §1."""
    try:
        _IDENTIFIER.validate_python(name)
    except ValidationError as error:
        raise CallerError(
            f"`{name[:100]}` is no identifier", hint="letters, digits, dots, dashes and underscores, 64 at most"
        ) from error


def named_records(records: Sequence[StepRecord], name: str | None) -> tuple[str, tuple[StepRecord, ...]]:
    """Return the records with their last step under `name`, where one is given."""
    last = records[-1]
    if name is None or name == last.step.id:
        return last.step.id, tuple(records)
    taken = {record.step.id for record in records} | {m.name for record in records for m in record.materials}
    if name in taken:
        raise CallerError(f"`{name}` is already a material or step of what made this input")
    renamed = last.model_copy(update={"step": last.step.model_copy(update={"id": name})})
    return name, (*records[:-1], renamed)


def records_with(inputs: Sequence[Input], finish: Callable[[list[Material]], StepRecord]) -> list[StepRecord]:
    """Return the records of all inputs, each once, and after them the one that `finish` makes of the new materials.

    Raises `CallerError` where one identifier stands for two things, and what `joined_records` raises.
    """
    earlier = [record for one in inputs for record in one.records]
    return joined_records([*earlier, finish([material for one in inputs if (material := one.material) is not None])])
