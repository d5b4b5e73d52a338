"""Sums and norms over the elements of rows, which torch adds in orders of its own. Spec: merge §5.10.

total        a sum in float64, in an order that is written here
norm         the norm as torch computes it on the CPU: lanes that each add up every eighth square, in float32
norms        that, and what other machines make of it
"""

# Shape suffixes: R rows, E elements of a row, L lanes.

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model_verify.merge.methods.fused import multiply_add

SUM_ERROR = 2.0**-20
"""How far a float32 sum of torch may be off, as a part of the sum of the magnitudes. Spec: merge §5.10."""

_RUN = 1 << 16
"""Elements of a row that are added up before they go into the sum of all such runs."""
_AT_ONCE = 1 << 22
"""Elements that are widened at a time."""
_LANES = 8
_OTHER_LANES = (4, 16, 1)


def total(*factors_RE: torch.Tensor) -> torch.Tensor:
    """Return the sums of rows in float64, as R; of several factors, the sums of their products.

    Runs of 65536 elements are added up, then the sums of the runs; both by halves: the second half of what is left is
    added to the first until one number is left, zeros filling up to a power of two.
    """
    rows, elements = factors_RE[0].shape
    at_once = max(1, _AT_ONCE // max(1, min(elements, _RUN)))
    out = torch.zeros(rows, dtype=torch.float64)
    for first in range(0, rows, at_once):
        part = slice(first, first + at_once)
        runs = [
            _halved(_product([factor_RE[part, start : start + _RUN] for factor_RE in factors_RE]))
            for start in range(0, elements, _RUN)
        ]
        if runs:
            out[part] = _halved(torch.stack(runs, dim=1))
    return out


def _product(factors_RE: list[torch.Tensor]) -> torch.Tensor:
    product_RE = factors_RE[0].to(torch.float64)
    for factor_RE in factors_RE[1:]:
        product_RE = product_RE * factor_RE.to(torch.float64)
    return product_RE


def _halved(values_RE: torch.Tensor) -> torch.Tensor:
    elements = values_RE.shape[1]
    size = 1 << max(0, elements - 1).bit_length()
    if size != elements:
        values_RE = torch.nn.functional.pad(values_RE, (0, size - elements))
    while size > 1:
        size //= 2
        values_RE = values_RE[:, :size] + values_RE[:, size:]
    return values_RE[:, 0]


def norm(values_RE: torch.Tensor, *, fused: bool = True, strided: bool = False, widened: bool = False) -> torch.Tensor:
    """Return the norms of rows of D in float32 as R, with the losses that torch has on the CPU.

    They are large for large tensors: a hundredth for 10^8 elements, whose squares fall below half a step of the sum.
    `fused` says how the last up to three squares are added, `strided` that the elements of a row do not lie side by
    side, `widened` that they are made float32 first.
    """
    if strided or (values_RE.dtype == torch.float16 and not widened):
        return _in_lanes(values_RE, 1)
    pairs = values_RE.dtype == torch.bfloat16 and not widened
    return _in_lanes(values_RE, _LANES, pairs=pairs, fused=fused)


def true_norm(values_RE: torch.Tensor) -> torch.Tensor:
    """Return the float32 values nearest to the norms of rows, as R."""
    if values_RE.shape[1] == 1:
        return _of_one(values_RE)
    return _root(total(values_RE, values_RE)).to(torch.float32)


def norms(values_RE: torch.Tensor, *, strided: bool = False, shared: bool = True) -> list[torch.Tensor]:
    """Return what norms may come out as: `norm`, what other numbers of lanes give, and the true ones (CUDA).

    Threads may share a row of F16 where it is the only one (`shared`): then each rounds its part to F16.
    """
    usual_R = norm(values_RE, strided=strided)
    true_R = true_norm(values_RE)
    pairs = values_RE.dtype == torch.bfloat16
    out = [usual_R, true_R, *(_in_lanes(values_RE, lanes, pairs=pairs) for lanes in (_LANES, *_OTHER_LANES))]
    if values_RE.shape[1] == 1:
        out.append(_root(torch.square(values_RE[:, 0].to(torch.float32))))  # so it is of a tensor without a shape
    if shared and len(values_RE) == 1 and values_RE.dtype == torch.float16:
        step = torch.finfo(torch.float16).eps
        out += [usual_R * (1 - step), true_R * (1 + step)]
    return out


@np.errstate(over="ignore", invalid="ignore")
def _in_lanes(values_RE: torch.Tensor, lanes: int, *, pairs: bool = False, fused: bool = True) -> torch.Tensor:
    """Return the norms of rows, each lane adding one square after the other, the lanes added in order.

    What is left over at the end is added last, the final one to three by a multiply-add that can be fused. `pairs`
    says that two elements at a time go to each lane, so that more can be left over.
    """
    rows, elements = values_RE.shape
    if elements == 1:
        return _of_one(values_RE)
    width = 2 * lanes if pairs and lanes > 1 else lanes
    whole = elements // width * width
    step = max(1, _AT_ONCE // max(1, rows * width)) * width
    sums_RL = np.zeros((rows, lanes), dtype=np.float32)
    for start in range(0, whole, step):
        part_RE = values_RE[:, start : min(start + step, whole)].to(torch.float32).numpy()
        sums_RL = _added(sums_RL, part_RE * part_RE)
    sum_R = sums_RL[:, 0]
    for lane in range(1, lanes):
        sum_R = sum_R + sums_RL[:, lane]
    plain = elements - (elements - whole) % 4 if fused else elements
    for element_R in values_RE[:, whole:plain].to(torch.float32).numpy().T:
        sum_R = sum_R + element_R * element_R
    total_R = torch.from_numpy(sum_R).to(torch.float64)
    for wide_R in values_RE[:, plain:].to(torch.float64).T:
        total_R = multiply_add(wide_R, wide_R, total_R)
    return _root(total_R.to(torch.float32))


def _of_one(values_RE: torch.Tensor) -> torch.Tensor:
    """Return the norms of rows of one element, which is not squared: that could underflow."""
    return values_RE[:, 0].to(torch.float32).abs()


def _root(values_R: torch.Tensor) -> torch.Tensor:
    """Return square roots, rounded correctly: those of torch are not always on the CPU, where a library has them."""
    return torch.from_numpy(np.sqrt(values_R.numpy()))


def _added(sums_RL: NDArray[np.float32], squares_RE: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums of lanes with further squares added, one after the other."""
    rows, lanes = sums_RL.shape
    if lanes == 1:  # numpy would add a single lane by halves, but keeps the order of a running sum
        running_RE = np.add.accumulate(np.concatenate([sums_RL, squares_RE], axis=1), axis=1)
        return running_RE[:, -1:]
    terms = np.concatenate([sums_RL[:, None], squares_RE.reshape(rows, -1, lanes)], axis=1)
    summed: NDArray[np.float32] = np.add.reduce(terms, axis=1)
    return summed
