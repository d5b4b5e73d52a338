"""What looks at the tensors of a training while they are read. Spec: pipeline §4."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from model_verify.lineage.cell import CellCount, count_cell
from model_verify.lineage.rank import Submatrix
from model_verify.merge.backend import Backend
from model_verify.merge.difference import equal
from model_verify.merge.formats import FLOAT_BYTES
from model_verify.merge.kernel import Block, Kernel
from model_verify.merge.movement import Moves, count_moves
from model_verify.replay import Key
from model_verify.tensors import DTYPE_BITS, TensorInfo

_MOST_BLOCKS = 4096


@dataclass(slots=True)
class MovementProbe:
    """How far a tensor moved, and which of its blocks did: what lies under one index of a tensor of three dimensions.

    A layer's experts are often kept as one such tensor.
    """

    info: TensorInfo
    keys: tuple[Key, Key]
    moves: Moves = field(default_factory=Moves)
    touched: bytearray = field(init=False)
    """One byte for each block, 1 where an element of it moved."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        shape = self.info.shape
        self.touched = bytearray(shape[0] if len(shape) == 3 and shape[0] <= _MOST_BLOCKS else 1)

    def look(self, blocks: Sequence[Block], first: int) -> None:
        before, after = blocks
        if equal(before.data, after.data):
            return
        moves = count_moves(before.data, after.data, after.dtype)
        with self._lock:
            self.moves += moves
        if len(self.touched) == 1:
            self.touched[0] = 1
        else:
            self._touch(memoryview(before.data), memoryview(after.data), first)

    def _touch(self, before: memoryview, after: memoryview, first: int) -> None:
        bits = DTYPE_BITS[self.info.dtype]
        size_bits = self.info.elements // len(self.touched) * bits
        start_bits, stop_bits = first * bits, first * bits + len(after) * 8
        for index in range(start_bits // size_bits, -(-stop_bits // size_bits)):
            start = (max(index * size_bits, start_bits) - start_bits) // 8
            stop = -(-(min((index + 1) * size_bits, stop_bits) - start_bits) // 8)
            if not self.touched[index] and not equal(before[start:stop], after[start:stop]):
                self.touched[index] = 1

    def miss(self) -> None:
        """Nothing: where the input could not be computed, no training of it is judged."""


@dataclass(slots=True)
class EqualityProbe:
    """Whether a tensor is, to the bit, what a kernel gives; the tensor is the first of `keys`, then the operands."""

    keys: tuple[Key, ...]
    kernel: Kernel
    backend: Backend
    holds: bool = True

    def look(self, blocks: Sequence[Block], first: int) -> None:
        if self.holds:
            there, *operands = blocks
            out = Block(there.dtype, there.shape, memoryview(bytearray(len(there.data))))
            blended = self.kernel.run(self.backend, operands, out, expected=there.data)
            if not (blended.finite and blended.as_expected):
                self.holds = False

    def miss(self) -> None:
        self.holds = False


@dataclass(slots=True)
class CellProbe:
    """How many elements lie in the rounding cell of a blend: of the first of `keys`, moved from the second."""

    keys: tuple[Key, ...]
    weights: tuple[float, ...]
    count: CellCount = field(default_factory=CellCount)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, blocks: Sequence[Block], first: int) -> None:
        after, before, *parents = blocks
        count = count_cell(parents, np.array(self.weights), before, after)
        with self._lock:
            self.count += count

    def miss(self) -> None:
        """Nothing: where the input could not be computed, no training of it is judged."""


@dataclass(slots=True)
class ExcerptProbe:
    """Keeps a part of a matrix, row after row, of what it was and of what it is."""

    keys: tuple[Key, Key]
    dtype: str
    part: Submatrix
    before: bytearray = field(init=False)
    after: bytearray = field(init=False)

    def __post_init__(self) -> None:
        size = self.part.elements * FLOAT_BYTES[self.dtype]
        self.before, self.after = bytearray(size), bytearray(size)

    def look(self, blocks: Sequence[Block], first: int) -> None:
        size = FLOAT_BYTES[self.dtype]
        views = [memoryview(block.data) for block in blocks]
        last = first + len(views[0]) // size
        for place, row in enumerate(self.part.rows):
            row_start = row * self.part.width + self.part.first_column
            start, stop = max(row_start, first), min(row_start + self.part.columns, last)
            if start >= stop:
                continue
            there = size * (place * self.part.columns + start - row_start)
            for kept, view in zip((self.before, self.after), views, strict=True):
                kept[there : there + size * (stop - start)] = view[size * (start - first) : size * (stop - first)]

    def miss(self) -> None:
        """Nothing: where the input could not be computed, no training of it is judged."""
