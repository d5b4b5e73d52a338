"""`multislerp` of the mergekit profiles. Spec: merge §5.14."""

# Shape suffixes: E elements, N inputs but for the base.

from __future__ import annotations

from collections.abc import Sequence

import torch

from model_verify.errors import OperationRefused
from model_verify.merge.kernel import Call
from model_verify.merge.methods.bounded_answers import MULTISLERP, answers
from model_verify.merge.methods.choices import Usual
from model_verify.merge.methods.chosen import ChosenKernel, Result, function
from model_verify.merge.methods.sums import in_lanes, in_order


class Multislerp(ChosenKernel):
    """A weighted mean of directions, in the tangent space at their weighted sum, of the weighted mean length."""

    known_answers = answers(
        "multislerp", {"normalize_weights": True, "eps": 0.00000001}, ({"weight": 0.6}, {"weight": 0.3}, {}), MULTISLERP
    )

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._base = call.base
        own = [own for position, own in enumerate(call.own) if position != call.base]
        self._weights = [self.rounded(one["weight"]) for one in own]
        self._smallest = float(call.shared["eps"])

    def result(self, values: Sequence[torch.Tensor], numbers: Usual) -> Result:
        base_E = None if self._base is None else values[self._base].reshape(-1)
        points_NE = [value.reshape(-1) for place, value in enumerate(values) if place != self._base]
        if len(points_NE) == 1:
            return Result(points_NE[0], points_NE[0].abs())
        if base_E is not None:
            points_NE = [point_E - base_E for point_E in points_NE]
        order = self.order(len(points_NE), numbers)
        weights = [torch.tensor(self._weights[place], dtype=self.dtype) for place in order]
        if self.call.shared["normalize_weights"]:
            divisor = in_lanes(weights).to(self.dtype)
            weights = [weight / divisor for weight in weights]
        mixed = self._mixed([points_NE[place] for place in order], weights, numbers)
        if base_E is not None:
            mixed = Result(mixed.values_E + base_E, mixed.terms_E + base_E.abs())
        return mixed

    def _mixed(self, points_NE: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], numbers: Usual) -> Result:
        lengths = [numbers.rounded_norm(point_E, shared=False) for point_E in points_NE]
        units_NE = [point_E / (length + self._smallest) for point_E, length in zip(points_NE, lengths, strict=True)]
        weighted_NE = [unit_E * weight for unit_E, weight in zip(units_NE, weights, strict=True)]
        sum_E = in_order(weighted_NE).to(self.dtype)
        sum_length = numbers.rounded_norm(sum_E)
        if bool(sum_length < self._smallest):
            return self._straight(points_NE, weights)
        mean_E = sum_E / sum_length
        dots = [numbers.sum(unit_E * mean_E) for unit_E in units_NE]
        tangents_NE = [unit_E - dot * mean_E for unit_E, dot in zip(units_NE, dots, strict=True)]
        weighted_tangents_NE = [one_E * weight for one_E, weight in zip(tangents_NE, weights, strict=True)]
        tangent_E = in_order(weighted_tangents_NE).to(self.dtype)
        angle = numbers.rounded_norm(tangent_E) + self._smallest
        sine, cosine = function(torch.sin, angle), function(torch.cos, angle)
        length = in_lanes([length * weight for length, weight in zip(lengths, weights, strict=True)]).to(self.dtype)
        values_E = (mean_E * cosine + tangent_E * (sine / angle)) * length
        together_E = in_order([one_E.abs() for one_E in weighted_NE])
        share = 1 + sum(float(weight.abs()) for weight in weights)
        return Result(values_E, float(length.abs()) * (together_E + share * together_E / sum_length))

    def _straight(self, points_NE: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]) -> Result:
        """Return the plain weighted sum, for directions that cancel out."""
        if len(points_NE) > 2:
            raise OperationRefused("OPERAND_INVALID", "the weighted directions of its inputs cancel out")
        terms_E = [point_E * weight for point_E, weight in zip(points_NE, weights, strict=True)]
        return Result(terms_E[0] + terms_E[1], terms_E[0].abs() + terms_E[1].abs())
