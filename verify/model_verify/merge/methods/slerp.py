"""`slerp` of the mergekit profiles. Spec: merge §5.9.

Two float32 coefficients hang on sums over the whole tensor and on functions that no standard fixes; the rest is fixed
to the bit. The kernel takes the coefficients that numpy (0.1.4) and torch (0.1.5) give on this processor and one
thread. Where there are others, `arc.py` looks for a pair near them that gives every element.
"""

# Shape suffixes: E elements.

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from model_verify.merge.kernel import Block, Call, Opinion, Standing
from model_verify.merge.known_answers import MethodAnswer, method_answer
from model_verify.merge.methods.arc import Arc, Ends, find_pair
from model_verify.merge.methods.lane_norm import lane_norm
from model_verify.merge.methods.mergekit import MergekitKernel
from model_verify.merge.methods.sums import Adder
from model_verify.merge.torch_kernel import TORCH_DTYPES, load_block

Singles = NDArray[np.float32]
Coefficients = tuple[float, float]

OLD, FMA, NOFMA = "mergekit-0.1.4", "mergekit-0.1.5/fma", "mergekit-0.1.5/nofma"
_CHUNK_ELEMENTS = 1 << 20
_SMALLEST_NORM = 1e-8
_STRAIGHT = float(np.float32(0.9995))
"""Above this the arc is taken for a line."""
_SUM_BOUND = 2.0**-21
_NORM_BOUND = 2.0**-8
"""How far d may be off by the order of its sum; and, at most, of itself by that of norms where this is left open."""


def _call(profile: str, dtype: str, t: float, base: int = 0) -> Call:
    return Call(profile, "slerp", dtype, dtype, base=base, shared={"t": t}, own=({}, {}))


_F32 = ("3f81d0a1 c00303bb 00000001 3f7fffff bf99999a", "3f8012f3 c0012001 00000005 3f800ff0 bf9aabcd")
_BF16 = ("3f81 c003 0001 3f7f bf9a", "3f83 c001 0005 3f82 bf9d")
_F16 = ("3c0b c013 0001 3bf3 bc9a", "3c1f c002 0005 3c05 bcab")


def _line(profile: str, dtype: str, expected: str, *, base: int = 0) -> MethodAnswer:
    operands = {"F32": _F32, "BF16": _BF16, "F16": _F16}[dtype]
    return method_answer("a line", _call(profile, dtype, 0.239, base), operands, expected, shape=(5,))


def _quarter(profile: str, dtype: str, one: str, expected: str) -> MethodAnswer:
    """Return an answer that is the same for all coefficients that libraries give."""
    operands = (f"{one} 0000", f"0000 {one}")
    return method_answer("a quarter of a circle", _call(profile, dtype, 0.4), operands, expected, shape=(2, 1))


