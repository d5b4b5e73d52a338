"""What loading does to a model before it is trained, as steps: tensors that are tied or unused dropped, others cast.

A library loads a model in the format that it is told, and saves what it has. So the weights that a training begins with
are often those of the base in another form. These steps are replayed, without writing anything, and lie between the
base and the training. Spec: pipeline §6.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from model_attest.diff import checkpoint_of, open_weights
from model_attest.record.form import form_steps
from model_attest.record.inputs import HashedWeights, Input
from model_attest.record.steps import record_of
from model_verify.binding import bind_step
from model_verify.checkpoints import JobBoard, open_checkpoint
from model_verify.errors import NotReproduced
from model_verify.merge.selection import select_backend
from model_verify.models import Material, ReplayedStep, StepOutput, StepRecord
from model_verify.replay import run
from model_verify.tensors import TensorInfo


def as_loaded(base: Input, loaded: Mapping[str, TensorInfo]) -> Input:
    """Return `base` in the form that has the tensors `loaded`, as the output of steps; `base` itself where it has them.

    It is also returned as it is where dropping and casting do not lead there. Raises `SourceError` and
    `BackendUnavailable`.
    """
    before = {name: tensor.info for name, tensor in base.weights.tensors.items()}
    shapes = {name: info.shape for name, info in before.items()}
    if before == loaded or any(shapes.get(name) != info.shape for name, info in loaded.items()):
        return base
    try:
        steps = form_steps(base.id, _names(base), before, loaded, {name: name for name in loaded})
    except NotReproduced:
        return base
    hashed = _computed(base, steps)
    records = list(base.records)
    materials: list[Material] = [] if base.material is None else [base.material]
    for step, weights in zip(steps, hashed, strict=True):
        output = StepOutput(checkpoint_root=weights.root)
        records.append(record_of(step.model_copy(update={"output": output}), materials))
        materials = []
    return replace(base, id=steps[-1].id, weights=hashed[-1], records=tuple(records))


def _names(base: Input) -> list[str]:
    """Return the identifiers that are taken by the base and by what leads to it."""
    records: tuple[StepRecord, ...] = base.records
    materials = [material.name for record in records for material in record.materials]
    return [base.id, *(record.step.id for record in records), *materials]


def _computed(base: Input, steps: list[ReplayedStep]) -> list[HashedWeights]:
    """Return the roots of what each of the steps gives, one after the other. The GPU is the training's."""
    weights = open_weights(str(base.path))
    board = JobBoard()
    with ExitStack() as stack:
        opened = open_checkpoint("base", weights.source, weights.tensors, weights.weight_files, stack)
        board.add_checkpoint(opened)
        node, infos = opened.node, dict(opened.infos)
        for step in steps:
            bound = bind_step(step, [infos])
            board.add_step(step.id, bound, [(node, infos)])
            node, infos = step.id, dict(bound.outputs)
        result = run(board.jobs(), backend=select_backend("cpu"))
    checkpoints = [checkpoint_of(step.id, step.id, result) for step in steps]
    return [HashedWeights(checkpoint.root, checkpoint.tensors) for checkpoint in checkpoints]
