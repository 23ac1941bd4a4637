"""What is written down of a container's life: state.json, as its monitor finds and leaves it.

The keeper (keeper.py) decides what happens; here is how it is told to whoever reads the store later. Each of these is a
step of the table in container/state.py.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from ..container.container import Container
from ..container.health import Health, Result, after
from ..container.network import Connected
from ..container.record import State, now
from ..container.state import Event, Status, step
from ..errors import RootlessError, StoreError
from ..kernel import process
from .start import Running, StartError
from .trouble import tell
from .watch import Watch

if TYPE_CHECKING:
    from .confinement import Confinement


class Chronicle:
    """The state of one container, written by the one process that holds its lock."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._pending: State | None = None
        self._complained = False

    def start_failed(self, state: State, problem: RootlessError) -> None:
        """The container stays as it was, with the reason."""
        code = problem.exit_code if isinstance(problem, StartError) else 125
        status = step(state.status, Event.START_FAILED)
        failed = msgspec.structs.replace(state, status=status, monitor=0, exit_code=code, error=str(problem))
        self.container.try_to_write_state(failed)

    def started(
        self, state: State, running: Running, cgroup: str, network: Connected | None, restarts: int, run: str
    ) -> None:
        """PID 1 executes its command, and this process is its monitor.

        Args:
            run: the run directory.

        Raises:
            StoreError: it can't be written.
        """
        self._write(
            state,
            status=step(state.status, Event.START),
            pid=running.pid,
            pid_started=process.start_time(running.pid),
            monitor=os.getpid(),
            monitor_started=process.start_time(os.getpid()),
            namespaces=running.namespaces,
            cgroup=cgroup,
            oom_killed=False,
            boot_id=process.boot_id(),
            machine_id=process.machine_id(),
            host=os.uname().nodename,
            started_at=now(),
            finished_at="",
            exit_code=0,
            error="",
            stopped=False,
            health=Health() if self.container.spec.health is not None else None,
            network=network,
            run_directory=run,
            restart_count=restarts,
        )

    def will_restart(self, watch: Watch, confinement: Confinement, restarts: int) -> None:
        """It has ended, and is started again after a while, and when this is written down: see `is_complete`."""
        state = self.container.stored_state()
        self._pending = msgspec.structs.replace(
            state,
            status=step(state.status, Event.EXIT_TO_RESTART),
            pid=0,
            namespaces={},
            exit_code=watch.code,
            finished_at=now(),
            restart_count=restarts,
            network=None,
            cgroup=confinement.directory,
            oom_killed=confinement.oom_killed,
        )
        self.is_complete()

    def is_complete(self) -> bool:
        """Write down what could not be when it happened; whether nothing is left of that."""
        if self._pending is not None:
            try:
                self.container.write_state(self._pending)
            except StoreError as problem:
                self._complain(problem)
                return False
            self._pending = None
        return True

    def _complain(self, problem: StoreError) -> None:
        if not self._complained:  # once, and not at every look
            tell("its state can't be written, and it is not started again before that", problem)
        self._complained = True

    def ended(self, watch: Watch, confinement: Confinement) -> bool:
        """It has ended for good. Whether another process is there that will start it again, so that a --rm container
        stays."""
        state = self.container.stored_state()
        starter, started = self._starter(watch)
        ended = msgspec.structs.replace(
            state,
            status=step(state.status, Event.EXIT),
            pid=0,
            monitor=starter,
            monitor_started=started,
            namespaces={},
            exit_code=watch.code,
            finished_at=now(),
            error=watch.error,
            stopped=watch.stopped,
            network=None,
            cgroup=confinement.directory,
            oom_killed=confinement.oom_killed,
        )
        self.container.try_to_write_state(ended)
        return process.is_running(starter, started)

    def _starter(self, watch: Watch) -> tuple[int, int]:
        """Which process will start a --rm container again, and since when that runs: for its sake it stays."""
        if watch.starter and self.container.spec.auto_remove:
            with suppress(OSError):
                return watch.starter, process.start_time(watch.starter)
        return 0, 0

    def paused(self, paused: bool) -> None:
        """No process of it runs until it is told that they do.

        Raises:
            StoreError: it can't be written.
        """
        state = self.container.stored_state()
        self._write(state, status=step(state.status, Event.PAUSE if paused else Event.UNPAUSE))

    @property
    def is_paused(self) -> bool:
        """Whether it was told so last."""
        return self.container.stored_state().status == Status.PAUSED

    def checked(self, result: Result, starting: bool) -> str:
        """A health check has shown this; how the container's health is now.

        Args:
            starting: its start period is not over.
        """
        check = self.container.spec.health
        assert check is not None
        state = self.container.stored_state()
        before = state.health or Health()
        health = after(before, result, check, starting=starting)
        if health.status != before.status:
            self.container.emit(f"health_status: {health.status}")
        self.container.try_to_write_state(msgspec.structs.replace(state, health=health))
        return health.status

    def _write(self, state: State, **changes: object) -> None:
        self.container.write_state(msgspec.structs.replace(state, **changes))
