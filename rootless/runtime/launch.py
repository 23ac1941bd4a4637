"""The command's side of a start: forks the monitor, and is its first client."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import msgspec

from ..errors import CommandError, Interrupted, RootlessError
from . import stream

if TYPE_CHECKING:
    from . import execkeeper, keeper
    from .forwarding import Signals


class Started(msgspec.Struct, frozen=True):
    """A container that runs, and the connection over which its input and output go and its end is told.

    `warnings`: what was asked for and does not hold here, each a line.
    """

    container_id: str
    connection: stream.Connection
    warnings: tuple[str, ...] = ()


def launch(order: keeper.Order, signals: Signals | None = None) -> Started:
    """Fork a monitor that starts a container, and wait until its command runs.

    Until this returns, the death of the calling process undoes everything; afterwards the container is on its own.

    Args:
        signals: what this process gets meanwhile ends the start, too.

    Raises:
        Interrupted: by one of them.
        RootlessError: it could not be started, in the monitor's words.
        CommandError: because of the command: 126 or 127.
    """
    from . import keeper  # before the fork, and not for an `exec`

    return _fork(lambda client: keeper.run(order, client), signals)


def launch_exec(order: execkeeper.ExecOrder) -> Started:
    """Fork the keeper of another process in a running container, and wait until that runs. As `launch`."""
    from . import execkeeper

    return _fork(lambda client: execkeeper.run(order, client))


def _fork(body: Callable[[stream.Connection], NoReturn], signals: Signals | None = None) -> Started:
    ours, theirs = stream.Connection.pair()
    if signals is not None:
        signals.starting(ours)
    if os.fork() == 0:
        if signals is not None:
            signals.release()
        body(theirs)
    theirs.close()
    match ours.receive():
        case stream.Started(container_id, warnings):
            return Started(container_id, ours, warnings)
        case stream.StartFailed(message, hint, exit_code, trace):
            raise _failure(message, hint, exit_code, trace)
        case _ if signals is not None and signals.last:
            raise Interrupted(signals.last)
        case _:
            raise RootlessError("the monitor was killed before the start", hint="try again")


def _failure(message: str, hint: str, exit_code: int, trace: str) -> RootlessError:
    if exit_code in (126, 127):
        error: RootlessError = CommandError(message, hint=hint, exit_code=exit_code)
    else:
        error = RootlessError(message, hint=hint)
    if trace:
        error.add_note(trace)
    return error
