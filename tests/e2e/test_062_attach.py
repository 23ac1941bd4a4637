"""Attaching, detaching and re-attaching through real terminals."""

from __future__ import annotations

import pexpect
import pytest

from rootless.runtime.detach import DetachKeys
from tests.conftest import Rootless

IMAGE = "busybox:latest"
PROMPT = "/ # "


def spawn(rootless: Rootless, *words: str) -> pexpect.spawn:
    program, *arguments = rootless.argv(*words)
    return pexpect.spawn(program, arguments, env=rootless.environment, encoding="utf-8", timeout=15)


def test_detach_and_come_back(rootless: Rootless) -> None:
    """ctrl-p ctrl-q leaves the shell running; attach gives it back, with what happened meanwhile."""
    child = spawn(rootless, "run", "-it", "--name", "room", IMAGE, "sh")
    child.expect_exact(PROMPT)
    child.sendline("X=remembered")
    child.expect_exact(PROMPT)
    child.send("\x10\x11")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    assert rootless.ok("ps", "--format", "{{.Names}}") == "room\n"
    again = spawn(rootless, "attach", "room")
    again.sendline("echo $X")
    again.expect_exact("remembered\r\n")
    again.sendline("exit 5")
    again.expect(pexpect.EOF)
    again.wait()
    assert again.exitstatus == 5
    back = spawn(rootless, "start", "-ai", "room")
    back.expect_exact(PROMPT)
    back.sendline("exit 6")
    back.expect(pexpect.EOF)
    back.wait()
    assert back.exitstatus == 6
    rootless.ok("rm", "room")


def test_attach_detached_by_keys_is_an_error_as_in_docker(rootless: Rootless) -> None:
    rootless.ok("run", "-dit", "--name", "kept", IMAGE, "sh")
    child = spawn(rootless, "attach", "--detach-keys", "ctrl-x,d", "kept")
    child.expect_exact(PROMPT)
    child.send("\x18d")
    child.expect_exact("read escape sequence")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 1
    rootless.ok("rm", "-f", "kept")


@pytest.mark.parametrize(
    ("keys", "typed", "passed", "found"),
    [
        ("ctrl-p,ctrl-q", b"abc", b"abc", False),
        ("ctrl-p,ctrl-q", b"ab\x10\x11cd", b"ab", True),
        ("ctrl-p,ctrl-q", b"\x10x", b"\x10x", False),
        ("ctrl-p,ctrl-q", b"\x10\x10\x11", b"\x10", True),
        ("a,b,c", b"xababc", b"xab", True),
        ("ctrl-a", b"x\x01", b"x", True),
        ("ctrl-@,ctrl-_", b"\x00\x1f", b"", True),
    ],
)
def test_what_of_the_keys_the_container_gets(keys: str, typed: bytes, passed: bytes, found: bool) -> None:
    detach = DetachKeys.parse(keys)
    assert detach.feed(typed) == (passed, found)
    one_by_one = DetachKeys.parse(keys)
    results = []
    for byte in typed:
        results.append(one_by_one.feed(bytes([byte])))
        if results[-1][1]:
            break
    assert (b"".join(part for part, _ in results), results[-1][1]) == (passed, found)


@pytest.mark.parametrize("keys", ["", "ctrl-", "ctrl-1", "ab", "ctrl-p,,", "é"])
def test_keys_that_are_none(keys: str) -> None:
    with pytest.raises(ValueError, match="unknown character"):
        DetachKeys.parse(keys)
