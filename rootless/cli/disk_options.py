"""The options that limit what a container may have of single disks, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from ..container import sizes
from ..container.record import DeviceLimit
from ..errors import UsageError
from .options import invalid

_RATES = {
    "device_read_bps": ("rbps", "Limit read rate (bytes per second) from a device"),
    "device_write_bps": ("wbps", "Limit write rate (bytes per second) to a device"),
    "device_read_iops": ("riops", "Limit read rate (IO per second) from a device"),
    "device_write_iops": ("wiops", "Limit write rate (IO per second) to a device"),
}
_WEIGHT = "blkio_weight_device"


def disk_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with all of them."""
    for name, (_, text) in _RATES.items():
        function = click.option(_flag(name), multiple=True, metavar="LIST", help=text)(function)
    text = "Block IO weight (relative device weight)"
    return click.option(_flag(_WEIGHT), multiple=True, metavar="LIST", help=text)(function)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def read_disks(given: dict[str, Any]) -> tuple[DeviceLimit, ...]:
    """Take these options out of what a command was given.

    Raises:
        UsageError: a text that means nothing; in Docker's words.
    """
    found = [_weight(text) for text in given.pop(_WEIGHT)]
    for name, (kind, _) in _RATES.items():
        found += [_rate(text, kind, _flag(name)) for text in given.pop(name)]
    return tuple(found)


def _split(text: str, flag: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon or not path:
        raise invalid(text, flag, f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise invalid(text, flag, f"bad format for device path: {text}")
    return path, value


def _weight(text: str) -> DeviceLimit:
    path, value = _split(text, _flag(_WEIGHT))
    if not re.fullmatch(r"\d{1,4}", value, re.ASCII) or not (10 <= int(value) <= 1000 or int(value) == 0):
        raise invalid(text, _flag(_WEIGHT), f"invalid weight for device: {text}")
    return DeviceLimit("weight", path, int(value))


def _rate(text: str, kind: str, flag: str) -> DeviceLimit:
    path, value = _split(text, flag)
    form = "<device-path>:<number>"
    if kind.endswith("iops"):
        if not re.fullmatch(r"\d{1,18}", value, re.ASCII):
            words = f"The correct format is {form}. Number must be a positive integer"
            raise invalid(text, flag, f"invalid rate for device: {text}. {words}")
        return DeviceLimit(kind, path, int(value))
    try:
        return DeviceLimit(kind, path, sizes.parse(value))
    except UsageError:
        words = (
            f"The correct format is {form}[<unit>]. Number must be a positive integer. "
            "Unit is optional and can be kb, mb, or gb"
        )
        raise invalid(text, flag, f"invalid rate for device: {text}. {words}") from None
