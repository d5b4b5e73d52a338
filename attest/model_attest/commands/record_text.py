"""What is recorded of a training or of a command, as lines for people. All of it is the signer's word."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from model_verify.models import Code, DataSet, LossCurve, RunStep, TrainingMethod, TrainingRecord, TrainStep

_MOST_LINES = 24
_MOST_SETTINGS = 64
_MOST_NAMES = 8
_NOT_KNOWN = "not known"


def training_lines(step: TrainStep) -> Iterator[str]:
    """Yield what a train step states beyond its inputs and its output."""
    if step.teachers:
        yield _line("teachers", _listed(step.teachers))
    if step.record is not None:
        yield from _record_lines(step.record)


def run_lines(step: RunStep) -> Iterator[str]:
    """Yield what a run step states beyond its inputs and its output."""
    yield _line("command", shlex.join(step.command))
    if step.software:
        yield _line("software", _listed([f"{name} {version}" for name, version in step.software.items()]))
    yield from _settings("environment", step.environment or {})
    yield from _times(step.started, step.finished)


def _record_lines(record: TrainingRecord) -> Iterator[str]:
    yield _line("method", _method(record.method))
    if record.objective is not None:
        yield _line("objective", record.objective)
    for data in (record.data or ())[:_MOST_LINES]:
        yield _line("data", _data(data))
    yield from _more("data sets", record.data or ())
    if record.code is not None:
        yield from _code_lines(record.code)
    yield from _settings("", record.hyperparameters or {})
    if record.seeds:
        yield _line("seeds", _listed([f"{name} {seed}" for name, seed in record.seeds.items()]))
    if record.software:
        yield _line("software", _listed([f"{name} {version}" for name, version in record.software.items()]))
    if record.hardware is not None:
        devices = _listed([f"{device.count} × {device.name}" for device in record.hardware.devices])
        count = record.hardware.processes
        processes = "" if count is None else f", {count} process{'es' if count != 1 else ''}"
        yield _line("hardware", f"{devices or _NOT_KNOWN}{processes}")
    yield from _times(record.started, record.finished)
    for resumed in (record.resumed or ())[:_MOST_LINES]:
        yield _line("resumed", f"after step {resumed.step} at {resumed.at}")
    yield from _more("resumptions", record.resumed or ())
    if record.recorded_from:
        yield _line("recorded", f"from step {record.recorded_from} on: of what was before nothing is said")
    if record.checkpoints:
        last = record.checkpoints[-1]
        yield _line("checkpoints", f"{len(record.checkpoints)}, the last after step {last.step}, chain {last.chain}")
    if record.loss is not None:
        yield _line("loss", _loss(record.loss))


def _method(method: TrainingMethod) -> str:
    match method.name:
        case "full":
            return "full"
        case "lora":
            return f"lora, rank {method.rank}, alpha {method.alpha}, on {_listed(method.targets)}"
        case "other":
            return method.description
        case _:
            assert_never(method)


def _data(data: DataSet) -> str:
    parts = [data.name]
    if data.split is not None:
        parts.append(f"split {data.split}")
    if data.rows is not None:
        parts.append(f"{data.rows:,} rows")
    parts += [data.uri] if data.uri is not None else []
    parts.append(f"revision {data.revision or _NOT_KNOWN}")
    of_what = {"file": "of its file", "files": "of the list of its files", None: ""}[data.digest_of]
    parts.append(f"{data.digest} {of_what}" if data.digest is not None else f"digest {_NOT_KNOWN}")
    return ", ".join(parts)


def _code_lines(code: Code) -> Iterator[str]:
    place = f"{code.uri} at " if code.uri is not None else ""
    match code.diff:
        case None:
            uncommitted = f"uncommitted changes {_NOT_KNOWN}"
        case "none":
            uncommitted = "nothing uncommitted"
        case digest:
            uncommitted = f"uncommitted changes {digest}"
    yield _line("code", f"{place}{code.commit or f'commit {_NOT_KNOWN}'}, {uncommitted}")
    if code.script is not None:
        yield _line("script", f"{code.script.path} {code.script.file_digest}")


def _loss(loss: LossCurve) -> str:
    if not loss.points:
        return "no point"
    first, last = loss.points[0], loss.points[-1]
    thinned = f"{len(loss.points)} of {loss.logged} points" if loss.stride > 1 else f"{len(loss.points)} points"
    return f"{first.loss} after step {first.step}, {last.loss} after step {last.step} ({thinned})"


def _times(started: str | None, finished: str | None) -> Iterator[str]:
    if started is not None or finished is not None:
        yield _line("time", f"{started or _NOT_KNOWN} to {finished or _NOT_KNOWN}")


def _settings(what: str, settings: Mapping[str, bool | int | str]) -> Iterator[str]:
    for name, value in list(settings.items())[:_MOST_SETTINGS]:
        written = str(value).lower() if isinstance(value, bool) else value
        yield _line(what, f"{name} = {written}") if what else f"              {name} = {written}"
    yield from _more("settings", list(settings), _MOST_SETTINGS)


def _more(what: str, items: Sequence[object], most: int = _MOST_LINES) -> Iterator[str]:
    if len(items) > most:
        yield f"              {len(items) - most} more {what}: `--json` shows them"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _line(what: str, text: str) -> str:
    return f"              {what:<11} {text}"
