"""`run -it` through a real pseudo-terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"
PROMPT = "/ # "


@pytest.fixture
def shell(rootless: Rootless) -> Iterator[pexpect.spawn]:
    program, *arguments = rootless.argv("run", "-it", "--rm", IMAGE, "sh")
    child = pexpect.spawn(
        program, arguments, env=rootless.environment, encoding="utf-8", timeout=60, dimensions=(30, 100)
    )
    child.setecho(False)
    child.expect_exact(PROMPT)
    yield child
    child.close(force=True)
    # As in Docker the container outlives the command that it was started by.
    for container in rootless.ok("ps", "-q").split():
        rootless.ok("rm", "-f", container)


def say(shell: pexpect.spawn, line: str) -> str:
    """Type a line and give what the shell prints until its next prompt, the echo left out."""
    shell.sendline(line)
    shell.expect_exact(PROMPT)
    return shell.before.replace("\r\n", "\n").partition("\n")[2].strip()


def wait_for_foreground(rootless: Rootless) -> None:
    """Until the shell has put `sleep` into the terminal's foreground: a key before would be the shell's own."""
    pid = rootless.ok("inspect", "-f", "{{.State.Pid}}", *rootless.ok("ps", "-q").split()).strip()
    for _ in range(200):
        group = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[5])
        if group not in (int(pid), -1):
            return
        time.sleep(0.02)
    pytest.fail("nothing came to the foreground")


def test_a_working_shell_and_its_exit_code(shell: pexpect.spawn) -> None:
    assert say(shell, "tty; echo $TERM; test -c /dev/console && echo console") == "/dev/pts/0\nxterm\nconsole"
    shell.sendline("exit 7")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 7


def test_the_size_is_right_and_follows_the_window(shell: pexpect.spawn) -> None:
    assert say(shell, "stty size") == "30 100"
    shell.setwinsize(41, 121)
    for _ in range(50):
        if say(shell, "stty size") == "41 121":
            break
    else:
        pytest.fail("the container's terminal did not follow")


def test_ctrl_c_reaches_the_foreground_process_only(rootless: Rootless, shell: pexpect.spawn) -> None:
    shell.sendline("sleep 100")
    shell.expect_exact("sleep 100")
    wait_for_foreground(rootless)
    shell.sendintr()
    shell.expect_exact(PROMPT)
    assert say(shell, "echo $?") == "130"


def test_job_control(rootless: Rootless, shell: pexpect.spawn) -> None:
    shell.sendline("sleep 100")
    shell.expect_exact("sleep 100")
    wait_for_foreground(rootless)
    shell.send("\x1a")
    shell.expect_exact("Stopped")
    shell.expect_exact(PROMPT)
    assert "Stopped" in say(shell, "jobs")
    say(shell, "kill %1")


def test_the_callers_terminal_is_as_before(rootless: Rootless, tmp_path: Path) -> None:
    """Raw mode must end with the container: a shell that does not echo is a shell that seems dead."""
    program, *arguments = rootless.argv("run", "-it", "--rm", IMAGE, "true")
    line = " ".join([program, *arguments])
    script = f"stty -a > $TMPDIR/a; {line}; stty -a > $TMPDIR/b; cmp $TMPDIR/a $TMPDIR/b && echo same"
    environment = rootless.environment | {"TMPDIR": str(tmp_path)}
    child = pexpect.spawn("sh", ["-c", script], env=environment, encoding="utf-8", timeout=60)
    child.expect_exact("same")
    child.expect(pexpect.EOF)
    child.close()


def test_terminal_without_input(rootless: Rootless) -> None:
    """-t alone: the output is a terminal's, with carriage returns, as in Docker."""
    assert rootless("run", "--rm", "-t", IMAGE, "echo", "hi").stdout == b"hi\r\n"


def test_another_users_terminal_is_its_own(rootless: Rootless) -> None:
    program, *arguments = rootless.argv(
        "run", "-it", "--rm", "-u", "1000", IMAGE, "sh", "-c", "stat -c %u $(tty); echo ok > /dev/tty"
    )
    child = pexpect.spawn(program, arguments, env=rootless.environment, encoding="utf-8", timeout=60)
    child.expect_exact("1000\r\nok\r\n")
    child.expect(pexpect.EOF)
    child.close()
