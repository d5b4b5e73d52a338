"""`attest run`: any command, recorded as a step."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from model_attest.commands.arguments import JsonFlag, place
from model_attest.console import Answer
from model_verify.errors import CallerError, CommandFailed

_WAYS_OUT = (signal.SIGINT, signal.SIGTERM)


def run_command(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND [ARGS]", help="The command and its arguments.")],
    inputs: Annotated[
        list[str],
        typer.Option("--input", metavar="ID=REF", help="A model that it reads: a folder, or one of the Hub cache."),
    ],
    output: Annotated[str, typer.Option("--output", metavar="DIR", help="The folder that it writes a model to.")],
    name: Annotated[str, typer.Option("--name", metavar="ID", help="The step's identifier.")] = "run",
    json: JsonFlag = False,
) -> Answer:
    """Run a command, and record that it made a model of other models.

    Nothing of it can be replayed: the step will be your word. Inputs are hashed before and after, the output after; the
    command line, versions of its packages and some environment variables are recorded, without secrets that are known
    as such. The command has the terminal to itself. With --json its output goes to stderr.

    \b
    exit codes
      0  the command succeeded, and DIR has the step record
      2  it failed, an input changed, or DIR has no new model; then nothing is recorded

    \b
    example
      attest run --input base=./base --output ./small -- python prune.py ./base ./small
    """
    from model_attest.commands.documents import members, recorded, recorded_lines
    from model_attest.record.command import run_and_record

    given: dict[str, str] = {}
    for text in inputs:
        identifier, equals, reference = text.partition("=")
        if not (identifier and equals and reference):
            raise CallerError(f"`--input {text}` is not ID=REF", hint="write `--input base=./base`")
        if identifier in given:
            raise CallerError(f"two inputs `{identifier}`")
        given[identifier] = reference
    try:
        result = run_and_record(command, given, place(output), name=name, stdout_to_stderr=json)
    except CommandFailed as error:
        if -error.returncode in _WAYS_OUT:
            signal.raise_signal(-error.returncode)  # whoever stopped the command meant us, too
        raise
    answer = recorded(output, result.path, result.records)
    # stdout is the command's: what we have to say goes to stderr.
    return Answer([], members(answer), notes=[] if json else recorded_lines(answer))
