"""How far elements moved: how many, and by how many ULP, in a count that any number of threads can add to.

Spec: pipeline §4.12.
"""

# Shape suffixes: E elements of one block, B buckets.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_verify.tensors import DTYPE_BITS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Buffer = bytes | bytearray | memoryview

_FURTHER_BITS = 3
"""Distances are kept to so many bits below their highest one; shorter ones exactly."""
_PER_OCTAVE = 1 << _FURTHER_BITS
_FLOAT64_MANTISSA_BITS = 52
_FLOAT64_BIAS = 1023


@dataclass(slots=True)
class Moves:
    """Elements that differ between two tensors. `distances` counts them by their distance in ULP, in buckets.

    Elements of dtypes that are not F32, BF16 or F16 have no distance.
    """

    moved: int = 0
    distances: dict[int, int] = field(default_factory=dict)
    largest: int = 0

    def __iadd__(self, other: Moves) -> Moves:
        self.moved += other.moved
        for bucket, count in other.distances.items():
            self.distances[bucket] = self.distances.get(bucket, 0) + count
        self.largest = max(self.largest, other.largest)
        return self

    def percentile(self, percent: int) -> int | None:
        """Return the smallest distance that at least `percent` per cent of the moved elements do not exceed.

        To four leading bits, rounded down; None where no element moved, or none that has a distance.
        """
        total = sum(self.distances.values())
        reached = 0
        for bucket in sorted(self.distances):
            reached += self.distances[bucket]
            if 100 * reached >= percent * total:
                return _least_of(bucket)
        return None


def count_moves(before: Buffer, after: Buffer, dtype: str) -> Moves:
    """Return how far elements of `dtype` moved. Elements smaller than a byte are counted by bytes."""
    import numpy as np

    from model_verify.merge.formats import FLOAT_BYTES, ulp_distances

    if dtype not in FLOAT_BYTES:
        element_bytes = max(1, DTYPE_BITS[dtype] // 8)
        differ_E = np.frombuffer(before, dtype=np.uint8) != np.frombuffer(after, dtype=np.uint8)
        return Moves(int(differ_E.reshape(-1, element_bytes).any(axis=1).sum()))
    distances_E = ulp_distances(before, after, dtype)
    if FLOAT_BYTES[dtype] == 2:  # few distances, so they can be counted one by one
        counts = np.bincount(distances_E)
        found = np.flatnonzero(counts)
        counts_B = np.bincount(_bucket(found), counts[found]).astype(np.int64)
    else:
        counts_B = np.bincount(_bucket(distances_E))
    buckets = {int(place) - 1: int(counts_B[place]) for place in np.flatnonzero(counts_B) if place}
    return Moves(sum(buckets.values()), buckets, int(distances_E.max(initial=0)))


def _bucket(distances_E: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return one more than the bucket of each distance, 0 for none: the highest bits, which float64 has in front."""
    import numpy as np

    bits_E = distances_E.astype(np.float64).view(np.int64) >> (_FLOAT64_MANTISSA_BITS - _FURTHER_BITS)
    bits_E -= _FLOAT64_BIAS * _PER_OCTAVE - 1
    buckets_E: NDArray[np.int64] = np.maximum(bits_E, 0, out=bits_E)
    return buckets_E


def _least_of(bucket: int) -> int:
    """Return the smallest distance that falls into `bucket`."""
    octave, further = divmod(bucket, _PER_OCTAVE)
    return (1 << octave) + (further << octave >> _FURTHER_BITS)
