"""The beginner's course that this engine is for, from the first container to the last, through a real terminal."""

from __future__ import annotations

import subprocess

import pexpect

from tests.conftest import Rootless

IMAGE = "busybox:latest"
PROMPT = "/ # "


def shell(rootless: Rootless, *words: str) -> pexpect.spawn:
    program, *arguments = rootless.argv(*words)
    child = pexpect.spawn(program, arguments, env=rootless.environment, encoding="utf-8", timeout=60)
    child.expect_exact(PROMPT)
    return child


def say(child: pexpect.spawn, line: str) -> str:
    child.sendline(line)
    child.expect_exact(PROMPT)
    return str(child.before.replace("\r\n", "\n").partition("\n")[2].strip())


def leave(child: pexpect.spawn) -> None:
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_the_course(rootless: Rootless) -> None:
    # A first container: inside one is root, with another host name, and sees its own processes only.
    child = shell(rootless, "run", "--rm", "-it", "--name", "heisenberg", IMAGE)
    assert say(child, "id -u") == "0"
    assert say(child, "ps -o comm").splitlines() == ["COMMAND", "sh", "ps"]
    say(child, "sleep 4218 &")
    # The host sees the container's processes in its own ps.
    assert "sleep 4218" in subprocess.run(["ps", "-ef"], capture_output=True, text=True, check=True).stdout
    assert rootless.ok("ps", "--format", "{{.Names}} {{.Image}} {{.State}}") == f"heisenberg {IMAGE} running\n"
    # A file is changed, the shell left: with --rm the container is gone.
    say(child, "echo changed >> /etc/passwd")
    leave(child)
    assert rootless.ok("ps", "-aq") == ""
    # The same with create and start: what was changed is in the container's layer ...
    rootless.ok("create", "-it", "--name", "heisenberg", IMAGE)
    child = shell(rootless, "start", "-ai", "heisenberg")
    say(child, "echo changed >> /etc/passwd")
    leave(child)
    assert "Exited (0)" in rootless.ok("ps", "-a", "--format", "{{.Status}}")
    child = shell(rootless, "start", "-ai", "heisenberg")
    assert say(child, "tail -n 1 /etc/passwd") == "changed"
    leave(child)
    # ... and not in the image.
    assert "changed" not in rootless.ok("run", "--rm", IMAGE, "cat", "/etc/passwd")
    # A second look into a running container, and its end.
    rootless.ok("start", "heisenberg")
    assert rootless.ok("exec", "heisenberg", "tail", "-n", "1", "/etc/passwd") == "changed\n"
    rootless.ok("stop", "-t", "1", "heisenberg")
    assert rootless.ok("rm", "heisenberg") == "heisenberg\n"
    assert rootless.ok("images", "--format", "{{.Repository}}") == "busybox\n"
