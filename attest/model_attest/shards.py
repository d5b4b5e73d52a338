"""Safetensors files whose layout is known before their data: planned, allocated, and then filled from any thread.

Spec: tensor-tree §5, manifest §5.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_attest.placement import output_errors, write_synced
from model_verify.errors import CallerError
from model_verify.tensors import DTYPE_BITS, TensorInfo
from model_verify.weights import MAX_HEADER_BYTES

INDEX_NAME = "model.safetensors.index.json"
_MAX_SHARDS = 99_999
_ALIGNMENT = 8
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: the bytes before its data, and where in the file the data of each of its tensors begin."""

    name: str
    head: bytes
    offsets: Mapping[str, int]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """All files of one checkpoint, and its index where there is more than one file."""

    shards: tuple[Shard, ...]
    index: bytes | None

    @property
    def size_bytes(self) -> int:
        return sum(shard.size_bytes for shard in self.shards)


def plan_shards(tensors: Iterable[TensorInfo], *, max_shard_bytes: int) -> ShardPlan:
    """Return the files for `tensors`, filled in the order of the names up to `max_shard_bytes` of data each.

    A larger tensor has a file of its own. Raises `CallerError` where that makes too many files.
    """
    if max_shard_bytes < 1:
        raise CallerError("a shard has at least one byte")
    groups: list[list[TensorInfo]] = [[]]
    filled_bytes = 0
    for info in sorted(tensors, key=lambda info: info.name.encode("utf-8")):
        if groups[-1] and filled_bytes + info.size_bytes > max_shard_bytes:
            groups.append([])
            filled_bytes = 0
        groups[-1].append(info)
        filled_bytes += info.size_bytes
    if len(groups) == 1:
        return ShardPlan((_shard("model.safetensors", groups[0]),), None)
    if len(groups) > _MAX_SHARDS:
        raise CallerError(f"{len(groups)} shards are too many", hint="allow larger shards")
    names = [f"model-{number:05}-of-{len(groups):05}.safetensors" for number in range(1, len(groups) + 1)]
    weight_map = {info.name: name for name, group in zip(names, groups, strict=True) for info in group}
    total_bytes = sum(info.size_bytes for group in groups for info in group)
    index = {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
    return ShardPlan(
        tuple(_shard(name, group) for name, group in zip(names, groups, strict=True)),
        (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode("utf-8"),
    )


def _shard(name: str, tensors: Iterable[TensorInfo]) -> Shard:
    # Widest elements first, as the safetensors library does it: then every tensor is aligned to its elements.
    ordered = sorted(tensors, key=lambda info: (-DTYPE_BITS[info.dtype], info.name.encode("utf-8")))
    members: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begins: dict[str, int] = {}
    position = 0
    for info in ordered:
        begins[info.name] = position
        position += info.size_bytes
        members[info.name] = {
            "dtype": info.dtype,
            "shape": list(info.shape),
            "data_offsets": [begins[info.name], position],
        }
    header = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    header += b" " * (-len(header) % _ALIGNMENT)
    if len(header) > MAX_HEADER_BYTES:
        raise CallerError(f"the header of {name} would have {len(header)} bytes", hint="allow smaller shards")
    head = len(header).to_bytes(_LENGTH_BYTES, "little") + header
    return Shard(name, head, {tensor: len(head) + begin for tensor, begin in begins.items()}, len(head) + position)


class ShardWriter:
    """The planned files, open for writing. `write` may be called from several threads at once."""

    def __init__(self, folder: Path, plan: ShardPlan, descriptors: Mapping[str, int]) -> None:
        self._folder = folder
        self._descriptors = descriptors
        self._places = {name: (shard.name, offset) for shard in plan.shards for name, offset in shard.offsets.items()}

    def write(self, info: TensorInfo, offset: int, data: memoryview) -> None:
        """Write a stretch of a tensor's data, `offset` bytes into it. Raises `OutputError`."""
        shard, begin = self._places[info.name]
        with output_errors(self._folder / shard):
            _write_all(self._descriptors[shard], data, begin + offset)


@contextlib.contextmanager
def open_shards(folder: Path, plan: ShardPlan) -> Iterator[ShardWriter]:
    """Create and allocate the planned files in `folder`, and yield what writes to them; on leaving all is on the disk.

    The whole space is asked for at once, so that a disk that is too small is found before the work.
    Raises `OutputError`.
    """
    descriptors: dict[str, int] = {}
    try:
        for shard in plan.shards:
            path = folder / shard.name
            with output_errors(path):
                descriptors[shard.name] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                _allocate(descriptors[shard.name], shard.size_bytes)
                _write_all(descriptors[shard.name], memoryview(shard.head), 0)
        yield ShardWriter(folder, plan, descriptors)
        for name, descriptor in descriptors.items():
            with output_errors(folder / name):
                os.fsync(descriptor)
        if plan.index is not None:
            with output_errors(folder / INDEX_NAME):
                write_synced(folder / INDEX_NAME, plan.index)
    finally:
        for descriptor in descriptors.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _allocate(descriptor: int, size_bytes: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.ftruncate(descriptor, size_bytes)  # this file system cannot promise space


def _write_all(descriptor: int, data: memoryview, position: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, position)
        position += count
        data = data[count:]
