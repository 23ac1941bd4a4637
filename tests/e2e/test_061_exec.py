"""`exec`: another process in a running container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


@pytest.fixture
def running(rootless: Rootless) -> Iterator[str]:
    rootless.ok("run", "-d", "--name", "host", "-e", "FROM=container", "-w", "/tmp", IMAGE, "sleep", "600")
    yield "host"
    rootless.ok("rm", "-f", "host")


def test_it_is_in_the_container(rootless: Rootless, running: str) -> None:
    assert rootless.ok("exec", running, "ps", "-o", "pid,comm").split()[2:] == ["1", "sleep", "2", "ps"]
    rootless.ok("exec", running, "touch", "/made")
    assert (rootless.paths.names / running / "upper" / "made").exists()


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_code(rootless: Rootless, running: str, code: int) -> None:
    assert rootless("exec", running, "sh", "-c", f"exit {code}").returncode == code


def test_a_directory_that_is_not_there_is_not_made(rootless: Rootless, running: str) -> None:
    """Only a container's own is, at its start; what `exec -w` names and is not there was mistyped."""
    done = rootless("exec", "-w", "/typo/dir", running, "pwd")
    assert (done.returncode, done.stdout) == (127, b"")
    assert b"/typo/dir: no such file or directory" in done.stderr
    assert rootless("exec", running, "test", "-e", "/typo").returncode == 1


def test_words_that_are_not_utf8(rootless: Rootless, running: str) -> None:
    """Words are bytes to execve(2). Neither the event that tells of them nor a failure may fail of that."""
    word = os.fsdecode(b"\xff")
    done = rootless("exec", running, "printf", word)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\xff", b"")
    refused = rootless("exec", running, f"no{word}such")
    assert refused.returncode == 127
    assert "executable file not found in $PATH" in refused.stderr.decode()
    events = rootless.ok("events", "--since", "1h", "--until", "0s", "--filter", "event=exec_start")
    assert "exec_start: printf \ufffd" in events


def test_a_signal_is_128_and_its_number(rootless: Rootless, running: str) -> None:
    assert rootless("exec", running, "sh", "-c", "kill -9 $$").returncode == 137


def test_what_cannot_be_executed(rootless: Rootless, running: str) -> None:
    assert rootless("exec", running, "nosuch").returncode == 127
    assert rootless("exec", running, "/etc/passwd").returncode == 126
    assert rootless("exec", "nosuch", "true").returncode == 1


def test_input_output_and_errors(rootless: Rootless, running: str) -> None:
    data = os.urandom(200_000)
    assert rootless("exec", "-i", running, "cat", stdin=data).stdout == data
    done = rootless("exec", running, "sh", "-c", "echo out; echo err >&2; cat", stdin=b"not passed on")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_environment_directory_and_user(rootless: Rootless, running: str) -> None:
    assert rootless.ok("exec", running, "sh", "-c", "echo $FROM; pwd; id -u; echo $HOME").split() == [
        *("container", "/tmp", "0", "/root")
    ]
    options = ("-e", "FROM=here", "-w", "/etc", "-u", "nobody")
    assert rootless.ok("exec", *options, running, "sh", "-c", "echo $FROM; pwd; id -u").split() == [
        "here",
        "/etc",
        "65534",
    ]


def test_a_terminal_has_a_name_unless_the_container_says_another(rootless: Rootless, running: str) -> None:
    """Without TERM no program draws: vi, top and clear are what most people use exec for."""
    terms = ("sh", "-c", "echo ${TERM-none}")
    assert rootless.ok("exec", running, *terms) == "none\n"
    assert rootless.ok("exec", "-t", running, *terms) == "xterm\r\n"
    assert rootless.ok("exec", "-t", "-e", "TERM=linux", running, *terms) == "linux\r\n"


def test_added_groups_are_those_of_another_user_too(rootless: Rootless) -> None:
    """--group-add video, and exec -u app: as in Docker."""
    rootless.ok("run", "-d", "--name", "grouped", "--group-add", "44", "-u", "7:8", IMAGE, "sleep", "600")
    assert rootless.ok("exec", "grouped", "id", "-G").split() == ["8", "44"]
    assert rootless.ok("exec", "-u", "1000:5", "grouped", "id", "-G").split() == ["5", "44"]
    assert "44" in rootless.ok("exec", "-u", "root", "grouped", "id", "-G").split()
    rootless.ok("rm", "-f", "grouped")


def test_powers_are_the_containers(rootless: Rootless, running: str) -> None:
    shown = ("grep", "-E", "^(CapEff|Seccomp):", "/proc/self/status")
    assert rootless.ok("exec", running, *shown).split() == ["CapEff:", "00000000a80425fb", "Seccomp:", "2"]
    everything = rootless.ok("exec", "--privileged", running, *shown).split()
    assert int(everything[1], 16).bit_count() >= 38
    assert everything[3] == "0"


def test_into_a_container_with_an_init(rootless: Rootless) -> None:
    """Its PID 1 is undumpable: not even its owner may look into /proc/PID/ns, and yet exec must find the namespaces."""
    rootless.ok("run", "-d", "--init", "--name", "inited", IMAGE, "sleep", "60")
    assert "rootless-init" in rootless.ok("exec", "inited", "ps")
    rootless.ok("rm", "-f", "inited")


def test_detached_goes_on_by_itself(rootless: Rootless, running: str) -> None:
    assert rootless.ok("exec", "-d", running, "sh", "-c", "sleep 0.2; touch /later") == ""
    later = rootless.paths.names / running / "upper" / "later"
    for _ in range(200):
        if later.exists():
            return
        time.sleep(0.02)
    pytest.fail("the detached process did not finish")


def test_it_survives_its_command_and_ends_with_the_container(rootless: Rootless, running: str) -> None:
    process = rootless.popen("exec", running, "sh", "-c", "echo up; exec sleep 321", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.communicate()
    time.sleep(0.1)
    assert "sleep 321" in rootless.ok("exec", running, "ps", "-o", "args")


def test_the_end_of_the_container_ends_it(rootless: Rootless, running: str) -> None:
    process = rootless.popen("exec", running, "sh", "-c", "echo up; exec sleep 600", stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    os.kill(json.loads((rootless.paths.names / running / "state.json").read_text())["pid"], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 137


def test_a_terminal_of_its_own(rootless: Rootless, running: str) -> None:
    program, *arguments = rootless.argv("exec", "-it", running, "sh")
    child = pexpect.spawn(
        program, arguments, env=rootless.environment, encoding="utf-8", timeout=60, dimensions=(33, 99)
    )
    child.expect_exact("/tmp # ")
    child.sendline("stty size; tty; echo $TERM")
    child.expect_exact("33 99\r\n/dev/pts/0\r\nxterm\r\n")
    child.sendline("exit 3")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 3


def test_nothing_of_the_host_can_be_seen_through_it(rootless: Rootless, running: str) -> None:
    assert rootless.ok("exec", running, "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]
    assert str(Path.home()) not in rootless.ok("exec", running, "env")
