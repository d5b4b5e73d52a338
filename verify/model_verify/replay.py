"""One pass over child and parents: every byte is read once, hashed, and computed with while it is in the cache.

The engine knows nothing of statements. It is given *nodes* (checkpoints that are read, and checkpoints that are
computed) and works tensor by tensor, in *units* of about one chunk, on as many threads as there are processors. It
needs the standard library alone; arithmetic comes in as a backend.

    node        a checkpoint: the subject, a material, a candidate, or the output of a step
    stored      a tensor of a node that is read from a file
    computed    a tensor of a node that an operation gives; its bytes are hashed, compared, or handed to a sink
    probe       a comparison of two tensors that are at hand, or of one with a hypothetical blend

Memory is one buffer per thread and tensor at hand, and 32 bytes for each chunk; it does not grow with the model
otherwise.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from model_verify.digest import CheckpointRoot
from model_verify.errors import OperationRefused
from model_verify.merge.backend import Backend, Operand
from model_verify.merge.coefficient import weight_sum
from model_verify.merge.difference import Difference, compare, differs_from_all, equal
from model_verify.merkle import LEAF_BYTES, checkpoint_root, leaf, split_leaves, tensor_root
from model_verify.sources.source import File
from model_verify.tensors import CHUNK_BYTES, DTYPE_BITS, TensorInfo

Sink = Callable[[TensorInfo, int, memoryview], None]
"""Takes a tensor, an offset into its data in bytes, and the bytes there. Called from several threads."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that is read: `offset` bytes into `file`."""

    node: str
    info: TensorInfo
    file: File
    offset: int


@dataclass(frozen=True, slots=True)
class Term:
    """One input of a blend: the node that has the tensor, and the coefficient."""

    node: str
    weight: float


@dataclass(frozen=True, slots=True)
class Computed:
    """A tensor that a step gives: a blend of `terms`, or a copy where `copy_of` names a node.

    `compare_with` names the node whose stored tensor should hold the same bytes; `sink` takes the bytes. `rivals` are
    the step's other inputs with a tensor of this name, dtype and shape: a copy shows an effect only against them.
    """

    node: str
    info: TensorInfo
    terms: tuple[Term, ...] = ()
    normalize: bool = False
    copy_of: str | None = None
    rivals: tuple[str, ...] = ()
    compare_with: str | None = None
    sink: Sink | None = None


@dataclass(frozen=True, slots=True)
class Movement:
    """Count the elements in which the tensor of `after` differs from that of `before`, for the train step `step`."""

    step: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Ask whether `node` equals a blend to the bit, in every tensor that carries this probe. Dies at the first no."""

    name: str
    node: str
    terms: tuple[Term, ...]
    normalize: bool


@dataclass(frozen=True, slots=True)
class TensorJob:
    """All that is done with the tensors of one name. Those in `stored` are cut together, so they have one shape."""

    stored: tuple[Stored, ...]
    computed: tuple[Computed, ...] = ()
    movements: tuple[Movement, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()


@dataclass(slots=True)
class TensorResult:
    """What one job found about one tensor of one node: its leaves, and how it differs from what it should be."""

    info: TensorInfo
    leaves: bytearray
    difference: Difference | None = None
    finite: bool = True
    nonfinite_inputs: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Moved:
    """How far a train step moved a tensor."""

    info: TensorInfo
    elements: int = 0


@dataclass(slots=True)
class ReplayResult:
    """Results by node and tensor name; who had an effect; which hypotheses hold."""

    tensors: dict[tuple[str, str], TensorResult] = field(default_factory=dict)
    moved: dict[tuple[str, str], Moved] = field(default_factory=dict)
    effective: set[tuple[str, str]] = field(default_factory=set)
    """(step, input): removing the input changes at least one bit of the step's output."""
    disproved: set[str] = field(default_factory=set)
    """Names of hypotheses that do not hold."""
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
    """Return how many bytes of this tensor one unit covers.

    They are whole chunks, and the same elements in all tensors of the job.
    """
    smallest = min(DTYPE_BITS[other.dtype] for other in _infos(job))
    return CHUNK_BYTES * DTYPE_BITS[info.dtype] // smallest


