"""Which files of a folder load as one model, and which set is the primary one. Spec: manifest §5."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model_verify.canonical import loads
from model_verify.errors import AmbiguousWeights, MalformedJson, MalformedWeights, SourceError
from model_verify.files import SAFETENSORS, file_class, has_tensors, is_exempt, is_reserved, weight_format
from model_verify.sources.source import EntryKind, Source, read_whole
from model_verify.weight_files import read_weight_file
from model_verify.weights import StoredTensor, WeightFile

MAX_INDEX_BYTES = 64 << 20

# Case does not count: on many file systems a loader finds the file whatever the case of its name.
_INDEX = re.compile(r"(?P<stem>.+)\.safetensors\.index(?:\.(?P<variant>[^./]+))?\.json", re.DOTALL | re.IGNORECASE)
_SHARD = re.compile(r".*-[0-9]{5}-of-[0-9]{5}\.safetensors", re.DOTALL)
_LOADED_FIRST = ("model", "diffusion_pytorch_model", "adapter_model")
_RULE = "manifest §5"


@dataclass(frozen=True, slots=True)
class WeightSet:
    """What a loader takes as one model. `tensors` is ordered by the UTF-8 bytes of names; empty where none are read."""

    prefix: str
    format: str
    primary: bool
    files: tuple[str, ...]
    index: str | None
    tensors: tuple[StoredTensor, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a folder's weight sets cannot be read: `error.code` is its reason code."""

    error: AmbiguousWeights | MalformedWeights


@dataclass(frozen=True, slots=True)
class FolderWeights:
    """All weight sets of a folder, its files whose tensors are read, and what is wrong with them."""

    sets: tuple[WeightSet, ...]
    files: Mapping[str, WeightFile]
    problems: tuple[Problem, ...]

    @property
    def primary(self) -> WeightSet | None:
        return next((weight_set for weight_set in self.sets if weight_set.primary), None)

    def require(self) -> WeightSet:
        """Return the primary set of a folder without problems, or raise the first of them."""
        for problem in self.problems:
            raise problem.error
        if self.primary is None:
            raise AmbiguousWeights("no safetensors weights that a loader would take", rule=_RULE)
        return self.primary


def read_weight_sets(source: Source) -> FolderWeights:
    """Return the weight sets of a folder, reading headers and indexes only.

    What is ambiguous or malformed is collected in `problems`. Raises `SourceError` where bytes cannot be had.

    Vectors: verify/ambiguous-*, weights/*.
    """
    paths = [entry.path for entry in source.entries() if entry.kind is EntryKind.FILE and not is_exempt(entry.path)]
    problems: list[Problem] = []
    files: dict[str, WeightFile] = {}
    for path in paths:
        if has_tensors(path):
            try:
                with source.open(path) as file:
                    files[path] = read_weight_file(file)
            except MalformedWeights as error:
                problems.append(Problem(error))
    malformed = {problem.error.where for problem in problems}
    plain = {path: file for path, file in files.items() if weight_format(path) == SAFETENSORS}
    found = _Discovery(source, frozenset(paths), plain, malformed)
    sets = found.safetensors_sets()
    others = [
        WeightSet(path, weight_format(path), False, (path,), None, _by_name(files.get(path)))
        for path in paths
        if file_class(path) == "weights" and weight_format(path) != SAFETENSORS
    ]
    marked, ambiguity = _mark_primary(sets)
    ambiguous = found.problems + ([ambiguity] if ambiguity and not found.problems and not problems else [])
    ordered = sorted(marked + others, key=lambda weight_set: _utf8(weight_set.prefix))
    return FolderWeights(tuple(ordered), files, tuple(problems + [Problem(error) for error in ambiguous]))


