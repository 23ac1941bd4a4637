"""Control groups, version 2: where a process is, and what can be done with one of them through its files.

The files are described in the kernel's Documentation/admin-guide/cgroup-v2.rst, /proc/PID/cgroup in cgroups(7). Version
1 is not looked at: it can't be handed to an unprivileged user safely.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .mount import unescape

STEP = 0.005
"""Seconds between two looks at what only the kernel can bring about."""


def own(mountinfo: str = "/proc/self/mountinfo", membership: str = "/proc/self/cgroup") -> Path | None:
    """The directory of the calling process's cgroup; None when it can't be seen: no version 2 is mounted, or it lies
    outside of what is mounted here."""
    name = next((line[3:] for line in _lines(membership) if line.startswith("0::")), "")
    if not name.startswith("/") or "/.." in name or name.endswith(" (deleted)"):
        return None
    for root, point in _mounts(mountinfo):
        inside = "/" if root == "/" else root + "/"
        if (name + "/").startswith(inside):
            directory = Path(point, name[len(inside) :].lstrip("/"))
            if (directory / "cgroup.procs").exists():
                return directory
    return None


def _mounts(mountinfo: str) -> Iterator[tuple[str, str]]:
    """(root within the hierarchy, mount point) of every cgroup2 mount (proc_pid_mountinfo(5))."""
    for line in _lines(mountinfo):
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            root, point = fields.split(" ")[3:5]
            yield unescape(root), unescape(point)


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def read(directory: Path, name: str) -> str:
    """One file of a cgroup, stripped; empty when it is not there: its controller is not enabled."""
    try:
        return (directory / name).read_text().strip()
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.ENOTDIR):
            return ""
        raise


def read_table(directory: Path, name: str) -> dict[str, int]:
    """A file of lines `key number`, such as cgroup.events and memory.stat."""
    pairs = (line.split() for line in read(directory, name).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def write(directory: Path, name: str, text: str) -> None:
    """Write one file of a cgroup, in one write(2), as the kernel reads it.

    Raises:
        OSError: ENOENT without the controller, EACCES, EBUSY, EINVAL or ERANGE as the file's documentation says.
    """
    # Without O_CREAT: in a directory that is no cgroup (any more) this must fail, not make a file.
    fd = os.open(directory / name, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def controllers(directory: Path) -> frozenset[str]:
    """The controllers that this cgroup has and could pass on to those below it."""
    return frozenset(read(directory, "cgroup.controllers").split())


def passed_on(directory: Path) -> frozenset[str]:
    """The controllers that it does pass on: their files stand in every cgroup right below it."""
    return frozenset(read(directory, "cgroup.subtree_control").split())


def pass_on(directory: Path, wanted: frozenset[str]) -> frozenset[str]:
    """Have a cgroup pass controllers on to those below it, as far as it can; those of `wanted` that it passes on then.

    One at a time: the kernel takes all of one write or none.
    """
    for controller in wanted & controllers(directory) - passed_on(directory):
        with suppress(OSError):  # EBUSY: it has processes of its own; EACCES: it is not the caller's
            write(directory, "cgroup.subtree_control", f"+{controller}")
    return wanted & passed_on(directory)


def processes(directory: Path) -> list[int]:
    """The processes right in it, by their ids in the caller's pid namespace; 0 for one that is not seen from there."""
    try:
        return [int(word) for word in read(directory, "cgroup.procs").split()]
    except OSError:
        return []


def is_root(directory: Path) -> bool:
    """Whether it is the root of all, which may have processes and pass controllers on at once."""
    return not (directory / "cgroup.type").exists()


def subtree(directory: Path) -> Iterator[Path]:
    """Every cgroup below `directory` and itself, the innermost first."""
    with suppress(OSError):
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                yield from subtree(Path(entry.path))
    yield directory


def freeze(directory: Path, frozen: bool, timeout: float) -> bool:
    """Freeze or thaw every process in it and below. Whether that came about within `timeout` seconds.

    A frozen process can be killed, but a process that waits in the kernel without an end in sight does not freeze.
    """
    write(directory, "cgroup.freeze", str(int(frozen)))
    deadline = time.monotonic() + timeout
    poll = select.poll()
    with open(directory / "cgroup.events") as events:
        poll.register(events, select.POLLPRI)
        while f"frozen {int(frozen)}" not in events.read():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
            events.seek(0)
    return True


def kill(directory: Path) -> None:
    """SIGKILL everything in it and below: at once where the kernel can (5.14), else process by process."""
    with suppress(FileNotFoundError):
        try:
            write(directory, "cgroup.kill", "1")
        except FileNotFoundError:
            for pid in [pid for part in subtree(directory) for pid in processes(part) if pid > 0]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def remove(directory: Path, timeout: float) -> bool:
    """Kill what is in it, and remove it with everything below. Whether it is gone.

    A killed process stays in its cgroup until it has been torn down, which takes a moment with much memory.
    """
    deadline = time.monotonic() + timeout
    while directory.exists():
        for part in subtree(directory):
            with suppress(OSError):
                part.rmdir()
        if not directory.exists():
            break
        if time.monotonic() > deadline:
            return False
        kill(directory)
        time.sleep(STEP)
    return True
