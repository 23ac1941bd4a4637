"""Signals to the commands that stand for a container: `run`, `attach`, `exec`."""

from __future__ import annotations

import os
import signal
import subprocess
import termios
from collections.abc import Iterator
from dataclasses import dataclass

import pexpect
import pytest

from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"
TRAPS = "trap 'exit 9' INT TERM HUP; echo ready; while :; do sleep 0.1; done"


@dataclass(frozen=True)
class Desk:
    """A terminal: who sits at it has `hand`, the command has `far`."""

    hand: int
    far: int

    @property
    def modes(self) -> list[object]:
        return termios.tcgetattr(self.far)

    def shows(self, text: bytes) -> None:
        shown = b""
        while text not in shown:
            data = os.read(self.hand, 4096)
            assert data, shown
            shown += data


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk(*os.openpty())
    yield desk
    os.close(desk.hand)
    os.close(desk.far)


@pytest.mark.parametrize(
    ("how", "number"),
    [("attach", signal.SIGHUP), ("attach", signal.SIGRTMIN), ("exec", signal.SIGTERM), ("run", signal.SIGQUIT)],
)
def test_the_terminal_is_not_left_raw(rootless: Rootless, desk: Desk, how: str, number: int) -> None:
    """A shell behind which nothing is echoed, and ctrl-c dead: what `timeout 60 rootless attach` must not leave."""
    shell = ("sh", "-c", "echo ready; exec sleep 600")
    words = {
        "run": ("run", "-it", "--sig-proxy=false", "--name", "seat", IMAGE, *shell),
        "attach": ("attach", "seat"),
        "exec": ("exec", "-it", "seat", *shell),
    }[how]
    if how != "run":
        rootless.ok("run", "-dit", "--name", "seat", IMAGE, "sh")
    before = desk.modes
    command = rootless.popen(*words, stdin=desk.far, stdout=desk.far, stderr=subprocess.PIPE)
    wait_for(lambda: desk.modes != before, "raw mode")
    if how != "attach":
        desk.shows(b"ready\r\n")
    command.send_signal(number)
    assert command.communicate(timeout=60)[1] == b""
    assert command.returncode == 128 + number
    assert desk.modes == before
    assert rootless.ok("ps", "-q", "--filter", "name=seat") != ""  # as in Docker
    rootless.ok("rm", "-f", "seat")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_container_with_a_terminal_gets_the_signals_of_run(rootless: Rootless, desk: Desk, number: int) -> None:
    """Closing the window hangs the container up, as in Docker: it would go on unseen."""
    before = desk.modes
    command = rootless.popen("run", "--rm", "-it", IMAGE, "sh", "-c", TRAPS, stdin=desk.far, stdout=desk.far)
    desk.shows(b"ready\r\n")
    wait_for(lambda: desk.modes != before, "raw mode")
    command.send_signal(number)
    assert command.wait(timeout=60) == 9
    assert desk.modes == before


def test_ctrl_c_without_input_is_the_containers(rootless: Rootless) -> None:
    """-t alone: this terminal is not raw, and makes a signal of the key."""
    program, *arguments = rootless.argv("run", "--rm", "-t", IMAGE, "sh", "-c", TRAPS)
    child = pexpect.spawn(program, arguments, env=rootless.environment, encoding="utf-8", timeout=60)
    child.expect_exact("ready")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 9
