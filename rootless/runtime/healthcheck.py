"""The monitor's task that looks after its container's health: a probe (probe.py) every now and then, under trio."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Sequence

import trio

from ..container.health import SECOND, STARTING, Check, Result
from ..container.record import now

TIMED_OUT = -1
"""The exit code of a check that was killed, or could not be started, as Docker notes it."""


async def keep_checking(
    check: Check, probe: Sequence[str], note: Callable[[Result, bool], str], paused: Callable[[], bool]
) -> None:
    """Run the check again and again, until cancelled.

    Args:
        probe: the program that runs it once.
        note: takes each result, and whether the start period was not over when it began; gives the container's health.
        paused: whether the container is: then it can't answer, and is not asked, nor is a late result one.
    """
    began, status = trio.current_time(), STARTING
    while True:
        starting = trio.current_time() - began < check.start_period / SECOND
        # As in Docker, often only until it is known how the container does.
        await trio.sleep((check.start_interval if starting and status == STARTING else check.interval) / SECOND)
        starting = trio.current_time() - began < check.start_period / SECOND
        if paused():
            continue
        result = await _run(check, probe)
        if not paused():
            status = note(result, starting)


async def _run(check: Check, probe: Sequence[str]) -> Result:
    start, code = now(), TIMED_OUT
    output = f"Health check exceeded timeout ({check.timeout / SECOND:g}s)".encode()
    try:
        with trio.move_on_after(check.timeout / SECOND):
            done = await trio.run_process(
                probe, capture_stdout=True, stderr=subprocess.DEVNULL, check=False, deliver_cancel=_kill
            )
            code, output = done.returncode, done.stdout
    except OSError as problem:  # no process, no memory, no descriptor is to be had
        output = f"the check could not be started: {problem.strerror}".encode()
    return Result(start=start, end=now(), exit_code=code, output=output.decode(errors="replace"))


async def _kill(process: trio.Process) -> None:
    """The check is the probe's child and dies with it."""
    process.send_signal(signal.SIGKILL)
