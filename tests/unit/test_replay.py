"""The engine: every byte once, errors from threads, bounded memory. Spec: verification V8, V11."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import pytest

from model_verify import merkle
from model_verify.lineage.probes import EqualityProbe, MovementProbe
from model_verify.merge.compiled import NumbaBackend
from model_verify.merge.methods.linear_f64 import LinearF64, linear_call
from model_verify.replay import Computed, Stored, TensorJob, run, unit_bytes, unit_count
from model_verify.tensors import CHUNK_BYTES, TensorInfo


class CountingFile:
    """A file in memory that remembers which ranges were read."""

    path = "memory"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size_bytes = len(data)
        self.ranges: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def read(self, offset: int, size_bytes: int) -> bytes:
        raise NotImplementedError

    def read_into(self, buffer: memoryview, offset: int) -> None:
        with self._lock:
            self.ranges.append((offset, offset + len(buffer)))
        buffer[:] = self.data[offset : offset + len(buffer)]

    def check_unchanged(self) -> None: ...


def linear(*weights: float, dtype: str) -> LinearF64:
    return LinearF64(linear_call(weights, dtype, normalize=False))


def floats(elements: int, seed: int, dtype: str) -> bytes:
    values = np.random.default_rng(seed).standard_normal(elements, dtype=np.float32)
    return values.tobytes() if dtype == "F32" else (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


@pytest.mark.parametrize("elements", [0, 1, CHUNK_BYTES // 2, CHUNK_BYTES // 2 + 1, 3 * CHUNK_BYTES + 7])
def test_every_byte_is_read_once_and_mixed_formats_keep_step(elements: int) -> None:
    infos = {"a": TensorInfo("t", "F32", (elements,)), "b": TensorInfo("t", "BF16", (elements,))}
    files = {node: CountingFile(floats(elements, 1, info.dtype)) for node, info in infos.items()}
    stored = tuple(Stored(node, info, files[node], 0) for node, info in infos.items())
    out = bytearray(2 * elements)

    def sink(info: TensorInfo, offset: int, data: memoryview) -> None:
        out[offset : offset + len(data)] = data

    output = TensorInfo("t", "BF16", (elements,))
    computed = Computed("step", output, (("a", "t"), ("b", "t")), linear(0.5, 0.25, dtype="BF16"), sink=sink)
    result = run([TensorJob(stored, (computed,))], backend=NumbaBackend(), threads=3)
    for node, file in files.items():
        ranges = sorted(file.ranges)
        assert [start for start, _ in ranges] == [0, *(stop for _, stop in ranges)][: len(ranges)]
        assert sum(stop - start for start, stop in ranges) == file.size_bytes
        assert merkle.split_leaves(result.tensors[node, "t"].leaves) == merkle.chunk_leaves(file.data)
    assert merkle.split_leaves(result.tensors["step", "t"].leaves) == merkle.chunk_leaves(out)
    assert result.bytes_read == 6 * elements


def test_units_are_whole_chunks_of_every_tensor_of_a_job() -> None:
    wide, narrow = TensorInfo("t", "F32", (3, CHUNK_BYTES)), TensorInfo("t", "F16", (3, CHUNK_BYTES))
    file = CountingFile(b"")
    job = TensorJob((Stored("a", wide, file, 0), Stored("b", narrow, file, 0)))
    assert (unit_bytes(wide, job), unit_bytes(narrow, job)) == (2 * CHUNK_BYTES, CHUNK_BYTES)
    assert unit_count(job) == 6


def test_an_error_in_a_thread_stops_the_run_and_is_raised() -> None:
    class Broken(CountingFile):
        def read_into(self, buffer: memoryview, offset: int) -> None:
            if offset == 5 * CHUNK_BYTES:
                raise KeyboardInterrupt
            super().read_into(buffer, offset)

    file = Broken(bytes(64 * CHUNK_BYTES))
    info = TensorInfo("t", "U8", (64 * CHUNK_BYTES,))
    with pytest.raises(KeyboardInterrupt):
        run([TensorJob((Stored("a", info, file, 0),))], backend=None, threads=2)
    assert len(file.ranges) < 64
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("replay-")]


def test_a_difference_is_counted_over_all_units() -> None:
    elements = CHUNK_BYTES  # two chunks of BF16
    data = floats(elements, 3, "BF16")
    child = bytearray(data)
    for element in (7, 8, elements - 1):
        child[2 * element] ^= 1
    info = TensorInfo("t", "BF16", (elements,))
    stored = (Stored("a", info, CountingFile(data), 0), Stored("child", info, CountingFile(bytes(child)), 0))
    computed = Computed("step", info, (("a", "t"),), linear(1.0, dtype="BF16"), compare_with=("child", "t"))
    result = run([TensorJob(stored, (computed,))], backend=NumbaBackend())
    difference = result.tensors["step", "t"].difference
    assert difference is not None
    assert (difference.first_byte, difference.elements, difference.ulp) == (14, 3, 1)
    # The replayed leaves are those of what the step gives, whatever the child holds.
    assert merkle.split_leaves(result.tensors["step", "t"].leaves) == merkle.chunk_leaves(data)


def test_probes_see_every_element_once() -> None:
    elements = CHUNK_BYTES  # four chunks of F32
    data = floats(elements, 4, "F32")
    other = bytearray(data)
    for element in (0, 7, elements - 1):
        other[4 * element] ^= 1
    info = TensorInfo("t", "F32", (elements,))
    stored = (Stored("a", info, CountingFile(data), 0), Stored("b", info, CountingFile(bytes(other)), 0))
    backend = NumbaBackend()
    same = EqualityProbe((("a", "t"), ("a", "t")), linear(1.0, dtype="F32"), backend)
    off = EqualityProbe((("b", "t"), ("a", "t")), linear(1.0, dtype="F32"), backend)
    movement = MovementProbe(info, (("a", "t"), ("b", "t")))
    run([TensorJob(stored, probes=(same, off, movement))], backend=backend)
    assert (same.holds, off.holds) == (True, False)
    assert (movement.moves.moved, movement.moves.largest) == (3, 1)


def test_a_parent_whose_term_changes_nothing_has_no_effect() -> None:
    data = floats(1000, 5, "F32")
    info = TensorInfo("t", "F32", (1000,))
    stored = (Stored("a", info, CountingFile(data), 0), Stored("b", info, CountingFile(data), 0))
    computed = Computed("step", info, (("a", "t"), ("b", "t")), linear(1.0, 1e-30, dtype="F32"))
    result = run([TensorJob(stored, (computed,))], backend=NumbaBackend())
    assert result.effective == {("step", "a")}


def test_hashing_needs_no_backend() -> None:
    data = hashlib.sha256(b"x").digest()
    info = TensorInfo("t", "U8", (32,))
    result = run([TensorJob((Stored("a", info, CountingFile(data), 0),))], backend=None)
    assert merkle.split_leaves(result.tensors["a", "t"].leaves) == [merkle.leaf(data)]


def test_progress_ends_at_all_bytes() -> None:
    info = TensorInfo("t", "U8", (3 * CHUNK_BYTES + 1,))
    seen: list[int] = []
    job = TensorJob((Stored("a", info, CountingFile(bytes(info.size_bytes)), 0),))
    run([job], backend=None, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == info.size_bytes
