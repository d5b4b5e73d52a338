"""`karcher` of the mergekit profiles. Spec: merge §5.13."""

# Shape suffixes: E elements, N inputs.

from __future__ import annotations

from collections.abc import Sequence

import torch

from model_verify.errors import OperationRefused
from model_verify.merge.kernel import Call
from model_verify.merge.methods.bounded_answers import KARCHER, answers
from model_verify.merge.methods.choices import Usual
from model_verify.merge.methods.chosen import ChosenKernel, Result, function

_MOST_STEPS = 100
"""Each takes as long as a whole merge by another method. mergekit takes 10 where nobody says otherwise."""
_DOUBT = 2.0**-20
"""How far off a norm may be that a branch depends on."""
_ANGLE_DOUBT = 2.0**-10
"""How far from 0 an angle in float32 may be whose cosine, within four steps of 1, may come out as 1."""


class Karcher(ChosenKernel):
    """The mean of directions on the sphere, found step by step, of the mean length."""

    known_answers = answers("karcher", {"max_iter": 3.0, "tol": 0.00001}, ({}, {}, {}), KARCHER, base=None)

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._steps = int(float(call.shared["max_iter"]))
        self._tolerance = float(call.shared["tol"])

    def result(self, values: Sequence[torch.Tensor], numbers: Usual) -> Result:
        if self._steps > _MOST_STEPS:
            raise OperationRefused("OPERAND_INVALID", f"more than {_MOST_STEPS} steps are not replayed")
        points_NE = [value.reshape(-1) for value in values]
        if len(points_NE) == 1:
            return Result(points_NE[0], points_NE[0].abs())
        share = 1.0 / len(points_NE)
        lengths = [numbers.norm(point_E) for point_E in points_NE]
        units_NE = [
            self._over(point_E, length, numbers)
            for point_E, length in zip(points_NE, lengths, strict=True)
            if float(length) > self._tolerance
        ]
        if not units_NE:
            return Result(torch.zeros_like(points_NE[0]), torch.zeros_like(points_NE[0]))
        length = self._mean_length(lengths, share)
        direction_E, agreement = self._mean_direction(units_NE, share, numbers)
        largest_E = torch.stack([unit_E.abs() for unit_E in units_NE]).amax(dim=0)
        return Result(
            (direction_E.to(torch.float32) * length).to(self.dtype),
            largest_E.to(torch.float32) * (float(length) / agreement),
        )

    def _mean_length(self, lengths: Sequence[torch.Tensor], share: float) -> torch.Tensor:
        if self.call.profile == "mergekit-0.1.4":
            exact = 0.0
            for length in lengths:
                exact += share * float(length)
            return torch.tensor(exact, dtype=torch.float32)
        summed = share * lengths[0]
        for length in lengths[1:]:
            summed = summed + share * length
        return summed.to(self.dtype).to(torch.float32)

    def _over(self, values_E: torch.Tensor, length: torch.Tensor, numbers: Usual) -> torch.Tensor:
        """Return values in D divided by a number in float32, which CUDA rounds to D first."""
        if numbers.on_cuda:
            length = length.to(self.dtype).to(torch.float32)
        return (values_E.to(torch.float32) / length).to(self.dtype)

    def _over_norm(self, mean_E: torch.Tensor, norm: torch.Tensor, numbers: Usual) -> torch.Tensor:
        """Return the first mean, normalized: mergekit 0.1.4 has a Python number there, whose reciprocal CUDA takes."""
        if numbers.on_cuda and self.call.profile == "mergekit-0.1.4":
            return (mean_E.to(torch.float32) * (1 / norm)).to(self.dtype)
        return self._over(mean_E, norm, numbers)

    def _mean_direction(
        self, units_NE: Sequence[torch.Tensor], share: float, numbers: Usual
    ) -> tuple[torch.Tensor, float]:
        """Return the mean direction, and how long the mean of the unit vectors is: where it is short, less is known."""
        both = 0.0
        for _ in units_NE:
            both += share
        share /= both
        mean_E = torch.zeros_like(units_NE[0])
        for unit_E in units_NE:
            mean_E = mean_E + share * unit_E
        agreement = numbers.norm(mean_E)
        cancel = numbers.is_below(agreement, self._tolerance, _DOUBT)
        mean_E = units_NE[0] if cancel else self._over_norm(mean_E, agreement, numbers)
        for _ in range(self._steps):
            tangent_E = self._tangent(mean_E, units_NE, share, numbers)
            step = numbers.norm(tangent_E)
            if numbers.is_below(step, self._tolerance, _DOUBT):
                break
            cosine, sine = (function(of, step).to(self.dtype) for of in (torch.cos, torch.sin))
            mean_E = cosine * mean_E + sine * self._over(tangent_E, step, numbers)
            length = numbers.norm(mean_E)
            if float(length) > self._tolerance:
                mean_E = self._over(mean_E, length, numbers)
        return mean_E, 1.0 if cancel else min(1.0, float(agreement))

    def _tangent(
        self, mean_E: torch.Tensor, units_NE: Sequence[torch.Tensor], share: float, numbers: Usual
    ) -> torch.Tensor:
        """Return the mean of the unit vectors as seen from `mean_E`."""
        tangent_E = torch.zeros_like(mean_E)
        for unit_E in units_NE:
            cosine = numbers.dot(mean_E, unit_E).clamp(-1, 1)
            angle = function(torch.acos, cosine)
            doubt = _ANGLE_DOUBT if self.dtype == torch.float32 else 0.0
            if numbers.is_below(angle, self._tolerance, doubt):
                continue
            weight = share * (angle / function(torch.sin, angle))
            tangent_E = tangent_E + weight * (unit_E - cosine * mean_E)
        return tangent_E
