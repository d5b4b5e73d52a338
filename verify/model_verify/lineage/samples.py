"""Elements of the same places in several checkpoints: enough to estimate from, few enough to hold.

Some come from all over each tensor. Where few elements moved, the others come from where they did: a training that
touched a few hundred elements among billions is not to be missed by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_verify.merge.backend import Backend
from model_verify.merge.formats import FLOAT_BYTES, as_bits, narrow, widen
from model_verify.merge.kernel import Block
from model_verify.replay import Key, Stored, TensorJob

SAMPLE_ELEMENTS = 1 << 22
"""Of all tensors together: enough for coefficients of four digits where BF16 parents are 1 % apart."""

_LEAST_SAMPLE = 2048
_MOST_STRETCHES = 32
_LEAST_MOVED = 1 << 12
"""With so many moved elements, a sample from all over the tensors says enough."""
_MOST_MOVED = 1 << 18
_LOOK_ELEMENTS = 1 << 20
_NEAR_ELEMENTS = 64
"""Moved elements less than this apart are read in one stretch."""

Stretches = Sequence[tuple[int, int]]
"""Parts of a tensor: the first element and the number of elements of each."""

Reader = Callable[[str, Stretches], tuple[str, bytes]]
"""Gives the dtype and the elements in some stretches of the tensor of a name."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The same elements of one tensor in the parents (dtype and data each), in the child, and in what went in.

    `before` are elements of the child's dtype.
    """

    name: str
    before: bytes
    parents: tuple[tuple[str, bytes], ...]
    dtype: str
    child: bytes

    @property
    def elements(self) -> int:
        return len(self.child) // FLOAT_BYTES[self.dtype]

    def first(self, elements: int) -> Sample:
        """Return the sample of this tensor's first `elements`."""
        parents = tuple((dtype, data[: elements * FLOAT_BYTES[dtype]]) for dtype, data in self.parents)
        size = elements * FLOAT_BYTES[self.dtype]
        return Sample(self.name, self.before[:size], parents, self.dtype, self.child[:size])

    def has_values_of(self, dtype: str) -> bool:
        """Return whether all of the child's values are values of `dtype` too."""
        values_E = widen(as_bits(self.child, self.dtype), self.dtype)
        return np.array_equal(widen(narrow(values_E, dtype), dtype), values_E)

    def rounded(self, dtype: str) -> Sample:
        """Return the sample with all values rounded to `dtype`."""

        def convert(held: str, data: bytes) -> bytes:
            return narrow(widen(as_bits(data, held), held), dtype).tobytes()

        parents = tuple((dtype, convert(held, data)) for held, data in self.parents)
        before, child = convert(self.dtype, self.before), convert(self.dtype, self.child)
        return Sample(self.name, before, parents, dtype, child)

    def every(self, step: int) -> Sample:
        """Return the sample of every `step`-th element."""

        def thin(dtype: str, data: bytes) -> bytes:
            return as_bits(data, dtype)[::step].tobytes()

        parents = tuple((dtype, thin(dtype, data)) for dtype, data in self.parents)
        before, child = thin(self.dtype, self.before), thin(self.dtype, self.child)
        return Sample(self.name, before, parents, self.dtype, child)


