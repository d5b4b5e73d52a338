"""The JSON answer of `attest diff`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from model_attest.diff import Checkpoint, TensorChange
from model_verify.models import Wire, WireCheckpointRoot
from model_verify.tensors import TensorInfo


class DiffSide(Wire):
    path: str
    checkpoint_root: WireCheckpointRoot
    tensor_count: int
    taken_from: Literal["manifest", "weights"]


class DiffKind(Wire):
    dtype: str
    shape: list[int]


class DiffRange(Wire):
    first_byte: int
    last_byte: int


class DiffTensor(Wire):
    """`ranges`: the chunks that differ, None where only the roots are known. Elements and ULP: from weights alone."""

    name: str
    before: DiffKind | None
    after: DiffKind | None
    ranges: list[DiffRange] | None
    first_byte: int | None
    elements: int | None
    ulp: int | None


class DiffAnswer(Wire):
    same: bool
    sides: list[DiffSide]
    tensors: list[DiffTensor]


def diff_answer(sides: Sequence[Checkpoint], changes: Sequence[TensorChange]) -> DiffAnswer:
    """Return the answer as a document."""
    return DiffAnswer(
        same=not changes,
        sides=[
            DiffSide(
                path=side.label,
                checkpoint_root=side.root,
                tensor_count=len(side.tensors),
                taken_from="manifest" if side.taken_at_its_word else "weights",
            )
            for side in sides
        ],
        tensors=[_tensor(change) for change in changes],
    )


def _tensor(change: TensorChange) -> DiffTensor:
    difference = change.difference
    ranges = change.ranges
    return DiffTensor(
        name=change.name,
        before=_kind(change.before),
        after=_kind(change.after),
        ranges=None if ranges is None else [DiffRange(first_byte=a, last_byte=b) for a, b in ranges],
        first_byte=difference.first_byte if difference else None,
        elements=difference.elements if difference else None,
        ulp=difference.ulp if difference else None,
    )


def _kind(info: TensorInfo | None) -> DiffKind | None:
    return None if info is None else DiffKind(dtype=info.dtype, shape=list(info.shape))
