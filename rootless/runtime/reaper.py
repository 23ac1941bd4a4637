"""The init of `--init`: PID 1 stays behind, reaps what is orphaned, and passes signals on to the command."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from ..kernel import process

KEPT = frozenset({signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU})
"""What is not passed on: the reaper's own, what can't be caught, and what job control aims at a background PID 1."""


def split() -> None:
    """Fork. The child returns, to become the command; PID 1 never does: it ends as the command ends.

    PID 1 stays a Python of the host's, so nothing inside may look into it: it is undumpable (set before), which hides
    its environment and memory, and its command line, which everybody may read, is overwritten.
    """
    if os.getpid() != 1:  # in a pid namespace of others' orphans would be theirs
        process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    waited = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    # Blocked before the fork: a signal that comes between would else end PID 1, or be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    process.set_name("rootless-init")
    process.set_command_line("rootless-init")  # before the command could read it
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _take_terminal()
        return
    process.close_from(3)
    _reap(child, waited)


def _take_terminal() -> None:
    """Make the command's process group the terminal's foreground, so that ctrl-c reaches it and not the reaper."""
    if os.isatty(0):
        # From the background tcsetpgrp(3) would stop the caller with SIGTTOU; it is blocked here.
        os.tcsetpgrp(0, os.getpgrp())


def _reap(child: int, waited: set[signal.Signals]) -> NoReturn:
    while True:
        received = signal.sigwaitinfo(waited)
        if received.si_signo == signal.SIGCHLD:
            _collect(child)
        elif received.si_signo not in KEPT:
            try:
                os.kill(child, received.si_signo)
            except ProcessLookupError:
                continue


def _collect(child: int) -> None:
    """Reap every zombie (one SIGCHLD may stand for many); leave with the command's status when it is among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
