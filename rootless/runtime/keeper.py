"""The monitor's process from its fork to its end: create, start, keep, clean up.

It is forked from the command before any module of trio's is there, and works for its first moments without: many a
container is over before trio would have been imported (0.1 s), and never pays for it.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from .. import idmap as ids
from .. import room
from ..container.record import State, now
from ..container.state import Event, step
from ..container.store import Container, Containers, Hold
from ..errors import RootlessError
from ..kernel import process
from ..paths import Paths
from . import stream
from .bundle import assemble
from .logs import LogWriter
from .start import ClientGoneError, Running, StartError, begin, end

PATIENCE_MS = 30
"""How long the end of PID 1 is waited for before trio is imported."""

SERVER_TIMEOUT_MS = 5000
"""How long the file system's process may take to end after its mount is gone."""


@dataclass(frozen=True)
class Order:
    """What the command wants of the monitor.

    Attributes:
        prepare: gives the container, made just now or before, with its lock held.
        fresh: the container was made for this start: if it comes to nothing, nothing shall remain.
        window: (rows, columns) of the terminal at its start.
    """

    paths: Paths
    prepare: Callable[[], tuple[Container, Hold]]
    fresh: bool
    window: tuple[int, int] = (24, 80)
    debug: bool = False


def run(order: Order, client: stream.Connection) -> NoReturn:
    """The body of the monitor, in a child of the command."""
    code = 1
    try:
        _detach(client, order.debug)
        code = _Keeper(order, client).keep()
    except ClientGoneError:
        code = 0  # nobody is there to be told
    except RootlessError as problem:
        _tell_failure(client, problem, order.debug)
    except Exception as problem:
        traceback.print_exc()
        _tell_failure(client, RootlessError(f"the monitor failed: {problem!r}"), order.debug)
    finally:
        os._exit(code)


def _tell_failure(client: stream.Connection, problem: RootlessError, debug: bool) -> None:
    code = problem.exit_code if isinstance(problem, StartError) else 125
    trace = getattr(problem, "traceback", "") or (traceback.format_exc() if debug else "")
    with suppress(OSError):
        client.send(stream.StartFailed(problem.message, problem.hint, code, trace))


def _detach(client: stream.Connection, debug: bool) -> None:
    """A session of its own, none of the command's descriptors: whoever reads the command's output sees its end."""
    os.setsid()
    process.set_name("rootless-monitor")
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(2 if debug else 3):
        os.dup2(null, number)
    process.close_from(3, client.filenos())
    os.chdir("/")


class _Keeper:
    def __init__(self, order: Order, client: stream.Connection) -> None:
        self.order = order
        self.paths = order.paths
        self.client = client
        self.idmap = ids.detect()
        self.room_fd = -1

    def keep(self) -> int:
        """From nothing to the container's end. Returns this process's exit code."""
        container, hold = self.order.prepare()
        with hold:
            _log_errors_to(container.directory / "monitor.log", self.order.debug)
            self.room_fd = room.open_room(self.paths, self.idmap, hold=True)
            try:
                running = self._start(container)
                self._keep_running(container, running)
            finally:
                room.forget(self.paths, self.idmap)
        return 0

    def _start(self, container: Container) -> Running:
        state = container.stored_state()
        try:
            step(state.status, Event.START)
            bundle = assemble(self.paths, container, self.idmap, self.order.window, debug=self.order.debug)
            running = begin(bundle, self.room_fd, self.client)
        except ClientGoneError:
            if self.order.fresh:
                self._remove(container)
            raise
        except RootlessError as problem:
            self._note_failure(container, state, problem)
            raise
        self._note_start(container, state, running)
        return running

    def _note_failure(self, container: Container, state: State, problem: RootlessError) -> None:
        """As in Docker: a container that could not be started stays, unless --rm says otherwise."""
        if container.spec.auto_remove:
            self._remove(container)
            return
        code = problem.exit_code if isinstance(problem, StartError) else 125
        failed = msgspec.structs.replace(
            state, status=step(state.status, Event.START_FAILED), monitor=0, exit_code=code, error=str(problem)
        )
        container.write_state(failed)

    def _note_start(self, container: Container, state: State, running: Running) -> None:
        container.write_state(
            msgspec.structs.replace(
                state,
                status=step(state.status, Event.START),
                pid=running.pid,
                pid_started=process.start_time(running.pid),
                monitor=os.getpid(),
                monitor_started=process.start_time(os.getpid()),
                boot_id=process.boot_id(),
                machine_id=process.machine_id(),
                host=os.uname().nodename,
                started_at=now(),
                finished_at="",
                exit_code=0,
                error="",
            )
        )
        with suppress(OSError):  # it is started now: a command that was killed in this moment leaves it running
            self.client.send(stream.Started(container.id))

    def _keep_running(self, container: Container, running: Running) -> None:
        log = LogWriter(container.directory / "log")
        error = ""
        if not _ended_within(running.pidfd, PATIENCE_MS):
            from .monitor import Monitor

            monitor = Monitor(running, log, None if container.spec.detached else self.client)
            monitor.run()
            if monitor.server_lost:
                error = "the process of its file system ended before it"
        status = end(running.pid, running.pidfd)
        if running.server:
            # It ends by itself when the container's mount namespace, and with it the mount, is gone.
            _ended_within(running.server_pidfd, SERVER_TIMEOUT_MS)
            end(running.server, running.server_pidfd)
        self._drain(running, log)
        log.close()
        code = os.waitstatus_to_exitcode(status)
        self._note_end(container, code if code >= 0 else 128 - code, error)

    def _drain(self, running: Running, log: LogWriter) -> None:
        """What was written and not yet read. Nobody can write any more: the pid namespace is gone."""
        self.client.data.setblocking(True)
        for number, fd in running.outputs.items():
            os.set_blocking(fd, False)
            with suppress(OSError):  # EAGAIN, or a terminal's EIO: there is no more
                while data := os.read(fd, stream.CHUNK):
                    log.write(number, data)
                    with suppress(OSError):
                        self.client.data.sendall(stream.frame(number, data))

    def _note_end(self, container: Container, code: int, error: str) -> None:
        """Write the end down, remove the container if it asked for that, and then tell the client."""
        state = container.stored_state()
        ended = msgspec.structs.replace(
            state,
            status=step(state.status, Event.EXIT),
            pid=0,
            monitor=0,
            exit_code=code,
            finished_at=now(),
            error=error,
        )
        container.write_state(ended)
        if container.spec.auto_remove:
            try:
                self._remove(container)
            except RootlessError as problem:
                traceback.print_exc()
                error = str(problem)
        with suppress(OSError):
            self.client.data.shutdown(socket.SHUT_WR)
            self.client.send(stream.Exited(code, error))

    def _remove(self, container: Container) -> None:
        Containers(self.paths).remove(container)


def _ended_within(pidfd: int, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _log_errors_to(path: Path, debug: bool) -> None:
    """The monitor's own troubles; with --debug they stay on the command's terminal."""
    if debug:
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, 2)
    os.close(fd)
    sys.stderr.flush()
