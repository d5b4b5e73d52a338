"""A training on its way: what is logged, which weights were saved, and the step record that comes of it.

Loss and checkpoints are kept in memory, and written to `.attest/training.json` at each checkpoint, so that a training
that was interrupted can go on. The step record is written when the trained weights are there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from model_attest.record import surroundings
from model_attest.record.curve import CurveBuilder
from model_attest.record.inputs import HashedWeights, Input, hash_weights, records_with
from model_attest.record.loading import as_loaded
from model_attest.record.progress import (
    PROGRESS_PATH,
    Progress,
    SavedCheckpoint,
    read_progress,
    remove_progress,
    write_progress,
)
from model_attest.record.steps import record_of, replace_records
from model_attest.record.training_check import check_output
from model_attest.record.values import decimal, now
from model_verify.canonical import MAX_INTEGER
from model_verify.digest import CheckpointRoot
from model_verify.errors import CallerError
from model_verify.models import (
    MAX_CHECKPOINTS,
    MAX_ENTRIES,
    Resumption,
    StepOutput,
    TrainingRecord,
    TrainStep,
)
from model_verify.tensors import TensorInfo
from model_verify.training_record import chained, record_problems

Trainable = Literal["all", "adapter"] | Sequence[str]
"""What a training is free to change: everything, the tensors named, or an adapter beside the model."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is known of a training before it begins."""

    name: str
    trained: Input
    teachers: tuple[Input, ...]
    trainable: Trainable
    record: TrainingRecord
    processes: int | None = None


