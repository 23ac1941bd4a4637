"""Health checks as data: what is run how often, and what its results make of a container's health.

Docker's rules: a container is `starting` until its first success, or until its check has failed `retries` times in a
row after the start period; in the start period failures do not count. A success makes it `healthy` at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..errors import InvalidError, UsageError

if TYPE_CHECKING:
    from ..image.spec import RunConfig

SECOND = 1_000_000_000
SHORTEST = SECOND // 1000
"""Docker's: below it a check would never rest."""
STARTING = "starting"
KEPT = 5
"""Results that `inspect` shows."""
MAX_OUTPUT = 4096
"""Bytes kept of a check's output."""


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is run, and when. Times in nanoseconds; 0 stands for Docker's default.

    Attributes:
        test: `CMD` and a command, or `CMD-SHELL` and a line for the shell.
        timeout: after it a check that still runs is killed, and has failed.
        start_period: how long a container may take to get well.
        start_interval: the time between checks in the start period, as long as none has succeeded.
        retries: failures in a row that make it unhealthy.
    """

    test: tuple[str, ...]
    interval: int = 30 * SECOND
    timeout: int = 30 * SECOND
    start_period: int = 0
    start_interval: int = 5 * SECOND
    retries: int = 3

    @property
    def argv(self) -> tuple[str, ...]:
        kind, *words = self.test
        return ("/bin/sh", "-c", *words) if kind == "CMD-SHELL" else tuple(words)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One check: when (RFC 3339), its exit code (-1: killed at its timeout), the beginning of its output."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks have shown: `starting`, `healthy` or `unhealthy`, and the last results."""

    status: str = STARTING
    failing_streak: int = 0
    log: tuple[Result, ...] = ()


def after(health: Health, result: Result, check: Check, *, starting: bool) -> Health:
    """The health after one more result. `starting`: the start period is not over."""
    log = (*health.log, result)[-KEPT:]
    if result.exit_code == 0:
        return Health(status="healthy", failing_streak=0, log=log)
    if starting and health.status == STARTING:
        return Health(status=STARTING, failing_streak=health.failing_streak, log=log)
    streak = health.failing_streak + 1
    status = "unhealthy" if streak >= check.retries else health.status
    return Health(status=status, failing_streak=streak, log=log)


def merge(given: Check | None, run: RunConfig, *, none: bool, options: Sequence[str]) -> Check | None:
    """The check of a new container: the options laid over the image's HEALTHCHECK; None for none at all.

    Args:
        given: what the options say, with an empty `test` when they name no command.
        none: `--no-healthcheck`.
        options: the names of the fields that the options set.

    Raises:
        UsageError: both a check and none were asked for.
        InvalidError: a check that can't be made, whoever wrote it; in Docker's words.
    """
    if none:
        if options:
            raise UsageError("--no-healthcheck conflicts with --health-* options")
        return None
    base = _of_image(run)
    if given is None or not options:
        return _checked(base) if base is not None else None
    if base is None and not given.test:
        return None  # times for a check that there is not
    start = base or Check(test=())
    fields = {name: getattr(given, name) for name in options}
    return _checked(msgspec.structs.replace(start, **fields))


def _checked(check: Check) -> Check:
    """The check, if its monitor can keep to it: an image may hold anything."""
    times = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }
    for name, nanoseconds in times.items():
        if nanoseconds != 0 and nanoseconds < SHORTEST:
            raise InvalidError(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidError("Retries in Healthcheck cannot be negative")
    if check.test[0] not in ("CMD", "CMD-SHELL"):
        raise InvalidError(
            f"Unknown healthcheck type '{check.test[0]}' (expected 'CMD')", hint="--no-healthcheck does without"
        )
    return check


def _of_image(run: RunConfig) -> Check | None:
    found = run.healthcheck
    if found is None or not found.test or found.test[0] == "NONE" or len(found.test) < 2:
        return None
    default = Check(test=())
    return Check(
        test=tuple(found.test),
        interval=found.interval or default.interval,
        timeout=found.timeout or default.timeout,
        start_period=found.start_period,
        start_interval=found.start_interval or default.start_interval,
        retries=found.retries or default.retries,
    )
