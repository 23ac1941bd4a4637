"""Programs that draw on the whole screen: what a terminal emulator shows of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from contextlib import suppress

import pexpect
import pyte
import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


class Screen:
    """A terminal of 24 x 80 with somebody in front of it."""

    def __init__(self, rootless: Rootless, *words: str) -> None:
        program, *arguments = rootless.argv(*words)
        self.child = pexpect.spawn(
            program, arguments, env=rootless.environment, encoding="utf-8", timeout=60, dimensions=(24, 80)
        )
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.Stream(self.screen)

    def shows(self, text: str, seconds: float = 60) -> list[str]:
        """Wait until the text can be read; the lines of the screen."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(pexpect.TIMEOUT, pexpect.EOF):
                self.stream.feed(self.child.read_nonblocking(65536, timeout=0.1))
            if any(text in line for line in self.screen.display):
                return list(self.screen.display)
        raise AssertionError(f"{text!r} is not on the screen:\n" + "\n".join(self.screen.display))

    def type(self, keys: str) -> None:
        self.child.send(keys)

    def end(self) -> None:
        self.child.expect(pexpect.EOF)
        self.child.close()


def test_vi_draws_saves_and_leaves(rootless: Rootless) -> None:
    screen = Screen(rootless, "run", "-it", "--rm", IMAGE, "sh")
    screen.shows("/ #")
    screen.type("vi /poem\r")
    screen.shows("~")  # how vi marks lines after the end
    screen.type("iroses are red\rviolets are blue\x1b")
    lines = screen.shows("violets are blue")
    assert lines[0].startswith("roses are red")
    screen.type("kdd:wq\r")
    screen.shows("/ #")
    screen.type("clear; cat /poem\r")
    assert "violets are blue" in "\n".join(screen.shows("violets"))
    screen.type("exit\r")
    screen.end()


def test_top_draws_and_goes_on_after_a_new_window_size(rootless: Rootless) -> None:
    screen = Screen(rootless, "run", "-it", "--rm", IMAGE, "top")
    screen.shows("Load average")
    screen.child.setwinsize(40, 120)
    screen.screen.resize(40, 120)
    screen.shows("PID")
    screen.type("q")
    screen.end()


def test_a_screen_goes_on_after_detaching_and_attaching_again(rootless: Rootless) -> None:
    screen = Screen(rootless, "run", "-it", "--name", "drawn", IMAGE, "top")
    screen.shows("Load average")
    screen.type("\x10\x11")
    screen.end()
    again = Screen(rootless, "attach", "drawn")
    again.shows("Load average")
    again.type("q")
    again.end()
    rootless.ok("rm", "drawn")


def test_ten_megabytes_pasted_in(rootless: Rootless) -> None:
    data = os.urandom(10_000_000)
    shown = rootless("run", "--rm", "-i", IMAGE, "sha256sum", stdin=data).stdout.decode()
    assert shown.split()[0] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [100_000_000, pytest.param(1_000_000_000, marks=pytest.mark.long)])
def test_much_streamed_out(rootless: Rootless, size: int) -> None:
    """No byte is lost or changed between the container's pipe and the command's."""
    process = rootless.popen(
        *("run", "--rm", IMAGE, "sh", "-c", f"yes 0123456789abcdef | head -c {size}"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    found, read = hashlib.sha256(), 0
    while chunk := process.stdout.read(1 << 20):
        found.update(chunk)
        read += len(chunk)
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    expected, block = hashlib.sha256(), b"0123456789abcdef\n" * 65536
    for _ in range(size // len(block)):
        expected.update(block)
    expected.update(block[: size % len(block)])
    assert (read, found.hexdigest()) == (size, expected.hexdigest())
