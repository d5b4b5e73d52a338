"""The command line `attest`: one place that runs a command, prints its answer, and gives the exit code.

    0  verified, or answered     2  could not run, or could not answer     130  interrupted
    1  rejected, or different    3  incomplete: something declared was not checked

Commands return an `Answer` and print nothing. Whatever one raises ends here as exit code 2: the command line's own
library would exit 1, which reads as rejected.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Annotated, NoReturn, ParamSpec

import typer

from model_attest import console
from model_attest.commands.commit import commit
from model_attest.commands.demo import demo
from model_attest.commands.diff import diff
from model_attest.commands.hash import hash_weights
from model_attest.commands.inspect import inspect
from model_attest.commands.keygen import keygen
from model_attest.commands.merge import merge
from model_attest.commands.observe import observe
from model_attest.commands.publish import publish
from model_attest.commands.record import COMMANDS as RECORD_COMMANDS
from model_attest.commands.record import HELP as RECORD_HELP
from model_attest.commands.revoke import revoke
from model_attest.commands.run import run_command
from model_attest.commands.sign import sign
from model_attest.commands.verify import verify
from model_attest.commands.verify_summary import verify_summary
from model_attest.console import Answer
from model_verify import __version__
from model_verify.errors import AttestError

COULD_NOT_RUN = 2
INTERRUPTED = 130
TERMINATED = 143
OPEN_FILES = 1 << 16
GARBAGE_THRESHOLD = 100_000

_TRACEBACK = "MODEL_ATTEST_TRACEBACK"
_P = ParamSpec("_P")

HELP = """State how model weights came to be, and check it.

\b
exit codes
  0  verified, or answered
  1  rejected, or different
  2  could not run
  3  incomplete: nothing failed, but something declared was not checked

\b
example
  attest verify ./merged --key lab.pub --parent a=./a --parent b=./b
"""


def main() -> NoReturn:
    """Run the command line of this process, and end it with the exit code.

    The process ends without taking apart what it loaded: for torch and numba that takes longer than verifying a small
    model. Nothing is lost, as files are closed and answers are flushed by then.
    """
    signal.signal(signal.SIGTERM, _terminate)
    _allow_many_open_files()
    # Nobody's plugins take part in reading what an attacker wrote; looking for them takes time, too.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    # Loading libraries makes objects by the hundred thousand, and hardly any garbage.
    gc.set_threshold(GARBAGE_THRESHOLD)
    try:
        exit_code = run(sys.argv[1:])
    except KeyboardInterrupt as interrupt:  # between the commands' own care and the end
        exit_code = TERMINATED if isinstance(interrupt, _Terminated) else INTERRUPTED
    console.flush()
    os._exit(exit_code)


def _allow_many_open_files() -> None:
    """Raise the soft limit: all shards of a model and of its parents are open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Terminated(KeyboardInterrupt):
    """SIGTERM: the same way out as Ctrl-C, so that nothing half-written stays."""


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; nothing is ever raised but KeyboardInterrupt."""
    # What stands behind `--` is somebody else's command line.
    as_json = "--json" in itertools.takewhile(lambda argument: argument != "--", arguments)
    if _takes_options_of_others(arguments):
        console.deliver_error("USAGE", "no `--` before the command", "see `attest run --help`", as_json=as_json)
        return COULD_NOT_RUN
    try:
        outcome = _app()(args=arguments or ["--help"], prog_name="attest", standalone_mode=False)
    except SystemExit:  # whoever read the help has seen enough of it
        console.silence_stdout()
        return 0
    except Exception as usage:  # commands hand over theirs as values, so this is about the line itself
        return _refuse_usage(usage, as_json)
    try:
        if isinstance(outcome, Answer):
            console.deliver(outcome, as_json=as_json)
            return outcome.exit_code
    except AttestError as error:
        outcome = error
    if isinstance(outcome, BaseException):
        return _report(outcome, as_json)
    # `attest "$OPTIONS"` with nothing in it must not look like success to a script.
    return COULD_NOT_RUN if not arguments else int(outcome or 0)


def _takes_options_of_others(arguments: list[str]) -> bool:
    """Return whether a command line to be run is not set apart by `--`, so that its options would be taken for ours."""
    return arguments[:1] == ["run"] and len(arguments) > 1 and not {"--", "-h", "--help"} & set(arguments)


def _report(error: BaseException, as_json: bool) -> int:
    """Say what went wrong, and return the exit code."""
    if os.environ.get(_TRACEBACK) == "1":
        console.print_traceback(error)
    exit_code = COULD_NOT_RUN
    hint: str | None = None
    match error:
        case AttestError():
            code, message, hint = error.code, error.message, error.hint
        case KeyboardInterrupt():
            code, message = "INTERRUPTED", "interrupted"
            exit_code = TERMINATED if isinstance(error, _Terminated) else INTERRUPTED
        case OSError():
            place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            code, message = "SYSTEM_ERROR", f"{place}{error.strerror or error}"
        case MemoryError():
            code, message, hint = "OUT_OF_MEMORY", "out of memory", "`--threads 1` needs the least"
        case _:
            code, message = "INTERNAL_ERROR", f"{type(error).__name__}: {error}"
            hint = f"this is a bug in attest: please report it with what `{_TRACEBACK}=1` shows"
    console.deliver_error(code, message, hint, as_json=as_json)
    return exit_code


def _refuse_usage(error: Exception, as_json: bool) -> int:
    """Say what is wrong with how the command was written."""
    describe = getattr(error, "format_message", None)
    if describe is None:
        return _report(error, as_json)
    message = " ".join(str(describe()).split()).replace("Value error, ", "").rstrip(".")
    message = re.sub(r"'([^']+)'", r"`\1`", message)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "attest"
    console.deliver_error("USAGE", message[:1].lower() + message[1:], f"see `{command} --help`", as_json=as_json)
    return COULD_NOT_RUN


def _app() -> typer.Typer:
    app = typer.Typer(
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=HELP,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_options)
    for name, command in _COMMANDS.items():
        app.command(name)(_held(command))
    app.add_typer(_group(RECORD_HELP, RECORD_COMMANDS), name="record")
    return app


def _group(description: str, commands: Mapping[str, Callable[..., Answer]]) -> typer.Typer:
    """Return commands that stand behind one name."""
    group = typer.Typer(rich_markup_mode=None, help=description)
    for name, command in commands.items():
        group.command(name)(_held(command))
    return group


_COMMANDS: dict[str, Callable[..., Answer]] = {
    "hash": hash_weights,
    "diff": diff,
    "keygen": keygen,
    "merge": merge,
    "commit": commit,
    "sign": sign,
    "publish": publish,
    "verify": verify,
    "verify-summary": verify_summary,
    "inspect": inspect,
    "run": run_command,
    "revoke": revoke,
    "observe": observe,
    "demo": demo,
}


def _held(command: Callable[_P, Answer]) -> Callable[_P, Answer | BaseException]:
    """Return `command`, handing over what it raises as a value: typer would turn a broken pipe into exit code 1."""

    @functools.wraps(command)
    def held(*arguments: _P.args, **options: _P.kwargs) -> Answer | BaseException:
        try:
            return command(*arguments, **options)
        except BaseException as error:
            return error

    return held


def _print_version(asked: bool) -> None:
    if asked:
        console.show(f"attest {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Take what stands before the command."""