class _Discovery:
    """One look through a folder for its safetensors sets."""

    def __init__(
        self, source: Source, paths: frozenset[str], files: Mapping[str, WeightFile], malformed: set[str]
    ) -> None:
        self.source = source
        self.paths = paths
        self.files = files
        self.malformed = malformed
        self.problems: list[AmbiguousWeights] = []

    def safetensors_sets(self) -> list[WeightSet]:
        sets: list[WeightSet] = []
        claimed: Counter[str] = Counter()
        prefixes: set[str] = set()
        for path in sorted(self.paths):
            if match := _INDEX.fullmatch(path):
                prefix = match["stem"] + (f".{match['variant']}" if match["variant"] else "")
                weight_set = self._indexed_set(path, prefix, match["stem"])
                prefixes.add(prefix.casefold())
                if weight_set is not None:
                    sets.append(weight_set)
                    claimed.update(weight_set.files)
        for path, count in claimed.items():
            if count > 1:
                self._ambiguous(path, f"{count} indexes refer to it")
        for path in sorted(self.files):
            if claimed[path]:
                continue
            prefix = path.removesuffix(path[-len(".safetensors") :])
            if not path.endswith(".safetensors"):
                self._ambiguous(path, "named like safetensors only where case does not count")
            elif prefix.casefold() in prefixes:
                self._ambiguous(path, "a single file and an index of the same prefix: loaders choose differently")
            elif _SHARD.fullmatch(path.casefold()):
                self._ambiguous(path, "named as a shard, but no index refers to it")
            else:
                sets.append(self._weight_set(prefix, (path,), None))
        return sets

    def _indexed_set(self, path: str, prefix: str, stem: str) -> WeightSet | None:
        try:
            data = read_whole(self.source, path, max_bytes=MAX_INDEX_BYTES)
            members = loads(data, max_bytes=MAX_INDEX_BYTES, any_numbers=True)
        except MalformedJson as error:
            self._ambiguous(path, f"the index is not readable: {error.reason}")
            return None
        except SourceError as error:
            self._ambiguous(path, f"the index is not readable: {error.message}")
            return None
        weight_map = members.get("weight_map") if isinstance(members, dict) else None
        if not isinstance(weight_map, dict) or not weight_map:
            self._ambiguous(path, "the index has no `weight_map` of tensor names to file names")
            return None
        folder = path[: path.rfind("/") + 1]
        placed: dict[str, str] = {}
        for name, file_name in weight_map.items():
            if not isinstance(file_name, str) or not self._is_shard_name(folder, file_name):
                self._ambiguous(path, f"maps {json.dumps(name)} to what is no safetensors file beside it")
                return None
            placed[name] = folder + file_name
        shards = sorted(set(placed.values()), key=_utf8)
        for shard in shards:
            own = shard.casefold().removesuffix(".safetensors")
            if own == stem.casefold() or own.rsplit("/", 1)[-1] in _LOADED_FIRST:
                self._ambiguous(path, f"refers to {json.dumps(shard)}, which loaders take alone and first")
                return None
            if shard in self.malformed:
                return None  # the file's own problem says more
            if shard not in self.files:
                self._ambiguous(path, f"refers to {json.dumps(shard)}, which is not there")
                return None
        stored = {tensor.info.name: shard for shard in shards for tensor in self.files[shard].tensors}
        if stored != placed or sum(len(self.files[shard].tensors) for shard in shards) != len(stored):
            self._ambiguous(path, _first_disagreement(placed, [self.files[shard] for shard in shards]))
            return None
        return self._weight_set(prefix, tuple(shards), path)

    def _is_shard_name(self, folder: str, file_name: str) -> bool:
        path = folder + file_name
        return (
            "/" not in file_name
            and file_name not in ("", ".", "..")
            and file_name.casefold().endswith(".safetensors")
            and not is_reserved(path)
        )

    def _weight_set(self, prefix: str, files: tuple[str, ...], index: str | None) -> WeightSet:
        tensors = sorted(
            (tensor for path in files for tensor in self.files[path].tensors),
            key=lambda tensor: tensor.info.name.encode("utf-8"),
        )
        normal = Counter(unicodedata.normalize("NFC", tensor.info.name) for tensor in tensors)
        if len(normal) != len(tensors):
            twice = next(name for name, count in normal.items() if count > 1)
            self._ambiguous(index or files[0], f"two tensors have the name {json.dumps(twice)} in NFC")
        return WeightSet(prefix, SAFETENSORS, False, files, index, tuple(tensors))

    def _ambiguous(self, where: str, message: str) -> None:
        self.problems.append(AmbiguousWeights(message, where=where, rule=_RULE))


def _by_name(file: WeightFile | None) -> tuple[StoredTensor, ...]:
    tensors = file.tensors if file is not None else ()
    return tuple(sorted(tensors, key=lambda tensor: tensor.info.name.encode("utf-8")))


def _utf8(path: str) -> bytes:
    """Return what paths are ordered by; names of files that are no Unicode text have an order too."""
    return path.encode("utf-8", "surrogateescape")


def _first_disagreement(placed: Mapping[str, str], shards: Iterable[WeightFile]) -> str:
    held: dict[str, str] = {}
    for shard in shards:
        for tensor in shard.tensors:
            if tensor.info.name in held:
                return f"tensor {json.dumps(tensor.info.name)} is in {held[tensor.info.name]} and in {shard.path}"
            held[tensor.info.name] = shard.path
    for name, path in held.items():
        if name not in placed:
            return f"tensor {json.dumps(name)} of {path} is not in the index"
        if placed[name] != path:
            return f"maps tensor {json.dumps(name)} to {placed[name]}, but {path} holds it"
    missing = next(name for name in placed if name not in held)
    return f"maps tensor {json.dumps(missing)}, which no file holds"


def _mark_primary(sets: Sequence[WeightSet]) -> tuple[list[WeightSet], AmbiguousWeights | None]:
    """Return the sets with the primary one marked, or why none can be. Spec: manifest §5."""
    if not sets:
        return [], None
    by_prefix = {weight_set.prefix: weight_set for weight_set in sets}
    chosen = next((by_prefix[prefix] for prefix in _LOADED_FIRST if prefix in by_prefix), None)
    if chosen is None:
        at_root = [weight_set for weight_set in sets if "/" not in weight_set.prefix]
        candidates = at_root or list(sets)
        if len(candidates) > 1:
            names = ", ".join(sorted(json.dumps(weight_set.prefix) for weight_set in candidates)[:5])
            return list(sets), AmbiguousWeights(f"a loader could take any of {names}", rule=_RULE)
        chosen = candidates[0]
    return [WeightSet(s.prefix, s.format, s is chosen, s.files, s.index, s.tensors) for s in sets], None
