"""The process that looks after one process of `exec`: starts it, moves its streams, tells its end.

It is to that process what a monitor is to PID 1, without a container of its own: nothing is written down. Killing the
command leaves both running, as in Docker; the end of the container ends them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from ..errors import RootlessError
from . import enter, stream
from .background import detach, tell_failure
from .cgroup import forker, holds
from .channel import Channel
from .program import Program, Stdio
from .start import ClientGoneError, Running, begin
from .watch import Watch

if TYPE_CHECKING:
    from .logs import LogWriter
    from .monitor import Monitor


class ExecOrder(msgspec.Struct, frozen=True):
    """What the command wants.

    Attributes:
        namespaces: descriptors on the container's namespaces, by their names under /proc/PID/ns.
        attached: the command stays, to see the output.
        stdin: what it sends is the process's input.
        ended: is told the exit code.
        cgroup: the container's; empty for none.
    """

    program: Program
    namespaces: Mapping[str, int]
    attached: bool
    stdin: bool
    ended: Callable[[int], None]
    cgroup: str = ""
    debug: bool = False


def run(order: ExecOrder, client: stream.Connection) -> NoReturn:
    """The body of this process, in a child of the command."""
    code = 1
    try:
        detach(client, order.debug, keep=frozenset(order.namespaces.values()))
        _keep(order, client)
        code = 0
    except ClientGoneError:
        code = 0
    except RootlessError as problem:
        tell_failure(client, problem, order.debug)
    except Exception as problem:
        with suppress(OSError):
            sys.excepthook(type(problem), problem, problem.__traceback__)
        tell_failure(client, RootlessError(f"the process's monitor failed: {problem!r}"), order.debug)
    finally:
        os._exit(code)


def _keep(order: ExecOrder, client: stream.Connection) -> None:
    def body(stdio: Stdio, channel: Channel) -> NoReturn:
        enter.run(order.program, order.namespaces, stdio, channel)

    running = begin(body, order.program, client, keep_namespaces=False, fork=forker(order.cgroup))
    for fd in order.namespaces.values():
        os.close(fd)
    client.send(stream.Started("", _warnings(order, running)))
    watch = Watch(running, None, [client] if order.attached else [])
    watch.until_the_end(order.stdin, _monitor, lambda watch: order.ended(watch.code))
    watch.tell_end()


def _warnings(order: ExecOrder, running: Running) -> tuple[str, ...]:
    if not order.cgroup or holds(Path(order.cgroup), running.pid):
        return ()
    return ("the container's limits do not hold for this process: it may not be brought into the container's cgroup",)


def _monitor(running: Running, log: LogWriter | None) -> Monitor:
    from .monitor import Monitor

    return Monitor(running, log)
