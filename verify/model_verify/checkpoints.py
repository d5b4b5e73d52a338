"""Checkpoints that are open for reading, and the jobs that put tensors of several of them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from model_verify.errors import SourceChanged
from model_verify.pipeline import Blend, BoundMerge
from model_verify.replay import Computed, Hypothesis, Movement, Sink, Stored, TensorJob, Term
from model_verify.sources.source import File, Source
from model_verify.tensors import DTYPE_BITS, TensorInfo
from model_verify.weights import StoredTensor, WeightFile, read_weight_file


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


@dataclass(slots=True)
class _Bench:
    stored: list[Stored] = field(default_factory=list)
    computed: list[Computed] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    hypotheses: list[Hypothesis] = field(default_factory=list)


class JobBoard:
    """Collects what is to be done with each tensor, so that one pass reads every byte once.

    Tensors of one name and shape share a job. Those of another shape, or whose elements do not pack into whole bytes
    alike, have a job of their own: no operation connects them.
    """

    def __init__(self) -> None:
        self._benches: dict[tuple[str, tuple[int, ...], int], _Bench] = {}
        self._apart: list[_Bench] = []

    def _bench(self, info: TensorInfo) -> _Bench:
        bits = DTYPE_BITS[info.dtype]
        return self._benches.setdefault((info.name, info.shape, bits if bits & (bits - 1) else 0), _Bench())

    def add_checkpoint(self, checkpoint: OpenCheckpoint) -> None:
        for stored in checkpoint.stored.values():
            self._bench(stored.info).stored.append(stored)

    def add_apart(self, checkpoint: OpenCheckpoint) -> None:
        """Add a checkpoint that no operation connects with others: its tensors are only hashed."""
        self._apart += [_Bench(stored=[stored]) for stored in checkpoint.stored.values()]

    def add_computed(self, computed: Computed) -> None:
        self._bench(computed.info).computed.append(computed)

    def add_merge(
        self,
        node: str,
        bound: BoundMerge,
        inputs: Sequence[tuple[str, Mapping[str, TensorInfo]]],
        *,
        compare_with: OpenCheckpoint | None = None,
        sink: Sink | None = None,
    ) -> None:
        """Add every operation of a merge step: its output is `node`; `inputs` are nodes and their tensors, in order.

        What is computed is compared with the tensors of `compare_with` that have the same name, dtype and shape.
        """
        for name, operation in bound.operations.items():
            there = compare_with.stored.get(name) if compare_with is not None else None
            expected = there.node if there is not None and there.info == operation.output else None
            if isinstance(operation, Blend):
                terms = tuple(Term(n, w.value) for (n, _), w in zip(inputs, operation.weights, strict=True))
                computed = Computed(node, operation.output, terms, operation.normalize)
            else:
                copied, _ = inputs[operation.position]
                rivals = tuple(n for n, tensors in inputs if n != copied and tensors.get(name) == operation.output)
                computed = Computed(node, operation.output, copy_of=copied, rivals=rivals)
            self.add_computed(replace(computed, compare_with=expected, sink=sink))

    def add_movement(self, info: TensorInfo, movement: Movement) -> None:
        self._bench(info).movements.append(movement)

    def add_hypothesis(self, info: TensorInfo, hypothesis: Hypothesis) -> None:
        self._bench(info).hypotheses.append(hypothesis)

    def jobs(self) -> list[TensorJob]:
        """Return the jobs in the order in which the first checkpoint's files are read from front to back."""
        ordered = sorted([*self._benches.values(), *self._apart], key=_reading_order)
        return [TensorJob(tuple(b.stored), tuple(b.computed), tuple(b.movements), tuple(b.hypotheses)) for b in ordered]


def _reading_order(bench: _Bench) -> tuple[bool, str, int]:
    first = bench.stored[0] if bench.stored else None
    return (first is None, first.file.path if first else "", first.offset if first else 0)
