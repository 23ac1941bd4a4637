"""What a container may use: checked as Docker's daemon checks it, and in its words."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import msgspec

from ..errors import InvalidError
from .record import DeviceLimit, Resources

LEAST_MEMORY = 6 << 20
"""Bytes; Docker's least."""

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def check(resources: Resources) -> None:
    """Refuse what can't be meant.

    Raises:
        InvalidError: see the words.
    """
    _check_memory(resources)
    _check_cpus(resources)
    _check_nodes(resources.cpuset_mems)
    _check_disks(resources)
    if not -1000 <= resources.oom_score_adj <= 1000:
        raise InvalidError(f"Invalid value {resources.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if resources.pids_limit < -1:
        raise InvalidError(f"invalid pids limit {resources.pids_limit}", hint="-1 is for any number")


def _check_memory(resources: Resources) -> None:
    memory, swap, reservation = resources.memory, resources.memory_swap, resources.memory_reservation
    if 0 < memory < LEAST_MEMORY:
        raise InvalidError("Minimum memory limit allowed is 6MB")
    if swap > 0 and not memory:
        raise InvalidError("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise InvalidError("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < reservation < LEAST_MEMORY:
        raise InvalidError("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise InvalidError("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_cpus(resources: Resources) -> None:
    online = cpus("")
    count = len(online)
    if resources.nano_cpus < 0 or resources.nano_cpus > count * 10**9:
        raise InvalidError(f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    _check_quota(resources)
    if resources.cpu_shares < 0:
        raise InvalidError(f"invalid CPU shares ({resources.cpu_shares}): value must be a positive integer")
    if resources.cpuset_cpus:
        wanted = cpus(resources.cpuset_cpus)
        if not wanted <= online:
            raise InvalidError(
                f"Requested CPUs are not available - requested {resources.cpuset_cpus}, available: {ranges(online)}"
            )


def _check_quota(resources: Resources) -> None:
    period, quota = resources.cpu_period, resources.cpu_quota
    for what, given in ("Period", period), ("Quota", quota):
        if resources.nano_cpus and given:
            raise InvalidError(f"Conflicting options: Nano CPUs and CPU {what} cannot both be set")
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidError("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1000:
        raise InvalidError("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def _check_disks(resources: Resources) -> None:
    if resources.blkio_weight and not 10 <= resources.blkio_weight <= 1000:
        raise InvalidError("Range of blkio weight is from 10 to 1000")
    for limit in resources.devices:
        disk_number(limit)


def disk_number(limit: DeviceLimit) -> str:
    """`major:minor` of a limit's disk.

    Raises:
        InvalidError: there is no such block device.
    """
    try:
        status = os.stat(limit.path)
    except OSError as problem:
        raise InvalidError(f"{limit.path}: {(problem.strerror or '').lower()}") from None
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidError(f"{limit.path} is not a block device")
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def cpus(text: str) -> frozenset[int]:
    """The processors of a list such as `0-2,5`; of an empty one, all that are online.

    Raises:
        InvalidError: it is no such list.
    """
    return _list(text, "cpus") if text else _online(Path("/sys/devices/system/cpu/online"))


def _list(text: str, what: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise InvalidError(f"Invalid value {text} for cpuset {what}")
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(found)


def _online(path: Path) -> frozenset[int]:
    try:
        return _list(path.read_text().strip() or "0", path.parent.name)
    except OSError:  # no such directory: one memory node, or as many processors as the interpreter sees
        return frozenset(range(os.cpu_count() or 1)) if path.parent.name == "cpu" else frozenset({0})


def _check_nodes(text: str) -> None:
    online = _online(Path("/sys/devices/system/node/online"))
    if text and not _list(text, "mems") <= online:
        raise InvalidError(f"Requested memory nodes are not available - requested {text}, available: {ranges(online)}")


def ranges(numbers: frozenset[int]) -> str:
    """Processors as the shortest list: `0-2,5`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in found)


def changed(old: Resources, **given: object) -> Resources:
    """`old` with what `update` names, checked together.

    Raises:
        InvalidError: the two do not go together.
    """
    new = msgspec.structs.replace(old, **given)
    if given.get("memory") and not given.get("memory_swap") and 0 < old.memory_swap < new.memory:
        raise InvalidError(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    check(new)
    return new
