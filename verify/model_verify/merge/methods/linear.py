"""`linear` of the mergekit profiles. Spec: merge §5.3."""

# Shape suffixes: E elements of one piece.

from __future__ import annotations

from collections.abc import Sequence

import torch

from model_verify.merge.kernel import Call
from model_verify.merge.known_answers import MethodAnswer, method_answer
from model_verify.merge.methods.fused import add_product
from model_verify.merge.methods.mergekit import SummingKernel
from model_verify.merge.methods.sums import Adder, in_lanes

OLD, FMA, NOFMA = "mergekit-0.1.4", "mergekit-0.1.5/fma", "mergekit-0.1.5/nofma"


def _call(profile: str, dtype: str, *weights: float, normalize: bool = False) -> Call:
    own = tuple({"weight": weight} for weight in weights)
    return Call(profile, "linear", dtype, dtype, shared={"normalize": normalize}, own=own)


def _plain(profile: str, dtype: str, expected: str, *operands: str) -> MethodAnswer:
    return method_answer("a weighted sum", _call(profile, dtype, 0.6, -0.35, 0.7), operands, expected)


def _normalized(profile: str, dtype: str, expected: str, *operands: str) -> MethodAnswer:
    call = _call(profile, dtype, 0.9, 0.3, -0.4, normalize=True)
    return method_answer("a weighted mean", call, operands, expected)


class Linear(SummingKernel):
    """The weighted sum, each profile's own: rounded to D at every step in 0.1.4, in float32 in 0.1.5."""

    known_answers = (
        # Found by a search for elements that other orders, precisions and roundings get wrong: computed from the text
        # in integers, as the vectors are.
        _plain(OLD, "F32", "010fc1b9 00000000", "006695c4 80000000", "81963785 00000001", "00165eaa 80000000"),
        _plain(OLD, "BF16", "be9f 0000", "3fe9 8000", "bea4 0001", "c00b 8000"),
        _plain(OLD, "F16", "2ee6 0000", "37d4 8000", "b6ed 0001", "b7b6 8000"),
        _normalized(OLD, "F32", "01a29f97 00000000", "0154bc8c 80000000", "01268fa0 80000000", "805dd4cd 00000001"),
        _normalized(OLD, "BF16", "bed9 0000", "3f05 8000", "3ea7 8000", "4010 0001"),
        _normalized(OLD, "F16", "3d39 0000", "3d36 8000", "3d27 8000", "3d25 0001"),
        _plain(FMA, "F32", "3ddca7fb", "3efa9173", "beddba86", "bef6d4cc"),
        _plain(FMA, "BF16", "00fd", "8024", "0107", "0184"),
        _plain(FMA, "F16", "3f6f", "3fcc", "3fd2", "3fd8"),
        _normalized(FMA, "F32", "bcd0a98d", "3ee42194", "3ef9c1f1", "3fb5ac8d"),
        _normalized(FMA, "BF16", "bf4e", "bf4b", "bf4b", "bf46"),
        _normalized(FMA, "F16", "07ee", "817d", "81e5", "8d28"),
        _plain(NOFMA, "F32", "00000000", "00000001", "00000003", "80000000"),
        _plain(NOFMA, "BF16", "3f25", "bed8", "3f93", "3fee"),
        _plain(NOFMA, "F16", "80a6", "05eb", "83e2", "87f0"),
        _normalized(NOFMA, "F32", "01a29f97", "0154bc8c", "01268fa0", "805dd4cd"),
        _normalized(NOFMA, "BF16", "bda2 bf0d", "3f22 3f38", "bef3 bf86", "3f9d 3ff7"),
        _normalized(NOFMA, "F16", "34a3 3536", "b6a6 353c", "baad 353c", "c048 3549"),
        # 1 + (2^30 + 1)·2^-54 lies just above a tie of float32, and on it as a float64.
        method_answer(
            "a product that is added unrounded",
            _call(FMA, "BF16", 1.0, 5237765 * 2.0**-47, -1.0),
            ("3f80", "3fcd", "3f80"),
            "3400",
        ),
        *(
            method_answer("subnormals", _call(profile, dtype, 1.0, 1.0), (f"{one} {three}", f"{two} {two}"), out)
            for profile in (OLD, FMA, NOFMA)
            for dtype, one, two, three, out in (
                ("F32", "00000001", "00000002", "00000003", "00000003 00000005"),
                ("BF16", "0001", "0002", "0003", "0003 0005"),
                ("F16", "0001", "0002", "0003", "0003 0005"),
            )
        ),
        *(
            method_answer("minus zero", _call(profile, "F32", 1.0, 1.0), ("80000000", "80000000"), "00000000")
            for profile in (OLD, FMA, NOFMA)
        ),
    )

    def __init__(self, call: Call) -> None:
        self._in_steps = call.profile == OLD
        self._fused = call.profile == FMA
        super().__init__(call, terms=len(call.own) if self._in_steps else 1)
        numbers = [own["weight"] for own in call.own]
        self._weights = [self.rounded(number) if self._in_steps else self.number(number) for number in numbers]

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        dtype = self.dtype if self._in_steps else torch.float32
        if self._in_steps:
            terms = [value_E * weight for value_E, weight in zip(values, self._weights, strict=True)]
            sum_E = add_up(terms).to(self.dtype)
        else:
            sum_E = self._sum_in_float32(values)
        if not self.call.shared["normalize"]:
            return sum_E
        # A tensor, not a number: by a Python number torch multiplies with the reciprocal on CUDA.
        total = in_lanes([torch.tensor([weight], dtype=dtype) for weight in self._weights]).to(dtype)
        return sum_E / total.to(sum_E.device)

    def _sum_in_float32(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        sum_E = torch.zeros_like(values[0], dtype=torch.float32)
        for value_E, weight in zip(values, self._weights, strict=True):
            x_E = value_E.to(torch.float32)
            sum_E = add_product(sum_E, x_E, weight) if self._fused else sum_E + x_E * weight
        return sum_E
