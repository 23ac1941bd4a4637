"""HEALTHCHECK: how to find out whether the service in a container is well, and Go's way to write durations."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import InvalidError
from .spec import Healthcheck

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"[+-]?(?:{_PART.pattern})+")
_TIMES = ("interval", "timeout", "start-period", "start-interval")


def duration(text: str) -> int:
    """Nanoseconds of a duration as Go's time.ParseDuration reads it: `30s`, `1m30s`, `1.5h`.

    Raises:
        InvalidError: it is none.
    """
    if text.lstrip("+-") == "0" and len(text) <= 2:
        return 0
    if not _DURATION.fullmatch(text):
        raise InvalidError(f"invalid duration {text!r}", hint="write it as 30s, 1m30s or 500ms")
    total = sum(_nanoseconds(number, _UNITS[unit]) for number, unit in _PART.findall(text))
    return -total if text.startswith("-") else total


def _nanoseconds(number: str, unit: int) -> int:
    whole, _, fraction = number.partition(".")
    return int(whole or 0) * unit + int(fraction or 0) * unit // int("1" + "0" * len(fraction))


def parse(text: str, command_of: Callable[[str], tuple[list[str], bool]]) -> Healthcheck:
    """What stands after HEALTHCHECK.

    Args:
        command_of: splits the rest of a CMD into words and says whether it had the JSON form.

    Raises:
        InvalidError: in the words of moby's builder.
    """
    flags, kind, rest = _flags(text)
    if kind == "NONE":
        if rest:
            raise InvalidError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(test=["NONE"])
    if not kind:
        raise InvalidError("HEALTHCHECK requires at least one argument")
    if kind != "CMD":
        raise InvalidError(f"Unknown type {kind!r} in HEALTHCHECK (try CMD)")
    words, exec_form = command_of(rest)
    if not words:
        raise InvalidError("Missing command after HEALTHCHECK CMD")
    times = {name.replace("-", "_"): interval(name, flags[name]) for name in _TIMES if name in flags}
    test = ["CMD" if exec_form else "CMD-SHELL", *words]
    return Healthcheck(test=test, retries=retries(flags.get("retries", "0")), **times)


def _flags(text: str) -> tuple[dict[str, str], str, str]:
    """The `--name=value` in front, the word after them in capitals, and the rest."""
    flags: dict[str, str] = {}
    while True:
        word, _, rest = text.strip().partition(" ")
        if not word.startswith("--"):
            return flags, word.upper(), rest.strip()
        name, equals, value = word[2:].partition("=")
        if name not in (*_TIMES, "retries"):
            raise InvalidError(f"Unknown flag: {name}", hint=f"HEALTHCHECK knows --{', --'.join(_TIMES)} and --retries")
        if not equals:
            raise InvalidError(f"Missing a value on flag: {name}")
        flags[name] = value
        text = rest


def interval(name: str, text: str) -> int:
    """Nanoseconds of one of the check's times; 0 inherits. InvalidError when it is no duration, or below 1 ms."""
    found = duration(text)
    if found < 10**6 and found != 0:
        raise InvalidError(f"Interval {name!r} cannot be less than 1ms")
    return found


def retries(text: str) -> int:
    """How many failures in a row make the container unhealthy; 0 inherits. InvalidError when it is no such number."""
    if not re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII):
        raise InvalidError(f"--retries {text!r} is not a number")
    if int(text) < 0:
        raise InvalidError(f"--retries cannot be negative ({text})")
    return int(text)
