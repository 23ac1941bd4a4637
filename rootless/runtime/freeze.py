"""Stopping and continuing all processes of a container, without a cgroup: SIGSTOP to everything in its pid namespace.

A process can make others while they are being stopped, so the namespace is gone through again until a round finds none
that runs. Unlike a cgroup's freezer this can be seen from inside (a parent's waitpid(2) with WUNTRACED), and somebody
inside with CAP_KILL could send SIGCONT; PID 1 is immune to signals from inside only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

ROUNDS = 100


def members(pid: int) -> Iterator[int]:
    """The pids of all processes in the pid namespace of `pid`, and those below it, as this process sees them.

    /proc/PID/status tells each process's pid in every namespace that it is in (NSpid, proc_pid_status(5)); readable for
    everybody, while /proc/PID/ns is not readable for an undumpable process.
    """
    depth = len(_nspid(pid))
    todo = [pid]
    while todo:
        current = todo.pop()
        if len(_nspid(current)) >= depth:
            yield current
            todo += _children(current)


def _nspid(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("NSpid:"):
                    return line.split()[1:]
    except OSError:
        pass
    return []


def _children(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(child) for child in file.read().split()]
    return found


def _state(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0].decode()
    return "X"


def stop(pid: int, others: Iterator[int] | tuple[int, ...] = ()) -> bool:
    """Stop every process of the container whose PID 1 is `pid`. Whether none was found running at the end."""
    for _ in range(ROUNDS):
        running = [member for member in (*members(pid), *others) if _state(member) not in "TtZX"]
        if not running:
            return True
        for member in running:
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGSTOP)
    return False


def resume(pid: int) -> None:
    """Let every process of the container run again."""
    for member in list(members(pid)):
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGCONT)
