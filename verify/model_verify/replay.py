"""One pass over child and parents: every byte is read once, hashed, and computed with while it is in the cache.

The engine knows nothing of statements. It is given *nodes* (checkpoints that are read, and checkpoints that are
computed) and works tensor by tensor, in *units* of about one chunk, on as many threads as there are processors. It
needs the standard library alone; arithmetic comes in as a backend.

    node        a checkpoint: the subject, a material, a candidate, or the output of a step
    key         a tensor of a node, by the names of both
    stored      a tensor that is read from a file
    computed    a tensor that a kernel gives, or a copy; its bytes are hashed, compared, or handed to a sink
    probe       looks at tensors that are at hand: how they differ, what they could be
    job         all tensors that any of these connect

A job is cut into units, the same elements of all of its tensors; where a kernel needs whole tensors, into one unit.
Memory is one buffer per thread and tensor of a job, and 32 bytes for each chunk; it does not grow with the model
otherwise. Jobs of whole tensors that are large run one at a time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from model_verify.digest import CheckpointRoot
from model_verify.errors import OperationRefused
from model_verify.merge.backend import Backend
from model_verify.merge.difference import Difference, compare, differs_from_all, equal
from model_verify.merge.kernel import Block, Buffer, Kernel, Opinion, Standing
from model_verify.merkle import LEAF_BYTES, checkpoint_root, leaf, split_leaves, tensor_root
from model_verify.sources.source import File
from model_verify.tensors import BLOCK_DTYPES, CHUNK_BYTES, DTYPE_BITS, TensorInfo, packing

Sink = Callable[[TensorInfo, int, memoryview], None]
"""Takes a tensor, an offset into its data in bytes, and the bytes there. Called from several threads."""

Key = tuple[str, str]
"""A node, and the name of a tensor of it."""

_LARGE_BYTES = 256 << 20
"""Jobs of whole tensors that hold more run one at a time."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that is read: `offset` bytes into `file`."""

    node: str
    info: TensorInfo
    file: File
    offset: int

    @property
    def key(self) -> Key:
        return self.node, self.info.name


@dataclass(frozen=True, slots=True)
class Computed:
    """A tensor that a step gives: what `kernel` makes of `operands`, or the one operand as it is where there is none.

    `compare_with` is the stored tensor of the same dtype and shape that should hold the same bytes; `sink` takes the
    bytes. `rivals` are tensors of this dtype and shape that the step's other inputs have under the name that is
    copied: a copy, or what comes out as one, shows an effect only against them.
    """

    node: str
    info: TensorInfo
    operands: tuple[Key, ...]
    kernel: Kernel | None = None
    rivals: tuple[Key, ...] = ()
    compare_with: Key | None = None
    sink: Sink | None = None

    @property
    def key(self) -> Key:
        return self.node, self.info.name


class Probe(Protocol):
    """Looks at tensors that are at hand. What it finds stays with it. Called from several threads."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """The tensors that it looks at, which have one shape."""
        ...

    def look(self, blocks: Sequence[Block], first: int) -> None:
        """Look at the same elements of all of them, the `first` of which is that of the tensor's data.

        Each element is shown once; the order is any.
        """
        ...

    def miss(self) -> None:
        """Learn that elements of one of the tensors could not be computed."""
        ...


@dataclass(frozen=True, slots=True)
class TensorJob:
    """All that is done with tensors that belong together. Unless they are taken `whole`, they have one shape."""

    stored: tuple[Stored, ...]
    computed: tuple[Computed, ...] = ()
    probes: tuple[Probe, ...] = ()
    whole: bool = False


@dataclass(slots=True)
class TensorResult:
    """What one job found about one tensor of one node: its leaves, and how it differs from what it should be.

    `standing` is EXACT where nothing differs or nothing was compared. At EXAMINED, `leaves` say nothing: no bytes were
    computed. `opinion` is the kernel's own words on the worst part, `warning` what it finds possible and unlikely.
    """

    info: TensorInfo
    leaves: bytearray
    difference: Difference | None = None
    standing: Standing = Standing.EXACT
    opinion: str = ""
    warning: str = ""
    finite: bool = True
    nonfinite_inputs: set[Key] = field(default_factory=set)
    refused: str = ""
    """Why the method has no result for these operands."""


@dataclass(slots=True)
class ReplayResult:
    """Results by node and tensor name, and who had an effect."""

    tensors: dict[tuple[str, str], TensorResult] = field(default_factory=dict)
    effective: set[tuple[str, str]] = field(default_factory=set)
    """(step, input): removing the input changes at least one bit of the step's output."""
    bytes_read: int = 0

    def roots_of(self, node: str) -> Iterator[tuple[TensorInfo, bytearray]]:
        """Yield the tensors of a node with their leaves."""
        for (owner, _), result in self.tensors.items():
            if owner == node:
                yield result.info, result.leaves

    def checkpoint_root(self, node: str) -> CheckpointRoot:
        """Return the root of a node, all of whose tensors were read or computed."""
        return checkpoint_root((info, tensor_root(split_leaves(leaves))) for info, leaves in self.roots_of(node))


