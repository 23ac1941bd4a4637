"""What the monitor does about a container's limits: before its start, while it runs, and after its end."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from ..container import processes
from ..container.container import Container
from ..container.record import Resources
from ..errors import RootlessError
from ..idmap import IdMap
from ..kernel import cgroup as kernel
from ..kernel import process
from . import cgroup, freeze, limits

FREEZE_TIMEOUT = 2.0
"""Seconds in which the kernel has to freeze every process of a container."""


class Confinement:
    """One container's limits under one monitor, from start to start.

    Attributes:
        directory: the container's cgroup, empty where there is none.
        warnings: what does not hold, each a line for whoever asked for the start.
        oom_killed: in the last run, the kernel killed a process of the container's for want of memory within its limit.
        outside: a descriptor on the monitor's own cgroup while there is one for the container, else -1.
    """

    def __init__(self, container: Container, idmap: IdMap) -> None:
        self.container, self.idmap = container, idmap
        self.directory = ""
        self.warnings: tuple[str, ...] = ()
        self.oom_killed = False
        self.outside = -1

    def __enter__(self) -> None:
        """Around a start: `prepare`, and take everything back if it fails."""
        self.prepare()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.dissolve()

    def prepare(self) -> None:
        """Make a cgroup with the limits, as far as there may be one. What does not hold stands in `warnings`.

        Its place is written down before it is made: if this monitor is killed, the next command removes it.
        """
        self.warnings = ()
        resources = self.container.spec.resources
        parent = self.container.spec.cgroup_parent
        base = cgroup.find(limits.wanted(resources), parent)
        if base is None and parent:
            from .delegation import explain_parent

            self.warnings = (f"--cgroup-parent {parent} does not hold: {explain_parent(parent)}",)
            base = cgroup.find(limits.wanted(resources))
        if base is not None:
            name = f"rootless-{self.container.id[:12]}"
            self._note(str(base.directory / name))
            try:
                cgroup.make(base, name)
                self.outside = os.open(base.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as problem:
                self._give_up(f"no cgroup could be made: {problem}")
        if self.directory:
            limits.apply(Path(self.directory), limits.limits(resources))
        self.warnings = (*self.warnings, *self._complaints(resources))

    def _note(self, directory: str) -> None:
        state = self.container.stored_state()
        place = msgspec.structs.replace(
            state, cgroup=directory, boot_id=process.boot_id(), machine_id=process.machine_id()
        )
        self.container.write_state(place)
        self.directory = directory

    def _complaints(self, resources: Resources) -> list[str]:
        found = []
        if not may_adjust_oom_score(resources.oom_score_adj):
            found.append("--oom-score-adj does not hold: only an administrator may lower what your shell has")
        missing = limits.lacking(self._path(), resources)
        if limits.weighs(resources) - missing and not limits.disks_weigh():
            found.append(
                f"{' and '.join(sorted(limits.weighs(resources)))} does not hold: no disk's scheduler regards weights; "
                "an administrator can run: echo bfq > /sys/block/DISK/queue/scheduler"
            )
        there = kernel.controllers(path) if (path := self._path()) else frozenset()
        unknown = frozenset(o for o in missing if limits.controllers_of(frozenset({o}), resources) <= there)
        found += [f"{option} does not hold: this kernel has no such limit" for option in sorted(unknown)]
        missing -= unknown
        if missing and (what := limits.complaint(missing, self.idmap)):
            from .delegation import explain

            found.append(f"{what}: {explain(limits.controllers_of(missing, resources))}")
        return found

    def _path(self) -> Path | None:
        return Path(self.directory) if self.directory else None

    def fork(self) -> int:
        """os.fork(), with the child in the container's cgroup."""
        return cgroup.fork(Path(self.directory)) if self.directory else os.fork()

    def _give_up(self, reason: str) -> None:
        self.warnings = (*self.warnings, reason)
        self.dissolve()

    def set_paused(self, paused: bool) -> None:
        """Let no process of the container run, or let them run again.

        Raises:
            RootlessError: they can't be stopped; then all of them run.
        """
        if not paused:
            self._thaw()
        elif not self._freeze():
            self._thaw()
            raise RootlessError(f"container {self.container.name} has processes that can't be stopped")

    def _freeze(self) -> bool:
        path = self._path()
        return (path is None or kernel.freeze(path, True, FREEZE_TIMEOUT)) and freeze.stop(self._outside_cgroup)

    def _thaw(self) -> None:
        if path := self._path():
            kernel.freeze(path, False, 0)
        freeze.resume(self._outside_cgroup())

    def _outside_cgroup(self) -> set[int]:
        """The container's processes that are not in its cgroup: all where there is none, else those of an `exec` that
        was not let in."""
        path = self._path()
        inside = {pid for part in kernel.subtree(path) for pid in kernel.processes(part)} if path else set()
        return processes.pids(self.container.stored_state()) - inside

    def close(self) -> None:
        """After a run: learn what the cgroup knows of it, and remove it."""
        path = self._path()
        self.oom_killed = path is not None and kernel.read_table(path, "memory.events").get("oom_kill", 0) > 0
        self.dissolve()

    def dissolve(self) -> None:
        """Remove the cgroup; all processes in it are dead, or die now. What can't be removed stays written down."""
        if self.directory and cgroup.remove(Path(self.directory)):
            self.directory = ""
        if self.outside >= 0:
            os.close(self.outside)
            self.outside = -1


def may_adjust_oom_score(value: int) -> bool:
    """Whether this process may give itself this oom_score_adj: going up is free, and back down as far as where
    somebody with CAP_SYS_RESOURCE has put it (proc_pid_oom_score_adj(5))."""
    if not value:
        return True
    before = process.oom_score_adj()
    try:
        process.set_oom_score_adj(value)
    except OSError:
        return False
    with suppress(OSError):
        process.set_oom_score_adj(before)
    return True
