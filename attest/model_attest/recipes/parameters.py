"""Read parameters: a number or truth, a gradient, or conditions on tensor names.

Two readings of numbers. For linear/f64-v1 the decimal that is written is what counts, digit for digit. For mergekit's
own profiles it is the float64 that mergekit makes of it; what YAML 1.1, which mergekit reads, and JSON take for
different things is refused, so that nobody who reads the same text can mean another number.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_attest.recipes.members import boolean, is_null, mapping, refuse_others, required, text
from model_attest.recipes.methods import KNOWN_PARAMETERS, WITHOUT_EFFECT, Method
from model_attest.recipes.settings import Condition, Setpoint, Setting, Settings
from model_attest.recipes.strict_yaml import Items, Members, Scalar, Value, refuse
from model_verify.errors import RecipeInvalid
from model_verify.merge.coefficient import parse_float64, parse_weight
from model_verify.merge.methods.table import Kind

MAX_GRADIENT_VALUES = 1024
_TRUTHS = {"0": False, "0.0": False, "1": True, "1.0": True}


@dataclass(frozen=True, slots=True)
class ParameterReader:
    """Reads the `parameters` of a recipe of one method. `notes` gathers what has no effect."""

    name: str
    method: Method
    as_written: bool
    """Whether numbers keep their digits: linear/f64-v1."""
    notes: list[str]

    def read(self, holder: Members, *, of_a_model: bool = False) -> Settings:
        """Return the settings in the member `parameters` of `holder`, which may lack it."""
        if "parameters" not in holder.values or (is_null(holder.values["parameters"]) and not self.as_written):
            return {}
        members = mapping(holder.values["parameters"], "parameters")
        settings: dict[str, Setting] = {}
        for name, value in members.values.items():
            line = members.lines[name]
            if name in self.method.own:
                settings[name] = self._setting(name, self.method.own[name].kind, value)
            elif name in self.method.shared:
                if of_a_model:
                    refuse(line, f"`{name}` is not for one model", hint="write it at the top level, or for a slice")
                settings[name] = self._setting(name, self.method.shared[name].kind, value)
            elif self.as_written or name not in KNOWN_PARAMETERS:
                hint = None if self.as_written else "mergekit would pass over it: take the line out"
                refuse(line, f"`{name[:100]}` has no meaning in the parameters of {self.name}", hint=hint)
            else:
                reason = WITHOUT_EFFECT.get(name, f"{self.name} does not take it")
                self.note(line, name, reason)
        return settings

    def note(self, line: int, name: str, reason: str) -> None:
        """Remember what is written and has no effect, once."""
        note = f"line {line}: `{name}` has no effect: {reason}"
        if note not in self.notes:
            self.notes.append(note)

    def _setting(self, name: str, kind: Kind, value: Value) -> Setting:
        match value:
            case Scalar():
                return (Condition((self._setpoint(name, kind, value),)),)
            case Members():
                return (self._condition(name, kind, value),)
            case Items(values=()):
                refuse(value.line, f"`{name}` is an empty list")
            case Items() if all(isinstance(item, Members) for item in value.values):
                return tuple(self._condition(name, kind, mapping(item, "a condition")) for item in value.values)
            case Items():
                return (Condition(self._gradient(name, kind, value)),)

    def _condition(self, name: str, kind: Kind, members: Members) -> Condition:
        refuse_others(members, ("filter", "value"), f"in a condition of `{name}`")
        value = required(members, "value", f"the condition of `{name}`")
        values = self._gradient(name, kind, value) if isinstance(value, Items) else (self._setpoint(name, kind, value),)
        pattern = members.values.get("filter")
        return Condition(values, None if pattern is None or is_null(pattern) else text(pattern, "filter"))

    def _gradient(self, name: str, kind: Kind, value: Items) -> tuple[Setpoint, ...]:
        if self.as_written:
            hint = "write a list of {filter: PART OF A NAME, value: NUMBER}, or name a mergekit profile"
            refuse(value.line, "gradients (lists of numbers) are not supported by linear/f64-v1", hint=hint)
        if not 1 <= len(value.values) <= MAX_GRADIENT_VALUES:
            refuse(value.line, f"a gradient of {len(value.values)} values, not 1 to {MAX_GRADIENT_VALUES}")
        return tuple(self._setpoint(name, kind, item) for item in value.values)

    def _setpoint(self, name: str, kind: Kind, value: Value) -> Setpoint:
        if kind is Kind.BOOL:
            truth = boolean(value)
            if truth is None and not self.as_written and isinstance(value, Scalar) and value.is_number:
                truth = _TRUTHS.get(value.text)
            if truth is None:
                refuse(value.line, f"`{name}` is neither true nor false")
            return truth
        if not isinstance(value, Scalar) or value.is_quoted:
            refuse(value.line, f"`{name}` is not a number", hint="write it without quotes, like 0.6")
        read = _digits if self.as_written else _float64
        try:
            return read(value)
        except RecipeInvalid as error:
            refuse(value.line, f"`{name}`: {error.message}", hint=error.hint)


def _digits(value: Scalar) -> str:
    return parse_weight(value.text).decimal


def _float64(value: Scalar) -> str:
    """Return the shortest text of the float64 that mergekit reads. Raises `RecipeInvalid`."""
    number = parse_float64(value.text)
    if not value.is_number:
        hint = "write it with a point and a sign in the exponent, like 0.001 or 1.0e-3"
        raise RecipeInvalid(f"`{value.text[:40]}` is a number in JSON and text in YAML 1.1", hint=hint)
    is_whole = not set(value.text) & set(".eE")
    return repr(float(int(value.text)) if is_whole else number)  # -0 is a whole number, and its sign is lost