def thinned(samples: Sequence[Sample], elements: int) -> list[Sample]:
    """Return samples of about so many elements together, with little less of small tensors."""
    step = max(1, sum(sample.elements for sample in samples) // elements)
    return [sample.every(max(1, min(step, sample.elements // _LEAST_SAMPLE))) for sample in samples]


def choose_stretches(before: Reader, child: Mapping[str, Stored], names: Sequence[str]) -> dict[str, Stretches]:
    """Return where to look in the tensors `names`, which all checkpoints have in one shape.

    `before` reads what the child is declared to come from. `SAMPLE_ELEMENTS` are shared out evenly, except that small
    tensors leave to larger ones what they do not need.
    """
    chosen: dict[str, Stretches] = {}
    unused = SAMPLE_ELEMENTS
    moved = 0
    for position, name in enumerate(sorted(names, key=lambda name: child[name].info.elements)):
        elements = min(child[name].info.elements, max(_LEAST_SAMPLE, unused // (len(names) - position)))
        unused -= elements
        chosen[name] = _spread(child[name].info.elements, elements)
        moved += len(_moved(before, child[name], chosen[name]))
    if moved < _LEAST_MOVED:
        _add_moved(chosen, before, child)
    return chosen


def _spread(available: int, wanted: int) -> Stretches:
    """Return stretches of about `wanted` elements all over a tensor: the first rows of an embedding may never move."""
    count = wanted // _MOST_STRETCHES
    if wanted >= available or not count:
        return [(0, min(wanted, available))]
    return [(i * (available - count) // (_MOST_STRETCHES - 1), count) for i in range(_MOST_STRETCHES)]


def _add_moved(chosen: dict[str, Stretches], before: Reader, child: Mapping[str, Stored]) -> None:
    """Add stretches around moved elements, by a look at everything that ends when there are enough."""
    unused = _MOST_MOVED
    for position, (name, spread) in enumerate(chosen.items()):
        elements = child[name].info.elements
        wanted = max(_LEAST_SAMPLE, unused // (len(chosen) - position))
        around: list[tuple[int, int]] = []
        for start in range(0, elements if spread != [(0, elements)] else 0, _LOOK_ELEMENTS):
            if wanted <= 0:
                break
            moved = _moved(before, child[name], [(start, min(_LOOK_ELEMENTS, elements - start))])[:wanted]
            around += _around(moved, start)
            wanted -= len(moved)
            unused -= len(moved)
        chosen[name] = _united([*spread, *around])


def _around(moved: Sequence[int], offset: int) -> Stretches:
    """Return stretches that hold the elements `moved`, which are counted from `offset` and in order."""
    found: list[tuple[int, int]] = []
    for place in moved:
        start, count = found[-1] if found else (0, -_NEAR_ELEMENTS)
        if found and offset + place - (start + count) < _NEAR_ELEMENTS:
            found[-1] = (start, offset + place + 1 - start)
        else:
            found.append((offset + place, 1))
    return found


def _united(stretches: Stretches) -> Stretches:
    """Return the same elements in stretches that do not overlap, in order."""
    found: list[tuple[int, int]] = []
    for start, count in sorted(stretches):
        if found and start <= sum(found[-1]):
            found[-1] = (found[-1][0], max(sum(found[-1]), start + count) - found[-1][0])
        else:
            found.append((start, count))
    return found


def _moved(before: Reader, child: Stored, stretches: Stretches) -> Sequence[int]:
    """Return the places within `stretches`, laid end to end, where the child's elements are not those before."""
    _, was = before(child.info.name, stretches)
    dtype, now = read_stored(child, stretches)
    moved: list[int] = np.flatnonzero(as_bits(was, dtype) != as_bits(now, dtype)).tolist()
    return moved


def read_stored(stored: Stored, stretches: Stretches) -> tuple[str, bytes]:
    """Return the dtype and some elements of a tensor that lies in a file."""
    size = FLOAT_BYTES[stored.info.dtype]
    parts = [stored.file.read(stored.offset + start * size, count * size) for start, count in stretches]
    return stored.info.dtype, b"".join(parts)


def compute_sample(job: TensorJob, key: Key, stretches: Stretches, backend: Backend) -> tuple[str, bytes]:
    """Return the dtype and some elements of a tensor of the job, computed where it is not stored."""
    if job.whole:
        whole = _compute_whole(job, key, backend)
        size = FLOAT_BYTES[whole.dtype]
        data = memoryview(whole.data)
        return whole.dtype, b"".join(data[start * size : (start + count) * size] for start, count in stretches)
    for stored in job.stored:
        if stored.key == key:
            return read_stored(stored, stretches)
    computed = next(computed for computed in job.computed if computed.key == key)
    given = [compute_sample(job, operand, stretches, backend) for operand in computed.operands]
    if computed.kernel is None:
        return given[0]
    elements = sum(count for _, count in stretches)
    out = _room(computed.info.dtype, (elements,), elements)
    computed.kernel.run(backend, [Block(dtype, (elements,), data) for dtype, data in given], out)
    return out.dtype, bytes(out.data)


def _compute_whole(job: TensorJob, key: Key, backend: Backend) -> Block:
    for stored in job.stored:
        if stored.key == key:
            return Block(stored.info.dtype, stored.info.shape, stored.file.read(stored.offset, stored.info.size_bytes))
    computed = next(computed for computed in job.computed if computed.key == key)
    given = [_compute_whole(job, operand, backend) for operand in computed.operands]
    if computed.kernel is None:
        return given[0]
    out = _room(computed.info.dtype, computed.info.shape, computed.info.elements)
    computed.kernel.run(backend, given, out)
    return out


def _room(dtype: str, shape: tuple[int, ...], elements: int) -> Block:
    return Block(dtype, shape, memoryview(bytearray(elements * FLOAT_BYTES[dtype])))
