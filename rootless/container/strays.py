"""The processes of a container that shares its pid namespace: the end of its first process is not theirs.

They are told by the files that every container has mounted from its own directory, which stands in mountinfo: in a
mount namespace that no other process has. What left even that namespace behind is found by a cgroup only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

FILES = ("hostname", "hosts", "resolv.conf")
"""What is bound from a container's directory to /etc."""

TIMEOUT = 5.0
"""Seconds in which killed processes have to be gone."""


def find(container_id: str) -> set[int]:
    """The processes that live among this container's mounts, as far as the caller may look into them."""
    return {pid for pid in _all() if _is_inside(pid, container_id)}


def end(container_id: str, *but: int) -> None:
    """SIGKILL them, and those that they make meanwhile, until none is left.

    Args:
        but: pids to be left alone.
    """
    deadline = time.monotonic() + TIMEOUT
    while (found := find(container_id) - set(but)) and time.monotonic() < deadline:
        for pid in found:
            _kill(pid, container_id)
        time.sleep(0.005)


def _kill(pid: int, container_id: str) -> None:
    with suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if _is_inside(pid, container_id):  # and so is that very process, which the descriptor now holds
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def _all() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _is_inside(pid: int, container_id: str) -> bool:
    """Whether one of the container's own files is mounted in its place there (proc_pid_mountinfo(5))."""
    try:
        with open(f"/proc/{pid}/mountinfo", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    wanted = {(f"/containers/{container_id}/{name}", f"/etc/{name}") for name in FILES}
    fields = (line.split(" ", 5)[3:5] for line in lines if container_id in line)
    return any(root.endswith(source) and point == target for root, point in fields for source, target in wanted)
