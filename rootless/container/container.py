"""One container on disk: its documents, its true state, and the lock that says whether somebody works on it.

Whoever works on a container's processes holds its `lock` file: a monitor as long as it lives, `rm` while removing.
So a state that says "running" under a lock that can be taken is a monitor that was killed, and is repaired on sight.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from .. import atomic, events, locks
from ..errors import ConflictError, NotFoundError, StoreError
from ..kernel import cgroup, process
from ..paths import Paths, is_private
from . import strays
from .links import Names
from .record import Record, Spec, State, decode_record, decode_state, merge, now
from .state import ALIVE, Event, Status, step

APPLYING = "applying"
"""The name of the note in a container's directory as long as its changes are being made real on the machine
(storage/drafts.py): where it is left, an `apply` was killed."""

CGROUP_TIMEOUT = 2.0
"""Seconds that killed processes have to leave their cgroup."""

HOLD_TIMEOUT = 10.0
"""Seconds for which the lock of a container that does not run is waited for."""

HOLD_STEP = 0.1
"""Seconds after which it is looked at whether it runs meanwhile."""

KILL_TIMEOUT = 5.0
"""Seconds that a killed process has to end: the kernel may have to free much memory first, or wait for a disk."""


class Container:
    """One container of the store. Its record is read once; its state is read anew each time."""

    def __init__(self, paths: Paths, record: Record) -> None:
        self.paths = paths
        self.record = record
        self.directory = paths.container(record.id)

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def spec(self) -> Spec:
        return self.record.spec

    def emit(self, action: str, **attributes: str) -> None:
        """Note what happened to this container, for `events`. A step of a build is no container to anybody else."""
        if self.record.build:
            return
        name = Names(self.paths).name_of(self.id) or self.name  # it may have been renamed since the record was read
        known = self.record.spec.labels | {"image": self.spec.image, "name": name}
        events.emit(self.paths, "container", action, self.id, known | attributes)

    @property
    def runtime_paths(self) -> Paths:
        """With the run directory in which its monitor listens: it may have been started in another session than this
        one, which has a directory of its own (a login has one, cron has none)."""
        state = self.stored_state()
        here = state.boot_id == process.boot_id() and state.machine_id == process.machine_id()
        if here and os.path.isabs(state.run_directory) and is_private(Path(state.run_directory)):
            return msgspec.structs.replace(self.paths, run=Path(state.run_directory))
        return self.paths

    @property
    def lock_path(self) -> Path:
        return self.directory / "lock"

    def stored_state(self) -> State:
        """state.json as it stands, whether or not its processes still live."""
        try:
            return decode_state((self.directory / "state.json").read_bytes())
        except FileNotFoundError:
            return State(status=Status.REMOVING)

    def state(self) -> State:
        """The true state: one that lost its monitor is ended and written down as such first."""
        state = self.stored_state()
        if not (state.status in ALIVE or state.cgroup) or state.machine_id != process.machine_id():
            return state
        try:
            with self.hold("repair"):
                return self.end_if_lost()
        except ConflictError:
            return state  # its monitor lives
        except NotFoundError:
            return State(status=Status.REMOVING)

    def state_here(self) -> State:
        """The true state, for whoever has to do with its processes.

        Raises:
            ConflictError: it runs on another machine, which has the same store.
        """
        state = self.state()
        if state.status in ALIVE and state.machine_id != process.machine_id():
            raise ConflictError(f"container {self.name} is running on {state.host}", hint="go there for that")
        return state

    def end_if_lost(self) -> State:
        """End what a killed monitor left behind; the state after that. The caller holds the lock."""
        state = self.stored_state()
        if state.status not in ALIVE:
            return self._without_cgroup(state)
        if state.boot_id == process.boot_id():
            kill_if_same(state.pid, state.pid_started)
            if self.spec.pid:
                strays.end(self.id)
        # The monitor is gone and with it the status that only a parent learns: Docker's word for a killed one is 137.
        code = 255 if state.boot_id != process.boot_id() else 128 + signal.SIGKILL
        cause = "the machine was started anew" if code == 255 else "its monitor was killed"
        waiting = state.status == Status.RESTARTING  # nothing ran: the last run's own end stands
        ended = msgspec.structs.replace(
            state,
            status=step(state.status, Event.LOST),
            pid=0,
            monitor=0,
            exit_code=state.exit_code if waiting else code,
            finished_at=state.finished_at if waiting else now(),
            error=cause,
            cgroup=_remove_cgroup(state),
            network=None,
        )
        self.try_to_write_state(ended)
        return ended

    def _without_cgroup(self, state: State) -> State:
        """Take away the cgroup of a start that was cut off."""
        if not state.cgroup:
            return state
        cleared = msgspec.structs.replace(state, cgroup=_remove_cgroup(state))
        self.try_to_write_state(cleared)
        return cleared

    def refresh(self) -> None:
        """Read the record anew: another process may have changed it."""
        path = self.directory / "config.json"
        with suppress(FileNotFoundError, StoreError):
            self.record = decode_record(path.read_bytes(), str(path))

    def write_state(self, state: State) -> None:
        """Publish state.json. Not flushed: after a power cut the boot id alone tells that nothing of it lives on.

        Raises:
            StoreError: no room, or a store that can't be written.
        """
        path = self.directory / "state.json"
        try:
            old = path.read_bytes() if path.exists() else b""
            atomic.write(path, merge(old, state), tmp=self.paths.tmp, durable=False)
        except OSError as problem:
            raise StoreError(f"{path}: {problem.strerror}", hint="`rootless rm` still makes room") from problem

    def try_to_write_state(self, state: State) -> None:
        """`write_state` where a full disk must not be in the way: of an end, and of the removal that would make room.

        What could not be written is found out again by the next command: nobody holds the lock of a "running"
        container.
        """
        try:
            self.write_state(state)
        except StoreError as problem:
            with suppress(OSError):  # a monitor's standard error is a file of the store, on the same full disk
                print(f"rootless: warning: {problem}", file=sys.stderr, flush=True)

    def hold(self, doing: str, *, wait: float = 0) -> Hold:
        """Take the container's lock, waiting for it at most `wait` seconds.

        Raises:
            ConflictError: a monitor has it, or another command.
            NotFoundError: the container is gone.
        """
        deadline = time.monotonic() + wait
        while (hold := Hold.take(self.directory)) is None:
            if time.monotonic() >= deadline:
                raise ConflictError(
                    f"cannot {doing} container {self.name}: it is running, or a command is at work on it"
                )
            time.sleep(0.01)
        return hold

    def hold_at_rest(self, doing: str) -> Hold | None:
        """The lock of a container that does not run, as soon as who has it is done: its monitor on the way out, another
        command. None when it runs, or does meanwhile.

        Raises:
            ConflictError, NotFoundError: as `hold`.
        """
        deadline = time.monotonic() + HOLD_TIMEOUT
        while self.state().status not in ALIVE:
            try:
                return self.hold(doing, wait=HOLD_STEP)
            except ConflictError:
                if time.monotonic() >= deadline:
                    raise
        return None


def _remove_cgroup(state: State) -> str:
    """Remove what a killed monitor left of this machine's cgroups; what stays, if something does."""
    directory = Path(state.cgroup)
    if not state.cgroup or state.boot_id != process.boot_id() or not (directory / "cgroup.procs").exists():
        return ""
    return "" if cgroup.remove(directory, CGROUP_TIMEOUT) else state.cgroup


