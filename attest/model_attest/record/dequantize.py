"""FP8 weights that were read as numbers, as a step: pairs of codes and scales by the names that releases use.

Spec: forms §3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from model_attest.hashing import Progress
from model_attest.recipes.recipe import identifiers
from model_attest.record.replaying import UNKNOWN_ROOT, Replayed, read_folders, record
from model_verify.canonical import Json, loads
from model_verify.errors import MalformedJson, NotReproduced, RecipeInvalid, SourceMissing
from model_verify.forms import F8_E4M3
from model_verify.models import DequantizeStep, DequantizeTarget, FloatDtype, StepOutput
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import Source, read_whole
from model_verify.tensors import TensorInfo

MAX_CONFIG_BYTES = 16 << 20
_ENDINGS = ("_scale_inv", "_scale")
"""What the name of the scales adds to that of the codes: DeepSeek and Qwen, compressed-tensors."""
_USUAL_EXTENT = 128
_FLOATS: tuple[FloatDtype, ...] = ("BF16", "F16", "F32")


def record_dequantize(
    source: LocalFolder,
    out: LocalFolder,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Pair the codes of `source` with their scales, replay `out` from them, and write the record into `out`.

    Raises `RecipeInvalid` for codes without scales that are known here, and `NotReproduced`.
    """
    source_model, out_model = read_folders(source, out)
    targets = list(_targets(source_model.infos, _block_of(source)))
    if not targets:
        raise RecipeInvalid(f"{source.label} has no tensor of {F8_E4M3}")
    dtypes = {out_model.infos[t.tensor].dtype for t in targets if t.tensor in out_model.infos}
    dtype = next((one for one in _FLOATS if dtypes == {one}), None)
    if dtype is None:
        raise NotReproduced(
            f"{out.label} has the tensors in {', '.join(sorted(dtypes)) or 'no form'}, not in one format"
        )
    scales = {target.scale for target in targets}
    dropped = sorted(
        (name for name in source_model.infos if name not in out_model.infos and name not in scales),
        key=lambda name: name.encode("utf-8"),
    )
    step = DequantizeStep(
        id=identifiers([source_model.id, "dequantize"])[-1],
        type="dequantize",
        inputs=[source_model.id],
        output=StepOutput(checkpoint_root=UNKNOWN_ROOT),
        dtype=dtype,
        targets=targets,
        dropped=dropped or None,
    )
    return record(step, [source_model], out_model, device=device, threads=threads, progress=progress)


def _targets(infos: Mapping[str, TensorInfo], block: tuple[int, int] | None) -> Iterator[DequantizeTarget]:
    for name in sorted(infos, key=lambda name: name.encode("utf-8")):
        if infos[name].dtype != F8_E4M3:
            continue
        scale = next((infos[name + ending] for ending in _ENDINGS if name + ending in infos), None)
        if scale is None:
            expected = " or ".join(name + ending for ending in _ENDINGS)
            raise RecipeInvalid(f"{name} is {F8_E4M3} and has no scales: there is no {expected}")
        yield DequantizeTarget(tensor=name, scale=scale.name, block=_extents(infos[name], scale, block))


def _extents(codes: TensorInfo, scale: TensorInfo, block: tuple[int, int] | None) -> list[int]:
    """Return the extents of a block: those of the configuration where the scales fit them, else what fits."""
    if scale.elements == 1:
        return [max(1, size) for size in codes.shape]
    grid = scale.shape + (1,) * (len(codes.shape) - len(scale.shape))
    if len(grid) != len(codes.shape):
        raise RecipeInvalid(f"{scale.name} of shape {list(scale.shape)} has more axes than {codes.name}")
    extents: list[int] = []
    for axis, (size, count) in enumerate(zip(codes.shape, grid, strict=True)):
        stated = block[axis - len(codes.shape)] if block is not None and len(codes.shape) - axis <= 2 else None
        tried = [stated, size // count if count and size % count == 0 else None, _USUAL_EXTENT]
        fitting = [extent for extent in tried if extent and -(-size // extent) == count]
        if not fitting:
            raise RecipeInvalid(f"{scale.name}: {count} scales for {size} elements of {codes.name} fit no block size")
        extents.append(fitting[0])
    return extents


def _block_of(source: Source) -> tuple[int, int] | None:
    """Return `weight_block_size` of config.json, where there is one."""
    try:
        members = loads(
            read_whole(source, "config.json", max_bytes=MAX_CONFIG_BYTES), max_bytes=MAX_CONFIG_BYTES, any_numbers=True
        )
    except SourceMissing:
        return None
    except MalformedJson as error:
        raise RecipeInvalid(f"{source.label}: config.json: {error.reason}") from error
    block = _member(_member(members, "quantization_config"), "weight_block_size")
    match block:
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return rows, columns
    return None


def _member(value: Json, name: str) -> Json:
    return value.get(name) if isinstance(value, dict) else None
