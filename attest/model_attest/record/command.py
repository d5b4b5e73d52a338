"""Run a command, and record it as the step that gave the model in a folder. Spec: pipeline §7.

before   the inputs are hashed
command  runs as if it had been typed
after    the inputs are hashed again, and the output
record   written only where the command ended well, the inputs are as they were, and there is a new output
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_attest.record.child import run_child
from model_attest.record.confidential import arguments_without_secrets
from model_attest.record.inputs import Input, check_identifier, hash_weights, locate, records_with, take_input
from model_attest.record.steps import record_of, replace_records
from model_attest.record.tools import environment, tool_versions
from model_attest.record.values import now, safe_text
from model_verify.errors import CallerError, CommandFailed, SourceChanged, SourceMissing
from model_verify.files import has_tensors
from model_verify.models import MAX_ARGUMENT, MAX_ARGUMENTS, RunStep, StepOutput, StepRecord
from model_verify.sources.local import LocalFolder

Identities = frozenset[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """All steps that lead to the output, the last of them the command, and where that is recorded."""

    records: tuple[StepRecord, ...]
    path: Path


def run_and_record(
    command: Sequence[str],
    inputs: Mapping[str, str],
    out: Path,
    *,
    name: str = "run",
    stdout_to_stderr: bool = False,
) -> RecordedRun:
    """Run `command`, and record it in `out` as what made the model there of `inputs`, by identifier.

    Raises `CallerError` and `SourceError` before the command runs where that could not end well; `CommandFailed` where
    it fails; `SourceChanged` where an input is not what it was; `SourceMissing` where nothing new is in `out`; and what
    `hash_weights` and `replace_records` raise. Then nothing is recorded.
    """
    executable = _executable(command)
    check_identifier(name)
    if not inputs:
        raise CallerError("no input", hint="name each model that the command reads: `--input ID=DIR`")
    for identifier, reference in inputs.items():
        if locate(reference).resolve() == out.resolve():
            raise CallerError(
                f"input `{identifier}` is where the output will be", hint="let the command write elsewhere"
            )
    taken = [take_input(reference, name=identifier) for identifier, reference in inputs.items()]
    there_before = _weight_files(out)
    started = now()
    returncode = run_child(command, stdout_to_stderr=stdout_to_stderr)
    finished = max(now(), started)
    if returncode:
        raise CommandFailed(f"{_told(executable, returncode)}: nothing is recorded", returncode=returncode)
    _check_unchanged(taken)
    if not _weight_files(out) - there_before:
        raise SourceMissing(f"the command has left no new weights in {out}", hint="name the folder that it writes to")
    step = RunStep(
        id=name,
        type="run",
        inputs=[one.id for one in taken],
        output=StepOutput(checkpoint_root=hash_weights(out).root),
        command=arguments_without_secrets([safe_text(argument, MAX_ARGUMENT) for argument in command]),
        software=tool_versions(executable),
        environment=environment() or None,
        started=started,
        finished=finished,
    )
    records = records_with(taken, lambda materials: record_of(step, materials))
    return RecordedRun(tuple(records), replace_records(out, records))


def _executable(command: Sequence[str]) -> Path:
    """Return the file that a command starts. Raises `CallerError` for a command that cannot be run or recorded."""
    if not command or not command[0]:
        raise CallerError("no command", hint="write it after `--`")
    if len(command) > MAX_ARGUMENTS:
        raise CallerError(f"{len(command)} arguments, over the limit of {MAX_ARGUMENTS}", hint="put them in a file")
    for argument in command:
        if len(argument) > MAX_ARGUMENT:
            problem = f"an argument of {len(argument)} characters, over the limit of {MAX_ARGUMENT}"
            raise CallerError(problem, hint="put it in a file")
    found = shutil.which(command[0])
    if found is None:
        raise CallerError(f"no command `{command[0]}`")
    return Path(found)


def _weight_files(folder: Path) -> Identities:
    """Return what tells each weight file of a folder from another in its place; nothing where there is no folder."""
    try:
        source = LocalFolder(folder)
    except SourceMissing:
        return frozenset()
    found: set[tuple[object, ...]] = set()
    for entry in source.entries():
        if has_tensors(entry.path):
            status = (source.root / entry.path).stat()
            found.add((entry.path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return frozenset(found)


def _check_unchanged(inputs: Sequence[Input]) -> None:
    for one in inputs:
        if hash_weights(one.path).root != one.weights.root:
            raise SourceChanged(
                f"input `{one.id}` is no longer what it was when the command began: nothing is recorded",
                hint="give the command a copy, if it has to write there",
            )


def _told(executable: Path, returncode: int) -> str:
    if returncode > 0:
        return f"`{executable.name}` ended with exit code {returncode}"
    try:
        return f"`{executable.name}` was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"`{executable.name}` was ended by signal {-returncode}"
