"""Checkpoints that are open for reading, and the jobs that put tensors of several of them side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import compress

from model_verify.binding import BoundStep
from model_verify.errors import SourceChanged
from model_verify.merge.kernel import Call, Kernel
from model_verify.merge.methods import load
from model_verify.operations import Operation
from model_verify.replay import Computed, Key, Probe, Sink, Stored, TensorJob
from model_verify.sources.source import File, Source
from model_verify.tensors import TensorInfo
from model_verify.weight_files import read_weight_file
from model_verify.weights import StoredTensor, WeightFile


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """A node of the engine whose tensors are read from open files."""

    node: str
    stored: Mapping[str, Stored]

    @property
    def infos(self) -> dict[str, TensorInfo]:
        return {name: stored.info for name, stored in self.stored.items()}


def open_checkpoint(
    node: str,
    source: Source,
    tensors: Mapping[str, StoredTensor],
    weight_files: Mapping[str, WeightFile],
    stack: ExitStack,
) -> OpenCheckpoint:
    """Return a checkpoint whose files stay open until `stack` closes, which checks that none of them changed.

    `weight_files` are what was read of the same files before. Raises `SourceChanged` unless the files that are open now
    have those headers: data must not be read from one file by the offsets of another.
    """
    files: dict[str, File] = {}
    for path in sorted({tensor.path for tensor in tensors.values()}):
        files[path] = stack.enter_context(source.open(path))
        if read_weight_file(files[path]) != weight_files[path]:
            hint = "run it again when nothing writes there"
            raise SourceChanged(f"{source.label}: {path} changed while it was read", hint=hint)
    return OpenCheckpoint(node, {name: Stored(node, t.info, files[t.path], t.offset) for name, t in tensors.items()})


class JobBoard:
    """Collects what is to be done with each tensor, so that one pass reads every byte once.

    Tensors that an operation, a comparison or a probe connects share a job, whatever their names.
    """

    def __init__(self) -> None:
        self._stored: dict[Key, Stored] = {}
        self._computed: dict[Key, Computed] = {}
        self._probes: list[Probe] = []
        self._kernels: dict[int, tuple[Call, Kernel]] = {}

    def add_checkpoint(self, checkpoint: OpenCheckpoint) -> None:
        for stored in checkpoint.stored.values():
            self._stored[stored.key] = stored

    def add_computed(self, computed: Computed) -> None:
        self._computed[computed.key] = computed

    def add_step(
        self,
        node: str,
        bound: BoundStep,
        inputs: Sequence[tuple[str, Mapping[str, TensorInfo]]],
        *,
        compare_with: OpenCheckpoint | None = None,
        sink: Sink | None = None,
    ) -> None:
        """Add every operation of a step: its output is `node`; `inputs` are nodes and their tensors, in order.

        What is computed is compared with the tensors of `compare_with` that have the same name, dtype and shape.
        Raises `BackendUnavailable` where the software for an operation is missing.
        """
        for name, operation in bound.operations.items():
            there = compare_with.stored.get(name) if compare_with is not None else None
            expected = there.key if there is not None and there.info == operation.output else None
            operands = tuple((inputs[o.position][0], o.info.name) for o in operation.operands)
            kernel = None if operation.call is None else self.kernel(operation.call)
            rivals = _rivals(operation, inputs)
            self.add_computed(Computed(node, operation.output, operands, kernel, rivals, expected, sink))

    def kernel(self, call: Call) -> Kernel:
        """Return the kernel of a call, the same one for all tensors that share the call."""
        if id(call) not in self._kernels:
            self._kernels[id(call)] = (call, load(call))
        return self._kernels[id(call)][1]

    def add_probe(self, probe: Probe) -> None:
        self._probes.append(probe)

    def drop_too_large(self, *, most_tensors: int, most_bytes: int) -> set[str]:
        """Take off every node that cannot be computed within bounds, and those that need it; return them.

        A statement can connect all tensors of a model with each other, and so ask for all of them at once.
        """
        dropped: set[str] = set()
        while True:
            excess = self._nodes_of_large_groups(most_tensors, most_bytes)
            if not excess:
                return dropped
            dropped |= excess
            self._drop(dropped)

    def _nodes_of_large_groups(self, most_tensors: int, most_bytes: int) -> set[str]:
        return {
            computed.node
            for bench in self._benches().values()
            if bench.is_larger_than(most_tensors, most_bytes)
            for computed in bench.computed
        }

    def _drop(self, nodes: set[str]) -> None:
        """Take off the nodes and, in turn, whatever is computed from them or held against them."""
        while True:
            users = {
                c.node for c in self._computed.values() if any(node in nodes for node, _ in (*c.operands, *c.rivals))
            }
            if users <= nodes:
                break
            nodes |= users
        self._computed = {key: computed for key, computed in self._computed.items() if computed.node not in nodes}
        blind = [any(node in nodes for node, _ in probe.keys) for probe in self._probes]
        for probe in compress(self._probes, blind):
            probe.miss()
        self._probes = [probe for probe, is_blind in zip(self._probes, blind, strict=True) if not is_blind]

    def jobs(self) -> list[TensorJob]:
        """Return the jobs in the order in which the first checkpoint's files are read from front to back."""
        return [bench.job() for bench in sorted(self._benches().values(), key=_reading_order)]

    def _benches(self) -> dict[Key, _Bench]:
        """Return what is connected, by what stands for it."""
        groups = _Groups([*self._stored, *self._computed])
        for computed in self._computed.values():
            for key in (*computed.operands, *computed.rivals, computed.compare_with):
                if key is not None:
                    groups.join(computed.key, key)
        for probe in self._probes:
            for key in probe.keys:
                groups.join(probe.keys[0], key)
        benches: dict[Key, _Bench] = {}
        for stored in self._stored.values():
            benches.setdefault(groups.of(stored.key), _Bench()).stored.append(stored)
        for computed in self._computed.values():
            benches.setdefault(groups.of(computed.key), _Bench()).computed.append(computed)
        for probe in self._probes:
            benches[groups.of(probe.keys[0])].probes.append(probe)
        return benches


