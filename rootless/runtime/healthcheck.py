"""The monitor's task that looks after its container's health: a probe (probe.py) every now and then, under trio."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Sequence

import trio

from ..container.health import SECOND, STARTING, Check, Result
from ..container.record import now

TIMED_OUT = -1
"""The exit code of a check that was killed, as Docker notes it."""


async def keep_checking(check: Check, probe: Sequence[str], note: Callable[[Result, bool], str]) -> None:
    """Run the check again and again, until cancelled.

    Args:
        probe: the program that runs it once.
        note: takes each result, and whether the start period was not over when it began; gives the container's health.
    """
    began, status = trio.current_time(), STARTING
    while True:
        starting = trio.current_time() - began < check.start_period / SECOND
        # As in Docker, often only until it is known how the container does.
        await trio.sleep((check.start_interval if starting and status == STARTING else check.interval) / SECOND)
        starting = trio.current_time() - began < check.start_period / SECOND
        status = note(await _run(check, probe), starting)


async def _run(check: Check, probe: Sequence[str]) -> Result:
    start, code, output = now(), TIMED_OUT, b""
    with trio.move_on_after(check.timeout / SECOND):
        done = await trio.run_process(
            probe, capture_stdout=True, stderr=subprocess.DEVNULL, check=False, deliver_cancel=_kill
        )
        code, output = done.returncode, done.stdout
    if code == TIMED_OUT:
        output = f"Health check exceeded timeout ({check.timeout / SECOND:g}s)".encode()
    return Result(start=start, end=now(), exit_code=code, output=output.decode(errors="replace"))


async def _kill(process: trio.Process) -> None:
    """The check is the probe's child and dies with it."""
    process.send_signal(signal.SIGKILL)
