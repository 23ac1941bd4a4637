"""Waiting, without trio, for something to happen to a container: what `logs --follow` does between two lines."""

from __future__ import annotations

import os
import select
from contextlib import suppress

from ..container.container import Container
from ..kernel import inotify, process

_MASK = (
    inotify.IN_MODIFY
    | inotify.IN_CREATE
    | inotify.IN_MOVED_TO
    | inotify.IN_MOVE_SELF
    | inotify.IN_DELETE_SELF
    | inotify.IN_ONLYDIR
)
LONGEST = 1.0
"""Seconds after which `wait` returns in any case: on NFS the kernel does not tell what another machine wrote."""

SHORTEST = 0.1
"""The same where the kernel tells nothing at all, because the user has too many inotify descriptors."""


class Changes:
    """Sees the files of a container's directory change, and its monitor end."""

    def __init__(self, container: Container) -> None:
        self._inotify = self._pidfd = -1
        self._poll = select.poll()
        with suppress(OSError):
            self._inotify = inotify.init()
            inotify.add_watch(self._inotify, os.fspath(container.directory), _MASK)
            self._poll.register(self._inotify, select.POLLIN)
        self._watch_monitor(container)

    def _watch_monitor(self, container: Container) -> None:
        state = container.stored_state()
        if state.monitor <= 0 or state.machine_id != process.machine_id():
            return
        with suppress(OSError):  # it has ended already
            self._pidfd = os.pidfd_open(state.monitor)
            if process.start_time(state.monitor) == state.monitor_started:
                self._poll.register(self._pidfd, select.POLLIN)

    def wait(self) -> set[str]:
        """Wait for the next change; the names of the files that changed. None is named when time has passed, or when it
        was something else: the monitor's end, or the container's removal."""
        ready = [fd for fd, _ in self._poll.poll((LONGEST if self._inotify >= 0 else SHORTEST) * 1000)]
        if self._pidfd in ready:
            self._poll.unregister(self._pidfd)  # from now on it would be ready for ever
        if self._inotify not in ready:
            return set()
        names = {name for _, name in inotify.events(self._inotify)}
        return set() if "" in names or self._pidfd in ready else names

    def close(self) -> None:
        for fd in (self._inotify, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._inotify = self._pidfd = -1

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
