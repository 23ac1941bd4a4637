"""Attaching, detaching and re-attaching through real terminals."""

from __future__ import annotations

import pexpect
import pytest

from rootless.runtime.detach import DetachKeys
from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"
PROMPT = "/ # "


def spawn(rootless: Rootless, *words: str) -> pexpect.spawn:
    program, *arguments = rootless.argv(*words)
    return pexpect.spawn(program, arguments, env=rootless.environment, encoding="utf-8", timeout=60)


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


def test_what_was_typed_before_the_keys_arrives(rootless: Rootless) -> None:
    """A quick typist, or a script: one read(2) has the line and the detach keys behind it."""
    child = spawn(rootless, "run", "-it", "--name", "quick", IMAGE, "sh")
    child.expect_exact(PROMPT)
    child.send("touch /typed\n\x10\x11")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    wait_for(lambda: rootless("exec", "quick", "test", "-e", "/typed").returncode == 0, "what was typed", pause=0.1)
    rootless.ok("rm", "-f", "quick")


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
        ("DEL,x", b"y\x7fx", b"y", True),
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


SPEAK = ("sh", "-c", "echo out; echo err >&2; exit 3")


@pytest.mark.parametrize(("name", "out", "err"), [("stdout", b"out\n", b""), ("STDERR", b"", b"err\n")])
def test_only_some_streams(rootless: Rootless, name: str, out: bytes, err: bytes) -> None:
    done = rootless("run", "--name", "part", "-a", name, IMAGE, *SPEAK)
    assert (done.returncode, done.stdout, done.stderr) == (3, out, err)
    assert rootless.ok("inspect", "-f", "{{.Config.AttachStdin}} {{.Config.AttachStdout}}", "part").split() == [
        "false",
        "true" if name == "stdout" else "false",
    ]
    rootless.ok("rm", "part")


def test_only_input(rootless: Rootless) -> None:
    """As in Docker: the id is shown, and the end of the input is the end of the command, not of the container."""
    shown = rootless.ok(
        "run", "-i", "-a", "stdin", "--name", "fed", IMAGE, "sh", "-c", "cat; sleep 0.5", stdin=b"food\n"
    )
    assert shown.strip() == rootless.ok("inspect", "-f", "{{.Id}}", "fed").strip()
    rootless.ok("wait", "fed")
    assert rootless.ok("inspect", "-f", "{{.State.ExitCode}}", "fed") == "0\n"
    assert rootless.ok("logs", "fed") == "food\n"
    rootless.ok("rm", "fed")


def test_the_input_ends_with_the_command_that_was_its_source(rootless: Rootless) -> None:
    """As in Docker: who waits for more input after a kill -9 of the command would wait for ever."""
    command = rootless.popen(
        "run", "-i", "--name", "orphan", IMAGE, "sh", "-c", "echo up; cat; echo end", stdin=-1, stdout=-1
    )
    assert command.stdin is not None and command.stdout is not None
    assert command.stdout.readline() == b"up\n"
    command.stdin.write(b"last words\n")
    command.stdin.flush()
    assert command.stdout.readline() == b"last words\n"
    command.kill()
    command.communicate()
    rootless.ok("wait", "orphan")
    assert rootless.ok("logs", "orphan") == "up\nlast words\nend\n"
    rootless.ok("rm", "orphan")


def test_streams_that_are_none(rootless: Rootless) -> None:
    done = rootless("run", "-a", "foo", IMAGE)
    assert (done.returncode, done.stderr.decode().splitlines()[0]) == (
        125,
        'rootless: invalid argument "foo" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR',
    )
    done = rootless("run", "-d", "-a", "stdout", IMAGE)
    assert done.returncode == 125 and b"cannot specify both --attach and --detach" in done.stderr
