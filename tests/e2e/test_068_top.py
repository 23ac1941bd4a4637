"""`rootless top`: the host's ps over a container's processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


@pytest.fixture
def busy(rootless: Rootless) -> Iterator[str]:
    """A container with a few processes, one of them brought in by `exec`, and one that was orphaned inside."""
    script = "(sleep 300 & ); sleep 301 & exec sleep 302"
    rootless.ok("run", "-d", "--name", "busy", IMAGE, "sh", "-c", script)
    rootless.ok("exec", "-d", "busy", "sleep", "303")
    deadline = time.monotonic() + 10
    while len(rootless.ok("top", "busy").splitlines()) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    yield "busy"
    rootless.ok("rm", "-f", "busy")


def test_all_processes_of_the_container_and_no_others(rootless: Rootless, busy: str) -> None:
    with subprocess.Popen(["sleep", "304"]) as outside:
        header, *lines = rootless.ok("top", busy).splitlines()
        outside.kill()
    assert header.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert sorted(line.split(maxsplit=7)[7] for line in lines) == [f"sleep {n}" for n in (300, 301, 302, 303)]
    assert header.index("PID") == 20, "columns as wide as Docker's"


def test_options_of_ps(rootless: Rootless, busy: str) -> None:
    header, *lines = rootless.ok("container", "top", busy, "-eo", "pid,args").splitlines()
    assert header.split() == ["PID", "COMMAND"]
    pids = {int(line.split()[0]) for line in lines}
    assert len(pids) == 4
    assert int(rootless.ok("inspect", "-f", "{{.State.Pid}}", busy)) in pids
    assert rootless.ok("top", busy, "aux").splitlines()[0].split()[:4] == ["USER", "PID", "%CPU", "%MEM"]
    forest = rootless.ok("top", busy, "axf", "-o", "pid,cmd")
    assert forest.count("sleep 30") == 4, "options that -q does not go together with work, too"
    threads = rootless.ok("top", busy, "m", "-o", "pid,lwp,args").splitlines()
    assert len(threads) == 9, "each process and its thread"


def test_init_hides_nothing(rootless: Rootless) -> None:
    """The small init can't be looked into by others, its namespace included; its processes are found all the same."""
    rootless.ok("run", "-d", "--init", "--name", "with_init", IMAGE, "sleep", "300")
    rootless.ok("exec", "-d", "with_init", "sleep", "301")
    try:
        commands = [line.split()[1] for line in rootless.ok("top", "with_init", "-eo", "pid,comm").splitlines()[1:]]
        assert sorted(commands) == ["rootless-init", "sleep", "sleep"]
    finally:
        rootless.ok("rm", "-f", "with_init")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "comm"], "Couldn't find PID field in ps output"),
        (["-o", "comm=PID,pid"], 'specifying "comm=PID,pid" is not allowed'),
        (["--nosuch"], "ps: unknown gnu long option"),
    ],
)
def test_options_that_do_not_work(rootless: Rootless, busy: str, options: list[str], message: str) -> None:
    done = rootless("top", busy, *options)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert message.encode() in done.stderr


def test_it_must_run(rootless: Rootless) -> None:
    container_id = rootless.ok("create", "--name", "idle", IMAGE, "true").strip()
    done = rootless("top", "idle")
    assert (done.returncode, done.stderr.decode()) == (1, f"rootless: container {container_id} is not running\n")
    rootless.ok("rm", "idle")
    assert rootless("top", "idle").stderr == b"rootless: No such container: idle\n"
    assert b"requires at least 1 argument" in rootless("top").stderr


def test_without_ps_it_says_what_to_install(rootless: Rootless, busy: str) -> None:
    done = rootless("top", busy, env={"PATH": "/nowhere"})
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"rootless: top needs the command ps; an administrator can run: apt-get install procps\n"
