"""Run a command as if it had been typed: its streams are ours, signals reach it, and its end is told.

A terminal sends Ctrl-C to the command as well as to us; from anybody else a signal reaches us alone, and is passed on.
The kernel says which it was, so that no command gets a signal twice.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence

_PASSED_ON = frozenset(
    {
        signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
        signal.SIGWINCH, signal.SIGALRM,
    }
)  # fmt: skip
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


_LOOK_S = 0.5
"""How long at most the end of the command is not noticed, where another thread of ours took the signal of it."""


def run_child(command: Sequence[str], *, stdout_to_stderr: bool = False) -> int:
    """Run a command to its end; return its exit code, or minus the signal that ended it. Raises `OSError`.

    To be called in the main thread. Where other threads run, a signal that the kernel gives to one of them is not
    passed on; what it then raises here ends the command too.
    """
    actions = [(os.POSIX_SPAWN_DUP2, 2, 1)] if stdout_to_stderr else []
    watched = _PASSED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        child = os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=actions,
            setsigmask=before,
            setsigdef=_IGNORED_BY_PYTHON,
        )
        try:
            return _end_of(child, watched)
        except BaseException:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_of(child: int, watched: Collection[signal.Signals]) -> int:
    """Pass signals on to a child until it ends; return how it did."""
    while True:
        received = signal.sigtimedwait(watched, _LOOK_S)
        if received is None or received.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        elif received.si_code <= 0:  # by a process; what the kernel sends on behalf of the terminal is above
            os.kill(child, received.si_signo)
