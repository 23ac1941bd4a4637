"""The monitor's process from its fork to its end: create, start, keep, clean up.

It is forked from the command before any module of trio's is there, and works for its first moments without: many a
container is over before trio would have been imported (0.1 s), and never pays for it.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from .. import idmap as ids
from .. import room
from ..container.record import State, now
from ..container.state import Event, step
from ..container.store import Container, Containers, Hold
from ..errors import RootlessError
from ..kernel import process
from ..paths import Paths
from . import control, freeze, restart, stage, stream
from .bundle import assemble
from .channel import Channel
from .logs import LogWriter
from .program import Stdio
from .start import ClientGoneError, Running, StartError, begin, end

if TYPE_CHECKING:
    from .monitor import Monitor

PATIENCE_MS = 30
"""How long the end of PID 1 is waited for before trio is imported."""

SERVER_TIMEOUT_MS = 5000
"""How long the file system's process may take to end after its mount is gone."""

DRAIN_TIMEOUT = 10.0
"""Seconds for which an ended container's last output waits for a client that does not read."""


@dataclass(frozen=True)
class Order:
    """What the command wants of the monitor.

    Attributes:
        prepare: gives the container, made just now or before, with its lock held.
        fresh: the container was made for this start: if it comes to nothing, nothing shall remain.
        attached: the command stays, to see the output.
        stdin: what it sends is the container's input.
        window: (rows, columns) of the terminal at its start.
    """

    paths: Paths
    prepare: Callable[[], tuple[Container, Hold]]
    fresh: bool
    attached: bool
    stdin: bool
    window: tuple[int, int] = (24, 80)
    debug: bool = False


def run(order: Order, client: stream.Connection) -> NoReturn:
    """The body of the monitor, in a child of the command."""
    code = 1
    try:
        detach(client, order.debug)
        code = _Keeper(order, client).keep()
    except ClientGoneError:
        code = 0  # nobody is there to be told
    except RootlessError as problem:
        tell_failure(client, problem, order.debug)
    except Exception as problem:
        traceback.print_exc()
        tell_failure(client, RootlessError(f"the monitor failed: {problem!r}"), order.debug)
    finally:
        os._exit(code)


def tell_failure(client: stream.Connection, problem: RootlessError, debug: bool) -> None:
    """Tell the command why nothing was started."""
    code = problem.exit_code if isinstance(problem, StartError) else 125
    trace = getattr(problem, "traceback", "") or (traceback.format_exc() if debug else "")
    with suppress(OSError):
        client.send(stream.StartFailed(problem.message, problem.hint, code, trace))


def detach(client: stream.Connection, debug: bool, keep: frozenset[int] = frozenset()) -> None:
    """A session of its own, none of the command's descriptors: whoever reads the command's output sees its end."""
    os.setsid()
    process.set_name("rootless-monitor")
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(2 if debug else 3):
        os.dup2(null, number)
    process.close_from(3, client.filenos() | keep)
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
        self.container, hold = self.order.prepare()
        with hold:
            _log_errors_to(self.container.directory / "monitor.log", self.order.debug)
            try:
                self._keep_started(self._start(self.client))
            finally:
                room.forget(self.paths, self.idmap)
                control.stop_listening(self.paths, self.container.id)
        return 0

    # --- the start -----------------------------------------------------------------------------------------------

    def _start(self, client: stream.Connection | None) -> Running:
        state = self.container.stored_state()
        try:
            step(state.status, Event.START)
            self.room_fd = room.open_room(self.paths, self.idmap, hold=True)
            self.listener = control.listen(self.paths, self.container.id)
            running = self._begin(client)
        except ClientGoneError:
            if self.order.fresh:
                self._remove()
            raise
        except RootlessError as problem:
            self._note_failure(state, problem)
            raise
        self._note_start(state, running)
        if client is not None:
            with suppress(OSError):  # a command that was killed in this moment leaves the container running
                client.send(stream.Started(self.container.id))
        return running

    def _begin(self, client: stream.Connection | None) -> Running:
        bundle = assemble(self.paths, self.container, self.idmap, self.order.window, debug=self.order.debug)

        def body(stdio: Stdio, channel: Channel) -> NoReturn:
            stage.run(bundle, stdio, self.room_fd, channel)

        return begin(body, bundle.program, client, keep_namespaces=True)

    def _note_failure(self, state: State, problem: RootlessError) -> None:
        """As in Docker: a container that could not be started stays, unless --rm says otherwise."""
        if self.container.spec.auto_remove:
            self._remove()
            return
        code = problem.exit_code if isinstance(problem, StartError) else 125
        status = step(state.status, Event.START_FAILED)
        self._write(state, status=status, monitor=0, exit_code=code, error=str(problem))

    def _note_start(self, state: State, running: Running) -> None:
        self._write(
            state,
            status=step(state.status, Event.START),
            pid=running.pid,
            pid_started=process.start_time(running.pid),
            monitor=os.getpid(),
            monitor_started=process.start_time(os.getpid()),
            namespaces=running.namespaces,
            boot_id=process.boot_id(),
            machine_id=process.machine_id(),
            host=os.uname().nodename,
            started_at=now(),
            finished_at="",
            exit_code=0,
            error="",
            stopped=False,
        )

    def _write(self, state: State, **changes: object) -> None:
        self.container.write_state(msgspec.structs.replace(state, **changes))

    # --- from the start to the end ---------------------------------------------------------------------------------

    def _keep_started(self, running: Running) -> None:
        clients = [self.client] if self.order.attached else []
        delay, restarts = restart.Delay(), 0
        while True:
            began = time.monotonic()
            watch = Watch(running, LogWriter(self.container.directory / "log"), clients)
            code = watch.until_the_end(self.order.stdin, self._monitor)
            if not restart.wanted(self.container.spec, code, stopped=watch.stopped, restarts=restarts):
                break
            restarts += 1
            self._note_restart(code, restarts)
            watch.tell_end(code)  # as in Docker, whoever was attached saw this run and not the next
            clients = []
            if not self._sit_out(delay.after(time.monotonic() - began), watch):
                break
            running = self._start(None)
        self._note_end(code, watch)
        control.hang_up(self.listener)
        watch.tell_end(code)

    def _note_restart(self, code: int, restarts: int) -> None:
        state = self.container.stored_state()
        status = step(state.status, Event.EXIT_TO_RESTART)
        self._write(state, status=status, pid=0, exit_code=code, finished_at=now(), restart_count=restarts)

    def _sit_out(self, seconds: float, watch: Watch) -> bool:
        """Wait before a restart; False when somebody asked to stop meanwhile."""
        watch.waiting = []
        watch.stopped = control.stopped_within(self.listener, seconds, watch.waiting)
        return not watch.stopped

    def _monitor(self, running: Running, log: LogWriter | None) -> Monitor:
        from .monitor import Monitor

        spec = self.container.spec
        return Monitor(
            running,
            log,
            listener=self.listener,
            stdin_once=not spec.detached,
            pause=lambda paused: self._pause(running, paused),
        )

    def _pause(self, running: Running, paused: bool) -> None:
        state = self.container.stored_state()
        status = step(state.status, Event.PAUSE if paused else Event.UNPAUSE)
        if not paused:
            freeze.resume(running.pid)
        elif not freeze.stop(running.pid):
            freeze.resume(running.pid)
            raise RootlessError(f"container {self.container.name} makes processes faster than they can be stopped")
        self._write(state, status=status)

    def _note_end(self, code: int, watch: Watch) -> None:
        """Write the end down, and remove the container if it asked for that."""
        state = self.container.stored_state()
        status = step(state.status, Event.EXIT)
        changes = {"pid": 0, "monitor": 0, "namespaces": {}, "exit_code": code, "finished_at": now()}
        self._write(state, status=status, error=watch.error, stopped=watch.stopped, **changes)
        if self.container.spec.auto_remove:
            try:
                self._remove()
            except RootlessError as problem:
                traceback.print_exc()
                watch.error = str(problem)

    def _remove(self) -> None:
        Containers(self.paths).remove(self.container)


