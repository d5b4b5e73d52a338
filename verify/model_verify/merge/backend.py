"""What computes merges has to offer, and how it proves that it computes the right bits. Spec: merge §2."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from model_verify.errors import BackendUnavailable
from model_verify.merge.known_answers import KNOWN_ANSWERS

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Operand:
    """One input of a blend: the coefficient's float32 value widened to float64, and elements of `dtype`."""

    weight: float
    dtype: str
    data: Buffer


class Blended(NamedTuple):
    """What came of a blend: whether every output is finite, and whether all are as expected (False if nothing was)."""

    finite: bool
    as_expected: bool


class Backend(Protocol):
    """The arithmetic of `linear/f64-v1` on blocks of elements, with the same bits whichever backend runs it."""

    name: str
    device: str
    """Where kernels written in torch compute: `cpu` or `cuda`."""

    def linear(
        self,
        operands: Sequence[Operand],
        out: memoryview,
        *,
        dtype: str,
        normalize: bool,
        expected: Buffer | None = None,
    ) -> Blended:
        """Write the blend of `operands`, as many elements each, to `out` as `dtype`, and compare it with `expected`.

        Where the outputs are not all finite, `out` holds what came out. An input that is not finite always gives such
        an output. Spec: merge §2.
        """
        ...


class CheckedBackend:
    """A backend that passes the known-answer check in every thread before it first computes there.

    A thread's processor mode can flush subnormals to zero, which changes bits without a word.
    """

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.device = backend.device
        self._backend = backend
        self._threads = threading.local()

    def linear(
        self,
        operands: Sequence[Operand],
        out: memoryview,
        *,
        dtype: str,
        normalize: bool,
        expected: Buffer | None = None,
    ) -> Blended:
        dtypes = frozenset({dtype, *(operand.dtype for operand in operands)})
        passed: set[frozenset[str]] = self._threads.__dict__.setdefault("passed", set())
        if dtypes not in passed:
            check_known_answers(self._backend, dtypes)
            passed.add(dtypes)
        return self._backend.linear(operands, out, dtype=dtype, normalize=normalize, expected=expected)


def check_known_answers(backend: Backend, dtypes: frozenset[str] = frozenset({"F32", "BF16", "F16"})) -> None:
    """Raise `BackendUnavailable` unless `backend` gives the bits of the known-answer table here and now.

    Only answers about formats among `dtypes` are asked for: loading the code for others takes time.
    """
    for answer in KNOWN_ANSWERS:
        if not answer.dtypes <= dtypes:
            continue
        operands = [Operand(weight, dtype, data) for weight, dtype, data in answer.operands]
        out = bytearray(len(answer.expected))
        blended = backend.linear(
            operands, memoryview(out), dtype=answer.dtype, normalize=answer.normalize, expected=answer.expected
        )
        if out != answer.expected or not blended.as_expected:
            raise BackendUnavailable(
                f"{backend.name} computes other bits than linear/f64-v1 ({answer.name})",
                hint="something set this processor or device to flush subnormals or to another rounding mode",
            )