def run(
    jobs: Sequence[TensorJob],
    *,
    backend: Backend | None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ReplayResult:
    """Return what the jobs found; `progress` is told the bytes read so far.

    Without a backend no job may compute. A unit that raises stops all threads, and its error is raised here; so does
    KeyboardInterrupt. Spec: verification V8, V10, V11.
    """
    engine = _Engine(backend, progress)
    engine.prepare(jobs)
    _run_threads(engine, jobs, threads or processors())
    return engine.result


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_bytes() -> int:
    """Return how much memory this machine has; where it does not say, as if it had 8 GiB."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 8 << 30


def _run_threads(engine: _Engine, jobs: Sequence[TensorJob], threads: int) -> None:
    units = _SharedUnits(jobs)
    failures: list[BaseException] = []

    def work() -> None:
        scratch = _Scratch()
        try:
            for job, unit in units:
                engine.process(job, unit, scratch)
        except BaseException as error:
            failures.append(error)
            units.stop()

    workers = [threading.Thread(target=work, name=f"replay-{i}", daemon=True) for i in range(threads)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    except BaseException:
        units.stop()
        for worker in workers:
            worker.join()
        raise
    if failures:
        raise failures[0]


class _SharedUnits:
    """Hands out (job, unit number) to threads, in order, until there are no more or someone says stop."""

    def __init__(self, jobs: Sequence[TensorJob]) -> None:
        self._units = ((job, unit) for job in jobs for unit in range(unit_count(job)))
        self._lock = threading.Lock()
        self._stopped = False

    def __iter__(self) -> Iterator[tuple[TensorJob, int]]:
        while True:
            with self._lock:
                item = None if self._stopped else next(self._units, None)
            if item is None:
                return
            yield item

    def stop(self) -> None:
        self._stopped = True


def unit_bytes(info: TensorInfo, job: TensorJob) -> int:
    """Return how many bytes of this tensor one unit covers: all, or whole chunks and the same elements in each."""
    if job.whole:
        return max(1, info.size_bytes)
    if info.dtype in BLOCK_DTYPES:
        return CHUNK_BYTES  # what computes blocks takes whole tensors, so that all of this job are alike
    smallest = min(DTYPE_BITS[other.dtype] for other in _infos(job))
    return CHUNK_BYTES * DTYPE_BITS[info.dtype] // smallest


def unit_count(job: TensorJob) -> int:
    """Return the number of units of a job, which is the same for all of its tensors that are not empty."""
    return max((-(-info.size_bytes // unit_bytes(info, job)) for info in _infos(job)), default=0)


def _infos(job: TensorJob) -> list[TensorInfo]:
    return [stored.info for stored in job.stored] + [computed.info for computed in job.computed]


class _Scratch:
    """Buffers of one thread, reused for every unit. Large ones are let go when the next job begins."""

    def __init__(self) -> None:
        self._buffers: dict[str, bytearray] = {}

    def view(self, slot: str, size_bytes: int) -> memoryview:
        buffer = self._buffers.get(slot)
        if buffer is None or len(buffer) < size_bytes:
            buffer = self._buffers[slot] = bytearray(size_bytes)
        return memoryview(buffer)[:size_bytes]

    def shrink(self) -> None:
        if any(len(buffer) > _SCRATCH_BYTES for buffer in self._buffers.values()):
            self._buffers = {slot: b for slot, b in self._buffers.items() if len(b) <= _SCRATCH_BYTES}


_SCRATCH_BYTES = 8 * CHUNK_BYTES


class _Unit:
    """The bytes of one unit of a job: what was read, and what was computed so far."""

    def __init__(self, job: TensorJob, number: int, scratch: _Scratch) -> None:
        self.job = job
        self.number = number
        self._scratch = scratch
        keys = [*(stored.key for stored in job.stored), *(computed.key for computed in job.computed)]
        self._slots = {key: str(place) for place, key in enumerate(keys)}
        self.blocks: dict[Key, Block] = {}

    def start(self, info: TensorInfo) -> int:
        """Return where this unit begins in the data of a tensor, in bytes."""
        return self.number * unit_bytes(info, self.job)

    def view(self, key: Key, info: TensorInfo) -> memoryview:
        """Return room for this unit of a tensor."""
        start = self.start(info)
        return self._scratch.view(self._slots[key], min(unit_bytes(info, self.job), info.size_bytes - start))

    def block(self, info: TensorInfo, view: memoryview) -> Block:
        elements = len(view) * packing(info.dtype).elements // packing(info.dtype).size_bytes
        return Block(info.dtype, info.shape if self.job.whole else (elements,), view)


class _Engine:
    def __init__(self, backend: Backend | None, progress: Callable[[int], None] | None) -> None:
        self.result = ReplayResult()
        self._backend = backend
        self._progress = progress
        self._lock = threading.Lock()
        self._large = threading.Lock()

    def prepare(self, jobs: Sequence[TensorJob]) -> None:
        for job in jobs:
            tensors: list[Stored | Computed] = [*job.stored, *job.computed]
            for tensor in tensors:
                leaves = bytearray(LEAF_BYTES * tensor.info.chunk_count)
                self.result.tensors[tensor.key] = TensorResult(tensor.info, leaves)

    def process(self, job: TensorJob, number: int, scratch: _Scratch) -> None:
        """Read, hash, compute and compare one unit of a job."""
        scratch.shrink()
        if job.whole and sum(info.size_bytes for info in _infos(job)) > _LARGE_BYTES:
            with self._large:
                self._process(_Unit(job, number, scratch))
            scratch.shrink()
        else:
            self._process(_Unit(job, number, scratch))

    def _process(self, unit: _Unit) -> None:
        job = unit.job
        read_bytes = 0
        for stored in job.stored:
            view = unit.view(stored.key, stored.info)
            start = unit.start(stored.info)
            stored.file.read_into(view, stored.offset + start)
            self._hash(stored.key, start, view)
            unit.blocks[stored.key] = unit.block(stored.info, view)
            read_bytes += len(view)
        for computed in job.computed:
            self._compute(computed, unit)
        for probe in job.probes:
            self._show(probe, unit)
        self._advance(read_bytes)

    def _advance(self, read_bytes: int) -> None:
        with self._lock:
            self.result.bytes_read += read_bytes
            if self._progress is not None:
                self._progress(self.result.bytes_read)

    def _hash(self, key: Key, start: int, view: memoryview) -> None:
        leaves = self.result.tensors[key].leaves
        for offset in range(0, len(view), CHUNK_BYTES):
            place = LEAF_BYTES * ((start + offset) // CHUNK_BYTES)
            leaves[place : place + LEAF_BYTES] = leaf(view[offset : offset + CHUNK_BYTES])

    def _compute(self, computed: Computed, unit: _Unit) -> None:
        there = unit.blocks.get(computed.compare_with) if computed.compare_with is not None else None
        if computed.kernel is None:
            self._copy(computed, unit, there)
        elif all(key in unit.blocks for key in computed.operands):
            self._run_kernel(computed, computed.kernel, unit, there)

    def _copy(self, computed: Computed, unit: _Unit, there: Block | None) -> None:
        (source,) = computed.operands
        if source not in unit.blocks:
            return
        view = _writable(unit.blocks[source])
        effect = (computed.node, source[0])
        if effect not in self.result.effective and not self._is_elsewhere(computed, unit, view):
            self.result.effective.add(effect)
        as_expected = there is not None and equal(view, there.data)
        self._settle(computed, unit, view, there, as_expected=as_expected)

    def _run_kernel(self, computed: Computed, kernel: Kernel, unit: _Unit, there: Block | None) -> None:
        """Compute one unit. Where it cannot be, there is no block, and nothing that needs it is computed either."""
        assert self._backend is not None
        operands = [unit.blocks[key] for key in computed.operands]
        if kernel.best is Standing.EXAMINED:
            out = there
            if there is not None:
                self._note(computed, kernel.judge(operands, there, there))
            else:
                self._note(computed, Opinion(Standing.EXAMINED))
        else:
            out = unit.block(computed.info, unit.view(computed.key, computed.info))
            if not self._fill(computed, kernel, operands, out, unit, there):
                return
        is_copy = out is not None and len(operands) == 1 and equal(out.data, operands[0].data)
        if out is not None and not (is_copy and self._is_elsewhere(computed, unit, out.data)):
            self._look_for_effects(computed, kernel, operands, out)

    def _fill(
        self,
        computed: Computed,
        kernel: Kernel,
        operands: Sequence[Block],
        out: Block,
        unit: _Unit,
        there: Block | None,
    ) -> bool:
        """Compute `out`, and return whether there is a result."""
        assert self._backend is not None
        expected = None if there is None else there.data
        try:
            blended = kernel.run(self._backend, operands, out, expected=expected)
        except OperationRefused as error:
            if computed.sink is not None:
                raise OperationRefused(error.code, error.message, where=computed.info.name) from error
            with self._lock:
                self.result.tensors[computed.key].refused = error.message
            return False
        if not blended.finite:
            self._record_nonfinite(computed, operands)
        if not blended.as_expected and there is not None:
            self._note(computed, kernel.judge(operands, out, there))
        self._settle(computed, unit, _writable(out), there, as_expected=blended.as_expected)
        return True

    def _note(self, computed: Computed, opinion: Opinion) -> None:
        with self._lock:
            result = self.result.tensors[computed.key]
            if opinion.standing > result.standing or not result.opinion:
                result.opinion = opinion.text
            result.standing = max(result.standing, opinion.standing)
            result.warning = result.warning or opinion.warning

    def _look_for_effects(self, computed: Computed, kernel: Kernel, operands: Sequence[Block], out: Block) -> None:
        """Note which inputs this unit shows to have an effect. Spec: merge §3."""
        assert self._backend is not None
        for position, (node, _) in enumerate(computed.operands):
            if (computed.node, node) not in self.result.effective and kernel.has_effect(
                self._backend, operands, position, out
            ):
                self.result.effective.add((computed.node, node))

    def _is_elsewhere(self, computed: Computed, unit: _Unit, copied: Buffer) -> bool:
        """Return whether every byte that was copied is in some other input too: it shows no effect. Spec: merge §3."""
        rivals = [unit.blocks[rival].data for rival in computed.rivals if rival in unit.blocks]
        return not differs_from_all(copied, rivals)

    def _record_nonfinite(self, computed: Computed, operands: Sequence[Block]) -> None:
        from model_verify.merge.formats import FLOAT_BYTES, as_bits, nonfinite

        inputs = {
            key
            for key, block in zip(computed.operands, operands, strict=True)
            if block.dtype in FLOAT_BYTES and nonfinite(as_bits(block.data, block.dtype), block.dtype).any()
        }
        with self._lock:
            result = self.result.tensors[computed.key]
            result.finite = False
            result.nonfinite_inputs |= inputs
        if computed.sink is not None:
            code = "NONFINITE_INPUT" if inputs else "NONFINITE_OUTPUT"
            raise OperationRefused(code, "the result is not finite", where=computed.info.name)

    def _settle(
        self, computed: Computed, unit: _Unit, view: memoryview, there: Block | None, *, as_expected: bool
    ) -> None:
        """Hash what was computed, or take over the leaves of the equal bytes that were read; hand it on."""
        info = computed.info
        start = unit.start(info)
        if as_expected:
            assert computed.compare_with is not None
            known = self.result.tensors[computed.compare_with].leaves
            first = LEAF_BYTES * (start // CHUNK_BYTES)
            last = LEAF_BYTES * -(-(start + len(view)) // CHUNK_BYTES)
            self.result.tensors[computed.key].leaves[first:last] = known[first:last]
        else:
            self._hash(computed.key, start, view)
            if there is not None:
                difference = compare(view, there.data, info.dtype, start)
                with self._lock:
                    result = self.result.tensors[computed.key]
                    result.difference = difference if result.difference is None else result.difference + difference
                    if computed.kernel is None:
                        result.standing = Standing.DIFFERENT
        if computed.sink is not None:
            computed.sink(info, start, view)
        unit.blocks[computed.key] = unit.block(info, view)

    def _show(self, probe: Probe, unit: _Unit) -> None:
        if all(key in unit.blocks for key in probe.keys):
            info = self.result.tensors[probe.keys[0]].info
            probe.look([unit.blocks[key] for key in probe.keys], unit.start(info) * 8 // DTYPE_BITS[info.dtype])
        else:
            probe.miss()


def _writable(block: Block) -> memoryview:
    assert isinstance(block.data, memoryview)
    return block.data