class Watch:
    """One run of a process, from its start to the last byte of its output; first without trio, then with it.

    Attributes:
        error: what went wrong with it, if it did not end by itself.
        stopped: somebody asked for the end.
    """

    def __init__(self, running: Running, log: LogWriter | None, attached: list[stream.Connection]) -> None:
        self.running = running
        self.log = log
        self.attached = attached
        self.waiting: list[stream.Connection] = []
        self.error = ""
        self.stopped = False

    def until_the_end(self, stdin: bool, make: Callable[[Running, LogWriter | None], Monitor]) -> int:
        """Wait for the end of the process; its exit code, 128 + n for signal n."""
        if not _ended_within(self.running.pidfd, PATIENCE_MS):
            self._attend(stdin, make(self.running, self.log))
        running = self.running
        status = end(running.pid, running.pidfd)
        for fd in running.namespaces.values():
            os.close(fd)
        if running.server:
            # It ends by itself when the container's mount namespace, and with it the mount, is gone.
            _ended_within(running.server_pidfd, SERVER_TIMEOUT_MS)
            end(running.server, running.server_pidfd)
        self._drain()
        if self.log is not None:
            self.log.close()
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _attend(self, stdin: bool, monitor: Monitor) -> None:
        monitor.run(self.attached[0] if self.attached else None, stdin=stdin)
        self.attached = [client.connection for client in monitor.clients if not client.gone]
        self.waiting = monitor.waiting
        self.stopped = monitor.stopped
        if monitor.server_lost:
            self.error = "the process of its file system ended before it"

    def _drain(self) -> None:
        """What was written and not yet read. Nobody can write any more: the pid namespace is gone."""
        for client in self.attached:
            client.data.setblocking(True)
            client.data.settimeout(DRAIN_TIMEOUT)
        for number, fd in self.running.outputs.items():
            os.set_blocking(fd, False)
            with suppress(OSError):  # EAGAIN, or a terminal's EIO: there is no more
                while data := os.read(fd, stream.CHUNK):
                    self._deliver(number, data)
            os.close(fd)

    def _deliver(self, number: int, data: bytes) -> None:
        if self.log is not None:
            self.log.write(number, data)
        for client in list(self.attached):
            try:
                client.data.sendall(stream.frame(number, data))
            except OSError:  # gone, or stuck
                self.attached.remove(client)

    def tell_end(self, code: int) -> None:
        """Tell everybody who is attached or waits."""
        for client in self.attached:
            with suppress(OSError):
                client.data.shutdown(socket.SHUT_WR)
        for client in (*self.attached, *self.waiting):
            with suppress(OSError):
                client.send(stream.Exited(code, self.error))
            client.close()


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