def _rivals(operation: Operation, inputs: Sequence[tuple[str, Mapping[str, TensorInfo]]]) -> tuple[Key, ...]:
    """Return what else the output could have been copied from: what other inputs have under the name of its only
    operand, in its dtype and shape."""
    if len(operation.operands) != 1:
        return ()
    (operand,) = operation.operands
    return tuple(
        (node, operand.info.name)
        for position, (node, tensors) in enumerate(inputs)
        if position != operand.position
        and tensors.get(operand.info.name) == operand.info == replace(operation.output, name=operand.info.name)
    )


@dataclass(slots=True)
class _Bench:
    stored: list[Stored] = field(default_factory=list)
    computed: list[Computed] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return any(computed.kernel is not None and computed.kernel.whole for computed in self.computed)

    def is_larger_than(self, most_tensors: int, most_bytes: int) -> bool:
        infos = [*(stored.info for stored in self.stored), *(computed.info for computed in self.computed)]
        return len(infos) > most_tensors or (self.is_whole and sum(info.size_bytes for info in infos) > most_bytes)

    def job(self) -> TensorJob:
        return TensorJob(tuple(self.stored), tuple(self.computed), tuple(self.probes), self.is_whole)


class _Groups:
    """Sets of keys that are connected, directly or through others."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._parents = {key: key for key in keys}

    def of(self, key: Key) -> Key:
        """Return what stands for the group of `key`."""
        while self._parents[key] != key:
            self._parents[key] = self._parents[self._parents[key]]
            key = self._parents[key]
        return key

    def join(self, one: Key, other: Key) -> None:
        self._parents[self.of(other)] = self.of(one)


def _reading_order(bench: _Bench) -> tuple[bool, str, int]:
    first = bench.stored[0] if bench.stored else None
    return (first is None, first.file.path if first else "", first.offset if first else 0)
