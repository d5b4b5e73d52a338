"""Parameters as mergekit's YAML sets them: conditions on names, gradients over layers, and who overrides whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Setpoint = str | bool
"""A number as decimal text by the grammar of merge §1.1, or true or false."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Values for the tensors whose names contain `filter`; for all of them where it is None or `*`.

    Several values are a gradient: from the first layer of a slice to its last.
    """

    values: tuple[Setpoint, ...]
    filter: str | None = None

    def fits(self, tensor_name: str) -> bool:
        return self.filter is None or self.filter == "*" or self.filter in tensor_name


Setting = tuple[Condition, ...]
"""The first condition that fits wins; where none does, what is written further out counts."""
Settings = Mapping[str, Setting]
"""Parameter -> setting."""


def look_up(name: str, scopes: Iterable[Settings], tensor_name: str, t: float) -> Setpoint | None:
    """Return the value of a parameter for a tensor, or None where no scope, innermost first, has one.

    `t` is where the tensor's layer lies in its slice: 0 is the first, 1 the last.
    """
    for scope in scopes:
        for condition in scope.get(name, ()):
            if condition.fits(tensor_name):
                return at(condition.values, t)
    return None


def at(values: tuple[Setpoint, ...], t: float) -> Setpoint:
    """Return the value of a gradient at `t`. Numbers are interpolated in float64, truths are not."""
    scaled = t * (len(values) - 1)
    lower = int(scaled)
    numbers = [float(value) for value in values if not isinstance(value, bool)]
    if len(values) == 1 or len(numbers) < len(values):
        return values[lower]
    upper = min(lower + 1, len(values) - 1)
    share = scaled - lower
    return repr((1 - share) * numbers[lower] + share * numbers[upper])


def has_gradient(settings: Settings) -> bool:
    return any(len(condition.values) > 1 for setting in settings.values() for condition in setting)
