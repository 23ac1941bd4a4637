"""What a container may use, as the files of its cgroup, and what stands in where there is no such file.

The files are those of the kernel's cgroup-v2.rst. Docker's numbers were made for version 1; how they translate is told
in the OCI runtime specification and followed by its runtimes.
"""

from __future__ import annotations

import math
import os
import re
import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from ..container.record import DeviceLimit, Resources, Ulimit
from ..container.resources import cpus, disk_number
from ..errors import RootlessError
from ..idmap import IdMap
from ..kernel import cgroup as kernel
from .cgroup import INNER
from .program import Program

PERIOD = 100_000
"""Microseconds in which a container may use its share of processor time; Docker's and the kernel's default."""

NPROC_PER_NAMESPACE = (5, 14)
"""Since this kernel RLIMIT_NPROC counts a user's processes in the user namespace, and not on the whole machine."""


class Limit(msgspec.Struct, frozen=True):
    """One line for one file of a cgroup.

    Attributes:
        option: who asked for it.
        implied: it follows from another option; if it can't be had, nobody misses it.
    """

    option: str
    file: str
    value: str
    implied: bool = False

    @property
    def controller(self) -> str:
        return self.file.partition(".")[0]


def limits(resources: Resources) -> list[Limit]:
    """What is to be written for a new cgroup: nothing for what was not said."""
    return [limit for limit in all_limits(resources) if limit.value != _DEFAULTS[limit.file]]


_DEFAULTS = {
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.low": "0",
    "cpu.max": f"max {PERIOD}",
    "cpu.weight": "100",
    "cpuset.cpus": "",
    "cpuset.mems": "",
    "io.weight": "default 100",
    "io.bfq.weight": "default 100",
    "io.max": "",
    "pids.max": "max",
}


def all_limits(resources: Resources) -> list[Limit]:
    """The same with the kernel's defaults for what was not said: for a cgroup that had other limits before."""
    memory = resources.memory
    return [
        Limit("--memory", "memory.max", str(memory) if memory else "max"),
        Limit("--memory-swap", "memory.swap.max", _swap(resources), implied=not resources.memory_swap),
        Limit("--memory-reservation", "memory.low", str(resources.memory_reservation)),
        _time(resources),
        Limit("--cpu-shares", "cpu.weight", str(weight(resources.cpu_shares))),
        Limit("--cpuset-cpus", "cpuset.cpus", resources.cpuset_cpus),
        Limit("--cpuset-mems", "cpuset.mems", resources.cpuset_mems),
        Limit("--pids-limit", "pids.max", str(resources.pids_limit) if resources.pids_limit > 0 else "max"),
        Limit("--blkio-weight", "io.weight", f"default {io_weight(resources.blkio_weight)}"),
        Limit("--blkio-weight", "io.bfq.weight", f"default {resources.blkio_weight or 100}", implied=True),
        *(_disk(limit) for limit in resources.devices),
    ]


def _swap(resources: Resources) -> str:
    """Docker counts memory and swap together, the kernel swap alone. A limit on memory alone implies as much swap."""
    if not resources.memory or resources.memory_swap < 0:
        return "max"
    return str(resources.memory_swap - resources.memory if resources.memory_swap else resources.memory)


def _time(resources: Resources) -> Limit:
    """Processor time: Docker's `--cpus`, or the two numbers that the kernel itself takes."""
    if resources.cpu_quota or resources.cpu_period:
        quota = str(resources.cpu_quota) if resources.cpu_quota > 0 else "max"
        option = "--cpu-quota" if resources.cpu_quota else "--cpu-period"
        return Limit(option, "cpu.max", f"{quota} {resources.cpu_period or PERIOD}")
    return Limit("--cpus", "cpu.max", f"{_quota(resources.nano_cpus)} {PERIOD}")


DISK_OPTIONS = {
    "rbps": "--device-read-bps",
    "wbps": "--device-write-bps",
    "riops": "--device-read-iops",
    "wiops": "--device-write-iops",
    "weight": "--blkio-weight-device",
}


def _disk(limit: DeviceLimit) -> Limit:
    disk = disk_number(limit)
    if limit.kind == "weight":
        return Limit(DISK_OPTIONS["weight"], "io.weight", f"{disk} {io_weight(limit.value)}")
    return Limit(DISK_OPTIONS[limit.kind], "io.max", f"{disk} {limit.kind}={limit.value or 'max'}")


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000, usually 100) for version 1's weight (10 to 1000, usually 500); 0 is for the usual one."""
    return 1 + (weight - 10) * 9999 // 990 if weight else 100


def weighs(resources: Resources) -> frozenset[str]:
    """The options that give a weight on disks."""
    return frozenset(limit.option for limit in limits(resources) if limit.file == "io.weight")


def disks_weigh(blocks: Path = Path("/sys/block"), costs: Path = Path("/sys/fs/cgroup/io.cost.qos")) -> bool:
    """Whether some disk regards weights: its scheduler is bfq, or root has given it a cost model (cgroup-v2.rst)."""
    for path in (costs, *blocks.glob("*/queue/scheduler")):
        with suppress(OSError):
            text = path.read_text()
            if "[bfq]" in text or "enable=1" in text:
                return True
    return False


