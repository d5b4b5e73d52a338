"""How two stretches of one tensor differ: where first, in how many elements, by how many ULP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_verify.tensors import packing

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Difference:
    """`first_byte` is an offset into the tensor's data; `ulp` is None for dtypes that are not blended."""

    first_byte: int
    elements: int
    ulp: int | None

    def __add__(self, other: Difference) -> Difference:
        ulps = [ulp for ulp in (self.ulp, other.ulp) if ulp is not None]
        return Difference(
            min(self.first_byte, other.first_byte), self.elements + other.elements, max(ulps) if ulps else None
        )

    def __str__(self) -> str:
        count = f"{self.elements} element{'s' if self.elements != 1 else ''} differ{'s' if self.elements == 1 else ''}"
        return f"first difference at byte {self.first_byte}, {count}" + (
            f", by up to {self.ulp} ULP" if self.ulp is not None else ""
        )


def equal(one: Buffer, other: Buffer) -> bool:
    """Return whether two stretches hold the same bytes, as fast as memory gives them and without holding the GIL."""
    import numpy as np

    if len(one) != len(other):
        return False
    kind = np.uint64 if len(one) % 8 == 0 else np.uint8
    return bool((np.frombuffer(one, dtype=kind) == np.frombuffer(other, dtype=kind)).all())


def differs_from_all(one: Buffer, others: Sequence[Buffer]) -> bool:
    """Return whether some byte of `one` is in none of `others`, at the same place. True where there are no others."""
    if not others:
        return len(one) > 0
    import numpy as np

    differ = np.ones(len(one), dtype=bool)
    for other in others:
        differ &= np.frombuffer(one, dtype=np.uint8) != np.frombuffer(other, dtype=np.uint8)
    return bool(differ.any())


def compare(one: Buffer, other: Buffer, dtype: str, offset: int) -> Difference:
    """Return the difference of two unequal stretches of equal length that start `offset` bytes into the tensor's data.

    Elements that are packed are counted by what is stored together, or by bytes where that is cut.
    """
    import numpy as np

    from model_verify.merge.formats import FLOAT_BYTES, ulp_distances

    element_bytes = packing(dtype).size_bytes
    if offset % element_bytes or len(one) % element_bytes:
        element_bytes = 1
    differ = np.frombuffer(one, dtype=np.uint8) != np.frombuffer(other, dtype=np.uint8)
    elements = int(differ.reshape(-1, element_bytes).any(axis=1).sum())
    ulp = None
    if dtype in FLOAT_BYTES:
        ulp = int(ulp_distances(one, other, dtype).max(initial=0))
    return Difference(offset + int(differ.argmax()), elements, ulp)
