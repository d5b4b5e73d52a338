"""A transformers `TrainerCallback` that records a training: for Trainer, TRL's trainers, PEFT models, and Accelerate.

    callback = AttestCallback()
    trainer = SFTTrainer(model="./base", args=args, train_dataset=data, callbacks=[callback])
    trainer.train()
    trainer.save_model()

When the training ends, the step record lies in `args.output_dir`, where `save_model` puts the model. For a model that
is saved elsewhere, `callback.finish(folder)` writes the record there.

Nothing here stops a training that has begun. What cannot be recorded from the start is said at the start, and what
cannot be recorded later is warned of.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transformers import TrainerCallback

from model_attest.placement import stage_folder
from model_attest.record.data import described
from model_attest.record.inputs import HashedWeights, hash_weights
from model_attest.record.trainer import base_of, hyperparameters_of, method_of, objective_of, teachers_of, trainable_of
from model_attest.record.training import record_training
from model_attest.record.training_run import Trainable, TrainingRun
from model_verify.errors import AttestError, CallerError
from model_verify.models import Code, Objective, TrainingMethod

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


class AttestCallback(TrainerCallback):
    """Records one training. Everything that is left out is taken from the trainer, where that says it.

    `base` is a folder, or ORG/NAME[@REVISION] in the Hugging Face cache: by default what the model was loaded from.
    `folder` is where the trained model will be: by default `args.output_dir`. `teachers`, `data`, `trainable`, `method`
    and the names are as for `record_training`; `hyperparameters` are more of them.
    """

    def __init__(
        self,
        base: str | Path | None = None,
        *,
        folder: str | Path | None = None,
        method: TrainingMethod | None = None,
        objective: Objective | None = None,
        trainable: Trainable | None = None,
        teachers: Iterable[str | Path] | Mapping[str, str | Path] = (),
        data: object = None,
        hyperparameters: Mapping[str, object] | None = None,
        code: Code | Literal["auto"] | None = "auto",
        name: str = "train",
        base_name: str | None = None,
    ) -> None:
        self._base = base
        self._folder = folder
        self._method = method
        self._objective = objective
        self._trainable = trainable
        self._teachers = teachers
        self._data = data
        self._hyperparameters = hyperparameters or {}
        self._code = code
        self._name = name
        self._base_name = base_name
        self._run: TrainingRun | None = None
        self._last: tuple[int, HashedWeights] | None = None
        """The last checkpoint: its step, and its tensors by their roots."""
        self._ended = False

    @property
    def run(self) -> TrainingRun:
        """The training on its way. Raises `CallerError` before it has begun."""
        if self._run is None:
            raise CallerError("no training has begun")
        return self._run

    def finish(self, folder: str | Path | None = None) -> Path | None:
        """Write the step record beside the trained model in `folder`, and return its path.

        By default the folder is the callback's own. None in a process that does not record. Raises what
        `TrainingRun.finish` raises.
        """
        return self.run.finish(folder)

    # What the trainer calls.

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin to record, or go on where the checkpoint that is resumed from was recorded."""
        if self._ended:
            raise CallerError(
                "this callback has recorded a training, and the weights are no longer the base",
                hint="make a new AttestCallback, whose base is the saved model",
            )
        model = kwargs["model"]
        resumed = state.global_step or None
        loaded = getattr(kwargs.get("train_dataloader"), "dataset", ())
        known = hyperparameters_of(args, state, model, kwargs.get("optimizer"))
        self._run = record_training(
            self._place(args),
            base_of(model) if self._base is None else self._base,
            method=self._method or method_of(model),
            objective=self._objective or objective_of(args),
            trainable=self._trainable or trainable_of(model),
            teachers=self._teachers or teachers_of(args),
            data=described(loaded) if self._data is None else self._data,
            hyperparameters={**known, **self._hyperparameters},
            seeds={"training": args.seed} | ({} if args.data_seed is None else {"data": args.data_seed}),
            code=self._code,
            name=self._name,
            base_name=self._base_name,
            processes=args.world_size,
            resume_from=resumed,
            is_writer=state.is_world_process_zero,
        )
        if resumed is not None:
            logged = [entry for entry in state.log_history if "loss" in entry]
            self._run.replace_losses((int(entry["step"]), entry["loss"]) for entry in logged)
            if self._run.last_checkpoint != resumed:  # it was saved, and then there was no time to record it
                self._checkpoint(args, resumed)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the loss."""
        if self._run is not None and not self._ended and logs is not None and "loss" in logs:
            self._warned(lambda run: run.log(state.global_step, logs["loss"]))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Hash the checkpoint that was saved."""
        self._checkpoint(args, state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the step record, for the weights that the model has now."""
        if self._run is not None and self._run.is_writer:
            self._warned(lambda run: self._end(run, args, state, kwargs["model"]))

    def _place(self, args: TrainingArguments) -> Path:
        return _output_folder(args) if self._folder is None else Path(self._folder)

    def _checkpoint(self, args: TrainingArguments, step: int) -> None:
        folder = _output_folder(args) / f"checkpoint-{step}"
        if self._run is not None and self._run.is_writer and folder.is_dir():
            self._warned(lambda run: self._take(run, step, folder))

    def _take(self, run: TrainingRun, step: int, folder: Path) -> None:
        weights = hash_weights(folder)
        run.checkpoint_as(step, weights)
        self._last = (step, weights)

    def _end(self, run: TrainingRun, args: TrainingArguments, state: TrainerState, model: Any) -> None:
        weights = self._weights_now(run, args, state, model)
        if weights is None:
            raise CallerError(
                "the trained weights are not at hand", hint="save them, and then `callback.finish(FOLDER)`"
            )
        run.finish_as(weights, run.folder, step=state.global_step)
        self._ended = True

    def _weights_now(
        self, run: TrainingRun, args: TrainingArguments, state: TrainerState, model: Any
    ) -> HashedWeights | None:
        """Return the roots of what `save_model` will save."""
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            return hash_weights(Path(state.best_model_checkpoint))
        if self._last is not None and self._last[0] == state.global_step:
            return self._last[1]
        if args.fsdp or args.deepspeed or not hasattr(model, "save_pretrained"):
            return None  # no process has all of it
        run.folder.mkdir(parents=True, exist_ok=True)
        with stage_folder(run.folder, ".attest-stage-") as stage:
            model.save_pretrained(stage)
            return hash_weights(stage)

    def _warned(self, act: Callable[[TrainingRun], object]) -> None:
        """Do something for the record; the training goes on whatever comes of it."""
        assert self._run is not None
        try:
            act(self._run)
        except (AttestError, OSError, ValueError) as error:
            hint = getattr(error, "hint", None)
            warnings.warn(f"not recorded: {error}{f' ({hint})' if hint else ''}", RecordingWarning, stacklevel=2)


def _output_folder(args: TrainingArguments) -> Path:
    assert args.output_dir is not None  # the arguments themselves see to it
    return Path(args.output_dir)


class RecordingWarning(UserWarning):
    """Something of a training could not be recorded."""
