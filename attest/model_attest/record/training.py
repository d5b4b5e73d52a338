"""Record a training while it happens, from any loop.

    with record_training("./tuned", base="./base", objective="supervised") as run:
        for step, batch in enumerate(batches, start=1):
            ...
            run.log(step, loss)
            if step % 500 == 0:
                model.save_pretrained(f"./tuned/checkpoint-{step}")
                run.checkpoint(step, f"./tuned/checkpoint-{step}")
        model.save_pretrained("./tuned")

When the block ends, the step record lies beside the saved model and `attest sign ./tuned` absorbs it. Where the block
does not end, by an error or a crash, there is no step record, but what is needed to go on: give the step of the
checkpoint that the training resumes from as `resume_from`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from model_attest.record.data import described
from model_attest.record.inputs import check_identifier, take_input
from model_attest.record.repository import code_state, main_script
from model_attest.record.surroundings import rank
from model_attest.record.training_run import Trainable, TrainingPlan, TrainingRun
from model_attest.record.values import settings
from model_verify.errors import CallerError
from model_verify.models import Code, FullTraining, Objective, TrainingMethod, TrainingRecord


def record_training(
    folder: str | Path,
    base: str | Path,
    *,
    method: TrainingMethod | None = None,
    objective: Objective | None = None,
    trainable: Trainable = "all",
    teachers: Iterable[str | Path] | Mapping[str, str | Path] = (),
    data: object = (),
    hyperparameters: Mapping[str, object] | None = None,
    seeds: Mapping[str, int] | None = None,
    code: Code | Literal["auto"] | None = "auto",
    name: str = "train",
    base_name: str | None = None,
    processes: int | None = None,
    resume_from: int | None = None,
    is_writer: bool | None = None,
) -> TrainingRun:
    """Return a recorder for a training of `base` whose model will be saved in `folder`; it begins now.

    `base` and each of the `teachers` are a folder, a safetensors file, or ORG/NAME[@REVISION] in the Hugging Face
    cache; their weights are hashed here. A base whose folder has step records brings its steps along. `data` are paths,
    data sets of the `datasets` library, or `data_set(…)` of your own making. `name` and `base_name` are identifiers in
    the statement. In a distributed training only one process records: the first, unless `is_writer` says otherwise.

    `resume_from` is the step of the checkpoint that the training goes on from: what was recorded of later steps is
    dropped, and what was recorded up to it is kept.

    Raises `CallerError`, `SourceError`, `MalformedInput` and `OutputError`; then nothing was begun.
    """
    writes = rank() == 0 if is_writer is None else is_writer
    if not writes:
        return TrainingRun(Path(folder), None, resume_from)
    check_identifier(name)
    if objective == "distillation" and not teachers:
        raise CallerError("a distillation names its teacher", hint="`teachers={ID: FOLDER}`")
    named: Iterable[tuple[str | None, str | Path]]
    named = teachers.items() if isinstance(teachers, Mapping) else ((None, teacher) for teacher in teachers)
    plan = TrainingPlan(
        name=name,
        trained=take_input(base, name=base_name),
        teachers=tuple(take_input(reference, name=teacher) for teacher, reference in named),
        trainable=trainable if isinstance(trainable, str) else _ordered(trainable),
        record=TrainingRecord(
            method=FullTraining(name="full") if method is None else method,
            objective=objective,
            data=described(data) or None,
            code=code_state(main_script(), Path.cwd()) if code == "auto" else code,
            hyperparameters=settings(hyperparameters or {}) or None,
            seeds={seed: str(value) for seed, value in (seeds or {}).items()} or None,
        ),
        processes=processes,
    )
    return TrainingRun(Path(folder), plan, resume_from)


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(set(names), key=lambda name: name.encode("utf-8", "surrogatepass"))
