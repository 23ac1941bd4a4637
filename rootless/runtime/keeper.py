"""The monitor's process from its fork to its end: create, start, keep, clean up.

It is forked from the command before any module of trio's is there; between two runs of trio it forks again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from .. import idmap as ids
from .. import room
from ..container import strays
from ..container.container import Container, Hold
from ..container.record import State
from ..container.state import Event, step
from ..container.store import Containers
from ..errors import RootlessError
from ..paths import Paths
from . import control, restart, stream
from .background import detach, tell_failure
from .channel import Channel
from .chronicle import Chronicle
from .program import Stdio
from .start import ClientGoneError, Running, begin, end
from .watch import Watch

DISK_PAUSE = 1.0
"""Seconds between two tries to write down that a container has ended and will be started again."""

if TYPE_CHECKING:
    from .confinement import Confinement
    from .logs import LogWriter
    from .monitor import Monitor
    from .sources import Sources

# What only a start needs is imported in `_load`, by the monitor, which has to wait for two set-uid helpers anyway.


class Order(msgspec.Struct, frozen=True):
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
        with suppress(OSError):  # standard error is a file of the store: its disk may be full
            sys.excepthook(type(problem), problem, problem.__traceback__)
        tell_failure(client, RootlessError(f"the monitor failed: {problem!r}"), order.debug)
    finally:
        os._exit(code)


class _Keeper:
    def __init__(self, order: Order, client: stream.Connection) -> None:
        self.order = order
        self.paths = order.paths
        self.client = client
        self.idmap = ids.detect()
        self.room_fd = -1
        self.restarts = 0
        self.remains: Path | None = None

    def keep(self) -> int:
        """From nothing to the container's end. Returns this process's exit code."""
        self.container, hold = self.order.prepare()
        self.chronicle = Chronicle(self.container)
        with hold:
            _log_errors_to(self.container.directory / "monitor.log", self.order.debug)
            try:
                self._keep_started(self._start(self.client))
                control.hang_up(self.listener)
            finally:
                self._clear()
                self.sources.release()
                room.forget(self.paths, self.idmap)
                control.stop_listening(self.paths, self.container.id)
        return 0

    @cached_property
    def confinement(self) -> Confinement:
        from .confinement import Confinement

        return Confinement(self.container, self.idmap)

    @cached_property
    def sources(self) -> Sources:
        from .sources import Sources

        return Sources(self.container, self.idmap)

    # --- the start -----------------------------------------------------------------------------------------------

    def _start(self, client: stream.Connection | None) -> Running:
        state = self.container.stored_state()
        try:
            step(state.status, Event.START)
            if self.room_fd < 0:  # a restart is in the same room, and nobody who connects in between is turned away
                self.room_fd = room.open_room(self.paths, self.idmap, hold=True, meanwhile=_load)
                self.listener = control.listen(self.paths, self.container.id)
            with self.confinement:
                running = self._begin(client)
        except ClientGoneError:
            if self.order.fresh:
                self._remove()
            raise
        except RootlessError as problem:
            self._note_failure(state, problem)
            raise
        try:
            self._note_start(state, running)
        except RootlessError:
            end(running.pid, running.pidfd)  # a container that nobody knows of must not run
            self.networking.detach()
            self.confinement.dissolve()
            raise
        self.container.emit("start")
        if client is not None:
            with suppress(OSError):  # a command that was killed in this moment leaves the container running
                client.send(stream.Started(self.container.id, self._warnings))
        return running

    @property
    def _warnings(self) -> tuple[str, ...]:
        return *self.confinement.warnings, *self.sources.warnings, *self.networking.network.warnings

    def _begin(self, client: stream.Connection | None) -> Running:
        from . import stage
        from .bundle import assemble
        from .networking import Networking

        confinement, debug, window = self.confinement, self.order.debug, self.order.window
        self.networking = Networking(self.container, self.idmap, self.room_fd)
        self.sources.prepare(self.room_fd)
        bundle = assemble(
            self.paths,
            self.container,
            self.idmap,
            window,
            debug=debug,
            cgroup=confinement.directory,
            first=not self.container.stored_state().started_at,
            devices=self.sources.devices,
        )
        if self.order.debug:
            for operation in bundle.plan:
                print(f"rootless: plan: {operation.describe()}", file=sys.stderr)

        def body(stdio: Stdio, channel: Channel) -> NoReturn:
            stage.run(bundle, stdio, self.room_fd, channel, confinement.outside)

        company = (self.networking, self.sources)
        try:
            self.networking.prepare()
            return begin(body, bundle.program, client, keep_namespaces=True, fork=confinement.fork, company=company)
        except BaseException:
            self.networking.detach()
            raise
        finally:
            bundle.sharing.close()

    def _note_failure(self, state: State, problem: RootlessError) -> None:
        """As in Docker: a container that could not be started stays, unless --rm says otherwise."""
        if not self.container.spec.auto_remove:
            self.chronicle.start_failed(state, problem)
            return
        with suppress(RootlessError):  # what is told is why it was not started
            self._remove()

    def _note_start(self, state: State, running: Running) -> None:
        cgroup, network = self.confinement.directory, self.networking.connected
        self.chronicle.started(state, running, cgroup, network, self.restarts, str(self.paths.run))

    # --- from the start to the end ---------------------------------------------------------------------------------

    def _keep_started(self, running: Running) -> None:
        clients = [self.client] if self.order.attached else []
        delay = restart.Delay()
        while True:
            self.began = time.monotonic()
            from .logs import LogWriter, log_options

            log = LogWriter(self.container.directory / "log", log_options(self.container.spec))
            watch = Watch(running, log, clients, self._end_strays if self.container.spec.pid else None)
            busy = self.container.spec.health is not None or self.networking.is_named
            helpers = [helper.pidfd for helper in self.networking.network.helpers]
            watch.until_the_end(
                self.order.stdin, self._monitor, self._note, listener=self.listener, busy=busy, helpers=helpers
            )
            watch.tell_end()  # as in Docker, whoever was attached saw this run and not the next
            if not self.restarting:
                return
            clients = []
            if not self._sit_out(delay.after(time.monotonic() - self.began), watch):
                self._note_end(watch)
                watch.tell_end()
                return
            running = self._start(None)

    def _end_strays(self) -> None:
        strays.end(self.container.id)

    def _again(self, watch: Watch) -> bool:
        spec = self.container.spec
        return restart.wanted(spec, watch.code, stopped=watch.stopped, restarts=self.restarts)

    def _note(self, watch: Watch) -> None:
        """Write down what comes after this end: a restart, or nothing."""
        self.networking.detach()
        self.sources.release()
        self.confinement.close()
        if self.confinement.oom_killed:
            self.container.emit("oom")
        lasted = int(time.monotonic() - self.began)
        self.container.emit("die", exitCode=str(watch.code), execDuration=str(lasted))
        self.container.refresh()  # `update` may have changed the policy, and the limits of the next run
        self.restarting = self._again(watch)
        if self.restarting:
            self.chronicle.will_restart(watch, self.confinement, self.restarts + 1)
        else:
            self._note_end(watch)

    def _sit_out(self, seconds: float, watch: Watch) -> bool:
        """Wait before a restart; False when somebody asked to stop meanwhile."""
        self.restarts += 1
        while not watch.stopped:
            watch.stopped = control.stopped_within(self.listener, seconds, watch.waiting)
            if self.chronicle.is_complete():
                break
            seconds = DISK_PAUSE  # a full disk: what runs must not stand there as what has ended
        return not watch.stopped

    def _monitor(self, running: Running, log: LogWriter | None) -> Monitor:
        from .monitor import Monitor

        spec = self.container.spec
        return Monitor(
            running,
            log,
            listener=self.listener,
            stdin_once=spec.attaches("stdin"),
            pause=self._pause,
            checking=self._checking() if spec.health is not None else None,
            networking=self.networking,
            tending=self._tending(),
            rewire=self.networking.rewire,
        )

    def _tending(self) -> Callable[[], Awaitable[None]]:
        from .tending import tend

        return lambda: tend(self.networking.network, self.networking.tell)

    def _checking(self) -> Callable[[], Awaitable[None]]:
        from .healthcheck import keep_checking

        check = self.container.spec.health
        assert check is not None
        probe = [sys.executable, "-m", "rootless.runtime.probe"]
        probe += [str(self.paths.store), str(self.paths.run), self.container.id]
        chronicle = self.chronicle
        return lambda: keep_checking(check, probe, chronicle.checked, lambda: chronicle.is_paused)

    def _pause(self, paused: bool) -> None:
        step(self.container.stored_state().status, Event.PAUSE if paused else Event.UNPAUSE)
        self.confinement.set_paused(paused)
        self.chronicle.paused(paused)
        self.container.emit("pause" if paused else "unpause")

    def _note_end(self, watch: Watch) -> None:
        """Write the end down, and remove the container if it asked for that."""
        stays = self.chronicle.ended(watch, self.confinement)
        if self.container.spec.auto_remove and not stays:
            try:
                self._remove()
            except RootlessError as problem:
                watch.error = str(problem)

    def _remove(self) -> None:
        self.remains = Containers(self.paths).retire(self.container)

    def _clear(self) -> None:
        """What is left of a removed container goes when everybody has been told that it is gone."""
        if self.remains is not None:
            with suppress(OSError, RootlessError):  # the next command tries again
                Containers(self.paths).clear(self.remains)


def _load() -> None:
    from . import bundle, confinement, logs, networking, sources, stage  # noqa: F401


def _log_errors_to(path: Path, debug: bool) -> None:
    """The monitor's own troubles; with --debug they stay on the command's terminal."""
    if debug:
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, 2)
    os.close(fd)
    sys.stderr.flush()
