"""Stopping and continuing all processes of a container, without a cgroup: SIGSTOP to every one of them.

A process can make others while they are being stopped, so they are gone through again until a round finds none that
runs. Unlike a cgroup's freezer this can be seen from inside (a parent's waitpid(2) with WUNTRACED), and somebody inside
with CAP_KILL could send SIGCONT; PID 1 is immune to signals from inside only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress

ROUNDS = 100


def stop(members: Callable[[], Iterable[int]]) -> bool:
    """Stop every process of a container. Whether none was found running at the end.

    Args:
        members: tells their pids, anew each time.
    """
    for _ in range(ROUNDS):
        running = [member for member in members() if _state(member) not in "TtZX"]
        if not running:
            return True
        for member in running:
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGSTOP)
    return False


def resume(members: Iterable[int]) -> None:
    """Let these processes run again."""
    for member in members:
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGCONT)


def _state(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0].decode()
    return "X"
