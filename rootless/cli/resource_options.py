"""The options that say what a container may use, the same for `run`, `create` and `update`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import click
import msgspec

from ..container.record import Resources
from ..container.resources import check
from ..errors import InvalidError
from .container_options import size
from .disk_options import disk_options, read_disks
from .options import invalid

_LIMITS = (
    click.option("-m", "--memory", metavar="BYTES", help="Memory limit"),
    click.option("--memory-reservation", metavar="BYTES", help="Memory soft limit"),
    click.option(
        "--memory-swap", metavar="BYTES", help="Swap limit equal to memory plus swap: '-1' to enable unlimited swap"
    ),
    click.option("--cpus", metavar="DECIMAL", help="Number of CPUs"),
    click.option("--cpu-period", metavar="INT", help="Limit CPU CFS (Completely Fair Scheduler) period"),
    click.option("--cpu-quota", metavar="INT", help="Limit CPU CFS (Completely Fair Scheduler) quota"),
    click.option("-c", "--cpu-shares", metavar="INT", help="CPU shares (relative weight)"),
    click.option("--cpuset-cpus", metavar="STRING", help="CPUs in which to allow execution (0-3, 0,1)"),
    click.option("--cpuset-mems", metavar="STRING", help="MEMs in which to allow execution (0-3, 0,1)"),
    click.option(
        "--blkio-weight", metavar="UINT16", help="Block IO (relative weight), between 10 and 1000, or 0 to disable"
    ),
    click.option("--pids-limit", metavar="INT", help="Tune container pids limit (set -1 for unlimited)"),
)
_OOM = click.option("--oom-score-adj", metavar="INT", help="Tune host's OOM preferences (-1000 to 1000)")

INT64 = 1 << 63


def limit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with those that can be changed later."""
    for option in reversed(_LIMITS):
        function = option(function)
    return function


def resource_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with all of them."""
    return limit_options(_OOM(disk_options(function)))


def take_resources(given: dict[str, Any]) -> dict[str, int | str]:
    """Take these options out of what a command was given: the fields of `Resources` that were named, as numbers.

    Raises:
        UsageError: a text that is none.
    """
    found: dict[str, int | str] = {}
    for name, (field, read) in _READERS.items():
        text = given.pop(name, None)
        if text is not None:
            found[field] = read(text)
    return found


def read_resources(given: dict[str, Any]) -> Resources:
    """The same for a new container, and checked.

    Raises:
        UsageError: a text that is no number.
        InvalidError: numbers that can't be meant.
    """
    found = take_resources(given)
    resources = msgspec.structs.replace(msgspec.convert(found, Resources), devices=read_disks(given))
    check(resources)
    return resources


def _swap(text: str) -> int:
    return -1 if text == "-1" else size(text, "--memory-swap")


def _nano_cpus(text: str) -> int:
    """A decimal number or a fraction of whole billionths, as Go's big.Rat reads it."""
    flag = "--cpus"
    if not re.fullmatch(r"[-+]?(\d+/\d+|(\d+\.?\d*|\.\d+)(e[-+]?\d{1,3})?)", text, re.IGNORECASE | re.ASCII):
        raise invalid(text, flag, f"failed to parse {text} as a rational number")
    from fractions import Fraction  # with decimal, which it imports, as long as several of our own modules

    try:
        nano = Fraction(text) * 10**9
    except ZeroDivisionError:
        raise invalid(text, flag, f"failed to parse {text} as a rational number") from None
    if nano.denominator != 1:
        raise invalid(text, flag, "value is too precise")
    return int(nano)


def _integer(flag: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[-+]?\d+", text, re.ASCII):
            raise invalid(text, flag, f'strconv.ParseInt: parsing "{text}": invalid syntax')
        number = int(text)
        if not -INT64 <= number < INT64:
            raise invalid(text, flag, f'strconv.ParseInt: parsing "{text}": value out of range')
        return number

    return read


def _weight(text: str) -> int:
    if not re.fullmatch(r"\d+", text, re.ASCII):
        raise invalid(text, "--blkio-weight", f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) >= 1 << 16:
        raise invalid(text, "--blkio-weight", f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


_READERS: Mapping[str, tuple[str, Callable[[str], int | str]]] = {
    "memory": ("memory", lambda text: size(text, "-m, --memory")),
    "memory_reservation": ("memory_reservation", lambda text: size(text, "--memory-reservation")),
    "memory_swap": ("memory_swap", _swap),
    "cpus": ("nano_cpus", _nano_cpus),
    "cpu_period": ("cpu_period", _integer("--cpu-period")),
    "cpu_quota": ("cpu_quota", _integer("--cpu-quota")),
    "cpu_shares": ("cpu_shares", _integer("-c, --cpu-shares")),
    "cpuset_cpus": ("cpuset_cpus", str),
    "cpuset_mems": ("cpuset_mems", str),
    "blkio_weight": ("blkio_weight", _weight),
    "pids_limit": ("pids_limit", _integer("--pids-limit")),
    "oom_score_adj": ("oom_score_adj", _integer("--oom-score-adj")),
}


def require_some(given: Mapping[str, Any]) -> None:
    """Docker's `update` wants to know what.

    Raises:
        InvalidError: nothing was named.
    """
    if not given:
        raise InvalidError("you must provide one or more flags when using this command")