def unit_count(job: TensorJob) -> int:
    """Return the number of units of a job; its tensors have one shape, so it is the same for all of them."""
    return max((-(-info.size_bytes // unit_bytes(info, job)) for info in _infos(job)), default=0)


def _infos(job: TensorJob) -> list[TensorInfo]:
    return [stored.info for stored in job.stored] + [computed.info for computed in job.computed]


class _Scratch:
    """Buffers of one thread, reused for every unit."""

    def __init__(self) -> None:
        self._buffers: dict[str, bytearray] = {}

    def view(self, slot: str, size_bytes: int) -> memoryview:
        buffer = self._buffers.get(slot)
        if buffer is None or len(buffer) < size_bytes:
            buffer = self._buffers[slot] = bytearray(size_bytes)
        return memoryview(buffer)[:size_bytes]


class _Engine:
    def __init__(self, backend: Backend | None, progress: Callable[[int], None] | None) -> None:
        self.result = ReplayResult()
        self._backend = backend
        self._progress = progress
        self._lock = threading.Lock()

    def prepare(self, jobs: Sequence[TensorJob]) -> None:
        for job in jobs:
            tensors: list[Stored | Computed] = [*job.stored, *job.computed]
            for tensor in tensors:
                leaves = bytearray(LEAF_BYTES * tensor.info.chunk_count)
                self.result.tensors[tensor.node, tensor.info.name] = TensorResult(tensor.info, leaves)
            for movement in job.movements:
                info = next(info for info in _infos(job))
                self.result.moved[movement.step, info.name] = Moved(info)

    def process(self, job: TensorJob, unit: int, scratch: _Scratch) -> None:
        """Read, hash, compute and compare one unit of a job."""
        views: dict[str, memoryview] = {}
        dtypes: dict[str, str] = {}
        read_bytes = 0
        for stored in job.stored:
            start = unit * unit_bytes(stored.info, job)
            size = min(unit_bytes(stored.info, job), stored.info.size_bytes - start)
            view = scratch.view(stored.node, size)
            stored.file.read_into(view, stored.offset + start)
            self._hash(stored.node, stored.info, start, view)
            views[stored.node], dtypes[stored.node] = view, stored.info.dtype
            read_bytes += size
        for computed in job.computed:
            start = unit * unit_bytes(computed.info, job)
            size = min(unit_bytes(computed.info, job), computed.info.size_bytes - start)
            there = views.get(computed.compare_with) if computed.compare_with is not None else None
            if computed.copy_of is not None:
                view = views[computed.copy_of]
                if differs_from_all(view, [views[rival] for rival in computed.rivals]):
                    self.result.effective.add((computed.node, computed.copy_of))
                as_expected = there is not None and equal(view, there)
            else:
                view = scratch.view(computed.node, size)
                as_expected = self._blend(computed, views, dtypes, view, there, scratch)
            self._settle(computed, start, view, there, as_expected=as_expected)
            views.setdefault(computed.node, view)
            dtypes.setdefault(computed.node, computed.info.dtype)
        for movement in job.movements:
            self._measure(movement, job, views, dtypes)
        for hypothesis in job.hypotheses:
            self._test(hypothesis, views, dtypes, scratch)
        self._advance(read_bytes)

    def _advance(self, read_bytes: int) -> None:
        with self._lock:
            self.result.bytes_read += read_bytes
            if self._progress is not None:
                self._progress(self.result.bytes_read)

    def _hash(self, node: str, info: TensorInfo, start: int, view: memoryview) -> None:
        leaves = self.result.tensors[node, info.name].leaves
        for offset in range(0, len(view), CHUNK_BYTES):
            place = LEAF_BYTES * ((start + offset) // CHUNK_BYTES)
            leaves[place : place + LEAF_BYTES] = leaf(view[offset : offset + CHUNK_BYTES])

    def _blend(
        self,
        computed: Computed,
        views: Mapping[str, memoryview],
        dtypes: Mapping[str, str],
        out: memoryview,
        expected: memoryview | None,
        scratch: _Scratch,
    ) -> bool:
        """Compute one unit into `out`, and return whether it is as expected."""
        assert self._backend is not None
        operands = [Operand(term.weight, dtypes[term.node], views[term.node]) for term in computed.terms]
        dtype, normalize = computed.info.dtype, computed.normalize
        blended = self._backend.linear(operands, out, dtype=dtype, normalize=normalize, expected=expected)
        if not blended.finite:
            self._record_nonfinite(computed, views, dtypes)
        for position, term in enumerate(computed.terms):
            if (computed.node, term.node) not in self.result.effective and self._has_effect(
                computed, operands, position, out, scratch
            ):
                self.result.effective.add((computed.node, term.node))
        return blended.as_expected

    def _has_effect(
        self, computed: Computed, operands: list[Operand], position: int, out: memoryview, scratch: _Scratch
    ) -> bool:
        """Return whether this unit changes when one term is left out. Spec: merge §3."""
        assert self._backend is not None
        others = operands[:position] + operands[position + 1 :]
        without = scratch.view("#without", len(out))
        if others:
            if computed.normalize and weight_sum([operand.weight for operand in others]) == 0:
                return True
            self._backend.linear(others, without, dtype=computed.info.dtype, normalize=computed.normalize)
        else:
            without[:] = bytes(len(without))
        return not equal(without, out)

    def _record_nonfinite(self, computed: Computed, views: Mapping[str, memoryview], dtypes: Mapping[str, str]) -> None:
        from model_verify.merge.formats import as_bits, nonfinite

        nodes = [term.node for term in computed.terms]
        inputs = {node for node in nodes if nonfinite(as_bits(views[node], dtypes[node]), dtypes[node]).any()}
        with self._lock:
            result = self.result.tensors[computed.node, computed.info.name]
            result.finite = False
            result.nonfinite_inputs |= inputs
        if computed.sink is not None:
            code = "NONFINITE_INPUT" if inputs else "NONFINITE_OUTPUT"
            raise OperationRefused(code, "the blend is not finite", where=computed.info.name)

    def _settle(
        self, computed: Computed, start: int, view: memoryview, there: memoryview | None, *, as_expected: bool
    ) -> None:
        """Hash what was computed, or take over the leaves of the equal bytes that were read; hand it on."""
        info = computed.info
        if as_expected:
            assert computed.compare_with is not None
            known = self.result.tensors[computed.compare_with, info.name].leaves
            first = LEAF_BYTES * (start // CHUNK_BYTES)
            last = LEAF_BYTES * -(-(start + len(view)) // CHUNK_BYTES)
            self.result.tensors[computed.node, info.name].leaves[first:last] = known[first:last]
        else:
            self._hash(computed.node, info, start, view)
            if there is not None:
                difference = compare(view, there, info.dtype, start)
                with self._lock:
                    result = self.result.tensors[computed.node, info.name]
                    result.difference = difference if result.difference is None else result.difference + difference
        if computed.sink is not None:
            computed.sink(info, start, view)

    def _measure(
        self, movement: Movement, job: TensorJob, views: Mapping[str, memoryview], dtypes: Mapping[str, str]
    ) -> None:
        before, after = views[movement.before], views[movement.after]
        if equal(before, after):
            return
        name = _infos(job)[0].name
        difference = compare(before, after, dtypes[movement.after], 0)
        with self._lock:
            self.result.moved[movement.step, name].elements += difference.elements

    def _test(
        self, hypothesis: Hypothesis, views: Mapping[str, memoryview], dtypes: Mapping[str, str], scratch: _Scratch
    ) -> None:
        if hypothesis.name in self.result.disproved:
            return
        assert self._backend is not None
        there = views[hypothesis.node]
        out = scratch.view("#hypothesis", len(there))
        operands = [Operand(term.weight, dtypes[term.node], views[term.node]) for term in hypothesis.terms]
        dtype = dtypes[hypothesis.node]
        blended = self._backend.linear(operands, out, dtype=dtype, normalize=hypothesis.normalize, expected=there)
        if not (blended.finite and blended.as_expected):
            self.result.disproved.add(hypothesis.name)