def _quota(nano_cpus: int) -> str:
    """Microseconds in each period; the kernel takes no fewer than 1000."""
    return str(max(nano_cpus * PERIOD // 10**9, 1000)) if nano_cpus else "max"


def weight(shares: int) -> int:
    """cpu.weight (1 to 10000, usually 100) for version 1's shares (2 to 262144, usually 1024).

    A curve through the three pairs: a straight line through the ends, as runtimes had it first, made of the usual 1024
    shares a weight of 39, less than half of what processes outside of containers have.
    """
    if not shares:
        return 100
    power = math.log2(min(max(shares, 2), 262144))
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34) - 1e-9)


def wanted(resources: Resources) -> frozenset[str]:
    """The controllers that the limits need."""
    return frozenset(limit.controller for limit in limits(resources))


def apply(directory: Path, wanted_limits: Iterable[Limit]) -> list[str]:
    """Write limits into a container's cgroup; the options that it has no file for.

    Both levels are written (runtime/cgroup.py), the outer one first: inside, no more can be had than outside.

    Raises:
        RootlessError: the kernel refuses a value.
    """
    lacking = []
    for limit in wanted_limits:
        if not (directory / limit.file).exists():
            if not limit.implied:
                lacking.append(limit.option)
            continue
        for level in directory, directory / INNER:
            if (level / limit.file).exists():
                _write(level, limit)
    return lacking


def _write(directory: Path, limit: Limit) -> None:
    try:
        kernel.write(directory, limit.file, limit.value or "\n")  # a write of nothing would not reach the kernel
    except OSError as problem:
        raise RootlessError(
            f"{limit.option}: {limit.file} can't be {limit.value or 'empty'}: {problem.strerror}"
        ) from (problem)


def controllers_of(options: frozenset[str], resources: Resources) -> frozenset[str]:
    """The controllers that these options need."""
    return frozenset(limit.controller for limit in limits(resources) if limit.option in options)


def lacking(directory: Path | None, resources: Resources) -> frozenset[str]:
    """The options that this cgroup, or none, has no file for."""
    asked = [limit for limit in limits(resources) if not limit.implied]
    return frozenset(limit.option for limit in asked if directory is None or not (directory / limit.file).exists())


# --- what stands in ------------------------------------------------------------------------------------------------


def with_stand_ins(program: Program, resources: Resources, missing: frozenset[str]) -> Program:
    """`program`, with what comes near to those limits that have no cgroup: processor affinity, RLIMIT_NPROC."""
    affinity = cpus(resources.cpuset_cpus) if "--cpuset-cpus" in missing else frozenset()
    ulimits = program.ulimits
    if "--pids-limit" in missing and counts_by_namespace():
        ulimits = _with_nproc(ulimits, resources.pids_limit)
    return msgspec.structs.replace(program, ulimits=ulimits, affinity=affinity)


def stand_in(pids: Iterable[int], resources: Resources, missing: frozenset[str]) -> list[str]:
    """Do the same to processes that run already; the options for which that could not be done to all."""
    failed = set()
    for pid in pids:
        if "--cpuset-cpus" in missing and not _bind(pid, cpus(resources.cpuset_cpus)):
            failed.add("--cpuset-cpus")
        if "--pids-limit" in missing and counts_by_namespace() and not _limit_processes(pid, resources.pids_limit):
            failed.add("--pids-limit")
    return sorted(failed)


def _bind(pid: int, processors: frozenset[int]) -> bool:
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), processors)
    except (FileNotFoundError, ProcessLookupError):
        return True  # it has ended
    except OSError:
        return False
    return True


def _limit_processes(pid: int, number: int) -> bool:
    """EPERM for more than what an earlier limit left: only an administrator may raise a hard limit (getrlimit(2))."""
    try:
        resource.prlimit(pid, resource.RLIMIT_NPROC, (number, number))
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _with_nproc(ulimits: tuple[Ulimit, ...], number: int) -> tuple[Ulimit, ...]:
    """Of two limits on processes the lower one counts."""
    given = next((u for u in ulimits if u.name == "nproc"), Ulimit("nproc", -1, -1))
    soft, hard = (number if value < 0 else min(value, number) for value in (given.soft, given.hard))
    return (*(u for u in ulimits if u.name != "nproc"), Ulimit("nproc", soft, hard))


def counts_by_namespace(release: str = os.uname().release) -> bool:
    """Whether RLIMIT_NPROC counts the processes of a user in its user namespace (and threads, as pids.max does).

    Then it means, for a container with one user, the same as pids.max; for one with several, each may have as many.
    """
    match = re.match(r"(\d+)\.(\d+)", release)
    return match is not None and (int(match[1]), int(match[2])) >= NPROC_PER_NAMESPACE


def complaint(missing: frozenset[str], idmap: IdMap) -> str:
    """What does not hold of those limits that have no cgroup, in a part of one line; empty if everything does."""
    nothing = set(missing)
    parts = []
    if "--cpuset-cpus" in missing:
        nothing.discard("--cpuset-cpus")
        parts.append("--cpuset-cpus holds until a process in the container asks for other CPUs")
    if "--pids-limit" in missing and counts_by_namespace():
        nothing.discard("--pids-limit")
        if not idmap.single:
            parts.append("--pids-limit holds for each user in the container by itself")
    if nothing:
        parts.insert(0, f"{' and '.join(sorted(nothing))} {'does' if len(nothing) == 1 else 'do'} not hold")
    return ", ".join(parts)
