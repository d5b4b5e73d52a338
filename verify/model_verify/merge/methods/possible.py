"""Whether a tensor is one that torch may have given, where it is free to choose. Spec: merge §5.2, §5.6.

It chooses among equal magnitudes at a cut, the order in which it adds over many inputs, and, where what is kept is
scaled, the order in which it adds up a whole tensor.
"""

# Shape suffixes: E elements, F elements that are free in some input, S a sample of elements, N inputs but for the base.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

import torch

from model_verify.merge.kernel import Opinion, Standing
from model_verify.merge.methods.mergekit import bits_of

Span = tuple[int, int]
"""What is kept: from a position, and up to one, in ascending order of magnitude."""
Merge = Callable[[torch.Tensor, Sequence[torch.Tensor]], list[torch.Tensor]]
Ratios = tuple[torch.Tensor | None, ...]

_MOST_FREE = 12
"""Inputs in which one element is free: every combination of choices is tried."""
_RATIO_STEPS = 8
"""ULP by which a scale may be off."""
_SAMPLE_ELEMENTS = 4096
_MOST_RATIOS = 4096


@dataclass(frozen=True)
class Tie:
    """A cut among elements of one magnitude: where they are, and how many of them are kept."""

    at_E: torch.Tensor
    kept: int


@dataclass(frozen=True)
class Thinned:
    """Differences of one input, which of them the kernel keeps, the scale of those, and where it may keep others."""

    delta_E: torch.Tensor
    mask_E: torch.Tensor
    ratio: torch.Tensor | None
    ties: Sequence[Tie]

    def free(self) -> torch.Tensor:
        free_E = torch.zeros_like(self.mask_E)
        for tie in self.ties:
            free_E |= tie.at_E
        return free_E

    def part(self, at_S: torch.Tensor, mask_S: torch.Tensor, ratio: torch.Tensor | None) -> torch.Tensor:
        """Return some of the differences with zeros for those that are not in `mask_S`, scaled."""
        kept_S = self.delta_E[at_S] * mask_S.to(self.delta_E.dtype)
        return kept_S if ratio is None else kept_S * ratio


class Possible:
    """What is there, and from what it is said to have come."""

    def __init__(self, base_E: torch.Tensor, inputs: Sequence[Thinned], there_E: torch.Tensor, merge: Merge) -> None:
        self._base_E = base_E
        self._inputs = inputs
        self._there_E = bits_of(there_E)
        self._merge = merge
        self._free_NE = [one.free() for one in inputs]
        free_E = torch.stack(self._free_NE).any(dim=0)
        self._settled = (~free_E).nonzero().squeeze(1)
        self._free = free_E.nonzero().squeeze(1)

    def opinion(self) -> Opinion:
        """Return WITHIN where all elements fit one choice of scales, else DIFFERENT."""
        for ratios in self._possible_ratios():
            if self._settled_fit(self._settled, ratios) and self._choices_fit(ratios):
                what = f"{len(self._free)} elements at a cut, of equal magnitude" if len(self._free) else "sums"
                return Opinion(Standing.WITHIN, f"as computed but for what torch leaves open: {what}")
        return Opinion(Standing.DIFFERENT)

    def _fits(self, at_S: torch.Tensor, masks_NS: Sequence[torch.Tensor], ratios: Ratios) -> torch.Tensor:
        """Return in which of some elements what is there is what comes out, in any order of additions."""
        thinned = [
            one.part(at_S, mask_S, ratio) for one, mask_S, ratio in zip(self._inputs, masks_NS, ratios, strict=True)
        ]
        merged = self._merge(self._base_E[at_S], thinned)
        return torch.stack([bits_of(result_S) == self._there_E[at_S] for result_S in merged]).any(dim=0)

    def _settled_fit(self, at_S: torch.Tensor, ratios: Ratios) -> bool:
        return bool(self._fits(at_S, [one.mask_E[at_S] for one in self._inputs], ratios).all())

    def _possible_ratios(self) -> Iterator[Ratios]:
        """Yield scales for all inputs, those as computed first, that fit a sample of the elements."""
        sample = self._settled[:_SAMPLE_ELEMENTS]
        found = [
            self._ratios_of(number, one.ratio) if one.ratio is not None else [None]
            for number, one in enumerate(self._inputs)
        ]
        for ratios in islice(product(*found), _MOST_RATIOS):
            if self._settled_fit(sample, ratios):
                yield ratios

    def _ratios_of(self, number: int, ratio: torch.Tensor) -> list[torch.Tensor | None]:
        """Return the scales near `ratio` that fit elements of which only this input has a difference left."""
        left_NE = torch.stack([one.mask_E & (one.delta_E != 0) for one in self._inputs])[:, self._settled]
        alone = self._settled[left_NE[number] & (left_NE.sum(dim=0) == 1)][:_SAMPLE_ELEMENTS]
        most = _RATIO_STEPS
        steps = sorted(range(-most, most + 1), key=abs)
        near = [(bits_of(ratio) + step).to(bits_of(ratio).dtype).view(ratio.dtype) for step in steps]
        others = [one.ratio for one in self._inputs]
        return [one for one in near if self._settled_fit(alone, (*others[:number], one, *others[number + 1 :]))]

    def _choices_fit(self, ratios: Ratios) -> bool:
        """Return whether every free element is what a choice gives, and as many can be kept as the cuts leave."""
        at_F = self._free
        if not len(at_F):
            return True
        free_NF = torch.stack([free_E[at_F] for free_E in self._free_NE])
        kept_NF = torch.stack([one.mask_E[at_F] for one in self._inputs])
        rank_NF = (free_NF.cumsum(dim=0) - 1).clamp(min=0)
        most = int(free_NF.sum(dim=0).max())
        if most > _MOST_FREE:
            return False
        can_keep_NF, can_leave_NF = torch.zeros_like(free_NF), torch.zeros_like(free_NF)
        for choice in product((False, True), repeat=most):
            chosen_NF = torch.tensor(choice)[rank_NF]
            fits_F = self._fits(at_F, list(torch.where(free_NF, chosen_NF, kept_NF)), ratios)
            can_keep_NF |= free_NF & chosen_NF & fits_F
            can_leave_NF |= free_NF & ~chosen_NF & fits_F
        if not bool((~free_NF | can_keep_NF | can_leave_NF).all()):
            return False
        for number, one in enumerate(self._inputs):
            for tie in one.ties:
                can_keep_F = can_keep_NF[number] & tie.at_E[at_F]
                must_keep_F = can_keep_F & ~can_leave_NF[number]
                if not int(must_keep_F.sum()) <= tie.kept <= int(can_keep_F.sum()):
                    return False
        return True


def magnitude(delta_E: torch.Tensor) -> torch.Tensor:
    """Return the magnitudes in one row, in float32 on the CPU, as torch sorts them for mergekit."""
    return delta_E.abs().reshape(-1).cpu().to(torch.float32)


def ties_of(delta_E: torch.Tensor, span: Span | None) -> list[Tie]:
    """Return the cuts of an input that fall among elements of one magnitude."""
    if span is None or span[0] == span[1]:
        return []
    first, last = span
    magnitude_E = magnitude(delta_E)
    sorted_E = magnitude_E.sort().values
    found = {}
    for cut in (first, last):
        if 0 < cut < len(sorted_E) and bool(sorted_E[cut - 1] == sorted_E[cut]):
            value = sorted_E[cut].item()
            lowest, highest = (int(torch.searchsorted(sorted_E, value, right=right)) for right in (False, True))
            found[value] = Tie(magnitude_E == value, min(highest, last) - max(lowest, first))
    return list(found.values())
