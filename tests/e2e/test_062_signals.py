"""Signals to the commands that stand for a container: `run`, `attach`, `exec`."""

from __future__ import annotations

import os
import signal
import subprocess
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from rootless import locks
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


def child_of(command: subprocess.Popen[bytes]) -> int:
    """The monitor, as soon as it is there."""
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    wait_for(children.read_text, "the fork of a monitor", pause=0.0005)
    return int(children.read_text().split()[0])


@pytest.mark.parametrize("how", ["run", "start"])
def test_a_signal_while_the_command_has_not_heard_of_the_start(rootless: Rootless, tmp_path: Path, how: str) -> None:
    """The container runs, and its command does not know yet: a signal in this moment is PID 1's, and not lost."""
    up = tmp_path / "up"
    make = ("--name", "early", "-v", f"{tmp_path}:/t", IMAGE, "sh", "-c", TRAPS.replace("echo ready", "touch /t/up"))
    if how == "start":
        rootless.ok("create", *make)
    command = rootless.popen(*(("run", *make) if how == "run" else ("start", "-a", "early")))
    child_of(command)
    command.send_signal(signal.SIGSTOP)
    wait_for(up.exists, "the start")
    command.send_signal(signal.SIGTERM)
    command.send_signal(signal.SIGCONT)
    assert command.wait(timeout=60) == 9
    rootless.ok("rm", "early")


def is_waiting(command: subprocess.Popen[bytes]) -> bool:
    """Whether it has dealt with every signal to it, and sleeps."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{command.pid}/status").read_text().splitlines())
    return status["State"].startswith("S") and not int(status["ShdPnd"], 16)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_before_the_start_undoes_it(rootless: Rootless, tmp_path: Path, number: int) -> None:
    """What waits for something, here for a lock, can be given up, and nothing remains."""
    file = tmp_path / "id"
    with locks.lock(rootless.paths.volumes_lock):
        command = rootless.popen("run", "--cidfile", str(file), "-v", "held:/v", IMAGE, "true")
        child_of(command)
        command.send_signal(number)
        wait_for(lambda: is_waiting(command), "the handling of the signal")
    assert command.wait(timeout=60) == 128 + number
    assert not file.exists()
    wait_for(lambda: not rootless.containers(), "the end of what was begun")
    rootless.ok("volume", "rm", "held")


def test_a_command_that_only_has_to_write_ends_by_a_signal(rootless: Rootless) -> None:
    """Its container has ended, so nobody is there to get it: it stayed until somebody read, or for ever."""
    script = "head -c 300000 /dev/zero; exit 3"
    command = rootless.popen("run", "--name", "over", IMAGE, "sh", "-c", script, stdout=subprocess.PIPE)
    wait_for(lambda: rootless("inspect", "-f", "{{.State.Status}}", "over").stdout == b"exited\n", "the end")
    wait_for(lambda: not monitors(command.pid), "the end of its monitor")
    command.send_signal(signal.SIGTERM)
    assert command.wait(timeout=60) == 128 + signal.SIGTERM
    assert command.stdout is not None
    command.stdout.close()
    rootless.ok("rm", "over")


def monitors(pid: int) -> list[str]:
    """The command's children that have not ended; it does not wait for them."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in children if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"]


@pytest.mark.parametrize("how", ["run", "exec", "logs"])
def test_a_reader_that_has_enough_ends_a_command_as_sigpipe_would(rootless: Rootless, how: str) -> None:
    """141 in a shell, as of any other program in the middle of a pipe."""
    much = ("head", "-c", "3000000", "/dev/zero")
    if how == "exec":
        rootless.ok("run", "-d", "--name", "source", IMAGE, "sleep", "600")
    elif how == "logs":
        rootless.ok("run", "-d", "--name", "source", IMAGE, "sh", "-c", "yes | head -n 1000000")
        wait_for(lambda: rootless.ok("inspect", "-f", "{{.State.Status}}", "source") == "exited\n", "the end")
    words = {"run": ("run", "--rm", IMAGE, *much), "exec": ("exec", "source", *much), "logs": ("logs", "source")}[how]
    command = rootless.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout is not None
    command.stdout.read(10)
    command.stdout.close()
    assert command.stderr is not None
    assert command.stderr.read() == b""
    assert command.wait(timeout=60) == 128 + signal.SIGPIPE
    command.stderr.close()
    if how != "run":
        rootless.ok("rm", "-f", "source")
