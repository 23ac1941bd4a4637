"""What a running container uses at this moment: from its cgroup, and where that does not count it, from /proc.

Of /proc each process is read, and what it inherited from children that it has waited for. Processes that ended without
being waited for are not counted there, which a cgroup does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..container import processes
from ..container.record import State
from ..kernel import cgroup as kernel

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """One look at a container; all zeros for one that does not run.

    Attributes:
        moment: when, in seconds of the monotonic clock.
        cpu: seconds of processor time since its start.
        memory, memory_limit: bytes; without the file cache that could be dropped at once. The limit is the machine's
            memory where no other holds.
        received, sent: bytes over its own network interfaces, but for the loopback.
        read, written: bytes from and to disks.
        tasks: processes and threads.
    """

    moment: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    memory_limit: int = 0
    received: int = 0
    sent: int = 0
    read: int = 0
    written: int = 0
    tasks: int = 0


def measure(state: State) -> Usage:
    """Look at a container that runs. What ends meanwhile counts as nothing."""
    directory = Path(state.cgroup) if state.cgroup else None
    members = _Members(state)
    received, sent = _network(state)
    read, written = _io(directory) or (members.sum(_bytes_read), members.sum(_bytes_written))
    cpu = kernel.read_table(directory, "cpu.stat").get("usage_usec") if directory else None
    return Usage(
        moment=time.monotonic(),
        cpu=cpu / 1e6 if cpu is not None else members.sum(_ticks) / TICK,
        memory=_number(directory, "memory.current") - _droppable(directory) or members.sum(_resident),
        memory_limit=min(_number(directory, "memory.max") or machine_memory(), machine_memory()),
        received=received,
        sent=sent,
        read=read,
        written=written,
        tasks=_number(directory, "pids.current") or members.sum(_threads),
    )


def machine_memory() -> int:
    """Bytes of memory that this machine has."""
    return PAGE * os.sysconf("SC_PHYS_PAGES")


def _number(directory: Path | None, name: str) -> int:
    """A file of one number; 0 without it, or for `max`."""
    text = kernel.read(directory, name) if directory else ""
    return int(text) if text.isdecimal() else 0


def _droppable(directory: Path | None) -> int:
    """The file cache that nobody has touched lately: it would be dropped first, and Docker does not count it."""
    return kernel.read_table(directory, "memory.stat").get("inactive_file", 0) if directory else 0


def _io(directory: Path | None) -> tuple[int, int] | None:
    """Bytes read and written, over all devices; None without the io controller."""
    if directory is None or not (directory / "io.stat").exists():
        return None
    words = [word.partition("=") for word in kernel.read(directory, "io.stat").split()]
    sums = [sum(int(value) for key, _, value in words if key == wanted) for wanted in ("rbytes", "wbytes")]
    return sums[0], sums[1]


def _network(state: State) -> tuple[int, int]:
    """Bytes received and sent in the network namespace of PID 1; nothing where that is this process's own."""
    received = sent = 0
    with suppress(OSError):
        if _inode("/proc/self/ns/net") == _inode(f"/proc/{state.monitor}/fd/{state.namespaces['net']}"):
            return 0, 0
        for line in Path(f"/proc/{state.pid}/net/dev").read_text().splitlines()[2:]:
            name, _, columns = line.partition(":")
            if name.strip() != "lo":
                numbers = columns.split()
                received, sent = received + int(numbers[0]), sent + int(numbers[8])
    return received, sent


def _inode(path: str) -> int:
    return os.stat(path).st_ino


class _Members:
    """The container's processes, looked for only if something asks about them."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._pids: list[int] | None = None

    def sum(self, look: Callable[[int], int]) -> int:
        """What `look` finds, over all of them."""
        if self._pids is None:
            self._pids = sorted(processes.pids(self.state))
        return sum(self._looks(look, self._pids))

    def _looks(self, look: Callable[[int], int], pids: list[int]) -> Iterator[int]:
        for pid in pids:
            with suppress(OSError, ValueError, IndexError):  # it has ended, or is undumpable at this moment
                yield look(pid)


def _stat(pid: int) -> list[bytes]:
    """The fields of proc_pid_stat(5) from the third on; the second may hold blanks and parentheses."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def _ticks(pid: int) -> int:
    """utime, stime, and those of children waited for: fields 14 to 17."""
    return sum(int(field) for field in _stat(pid)[11:15])


def _threads(pid: int) -> int:
    return int(_stat(pid)[17])


def _resident(pid: int) -> int:
    """Memory with what is shared counted in parts (Pss), so that the parts add up; else with all of it."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)


def _bytes_read(pid: int) -> int:
    return _disk(pid, "read_bytes")


def _bytes_written(pid: int) -> int:
    return _disk(pid, "write_bytes")


def _disk(pid: int, name: str) -> int:
    """proc_pid_io(5); it includes children waited for."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith(f"{name}:"))