class Slerp(MergekitKernel):
    """A point on the arc from the base to the other model, `t` of the way."""

    whole = True
    known_answers = (
        _line(OLD, "F32", "3f81661c c002901e 00000002 3f8003ce bf99db22"),
        _line(FMA, "F32", "3f81661d c002901f 00000002 3f8003cf bf99db23"),
        _line(NOFMA, "F32", "3f807d78 c001939e 00000004 3f800c21 bf9a6a45", base=1),
        _line(OLD, "BF16", "3f81 c003 0002 3f80 bf9b"),
        _line(FMA, "BF16", "3f83 c001 0004 3f81 bf9c", base=1),
        _line(OLD, "F16", "3c10 c00f 0002 3bf8 bc9e"),
        _line(FMA, "F16", "3c1a c006 0004 3c02 bca7", base=1),
        *(_quarter(profile, "BF16", "3f80", "3f4f 3f16") for profile in (OLD, FMA, NOFMA)),
        *(_quarter(profile, "F16", "3c00", "3a79 38b4") for profile in (OLD, FMA, NOFMA)),
    )

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.bounded = True
        self._old = call.profile == OLD
        self._t = float(call.shared["t"])

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        base_E, other_E = self._in_order(values)
        vectors = [value_E.cpu().reshape(-1).to(torch.float32).numpy() for value_E in (base_E, other_E)]
        with np.errstate(all="ignore"):
            d = self._cosine(*self._units(*vectors))
        pair = self._line() if abs(d) > _STRAIGHT else self._on_arc(d)
        return base_E.to(torch.float32) * pair[0] + other_E.to(torch.float32) * pair[1]

    def _in_order(self, values: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.call.base is not None
        return values[self.call.base], values[1 - self.call.base]

    def _units(self, one_E: Singles, other_E: Singles, *, exactly: bool = False) -> tuple[Singles, Singles]:
        """Return both vectors divided by their norms, where these are not too small."""
        units = []
        for vector_E in (one_E, other_E):
            norm = self._norm(vector_E, exactly)
            units.append(vector_E / norm if norm > np.float32(_SMALLEST_NORM) else vector_E)
        return units[0], units[1]

    def _norm(self, vector_E: Singles, exactly: bool) -> np.float32:
        """Return the norm; `exactly` where it is the middle of what libraries give, not what this one gives."""
        if self._old:
            return _exact_norm(vector_E) if exactly else np.float32(np.linalg.norm(vector_E))
        fused = self.call.profile == FMA
        chunks = range(0, len(vector_E), _CHUNK_ELEMENTS)
        parts = [lane_norm(vector_E[start : start + _CHUNK_ELEMENTS], fused=fused) for start in chunks]
        return lane_norm(np.array(parts, dtype=np.float32), fused=fused)

    def _cosine(self, one_E: Singles, other_E: Singles) -> float:
        product_E = one_E * other_E
        if self._old:
            return float(np.sum(product_E))
        product = torch.from_numpy(product_E).reshape(1, -1)
        chunks = range(0, len(product_E), _CHUNK_ELEMENTS)
        parts = torch.stack([product[:, n : n + _CHUNK_ELEMENTS].sum(dim=1, keepdim=True) for n in chunks])
        return float(parts.sum(dim=0).clamp(-1, 1))

    def _line(self) -> Coefficients:
        t = self.number(self._t)
        return (self.number(1 - self._t) if self._old else float(np.float32(1) - np.float32(t))), t

    def _on_arc(self, d: float) -> Coefficients:
        if self._old:
            angle = np.arccos(np.float32(d))
            part = angle * np.float32(self._t)
            sine = np.sin(angle)
            return float(np.sin(angle - part) / sine), float(np.sin(part) / sine)
        angle = torch.acos(torch.tensor([[d]], dtype=torch.float32))
        t = torch.tensor([[self._t]], dtype=torch.float32)
        sine = torch.sin(angle)
        return float(torch.sin((1 - t) * angle) / sine), float(torch.sin(t * angle) / sine)

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        """Return WITHIN where every element is what one pair of coefficients gives that may have come out."""
        values = [load_block(operand, "cpu").reshape(-1).to(self.dtype) for operand in operands]
        base_E, other_E = (value_E.to(torch.float32) for value_E in self._in_order(values))
        with np.errstate(all="ignore"):
            units = self._units(base_E.numpy(), other_E.numpy(), exactly=True)
            d = _exact_cosine(*units)
        if not math.isfinite(d):
            return Opinion(Standing.DIFFERENT)
        off = _SUM_BOUND
        if self._old:
            off += abs(d) * min(_NORM_BOUND, len(base_E) * 2.0**-24)
        formats = (self.dtype, TORCH_DTYPES[self.call.dtype])
        ends = Ends(base_E, other_E, load_block(there, "cpu").reshape(-1), formats)
        pair = None
        lowest, highest = max(-_STRAIGHT, d - off), min(_STRAIGHT, d + off)
        if lowest < highest:
            pair = find_pair(Arc(self._t, one_step=self._old), (lowest, highest), ends)
        if pair is None and abs(d) + off > _STRAIGHT:
            line = np.array([self._line()], dtype=np.float32)
            pair = self._line() if len(ends.pairs_that_fit(line, torch.arange(len(base_E)))) else None
        if pair is None:
            return Opinion(Standing.DIFFERENT)
        return Opinion(Standing.WITHIN, f"to the bit with the coefficients {pair[0]!r} and {pair[1]!r}")


def _exact_norm(vector_E: Singles) -> np.float32:
    wide_E = vector_E.astype(np.float64)
    return np.float32(math.sqrt(float(np.dot(wide_E, wide_E))))


def _exact_cosine(one_E: Singles, other_E: Singles) -> float:
    """Return the sum of float32 products, in float64."""
    total = 0.0
    for start in range(0, len(one_E), _CHUNK_ELEMENTS):
        chunk = slice(start, start + _CHUNK_ELEMENTS)
        total += float(np.sum(one_E[chunk] * other_E[chunk], dtype=np.float64))
    return total
