"""Whether a model may itself have been made from the output that it is held against. Spec: pipeline §4.16.

A merge of a training's input and output points back at that output: solved for it, it is a blend of the input and the
merge. Only roundings can tell which of the two was there first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from model_verify.lineage.cell import CellCount
from model_verify.lineage.probes import CellProbe
from model_verify.lineage.samples import Sample
from model_verify.merge.formats import as_bits, narrow, widen

_SIGNIFICAND_BITS = {"BF16": 8, "F16": 11, "F32": 24}


def is_finer(dtype: str, other: str) -> bool:
    """Return whether values of a dtype have more significant bits than those of another."""
    return _SIGNIFICAND_BITS[dtype] > _SIGNIFICAND_BITS[other]


def turned_around(samples: Sequence[Sample], position: int) -> list[Sample]:
    """Return the samples with one parent as the child, and the child first among its parents."""
    turned: list[Sample] = []
    for sample in samples:
        dtype, child = sample.parents[position]
        before = narrow(widen(as_bits(sample.before, sample.dtype), sample.dtype), dtype).tobytes()
        others = [parent for place, parent in enumerate(sample.parents) if place != position]
        turned.append(Sample(sample.name, before, ((sample.dtype, sample.child), *others), dtype, child))
    return turned


@dataclass(slots=True)
class Origin:
    """What looks at whether one parent is a blend of the output and of the other parents, up to rounding.

    `finer` says whether it has tensors of a finer dtype than the output's, whose rounding then hides its own.
    """

    finer: bool
    probes: list[CellProbe] = field(default_factory=list)
    """Of every tensor; none where samples say that it is no such blend."""

    def made_from_output(self) -> CellCount | None:
        """Return how many elements lie where such a blend rounds to, if nearly all do; None otherwise."""
        total = CellCount()
        for probe in self.probes:
            total += probe.count
        return total if self.probes and total.explains else None
