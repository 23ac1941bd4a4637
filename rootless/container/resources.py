"""What a container may use: checked as Docker's daemon checks it, and in its words."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from ..errors import UsageError
from .record import Resources

LEAST_MEMORY = 6 << 20
"""Bytes; Docker's least."""

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def check(resources: Resources) -> None:
    """Refuse what can't be meant.

    Raises:
        UsageError: see the words.
    """
    _check_memory(resources)
    _check_cpus(resources)
    if not -1000 <= resources.oom_score_adj <= 1000:
        raise UsageError(f"Invalid value {resources.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if resources.pids_limit < -1:
        raise UsageError(f"invalid pids limit {resources.pids_limit}", hint="-1 is for any number")


def _check_memory(resources: Resources) -> None:
    memory, swap, reservation = resources.memory, resources.memory_swap, resources.memory_reservation
    if 0 < memory < LEAST_MEMORY:
        raise UsageError("Minimum memory limit allowed is 6MB")
    if swap > 0 and not memory:
        raise UsageError("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise UsageError("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < reservation < LEAST_MEMORY:
        raise UsageError("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise UsageError("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_cpus(resources: Resources) -> None:
    online = cpus("")
    count = len(online)
    if resources.nano_cpus < 0 or resources.nano_cpus > count * 10**9:
        raise UsageError(f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if resources.cpu_shares < 0:
        raise UsageError(f"invalid CPU shares ({resources.cpu_shares}): value must be a positive integer")
    if resources.cpuset_cpus:
        wanted = cpus(resources.cpuset_cpus)
        if not wanted <= online:
            raise UsageError(
                f"Requested CPUs are not available - requested {resources.cpuset_cpus}, available: {ranges(online)}"
            )


def cpus(text: str) -> frozenset[int]:
    """The processors of a list such as `0-2,5`; of an empty one, all that are online.

    Raises:
        UsageError: it is no such list.
    """
    if not text:
        return _online()
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"Invalid value {text} for cpuset cpus")
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(found)


def _online() -> frozenset[int]:
    try:
        return cpus(Path("/sys/devices/system/cpu/online").read_text().strip() or "0")
    except OSError:
        return frozenset(range(os.cpu_count() or 1))


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
        UsageError: the two do not go together.
    """
    new = msgspec.structs.replace(old, **given)
    if given.get("memory") and not given.get("memory_swap") and 0 < old.memory_swap < new.memory:
        raise UsageError(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    check(new)
    return new
