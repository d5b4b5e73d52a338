"""Find the blend that a checkpoint could be: estimate coefficients from a sample, snap them, replay the sample.

An estimate is only ever a proposal. Whether the checkpoint is that blend is decided by replaying all of it to the bit,
which the caller does. Spec: pipeline §4.2.
"""

# Shape suffixes: P parents, E elements of one tensor's sample.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from model_verify.errors import RecipeInvalid
from model_verify.merge.backend import Backend, Operand
from model_verify.merge.coefficient import Weight, parse_weight
from model_verify.merge.difference import equal
from model_verify.merge.formats import FLOAT_BYTES, as_bits, widen
from model_verify.replay import Stored

SAMPLE_TENSORS = 32
SAMPLE_ELEMENTS = 1 << 17
"""Per tensor; enough for coefficients to six digits where parents are 1 % apart."""

_DECIMALS = range(1, 8)
_LARGEST_DENOMINATOR = 12
_MANTISSA_BITS = {"F32": 23, "BF16": 7, "F16": 10}
_SMALLEST_EXPONENT = {"F32": -126, "BF16": -126, "F16": -14}


@dataclass(frozen=True, slots=True)
class Sample:
    """The same elements of one tensor in the parents (dtype and data each) and in the child."""

    parents: tuple[tuple[str, bytes], ...]
    dtype: str
    child: bytes


@dataclass(frozen=True, slots=True)
class Estimate:
    """Coefficients by weighted least squares, and the exact blend that reproduces the whole sample, if one does."""

    fitted: tuple[float, ...]
    exact: tuple[Weight, ...] | None
    normalize: bool


def estimate_blend(samples: Sequence[Sample], backend: Backend) -> Estimate | None:
    """Return the blend of the parents that `samples` point to; None where nothing can be fitted."""
    fitted = _fit(samples)
    if fitted is None:
        return None
    for weights, normalize in _snapped(fitted):
        if all(_reproduces(sample, weights, normalize, backend) for sample in samples):
            return Estimate(fitted, weights, normalize)
    return Estimate(fitted, None, False)


def _fit(samples: Sequence[Sample]) -> tuple[float, ...] | None:
    """Return least-squares coefficients with every element's error measured in its own ULP.

    Without that, rounding skews the fit towards 0.62 for a true 0.6 when parents are close.
    """
    count = len(samples[0].parents) if samples else 0
    normal_PP = np.zeros((count, count))
    right_P = np.zeros(count)
    for sample in samples:
        child_E = widen(as_bits(sample.child, sample.dtype), sample.dtype)
        scale_E = 1.0 / _ulp(child_E, sample.dtype)
        parents_PE = np.stack([widen(as_bits(data, dtype), dtype) for dtype, data in sample.parents]) * scale_E
        scaled_E = child_E * scale_E
        usable_E = np.isfinite(parents_PE).all(axis=0) & np.isfinite(scaled_E)
        parents_PE, scaled_E = parents_PE[:, usable_E], scaled_E[usable_E]
        normal_PP += parents_PE @ parents_PE.T
        right_P += parents_PE @ scaled_E
    if not count or not np.isfinite(normal_PP).all() or not normal_PP.any():
        return None
    solution_P, *_ = np.linalg.lstsq(normal_PP, right_P, rcond=None)
    return tuple(float(value) for value in solution_P)


def _ulp(values_E: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """Return the distance between neighbouring values of `dtype` at each value."""
    _, exponent_E = np.frexp(values_E)
    exponent_E = np.maximum(exponent_E - 1, _SMALLEST_EXPONENT[dtype])
    distance_E: NDArray[np.float64] = np.ldexp(1.0, exponent_E - _MANTISSA_BITS[dtype])
    return distance_E


def _snapped(fitted: Sequence[float]) -> Iterator[tuple[tuple[Weight, ...], bool]]:
    """Yield coefficients near the fitted ones, as people write them: fewest decimals first, then small fractions."""
    seen: set[tuple[str, ...]] = set()
    for digits in _DECIMALS:
        texts = tuple(_decimal(value, digits) for value in fitted)
        if texts not in seen:
            seen.add(texts)
            try:
                yield tuple(parse_weight(text) for text in texts), False
            except RecipeInvalid:
                return
    for denominator in range(2, _LARGEST_DENOMINATOR + 1):
        numerators = [round(value * denominator) for value in fitted]
        near = all(abs(n / denominator - value) < 0.01 for n, value in zip(numerators, fitted, strict=True))
        if near and sum(numerators) == denominator:
            yield tuple(parse_weight(str(numerator)) for numerator in numerators), True


def _decimal(value: float, digits: int) -> str:
    text = f"{Decimal(value):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0", "-") else text


def _reproduces(sample: Sample, weights: Sequence[Weight], normalize: bool, backend: Backend) -> bool:
    operands = [Operand(w.value, dtype, data) for w, (dtype, data) in zip(weights, sample.parents, strict=True)]
    out = bytearray(len(sample.child))
    return backend.linear(operands, memoryview(out), dtype=sample.dtype, normalize=normalize) and equal(
        out, sample.child
    )


def read_samples(
    parents: Sequence[Mapping[str, Stored]], child: Mapping[str, Stored], names: Sequence[str]
) -> list[Sample]:
    """Return the first elements of evenly spaced tensors among `names`, which all of them have in one shape."""
    step = max(1, len(names) // SAMPLE_TENSORS)
    samples: list[Sample] = []
    for name in names[::step]:
        elements = min(child[name].info.elements, SAMPLE_ELEMENTS)
        data = [_first(parent[name], elements) for parent in parents]
        samples.append(Sample(tuple(data), child[name].info.dtype, _first(child[name], elements)[1]))
    return samples


def _first(stored: Stored, elements: int) -> tuple[str, bytes]:
    return stored.info.dtype, stored.file.read(stored.offset, elements * FLOAT_BYTES[stored.info.dtype])