class TrainingRun:
    """A training that is being recorded. Its methods may be called from several threads.

    In the processes that do not record, the methods do nothing.
    """

    def __init__(self, folder: Path, plan: TrainingPlan | None, resume_from: int | None = None) -> None:
        """Take up what was recorded of the training up to the step `resume_from`, or begin anew.

        Raises `CallerError` where other weights were trained until then, `MalformedDocument` and `OutputError`.
        """
        self.folder = folder
        self._plan = plan
        self._lock = threading.RLock()
        self._ended: str | None = None
        self._step = resume_from or 0
        self._checkpoints: list[SavedCheckpoint] = []
        self._form: Mapping[str, TensorInfo] | None = None
        self._trained: Input | None = None if plan is None else plan.trained
        """What is trained, in the form in which it was loaded, once that is known: `_form` says for which tensors."""
        self._curve = CurveBuilder()
        self._started = now()
        self._resumed: list[Resumption] = []
        self._recorded_from = 0
        if plan is None:
            return
        if resume_from:
            self._resume(plan, resume_from)
        self._save()

    def _resume(self, plan: TrainingPlan, step: int) -> None:
        before = read_progress(self.folder)
        if before is None:
            self._recorded_from = step
            return
        root = plan.trained.weights.root
        if before.trained != root:
            raise CallerError(
                f"what was recorded in {self.folder} is a training of {before.trained}, and this one is of {root}",
                hint=f"name the same base, or remove {self.folder / PROGRESS_PATH}",
            )
        self._started = before.started
        self._checkpoints = [saved for saved in before.checkpoints if saved.step <= step]
        self._resumed = [*before.resumed, Resumption(step=step, at=max(now(), before.started))][-MAX_ENTRIES:]
        self._recorded_from = before.recorded_from
        self._curve = CurveBuilder.of(before.loss)
        exact = self._checkpoints and self._checkpoints[-1].step == step
        self._curve.cut(step, self._checkpoints[-1].logged if exact else None)

    @property
    def is_writer(self) -> bool:
        """Whether this process is the one that records."""
        return self._plan is not None

    @property
    def chain(self) -> str | None:
        """The chain digest of the last checkpoint, as digest text, to be published while the training runs.

        None before the first checkpoint, and in a process that does not record.
        """
        with self._lock:
            if self._trained is None or self._form is None:
                return None
            saved = [(one.step, one.checkpoint_root) for one in self._checkpoints]
            return chained(self._trained.weights.root, saved)[-1].chain.text

    @property
    def last_checkpoint(self) -> int | None:
        """The step of the last checkpoint on record."""
        return self._checkpoints[-1].step if self._checkpoints else None

    def replace_losses(self, points: Iterable[tuple[int, float]]) -> None:
        """Take a loss curve that somebody else has kept, in place of what was logged until now."""
        with self._lock:
            self._curve = CurveBuilder()
            for step, loss in points:
                self._curve.add(step, decimal(loss))

    def log(self, step: int, loss: float) -> None:
        """Take the loss after `step` steps. Costs microseconds and writes nothing."""
        if self._plan is None:
            return
        written = decimal(loss)
        with self._lock:
            self._go_on(step)
            self._curve.add(step, written)

    def checkpoint(self, step: int, folder: str | Path) -> CheckpointRoot | None:
        """Hash the weights that were saved in `folder` after `step` steps, and put what is recorded on the disk.

        Returns their root; None in a process that does not record. Raises `SourceError`, `MalformedInput`,
        `OutputError`, and `CallerError` for a step before one that is on record.
        """
        if self._plan is None:
            return None
        weights = hash_weights(Path(folder))
        self.checkpoint_as(step, weights)
        return weights.root

    def checkpoint_as(self, step: int, weights: HashedWeights) -> None:
        """Put on record that `weights` were saved after `step` steps."""
        with self._lock:
            self._go_on(step)
            self._find_start(weights)
            if len(self._checkpoints) < MAX_CHECKPOINTS - 1:  # one place is the output's
                saved = SavedCheckpoint(step=step, checkpoint_root=weights.root, logged=self._curve.logged)
                self._checkpoints = [one for one in self._checkpoints if one.step != step] + [saved]
            self._save()

    def finish(self, folder: str | Path | None = None, *, step: int | None = None) -> Path | None:
        """Hash the trained model in `folder`, by default the run's own, and write the step record beside it.

        Returns the record's path; None in a process that does not record. `step` is the last one, where it was not
        logged. Raises `CallerError` where the model is not what a training of the base can give: then, as after every
        other error, what was recorded stays, and `finish` can be called again. It can be called for other folders, too,
        that the same training was saved in.
        """
        if self._plan is None:
            return None
        place = self.folder if folder is None else Path(folder)
        return self.finish_as(hash_weights(place), place, step=step)

    def finish_as(self, weights: HashedWeights, folder: Path, *, step: int | None = None) -> Path:
        """Write the step record of a training that gave `weights` into `folder`, where these are or will be saved."""
        plan = self._plan
        assert plan is not None
        with self._lock:
            if step is not None and self._ended is None:
                self._go_on(step)
            trained = self._find_start(weights)
            check_output(trained.weights.tensors, weights.tensors, plan.trainable)
            written = self._step_of(plan, trained, weights.root)
            records = records_with([trained, *plan.teachers], lambda materials: record_of(written, materials))
            path = replace_records(folder, records)
            self._ended = written.record.finished if written.record is not None else None
            remove_progress(self.folder)
        return path

    def _find_start(self, saved: HashedWeights) -> Input:
        """Return what is trained, in the form that has the tensors that were saved."""
        plan = self._plan
        assert plan is not None
        form = {name: tensor.info for name, tensor in saved.tensors.items()}
        if self._trained is None or self._form != form:
            self._trained = plan.trained if plan.trainable == "adapter" else as_loaded(plan.trained, form)
            self._form = form
        return self._trained

    def _step_of(self, plan: TrainingPlan, trained: Input, root: CheckpointRoot) -> TrainStep:
        """Return the step that gave the weights `root`."""
        checkpoints = [(saved.step, saved.checkpoint_root) for saved in self._checkpoints]
        if not checkpoints or checkpoints[-1] != (self._step, root):
            checkpoints.append((self._step, root))
        logged = self._curve.written
        known = {
            "software": plan.record.software or surroundings.software(),
            "hardware": plan.record.hardware or surroundings.hardware(plan.processes),
            "started": self._started,
            "finished": self._ended or max([now(), self._started, *(one.at for one in self._resumed)]),
            "resumed": self._resumed or None,
            "recorded_from": self._recorded_from or None,
            "checkpoints": chained(trained.weights.root, checkpoints),
            "loss": logged if logged.points else None,
        }
        step = TrainStep(
            id=plan.name,
            type="train",
            inputs=[trained.id, *(teacher.id for teacher in plan.teachers)],
            output=StepOutput(checkpoint_root=root),
            trainable=_selection(plan.trainable),
            teachers=[teacher.id for teacher in plan.teachers] or None,
            record=plan.record.model_copy(update=known),
        )
        for problem in record_problems(step, trained.weights.root):
            raise CallerError(f"what was recorded of the training contradicts itself: {problem}")
        return step

    def _go_on(self, step: int) -> None:
        if self._ended is not None:
            raise CallerError("the training is recorded already: nothing can follow")
        if type(step) is not int or not 0 <= step <= MAX_INTEGER:
            raise CallerError(f"`{step}` is no number of steps")
        if step < self._step:
            raise CallerError(f"step {step} after step {self._step}", hint="count the steps of the optimizer, from 1")
        self._step = step

    def _save(self) -> None:
        assert self._plan is not None
        progress = Progress(
            document_schema="https://model-attest.github.io/training-progress/v1",
            trained=self._plan.trained.weights.root,
            started=self._started,
            resumed=self._resumed,
            recorded_from=self._recorded_from,
            checkpoints=self._checkpoints,
            loss=self._curve.written,
        )
        write_progress(self.folder, progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._ended is None:
            self.finish()


def _selection(trainable: Trainable) -> Literal["all", "adapter"] | list[str]:
    match trainable:
        case "all" | "adapter":
            return trainable
        case _:
            return list(trainable)
