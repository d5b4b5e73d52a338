"""Kernels that are wrong on purpose, each in one way: known answers must tell them from the right ones."""

# Shape suffixes: E elements of one piece.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from model_verify.merge.methods.breadcrumbs import Breadcrumbs, BreadcrumbsTies
from model_verify.merge.methods.choices import Usual
from model_verify.merge.methods.chosen import Result
from model_verify.merge.methods.karcher import Karcher
from model_verify.merge.methods.linear import Linear
from model_verify.merge.methods.mergekit import MergekitKernel
from model_verify.merge.methods.model_stock import ModelStock
from model_verify.merge.methods.multislerp import Multislerp
from model_verify.merge.methods.nearswap import NearSwap
from model_verify.merge.methods.nuslerp import Nuslerp
from model_verify.merge.methods.passthrough import Passthrough
from model_verify.merge.methods.sce import Sce
from model_verify.merge.methods.slerp import Slerp
from model_verify.merge.methods.sums import Adder
from model_verify.merge.methods.task_arithmetic import TaskArithmetic
from model_verify.merge.methods.ties import Ties


def from_the_first(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return a sum that does not begin at +0."""
    total = terms[0].float()
    for term in terms[1:]:
        total = total + term
    return total


def from_the_end(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    return from_the_first([*reversed(terms)]) + 0.0


def in_float64(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    total = torch.zeros_like(terms[0], dtype=torch.float64)
    for term in terms:
        total = total + term
    return total.to(torch.float32)


def in_d(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return a sum that is rounded to D after every term."""
    total = torch.zeros_like(terms[0])
    for term in terms:
        total = total + term
    return total.to(torch.float32)


class LeavesProductsUnrounded(Linear):
    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        return super().merge([value.float() for value in values] if self._in_steps else values, add_up)


class LeavesLinearWeightsUnrounded(Linear):
    def rounded(self, value: object) -> float:
        return self.number(value)


class FusesTheProduct(Linear):
    def _sum_in_float32(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        self._fused = True
        return super()._sum_in_float32(values)


class DoesNotFuseTheProduct(Linear):
    def _sum_in_float32(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        self._fused = False
        return super()._sum_in_float32(values)


class FusesThroughFloat64(Linear):
    """Rounds to nearest in float64, and then again."""

    def _sum_in_float32(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        sum_E = torch.zeros_like(values[0], dtype=torch.float32)
        for value_E, weight in zip(values, self._weights, strict=True):
            sum_E = (value_E.double() * weight + sum_E.double()).float()
        return sum_E


class BlendsInFloat64(Linear):
    """The canonical profile's arithmetic."""

    def _sum_in_float32(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        sum_E = torch.zeros_like(values[0], dtype=torch.float64)
        for value_E, weight in zip(values, self._weights, strict=True):
            sum_E = sum_E + value_E.double() * weight
        return sum_E.float()


class RoundsEveryStep(Linear):
    """Computes 0.1.5 as 0.1.4 did."""

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        self._in_steps = True
        return super().merge(values, add_up)


class DividesByTheReciprocal(Linear):
    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        shared = self.call.shared
        if not shared["normalize"]:
            return super().merge(values, add_up)
        object.__setattr__(self.call, "shared", {"normalize": False})
        sum_E = super().merge(values, add_up)
        object.__setattr__(self.call, "shared", shared)
        total = torch.zeros(1, dtype=sum_E.dtype)
        for weight in self._weights:
            total += weight
        return sum_E * (1 / total)


class DeltasInFloat32(TaskArithmetic):
    """Rounds nothing but the end."""

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        self.dtype = torch.float32
        return super().merge([value.float() for value in values], add_up)


class RoundsLambda(TaskArithmetic):
    def number(self, value: object) -> float:
        return self.rounded(value) if self.dtype != torch.float32 else super().number(value)

    def rounded(self, value: object) -> float:
        return float(torch.tensor(float(value), dtype=torch.float32).to(self.dtype))  # type: ignore[arg-type]


class KeepsTheSmallest(Ties):
    def span(self, elements, own):  # type: ignore[no-untyped-def]
        span = super().span(elements, own)
        return None if span is None else (0, span[1] - span[0])


class CountsEverySign(Ties):
    elect = False


class CountsNoSign(BreadcrumbsTies):
    elect = False


class DropsNothingFromTheTop(Breadcrumbs):
    def span(self, elements, own):  # type: ignore[no-untyped-def]
        span = super().span(elements, own)
        return None if span is None else (elements - (span[1] - span[0]), elements)


class RoundsScale(Passthrough):
    def number(self, value: object) -> float:
        return float(torch.tensor(float(value), dtype=torch.float32).to(self.dtype))  # type: ignore[arg-type]


class DividesByTheDistance(NearSwap):
    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        assert self.call.base is not None
        base_E, other_E = values[self.call.base], values[1 - self.call.base]
        distance_E = (base_E - other_E).abs().clamp(min=self.rounded(1e-6))
        share_E = (
            (torch.tensor(self.number(self.call.shared["t"])) / distance_E.float()).to(self.dtype).clamp(min=0, max=1)
        )
        return share_E * other_E + (1 - share_E) * base_E


class SwapsTheBase(NearSwap):
    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        return super().merge([*reversed(values)], add_up)


class TakesALineAlways(Slerp):
    def _on_arc(self, d: float) -> tuple[float, float]:
        return self._line()


class TakesAnArcAlways(Slerp):
    def _line(self) -> tuple[float, float]:
        return self._on_arc(0.9999)


class SwapsTheEnds(Slerp):
    def _in_order(self, values: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        base_E, other_E = super()._in_order(values)
        return other_E, base_E


class SubtractsInTheOtherPrecision(Slerp):
    def _line(self) -> tuple[float, float]:
        self._old = not self._old
        return super()._line()


class LinesInFloat64(Slerp):
    """Rounds products and their sum once, at the end."""

    def merge(self, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        base_E, other_E = self._in_order(values)
        first, second = self._line()
        return (base_E.double() * first + other_E.double() * second).float()


class TakesTheCosineForTheShare(ModelStock):
    def blend(self, parts: Sequence[torch.Tensor], cosine: torch.Tensor, variant: int) -> torch.Tensor:
        base, *others = parts
        return cosine * sum(others) / len(others) + (1 - cosine) * base


class StocksWithoutTheBase(ModelStock):
    def _offsets(self, parts_RE: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return list(parts_RE[1:])


class SwapsTheShares(Nuslerp):
    def blend(self, parts: Sequence[torch.Tensor], cosine: torch.Tensor, variant: int) -> torch.Tensor:
        one, other, *base = parts
        return super().blend([other, one, *base], cosine, variant)


class BendsInFloat32(Nuslerp):
    def blend(self, parts: Sequence[torch.Tensor], cosine: torch.Tensor, variant: int) -> torch.Tensor:
        one, other, base = (part.float() for part in parts)
        angle = torch.acos(cosine.float())
        first, second = (torch.sin(share * angle) for share in (1 - self._share, self._share))
        return (base + (first * one + second * other) / torch.sin(angle)).to(self.dtype)


class StopsAtTheMean(Karcher):
    def result(self, values: Sequence[torch.Tensor], numbers: Usual) -> Result:
        self._steps = 0
        return super().result(values, numbers)


class TakesTheLastInputTwice(Karcher):
    def result(self, values: Sequence[torch.Tensor], numbers: Usual) -> Result:
        return super().result([*values[1:], values[-1]], numbers)


class ForgetsTheWeights(Multislerp):
    def result(self, values: Sequence[torch.Tensor], numbers: Usual) -> Result:
        self._weights = [0.5 for _ in self._weights]
        return super().result(values, numbers)


class KeepsAwayFromZero(Multislerp):
    def result(self, values: Sequence[torch.Tensor], numbers: Usual) -> Result:
        self._smallest = 1e-3
        return super().result(values, numbers)


class SelectsEverything(Sce):
    def result(self, values: Sequence[torch.Tensor], numbers: Usual) -> Result:
        self._density = 1.0
        return super().result(values, numbers)


class WeighsAllAlike(Sce):
    def _weights(self, *given: Any) -> tuple[list[torch.Tensor], float]:
        weights, slack = super()._weights(*given)
        return [torch.ones_like(weight) / len(weights) for weight in weights], slack


def adding(kernel: type[MergekitKernel], adder: Adder) -> type[MergekitKernel]:
    """Return a kernel that adds over inputs in a way of its own."""

    def merge(self: MergekitKernel, values: Sequence[torch.Tensor], add_up: Adder) -> torch.Tensor:
        return kernel.merge(self, values, adder)

    return type(f"{kernel.__name__}_{adder.__name__}", (kernel,), {"merge": merge})


SUMS = (from_the_first, from_the_end, in_float64, in_d)
WRONG: tuple[type[MergekitKernel], ...] = (
    LeavesProductsUnrounded,
    LeavesLinearWeightsUnrounded,
    FusesTheProduct,
    DoesNotFuseTheProduct,
    FusesThroughFloat64,
    BlendsInFloat64,
    RoundsEveryStep,
    DividesByTheReciprocal,
    DeltasInFloat32,
    RoundsLambda,
    KeepsTheSmallest,
    CountsEverySign,
    CountsNoSign,
    DropsNothingFromTheTop,
    RoundsScale,
    DividesByTheDistance,
    SwapsTheBase,
    TakesALineAlways,
    TakesAnArcAlways,
    SwapsTheEnds,
    SubtractsInTheOtherPrecision,
    LinesInFloat64,
    TakesTheCosineForTheShare,
    StocksWithoutTheBase,
    SwapsTheShares,
    BendsInFloat32,
    StopsAtTheMean,
    TakesTheLastInputTwice,
    ForgetsTheWeights,
    KeepsAwayFromZero,
    SelectsEverything,
    WeighsAllAlike,
    *(adding(kernel, adder) for kernel in (Linear, TaskArithmetic, Ties, BreadcrumbsTies) for adder in SUMS),
)
