"""How a process that a command has forked gets on its own, and tells the command why it could not do its work."""

from __future__ import annotations

import gc
import os
from contextlib import suppress

from ..errors import RootlessError
from ..kernel import process
from . import dump, stream
from .channel import Failed
from .start import StartError


def tell_failure(client: stream.Connection, problem: RootlessError, debug: bool) -> None:
    """Tell the command why nothing was started."""
    code = problem.exit_code if isinstance(problem, StartError) else 125
    trace = getattr(problem, "traceback", "")
    if debug and not trace:
        import traceback

        trace = traceback.format_exc()
    failed = Failed(problem.message, problem.hint, code, trace).shortened()
    with suppress(OSError):
        client.send(stream.StartFailed(failed.message, failed.hint, failed.exit_code, failed.traceback))


def detach(client: stream.Connection, debug: bool, keep: frozenset[int] = frozenset()) -> None:
    """A session of its own, none of the command's descriptors: whoever reads the command's output sees its end."""
    os.setsid()
    process.set_name("rootless-monitor")
    dump.on_signal()
    # What is there now stays: never looked through, its pages stay shared with those of other forks of this process.
    gc.freeze()
    gc.enable()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(2 if debug else 3):
        os.dup2(null, number)
    process.close_from(3, client.filenos() | keep)
    os.chdir("/")
