"""The end of a process that a killed monitor has left: it is seen before anybody is told of it."""

from __future__ import annotations

import subprocess

from rootless.container.container import kill_if_same, signal_if_same
from rootless.kernel.process import is_running, start_time


def test_what_was_killed_has_ended() -> None:
    """kill(2) only says that a signal is on its way."""
    with subprocess.Popen(["sleep", "60"]) as process:
        started = start_time(process.pid)
        kill_if_same(process.pid, started)
        assert not is_running(process.pid, started)


def test_a_process_that_only_has_its_number_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        started = start_time(process.pid)
        kill_if_same(process.pid, started - 1)
        assert not signal_if_same(process.pid, started + 1, 9)
        assert is_running(process.pid, started)
        assert signal_if_same(process.pid, started, 9)
    kill_if_same(process.pid, started)  # it is gone: nothing to do, and nothing to wait for
    assert not signal_if_same(0, 0, 9)
