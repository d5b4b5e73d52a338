"""Two digests over one read: the SHA-256 of a file, and of its header and every chunk where it is safetensors.

A file is read block by block into two buffers that take turns. While one thread hashes a block as part of the file,
another hashes the same bytes as chunks, and the next block is read; hashlib releases the GIL. Memory is two blocks for
each file at hand and 32 bytes for each chunk, whatever the size of the files.

Spec: manifest §3.1, tensor-tree §3, §5.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from model_verify.digest import FileDigest
from model_verify.errors import SourceChanged
from model_verify.sources.source import File, Source
from model_verify.tensors import CHUNK_BYTES
from model_verify.weights import WeightFile

BLOCK_BYTES = 4 * CHUNK_BYTES
MAX_FILES_AT_ONCE = 32

Progress = Callable[[int], None]
"""Is told the bytes done so far, from any thread but never from two at once. What it raises stops the work."""

_LEAF_PREFIX = b"\x00"  # tensor-tree §2.2


@dataclass(frozen=True, slots=True)
class HashedFile:
    """Digests of one file. `leaves` has the leaves of each tensor, 32 bytes each, in the order of its chunks."""

    size_bytes: int
    file_digest: FileDigest
    leaves: Mapping[str, bytes]


def hash_files(
    source: Source, paths: Sequence[str], weight_files: Mapping[str, WeightFile], *, progress: Progress | None = None
) -> dict[str, HashedFile]:
    """Return the digests of the files at `paths`, each byte read once; several files at a time.

    Files in `weight_files` are also hashed chunk by chunk as these lay them out. Raises `SourceError`, and
    `SourceChanged` where a header is no longer the one that was parsed. KeyboardInterrupt stops all threads.
    """
    run = _Run(source, weight_files, progress)
    files_at_once = max(1, min(os.cpu_count() or 1, MAX_FILES_AT_ONCE, len(paths)))
    largest_first = sorted(paths, key=lambda path: -weight_files[path].size_bytes if path in weight_files else 0)
    with (
        ThreadPoolExecutor(files_at_once, "leaves") as leaf_threads,
        ThreadPoolExecutor(files_at_once, "files") as pool,
    ):
        hashing = {path: pool.submit(run.hash_file, path, leaf_threads) for path in largest_first}
        try:
            done, _ = wait(hashing.values(), return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            run.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return {path: hashing[path].result() for path in paths}


class _Run:
    """What the threads of one call share."""

    def __init__(self, source: Source, weight_files: Mapping[str, WeightFile], progress: Progress | None) -> None:
        self._source = source
        self._weight_files = weight_files
        self._progress = progress
        self._lock = threading.Lock()
        self._bytes_done = 0
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def hash_file(self, path: str, leaf_threads: ThreadPoolExecutor) -> HashedFile:
        state = hashlib.sha256()
        weight_file = self._weight_files.get(path)
        chunks = ChunkHasher(weight_file) if weight_file is not None else None
        with self._source.open(path) as file:
            if weight_file is not None and file.size_bytes != weight_file.size_bytes:
                raise _changed(path)
            pending: Future[None] | None = None
            try:
                for block in self._blocks(file):
                    if chunks is not None:
                        if pending is not None:
                            pending.result()  # chunks continue across blocks, so blocks go in order
                        pending = leaf_threads.submit(chunks.update, block)
                    state.update(block)
                    self._advance(len(block))
            finally:
                if pending is not None:
                    pending.result()
        if chunks is None or weight_file is None:
            return HashedFile(file.size_bytes, FileDigest(state.digest()), {})
        if chunks.header_digest != weight_file.header_digest:
            raise _changed(path)
        return HashedFile(file.size_bytes, FileDigest(state.digest()), chunks.leaves())

    def _blocks(self, file: File) -> Iterator[memoryview]:
        """Yield the bytes of a file, in two buffers by turns: a block is good until the next but one is asked for."""
        buffers = [memoryview(bytearray(min(BLOCK_BYTES, file.size_bytes))) for _ in range(2)]
        for number, offset in enumerate(range(0, file.size_bytes, BLOCK_BYTES)):
            if self._stopped:
                return
            block = buffers[number % 2][: min(BLOCK_BYTES, file.size_bytes - offset)]
            file.read_into(block, offset)
            yield block

    def _advance(self, count_bytes: int) -> None:
        with self._lock:
            self._bytes_done += count_bytes
            if self._progress is not None and not self._stopped:
                self._progress(self._bytes_done)


class ChunkHasher:
    """Hashes the header and the chunks of a safetensors file that comes in pieces of any length, in order."""

    def __init__(self, weight_file: WeightFile) -> None:
        self._weight_file = weight_file
        self._pieces = self._cut()
        self._digests: list[bytes] = []
        self._state = hashlib.sha256()
        self._missing_bytes, self._is_hashed = next(self._pieces)

    def _cut(self) -> Iterator[tuple[int, bool]]:
        """Yield the lengths of the header, of every chunk, and of what lies between tensors, which is not hashed here.

        None of them is 0.
        """
        tensors = self._weight_file.tensors
        position = tensors[0].offset if tensors else self._weight_file.size_bytes
        yield position, True
        for tensor in tensors:
            if tensor.offset > position:
                yield tensor.offset - position, False
            size_bytes = tensor.info.size_bytes
            for start in range(0, size_bytes, CHUNK_BYTES):
                yield min(CHUNK_BYTES, size_bytes - start), True
            position = tensor.offset + size_bytes

    def update(self, data: memoryview) -> None:
        """Take the next bytes of the file."""
        position = 0
        while position < len(data):
            piece = data[position : position + self._missing_bytes]
            if self._is_hashed:
                self._state.update(piece)
            position += len(piece)
            self._missing_bytes -= len(piece)
            if self._missing_bytes == 0:
                if self._is_hashed:
                    self._digests.append(self._state.digest())
                    self._state = hashlib.sha256(_LEAF_PREFIX)
                self._missing_bytes, self._is_hashed = next(self._pieces, (0, False))
                if self._missing_bytes == 0:
                    return  # that was the last chunk: only padding can follow

    @property
    def header_digest(self) -> FileDigest:
        return FileDigest(self._digests[0])

    def leaves(self) -> dict[str, bytes]:
        """Return the leaves of every tensor by name, once the whole file has come in."""
        leaves: dict[str, bytes] = {}
        position = 1
        for tensor in self._weight_file.tensors:
            count = tensor.info.chunk_count
            leaves[tensor.info.name] = b"".join(self._digests[position : position + count])
            position += count
        return leaves


def _changed(path: str) -> SourceChanged:
    return SourceChanged(f"{path} changed while it was read", hint="run it again when nothing writes there")
