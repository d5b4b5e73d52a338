"""A checkpoint in another form, as steps: tensors left out, renamed, cast; or the same in other files.

What was done is seen from both folders: names and dtypes say what was dropped and cast, and roots which tensor has
which new name. Spec: pipeline §6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from model_attest.diff import open_weights, read_weights
from model_attest.hashing import Progress
from model_attest.recipes.recipe import identifiers
from model_attest.record.replaying import UNKNOWN_ROOT, ModelFolder, Replayed, read_folders, record_chain
from model_verify.digest import TensorRoot
from model_verify.errors import NotReproduced
from model_verify.models import CastStep, DropStep, FloatDtype, RenameStep, ReplayedStep, ReshardStep, StepOutput
from model_verify.operations import BLENDABLE_DTYPES
from model_verify.sources.local import LocalFolder
from model_verify.tensors import TensorInfo

_FLOATS: tuple[FloatDtype, ...] = ("BF16", "F16", "F32")
_HINT = "only tensors that are dropped, renamed or cast to one format are recorded by this command"


def record_form(
    source: LocalFolder,
    out: LocalFolder,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Find the steps from the weights of `source` to those of `out`, replay them, and write their records into `out`.

    They are drop, rename and cast, in this order and as far as there is something to do; reshard where there is not.
    Raises `NotReproduced`, naming a tensor.
    """
    before, after = read_folders(source, out)
    taken = [before.id, *(record.step.id for record in before.records)]
    taken += [material.name for record in before.records for material in record.materials]
    steps = form_steps(before.id, taken, before.infos, after.infos, _new_names(before, after, threads))
    if not steps:
        identifier = identifiers([*taken, "reshard"])[-1]
        output = StepOutput(checkpoint_root=UNKNOWN_ROOT)
        steps = [ReshardStep(id=identifier, type="reshard", inputs=[before.id], output=output)]
    return record_chain(steps, [before], after, device=device, threads=threads, progress=progress)


def form_steps(
    start: str,
    taken: Sequence[str],
    before: Mapping[str, TensorInfo],
    after: Mapping[str, TensorInfo],
    names: Mapping[str, str],
) -> list[ReplayedStep]:
    """Return the steps from the tensors `before`, which are called `start`, to those `after`, but for their roots.

    `names` has the name in `after` of every tensor that is kept; `taken` are identifiers that no step may have.
    Raises `NotReproduced`, naming a tensor, where they became of more than one format.
    """
    dropped = _sorted(name for name in before if name not in names)
    changed = {name: new for name, new in names.items() if new != name}
    kept = {new: before[name] for name, new in names.items()}
    output = StepOutput(checkpoint_root=UNKNOWN_ROOT)
    drop, rename, cast = (identifiers([*taken, kind])[-1] for kind in ("drop", "rename", "cast"))
    steps: list[ReplayedStep] = []

    def inputs() -> list[str]:
        return [steps[-1].id if steps else start]

    if dropped:
        steps.append(DropStep(id=drop, type="drop", inputs=inputs(), output=output, tensors=dropped))
    if changed:
        steps.append(RenameStep(id=rename, type="rename", inputs=inputs(), output=output, names=changed))
    dtype, tensors = _cast(kept, after)
    if dtype is not None:
        steps.append(CastStep(id=cast, type="cast", inputs=inputs(), output=output, tensors=tensors, dtype=dtype))
    return steps


def _new_names(before: ModelFolder, after: ModelFolder, threads: int | None) -> dict[str, str]:
    """Return the name in `after` of every tensor of `before` that is there.

    A tensor whose name is only in `after` is the one with its root, dtype and shape whose name is only in `before`.
    """
    names = {name: name for name in before.infos if name in after.infos}
    fresh = _sorted(name for name in after.infos if name not in names)
    if not fresh:
        return names
    old_roots, new_roots = (_roots(folder, threads) for folder in (before, after))
    free: dict[tuple[str, tuple[int, ...], TensorRoot], list[str]] = {}
    for name in _sorted(name for name in before.infos if name not in names):
        free.setdefault(_identity(before.infos[name], old_roots[name]), []).append(name)
    for name in fresh:
        found = free.get(_identity(after.infos[name], new_roots[name]))
        if not found:
            raise NotReproduced(f"{name}: no tensor left of {before.source.label} holds the same", hint=_HINT)
        names[found.pop(0)] = name
    return names


def _identity(info: TensorInfo, root: TensorRoot) -> tuple[str, tuple[int, ...], TensorRoot]:
    return info.dtype, info.shape, root


def _roots(folder: ModelFolder, threads: int | None) -> Mapping[str, TensorRoot]:
    (checkpoint,), _ = read_weights([open_weights(str(Path(folder.source.root)))], threads=threads)
    return {name: tensor.root for name, tensor in checkpoint.tensors.items()}


def _cast(
    kept: Mapping[str, TensorInfo], after: Mapping[str, TensorInfo]
) -> tuple[FloatDtype | None, Literal["floating"] | list[str]]:
    """Return the format that tensors were cast to and which they are; no format where none has another one."""
    cast = _sorted(name for name, info in kept.items() if info.dtype != after[name].dtype)
    if not cast:
        return None, []
    dtypes = {after[name].dtype for name in cast}
    dtype = next((one for one in _FLOATS if dtypes == {one}), None)
    if dtype is None:
        other = next(name for name in cast if after[name].dtype not in _FLOATS or len(dtypes) > 1)
        raise NotReproduced(f"{other}: {kept[other].dtype} became {after[other].dtype}", hint=_HINT)
    floating = [name for name, info in kept.items() if info.dtype in BLENDABLE_DTYPES]
    return dtype, "floating" if all(after[name].dtype == dtype for name in floating) else cast


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.encode("utf-8"))
