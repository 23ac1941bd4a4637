"""The helpers of networks: what becomes of descriptors and of the monitor when something can't be had."""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from rootless.container.network import Connected
from rootless.errors import RootlessError
from rootless.network import helper
from rootless.network.helper import Process, Starting
from rootless.network.setup import Unconnected
from rootless.runtime import tending
from rootless.runtime.monitor import Monitor
from rootless.runtime.networking import Networking
from rootless.runtime.start import Running


def sleeper() -> int:
    return os.posix_spawn("/bin/sleep", ["sleep", "60"], {})


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_a_second_end_touches_nothing_of_another_s() -> None:
    """The number of a closed descriptor is the next file's."""
    process = Process("x", sleeper())
    number = process.pidfd
    process.end()
    others = [os.open(os.devnull, os.O_RDONLY)]
    while others[-1] < number:
        others.append(os.open(os.devnull, os.O_RDONLY))
    assert number in others
    process.end()
    for fd in others:
        os.close(fd)  # EBADF if it was closed already
    os.waitpid(process.pid, 0) if process.pid in helper._dying else None


def test_a_start_that_fails_leaves_no_descriptor() -> None:
    before = descriptors()

    def fail(ready: int, said: int) -> int:
        raise OSError(errno.EAGAIN, "no process")

    for _ in range(3):
        with pytest.raises(OSError, match="no process"):
            Starting("x", fail)
    assert descriptors() == before


def test_a_helper_that_cannot_be_watched_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    before, pid = descriptors(), 0

    def start(ready: int, said: int) -> int:
        nonlocal pid
        pid = sleeper()
        return pid

    def full(pid: int) -> int:
        raise OSError(errno.EMFILE, "no descriptor")

    monkeypatch.setattr(os, "pidfd_open", full)
    with pytest.raises(OSError, match="no descriptor"):
        Starting("x", start)
    assert descriptors() == before
    assert pid in helper._dying
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None  # it ends, and is reaped with the next one


def test_what_it_says_before_its_end_is_told() -> None:
    def start(ready: int, said: int) -> int:
        actions = [(os.POSIX_SPAWN_DUP2, ready, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
        return os.posix_spawn("/bin/sh", ["sh", "-c", "echo it is broken >&2"], {}, file_actions=actions)

    starting = Starting("x", start)
    with pytest.raises(RootlessError, match="x: it is broken"):
        starting.wait(10)
    starting.process.end()


class Failing(Unconnected):
    """A network whose helper can't be replaced at first."""

    def __init__(self, failures: list[Exception]) -> None:
        self.failures = failures
        self.helpers = [Process("x", sleeper())]

    def settle(self) -> Connected:
        raise NotImplementedError

    def repair(self, helper: Process) -> Starting | None:
        helper.end()
        self.helpers = []
        if self.failures:
            raise self.failures.pop(0)

        def start(ready: int, said: int) -> int:
            os.write(ready, b"\n")
            return sleeper()

        starting = Starting("x", start)
        self.helpers = [starting.process]
        return starting


def test_a_helper_that_cannot_be_replaced_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMFILE and the like must not end the monitor, and with it the container."""
    monkeypatch.setattr(tending, "DELAYS", (0.0,) * 4)
    network = Failing([OSError(errno.EMFILE, "too many open files"), RootlessError("no place")])
    told: list[str] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            def tell(down: str) -> None:
                told.append(down)
                if not down:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(tending.tend, network, tell)
            os.kill(network.helpers[0].pid, 9)

    trio.run(main)
    assert [text.partition(";")[2] for text in told] == ["", " [Errno 24] too many open files", " no place", ""]
    assert told[0] == "x was killed by signal 9" and told[-1] == ""
    for process in network.helpers:
        process.end()


def test_a_container_that_ends_before_its_helpers_are_watched() -> None:
    """Its helpers have been ended by then."""
    network = Failing([])
    network.helpers[0].end()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tending.tend, network, print)
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
            network.helpers[0].end()

    for _ in range(20):  # trio runs in any order what may run at the same time
        network.helpers = [Process("x", sleeper())]
        trio.run(main)


def test_what_cannot_be_written_down_ends_no_monitor(capsys: pytest.CaptureFixture[str]) -> None:
    class Unreadable:
        def emit(self, action: str, **attributes: str) -> None:
            pass

        def stored_state(self) -> NoReturn:
            raise OSError(errno.EMFILE, "too many open files")

    networking = object.__new__(Networking)
    networking.container = Unreadable()  # type: ignore[assignment]
    networking.tell("pasta ended")
    assert "pasta ended: [Errno 24] too many open files" in capsys.readouterr().err


def test_ways_out_that_change_twice_at_once_are_watched_once() -> None:
    """Two requests may be granted before the watch over the first one's helpers has begun."""
    began: list[int] = []

    async def tend() -> None:
        began.append(1)
        await trio.sleep_forever()

    async def main() -> None:
        running = Running(0, -1, 0, -1, -1, {}, -1, {})
        arguments: dict[str, Any] = {"tending": tend, "rewire": lambda: None}
        monitor = Monitor(running, None, **arguments)
        async with trio.open_nursery() as monitor._attending:
            monitor._rewire()
            monitor._rewire()
            await trio.testing.wait_all_tasks_blocked()
            monitor._attending.cancel_scope.cancel()

    trio.run(main)
    assert began == [1]
