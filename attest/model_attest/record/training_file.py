"""A training that is described in a file, for frameworks that have no callbacks.

    base: ./base                     # or {id: town, path: ./base}
    teachers: {big: ./big}
    trainable: all
    record:
      method: {name: lora, rank: 16, alpha: 32, targets: [q_proj, v_proj]}
      objective: distillation
      data: [{name: letters, path: ./letters.jsonl}]
      code: {path: .}
      hyperparameters: {learning_rate: 2e-5, bf16: true}
      seeds: {torch: 42}
      started: 2026-05-01T08:00:00Z
      finished: 2026-05-01T09:00:00Z
      checkpoints: [{step: 100, path: ./out/checkpoint-100}]
      loss: {points: [{step: 10, loss: 2.25}, {step: 20, loss: 1.5}]}

It is the train step as a statement has it, with paths in place of digests: what lies at a path is hashed now. Chain,
output and links between the steps follow. Paths are relative to the file. A key that is not known is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from model_attest.record.curve import CurveBuilder
from model_attest.record.data import data_set
from model_attest.record.inputs import HashedWeights, Input, check_identifier, hash_weights, records_with, take_input
from model_attest.record.loading import as_loaded
from model_attest.record.plain_file import read_plain
from model_attest.record.repository import code_state
from model_attest.record.steps import record_of, replace_records, unknown_member
from model_attest.record.training_check import check_output
from model_verify.canonical import Json
from model_verify.digest import CheckpointRoot
from model_verify.errors import RecipeInvalid
from model_verify.models import LossPoint, StepRecord, TrainingRecord, TrainStep, Wire
from model_verify.training_record import chained, record_problems
from model_verify.validation import first_problem

_KEYS = ("id", "base", "teachers", "trainable", "record")

Object = dict[str, Json]


@dataclass(frozen=True, slots=True)
class RecordedTraining:
    """What was recorded: all steps that lead to the model, the last of them the training, and where that lies."""

    records: tuple[StepRecord, ...]
    path: Path

    @property
    def last(self) -> StepRecord:
        return self.records[-1]


def record_training_file(file: Path, out: Path, *, progress: Callable[[int], None] | None = None) -> RecordedTraining:
    """Record the training that `file` describes as what gave the model in `out`; every weight is hashed.

    Raises `RecipeInvalid` that names the file and the key, `CallerError` where the model cannot be what such a training
    gave, `SourceError`, `MalformedInput` and `OutputError`; then nothing was written.
    """
    members = read_plain(file)
    reader = _Reader(file)
    reader.refuse_others(members, _KEYS, "")
    name = reader.text(members.get("id", "train"), "id")
    check_identifier(name)
    trained = reader.base(reader.required(members, "base"))
    teachers = reader.teachers(members.get("teachers", {}))
    output = hash_weights(out, progress=progress)
    trainable = members.get("trainable", "all")
    if trainable != "adapter":
        trained = as_loaded(trained, {tensor: found.info for tensor, found in output.tensors.items()})
    stated = reader.record(members["record"], trained, output) if "record" in members else None
    step = reader.step(name, trained, teachers, trainable, stated, output)
    check_output(trained.weights.tensors, output.tensors, step.trainable)
    records = records_with([trained, *teachers], lambda materials: record_of(step, materials))
    return RecordedTraining(tuple(records), replace_records(out, records))


class _Reader:
    """Takes the members of one file apart; every error names the file and the place in it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def refuse(self, problem: str, hint: str | None = None) -> RecipeInvalid:
        return RecipeInvalid(f"{self.file}: {problem}", hint=hint)

    def refuse_others(self, members: Object, known: tuple[str, ...], place: str) -> None:
        for key in members:
            if key not in known:
                raise self.refuse(f"`{place}{key[:100]}` has no meaning here", hint=f"known are: {', '.join(known)}")

    def required(self, members: Object, key: str) -> Json:
        if key not in members:
            raise self.refuse(f"no `{key}`")
        return members[key]

    def text(self, value: Json, place: str) -> str:
        if not isinstance(value, str):
            raise self.refuse(f"`{place}` is not text")
        return value

    def object(self, value: Json, place: str) -> Object:
        if not isinstance(value, dict):
            raise self.refuse(f"`{place}` is not an object")
        return value

    def items(self, value: Json, place: str) -> list[Json]:
        if not isinstance(value, list):
            raise self.refuse(f"`{place}` is not a list")
        return value

    def path(self, value: Json, place: str) -> Path:
        """Return the path beside the file that a value writes."""
        text = self.text(value, place)
        if not text:
            raise self.refuse(f"`{place}` is an empty path")
        return self.file.parent / text

    def model(self, value: Json, place: str) -> Path | str:
        """Return the path beside the file that a value writes, or the value itself, for the Hub cache."""
        path = self.path(value, place)
        return path if path.exists() else self.text(value, place)

    def base(self, value: Json) -> Input:
        if isinstance(value, str):
            return take_input(self.model(value, "base"))
        members = self.object(value, "base")
        self.refuse_others(members, ("id", "path"), "base/")
        name = self.text(members["id"], "base/id") if "id" in members else None
        return take_input(self.model(self.required(members, "path"), "base/path"), name=name)

    def teachers(self, value: Json) -> tuple[Input, ...]:
        named = self.object(value, "teachers").items()
        return tuple(take_input(self.model(path, f"teachers/{name}"), name=name) for name, path in named)

    def step(
        self,
        name: str,
        trained: Input,
        teachers: tuple[Input, ...],
        trainable: Json,
        record: TrainingRecord | None,
        output: HashedWeights,
    ) -> TrainStep:
        ordered = sorted(trainable, key=lambda one: str(one).encode()) if isinstance(trainable, list) else trainable
        members = {
            "id": name,
            "type": "train",
            "inputs": [trained.id, *(teacher.id for teacher in teachers)],
            "output": {"checkpointRoot": output.root.text},
            "trainable": ordered,
            **({"teachers": [teacher.id for teacher in teachers]} if teachers else {}),
            **({"record": _dumped(record)} if record is not None else {}),
        }
        try:
            step = TrainStep.read(members)
        except ValidationError as error:
            raise self.refuse(first_problem(error)) from error
        for problem in record_problems(step, trained.weights.root):
            raise self.refuse(problem)
        return step

    def record(self, value: Json, trained: Input, output: HashedWeights) -> TrainingRecord:
        """Return the record with everything hashed that is given by a path."""
        members = dict(self.object(value, "record"))
        if "data" in members:
            members["data"] = [self.data(one) for one in self.items(members["data"], "record/data")]
        if "code" in members:
            members["code"] = self.code(members["code"])
        if "loss" in members:
            members["loss"] = self.loss(members["loss"])
        for key in ("seeds", "software"):
            if key in members:
                members[key] = _numbers_as_text(self.object(members[key], f"record/{key}"))
        if isinstance(members.get("method"), dict):
            members["method"] = _number_as_text(self.object(members["method"], "record/method"), "alpha")
        saved = self.checkpoints(members.get("checkpoints", []))
        if not saved or saved[-1][1] != output.root:
            saved.append((saved[-1][0] if saved else 0, output.root))
        members["checkpoints"] = [_dumped(one) for one in chained(trained.weights.root, saved)]
        try:
            record = TrainingRecord.read(members)
        except ValidationError as error:
            raise self.refuse(f"record/{first_problem(error)}") from error
        unknown = unknown_member(members, record.model_dump(mode="json", by_alias=True, exclude_none=True))
        if unknown is not None:
            raise self.refuse(f"`record/{unknown}` has no meaning here")
        return record

    def data(self, value: Json) -> Json:
        members = dict(self.object(value, "record/data"))
        if "path" not in members:
            return members
        path = self.path(members.pop("path"), "record/data/path")
        hashed = data_set(path)
        if "digest" in members or "digestOf" in members:
            raise self.refuse("`record/data` has both a path and a digest", hint="leave out the digest: it is computed")
        return {"name": hashed.name, **members, "digest": str(hashed.digest), "digestOf": hashed.digest_of or "file"}

    def code(self, value: Json) -> Json:
        members = dict(self.object(value, "record/code"))
        if "path" not in members:
            return members
        place = self.path(members.pop("path"), "record/code/path")
        found = code_state(place if place.is_file() else None, place if place.is_dir() else place.parent)
        if found is None:
            raise self.refuse(f"`record/code/path`: {place} is in no repository")
        return {**_dumped(found), **members}

    def loss(self, value: Json) -> Json:
        """Return a curve of any number of points, thinned unless it says that it has been."""
        members = dict(self.object(value, "record/loss"))
        points = [
            _number_as_text(self.object(one, "record/loss/points"), "loss")
            for one in self.items(self.required(members, "points"), "record/loss/points")
        ]
        if "logged" in members or "stride" in members:
            return {**members, "points": list[Json](points)}
        self.refuse_others(members, ("points",), "record/loss/")
        builder = CurveBuilder()
        for point in points:
            self.refuse_others(point, ("step", "loss"), "record/loss/points/")
            try:
                read = LossPoint.read(point)
            except ValidationError as error:
                raise self.refuse(f"record/loss/points/{first_problem(error)}") from error
            builder.add(read.step, read.loss)
        return _dumped(builder.written)

    def checkpoints(self, value: Json) -> list[tuple[int, CheckpointRoot]]:
        found: list[tuple[int, CheckpointRoot]] = []
        for one in self.items(value, "record/checkpoints"):
            members = self.object(one, "record/checkpoints")
            self.refuse_others(members, ("step", "path", "checkpointRoot"), "record/checkpoints/")
            step = members.get("step")
            if not isinstance(step, int) or isinstance(step, bool) or step < 0:
                raise self.refuse("`record/checkpoints/step` is not a whole number from 0 on")
            if ("path" in members) == ("checkpointRoot" in members):
                raise self.refuse("a checkpoint has either a `path` or a `checkpointRoot`")
            found.append((step, self.root(members)))
        return found

    def root(self, members: Object) -> CheckpointRoot:
        if "path" in members:
            return hash_weights(self.path(members["path"], "record/checkpoints/path")).root
        try:
            return CheckpointRoot.parse(self.text(members["checkpointRoot"], "record/checkpoints/checkpointRoot"))
        except ValueError as error:
            raise self.refuse(f"`record/checkpoints/checkpointRoot`: {error}") from error


def _dumped(part: Wire) -> Object:
    dumped: Object = part.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


def _numbers_as_text(members: Object) -> Object:
    """Return members with whole numbers as text, where text is meant: people write `seed: 42`."""
    return {name: str(value) if type(value) is int else value for name, value in members.items()}


def _number_as_text(members: Mapping[str, Json], key: str) -> Object:
    return {name: str(value) if name == key and type(value) is int else value for name, value in members.items()}