class Hold:
    """The lock of one container, held until `release` or the end of the with statement."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, directory: Path) -> Hold | None:
        """The lock in a container's directory, or None when somebody has it.

        Raises:
            NotFoundError: there is no such container (any more).
        """
        gone = NotFoundError(f"No such container: {directory.name}")
        try:
            fd = locks.try_lock(directory / "lock")
        except FileNotFoundError:
            raise gone from None
        if fd is not None and os.fstat(fd).st_nlink == 0:  # its last holder removed the container
            os.close(fd)
            raise gone
        return cls(fd) if fd is not None else None

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def signal_if_same(pid: int, started: int, number: int) -> bool:
    """Send a signal to a process, unless the pid has been given to another one since. Whether it was sent."""
    with _same(pid, started) as pidfd:
        return pidfd >= 0 and _sent(pidfd, number)


def kill_if_same(pid: int, started: int) -> None:
    """SIGKILL a process, unless the pid has been given to another one since (its start time tells), and see its end:
    who reads that it has ended must not meet it any more. One that the kernel can't end yet is left to it."""
    with _same(pid, started) as pidfd:
        if pidfd >= 0 and _sent(pidfd, signal.SIGKILL):
            end = select.poll()
            end.register(pidfd, select.POLLIN)  # readable once it has ended (pidfd_open(2))
            end.poll(KILL_TIMEOUT * 1000)


@contextmanager
def _same(pid: int, started: int) -> Iterator[int]:
    """A descriptor on the process that started then; -1 when there is none."""
    pidfd = -1
    with suppress(OSError):
        pidfd = os.pidfd_open(pid) if pid > 0 else -1
    try:
        # The descriptor was opened first: if the start time fits now, it is of that very process.
        yield pidfd if pidfd >= 0 and _started(pid) == started else -1
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _started(pid: int) -> int:
    try:
        return process.start_time(pid)
    except OSError:
        return -1


def _sent(pidfd: int, number: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return False
    return True
