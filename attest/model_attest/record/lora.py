"""An adapter that was merged with peft, as a step: the targets from the adapter's files, the variant by trial.

Spec: forms §2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model_attest.adapters import AdapterParts, read_config, read_parts
from model_attest.hashing import Progress
from model_attest.record.replaying import UNKNOWN_ROOT, ModelFolder, Replayed, read_folders, record, standing
from model_verify.errors import NotReproduced
from model_verify.merge.kernel import Standing
from model_verify.models import FloatDtype, LoraStep, LoraTarget, StepOutput
from model_verify.operations import BLENDABLE_DTYPES
from model_verify.sources.local import LocalFolder

_TRIED_TARGETS = 4
"""So many of the smallest matrices tell the variants apart; then everything is replayed with the one that fits."""


def record_lora(
    base: LocalFolder,
    adapter: LocalFolder,
    out: LocalFolder,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Find how `adapter` was merged into `base` to give `out`, replay all of it, and write the record into `out`.

    Raises `RecipeInvalid` for an adapter that has no step, and `NotReproduced` where none of the ways gives `out`.
    """
    config = read_config(adapter)
    folders = read_folders(base, adapter, out)
    base_model, adapter_model, out_model = folders
    parts = read_parts(config, adapter_model.infos, base_model.infos)
    _check_adapted(parts, out_model)
    dtype = _load_dtype(base_model, out_model, parts)
    inputs = [base_model, adapter_model]
    tried = _smallest(parts, out_model)
    found: list[tuple[Standing, LoraStep]] = []
    for step in _variants(parts, dtype, inputs, out_model):
        found.append((standing(step, inputs, out_model, tried, device=device), step))
        if found[-1][0] is Standing.EXACT:
            break
    best, chosen = min(found, key=lambda pair: pair[0])
    if best is Standing.DIFFERENT:
        hint = "merge with peft's `merge_and_unload`, the model in the dtype in which it is saved"
        raise NotReproduced(f"{tried[0]}: no way of merging that is known here gives what is in {out.label}", hint=hint)
    return record(chosen, inputs, out_model, device=device, threads=threads, progress=progress)


def _check_adapted(parts: AdapterParts, out: ModelFolder) -> None:
    for name in (*(target.tensor for target in parts.targets), *(r.tensor for r in parts.replaced)):
        if name not in out.infos:
            raise NotReproduced(f"{out.source.label} has no tensor {name}, which the adapter gives")


def _load_dtype(base: ModelFolder, out: ModelFolder, parts: AdapterParts) -> FloatDtype | None:
    """Return the format in which the base was loaded, or None where its tensors kept theirs."""
    given = {name: info.dtype for name, info in out.infos.items() if info.dtype in BLENDABLE_DTYPES}
    if all(base.infos[name].dtype == dtype for name, dtype in given.items() if name in base.infos):
        return None
    targets = {given.get(target.tensor) for target in parts.targets}
    return next((dtype for dtype in _FLOATS if targets == {dtype}), None)


_FLOATS: tuple[FloatDtype, ...] = ("BF16", "F16", "F32")


@dataclass(frozen=True, slots=True)
class _Variant:
    """A profile, and which targets have their product rounded to the output's format before it is added."""

    profile: str
    is_rounded: Callable[[str], bool]


def _variants(
    parts: AdapterParts, dtype: FloatDtype | None, inputs: list[ModelFolder], out: ModelFolder
) -> Iterator[LoraStep]:
    """Yield the ways in which an adapter is merged, the most usual first."""
    for variant in (
        _Variant("peft", lambda name: name in parts.embeddings),
        _Variant("peft", lambda name: True),  # `safe_merge=True`
        _Variant("lora/f64-v1", lambda name: False),
    ):
        yield LoraStep(
            id=_step_id(inputs),
            type="lora",
            profile="peft" if variant.profile == "peft" else "lora/f64-v1",
            inputs=[folder.id for folder in inputs],
            output=StepOutput(checkpoint_root=UNKNOWN_ROOT),
            dtype=dtype,
            targets=[_target(target, variant, out) for target in parts.targets],
            replaced=list(parts.replaced) or None,
        )


def _target(target: LoraTarget, variant: _Variant, out: ModelFolder) -> LoraTarget:
    dtype = out.infos[target.tensor].dtype
    rounded = next((one for one in _FLOATS if one == dtype and one != "F32"), None)
    if rounded is None or not variant.is_rounded(target.tensor):
        return target
    return target.model_copy(update={"delta_dtype": rounded})


def _step_id(inputs: list[ModelFolder]) -> str:
    from model_attest.recipes.recipe import identifiers

    return identifiers([*(folder.id for folder in inputs), "lora"])[-1]


def _smallest(parts: AdapterParts, out: ModelFolder) -> list[str]:
    """Return a few targets to try on: the smallest, and the smallest of the embeddings."""
    by_size = sorted((target.tensor for target in parts.targets), key=lambda name: out.infos[name].size_bytes)
    embeddings = [name for name in by_size if name in parts.embeddings]
    others = [name for name in by_size if name not in parts.embeddings]
    return [*others[:_TRIED_TARGETS], *embeddings[:1]]
