"""Record a merge that mergekit made: its configuration and its output folder become a step record.

configuration   resolved in each profile that may have given the output
one pass        parents and output are hashed, and each profile is held against the output
record          the step of the profile that gives the output, every parent pinned by its root
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_attest.parents import ParentFolders, read_parents
from model_attest.recipes import Recipe
from model_attest.record.steps import replace_records
from model_attest.record.trials import OUTPUT, UNTRIED, Bench, Trial
from model_attest.resolution import resolve
from model_verify.canonical import loads
from model_verify.digest import CheckpointRoot
from model_verify.errors import AmbiguousWeights, CallerError, MalformedJson, MalformedWeights, RecipeInvalid
from model_verify.merge.kernel import Standing
from model_verify.merge.methods.table import METHODS, PROFILES
from model_verify.models import Material, MergekitStep, MergeStep
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import read_whole
from model_verify.weight_sets import FolderWeights, read_weight_sets

_MAX_INDEX_BYTES = 64 << 20
_VERSION = "mergekit_version"


@dataclass(frozen=True, slots=True)
class RecordedMerge:
    """What was found. `trials` has every profile that was tried, the best one first."""

    out: Path
    recipe: Recipe
    checkpoint_root: CheckpointRoot
    trials: tuple[Trial, ...]
    materials: tuple[Material, ...]
    step: MergeStep | MergekitStep
    record_path: Path | None
    """None where no profile gives the output, and nothing was recorded."""
    left_out: tuple[str, ...]
    no_effect: tuple[str, ...]
    backend: str

    @property
    def best(self) -> Trial:
        return self.trials[0]

    @property
    def matches(self) -> bool:
        return self.best.standing is not Standing.DIFFERENT


def record_merge(
    recipe: Recipe,
    out: Path,
    *,
    profile: str | None = None,
    unmatched: bool = False,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> RecordedMerge:
    """Find the profile in which `recipe` gives the weights in `out`, and write the step record there.

    Where no profile gives the weights, nothing is written, unless `unmatched`: then the step of the first profile is,
    and a verifier will contradict it.

    Raises `RecipeInvalid` for a recipe that cannot have given such an output; `MalformedInput` and `SourceError`
    for folders that cannot be read; `BackendUnavailable`; `OutputError`.
    """
    from model_verify.merge.selection import select_backend

    folders = read_parents(recipe)
    source, weights = _read_output(out)
    profiles = _profiles(recipe, profile, source, weights)
    trials = _resolved(recipe, profiles, folders, {stored.info.name for stored in weights.require().tensors})
    backend = select_backend(device)
    tried, result = Bench(source, weights, backend, threads, progress).try_all(trials)
    best = tried[0]
    root = result.checkpoint_root(OUTPUT)
    step = best.merge.finished(root)
    record_path = None
    if best.standing is not Standing.DIFFERENT or unmatched:
        record_path = replace_records(out, best.parents.records(result, best.node, step))
    return RecordedMerge(
        out=out,
        recipe=recipe,
        checkpoint_root=root,
        trials=tuple(tried),
        materials=tuple(best.parents.materials(result)),
        step=step,
        record_path=record_path,
        left_out=best.merge.left_out,
        no_effect=tuple(best.parents.without_effect(result, best.node, best.node)),
        backend=backend.name,
    )


def _read_output(out: Path) -> tuple[LocalFolder, FolderWeights]:
    source = LocalFolder(out)
    try:
        weights = read_weight_sets(source)
        weights.require()
    except (AmbiguousWeights, MalformedWeights) as error:
        where = f"{out}: {error.where}".removesuffix(": ")
        raise type(error)(error.reason, where=where, rule=error.rule) from error
    return source, weights


def _profiles(recipe: Recipe, asked: str | None, source: LocalFolder, weights: FolderWeights) -> Sequence[str]:
    """Return the profiles to try: the one that is declared, or all that the method has, likely ones first."""
    method = METHODS.get(recipe.method)
    if method is None:
        raise RecipeInvalid(f"{recipe.path}: {recipe.method} is not computed by this version")
    declared = asked or recipe.profile
    if asked is not None and recipe.profile not in (None, asked):
        raise CallerError(f"`--profile {asked}`, and {recipe.path} declares {recipe.profile}")
    if declared is not None:
        if declared in PROFILES and declared not in method.profiles:
            raise CallerError(f"the profile {declared} has no method {recipe.method}")
        return [declared]
    version = _recorded_version(source, weights)
    return sorted(method.profiles, key=lambda name: (f"mergekit-{version}" != name.partition("/")[0], _LIKELY[name]))


_LIKELY = {"mergekit-0.1.5/fma": 0, "mergekit-0.1.4": 1, "mergekit-0.1.5/nofma": 2}


def _recorded_version(source: LocalFolder, weights: FolderWeights) -> str | None:
    """Return the version that mergekit writes into an index. It is a hint, and anybody can have written it."""
    index = weights.require().index
    if index is None:
        return None
    try:
        members = loads(read_whole(source, index, max_bytes=_MAX_INDEX_BYTES), max_bytes=_MAX_INDEX_BYTES)
    except MalformedJson:
        return None
    metadata = members.get("metadata") if isinstance(members, dict) else None
    version = metadata.get(_VERSION) if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else None


def _resolved(recipe: Recipe, profiles: Sequence[str], folders: ParentFolders, names: set[str]) -> list[Trial]:
    """Return what the recipe means in each profile, and with models that were loaded in each dtype for their adapters.

    Raises `RecipeInvalid` where it means nothing in all of them.
    """
    loaded = [(dtype, folders.loaded_as(dtype)) for dtype in folders.load_dtypes]
    trials: list[Trial] = []
    refusals: list[RecipeInvalid] = []
    for profile in profiles:
        for dtype, parents in loaded:
            try:
                merge = resolve(recipe, profile, parents.models, output=names)
            except RecipeInvalid as error:
                refusals.append(error)
            else:
                trials.append(Trial(profile, parents, dtype, merge, UNTRIED))
    if not trials:
        raise refusals[0]
    return trials
