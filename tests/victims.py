"""Killing all processes of a command at once, wherever they are by then."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """A process and everything below it, the process first. One that lost its parent is not found any more."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def kill_all(pid: int) -> None:
    """SIGKILL to a process and everything below it. They are stopped first, so that none makes another meanwhile."""
    seen: set[int] = set()
    while new := set(descendants(pid)) - seen:
        for each in new:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
        seen |= new
    for each in seen:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
