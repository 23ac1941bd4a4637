"""The monitor as a process: what it answers before it needs trio, what it says on SIGUSR1, how much memory it takes."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from rootless.kernel.process import is_running
from tests.conftest import Rootless

IMAGE = "busybox:latest"


def monitor(rootless: Rootless, name: str) -> int:
    return int(json.loads((rootless.paths.names / name / "state.json").read_text())["monitor"])


def uses_trio(pid: int) -> bool:
    """trio imports ssl, and so OpenSSL, which nothing else in a monitor does."""
    return "libssl" in Path(f"/proc/{pid}/maps").read_text()


def dumped(rootless: Rootless, name: str, count: int) -> str:
    os.kill(monitor(rootless, name), signal.SIGUSR1)
    log = rootless.paths.names / name / "monitor.log"
    deadline = time.monotonic() + 10
    while log.read_text().count("--- end") < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return log.read_text().split("--- SIGUSR1")[-1]


def test_a_container_at_rest_needs_no_trio(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--name", "resting", "--stop-timeout", "600", IMAGE, "sleep", "600")
    time.sleep(0.3)
    assert not uses_trio(monitor(rootless, "resting"))
    assert "quiet.py" in dumped(rootless, "resting", 1)
    waiting = rootless.popen("wait", "resting", stdout=-1)
    time.sleep(0.5)
    began = time.monotonic()
    rootless.ok("stop", "-t", "1", "resting")
    assert time.monotonic() - began > 0.9, "SIGKILL came when its time was over"
    assert waiting.communicate(timeout=60)[0] == b"137\n"
    rootless.ok("rm", "resting")


def test_its_tasks_on_sigusr1(rootless: Rootless) -> None:
    """What was begun before trio is gone on with: the request to stop, and its time."""
    rootless.ok("run", "-d", "--name", "busy", IMAGE, "sh", "-c", "while :; do echo word; sleep 0.1; done")
    deadline = time.monotonic() + 20
    while not uses_trio(monitor(rootless, "busy")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    shown = dumped(rootless, "busy", 1)
    assert "task rootless.runtime.monitor.Monitor._relay_output" in shown
    assert "task rootless.runtime.monitor.Monitor._accept" in shown
    rootless.ok("stop", "-t", "0", "busy")
    rootless.ok("rm", "busy")


def test_a_stop_that_begins_before_trio_ends_after_it(rootless: Rootless) -> None:
    script = "trap 'while :; do echo no; sleep 0.1; done' TERM; while :; do sleep 0.1; done"
    rootless.ok("run", "-d", "--name", "stubborn", IMAGE, "sh", "-c", script)
    time.sleep(0.5)
    assert rootless.ok("stop", "-t", "2", "stubborn") == "stubborn\n"
    assert rootless.ok("inspect", "-f", "{{.State.ExitCode}}", "stubborn") == "137\n"
    assert "no" in rootless.ok("logs", "stubborn")
    rootless.ok("rm", "stubborn")


def pss(pid: int) -> int:
    """KiB of memory, what is shared with others counted in parts (proc_pid_smaps(5))."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


@pytest.mark.parametrize("number", [10, pytest.param(100, marks=pytest.mark.long)])
def test_many_at_once(rootless: Rootless, number: int) -> None:
    """All listed, all stopped within their time, and each monitor within its memory."""
    names = [f"one{n}" for n in range(number)]
    try:
        for name in names:
            rootless.ok("run", "-d", "--name", name, "--stop-timeout", "10", IMAGE, "sh", "-c",
                        "trap 'exit 0' TERM; sleep 600 & wait")  # fmt: skip
        assert set(rootless.ok("ps", "--format", "{{.Names}}").split()) == set(names)
        each = [pss(monitor(rootless, name)) for name in names]
        print(f"PSS of {number} monitors: {sum(each) // number} KiB on average, at most {max(each)} KiB")
        assert max(each) <= 20 << 10
        began = time.monotonic()
        done = rootless("stop", *names, timeout=120)
        assert done.returncode == 0
        print(f"{number} stopped in {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began < max(10, number / 2)
        shown = rootless.ok("ps", "-a", "--format", "{{.State}} {{.Status}}").splitlines()
        assert len(shown) == number
        assert all(line.startswith("exited Exited (0)") for line in shown), "none had to be killed"
    finally:
        rootless("rm", "-f", *names, timeout=120)


@pytest.mark.parametrize("number", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_orphaned_grandchildren_are_reaped(rootless: Rootless, number: int) -> None:
    """Whose parent has ended is the init's to wait for: no zombie stays."""
    script = f"""
        i=0; while [ $i -lt {number} ]; do (true & :); i=$((i + 1)); done
        n=1; for t in 1 2 3 4 5 6 7 8 9 10; do
            n=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l); [ $n = 0 ] && break; sleep 0.5
        done; echo zombies $n"""
    done = rootless("run", "--rm", "--init", IMAGE, "sh", "-c", script, timeout=300)
    assert done.stdout == b"zombies 0\n", done.stderr


def test_without_an_init_they_are_not(rootless: Rootless) -> None:
    """The test before could not fail otherwise: a PID 1 that never waits leaves zombies."""
    script = "(sleep 0.1 &) ; exec sleep 600"
    rootless.ok("run", "-d", "--name", "careless", IMAGE, "sh", "-c", script)
    try:
        deadline = time.monotonic() + 10
        while "Z" not in rootless.ok("exec", "careless", "ps", "-o", "stat") and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "Z" in rootless.ok("exec", "careless", "ps", "-o", "stat")
    finally:
        rootless.ok("rm", "-f", "careless")


def test_every_signal(rootless: Rootless) -> None:
    """Each arrives as itself, by its name and by its number."""
    import signal as signals

    caught = [s for s in signals.Signals if s.name not in ("SIGKILL", "SIGSTOP", "SIGCHLD") and s < 32]
    traps = "; ".join(f"trap 'echo {int(s)}' {int(s)}" for s in caught)
    rootless.ok("run", "-d", "--name", "ear", IMAGE, "sh", "-c", f"{traps}; echo ready; while :; do sleep 0.02; done")
    try:
        heard = rootless.paths.names / "ear" / "log"
        deadline = time.monotonic() + 60
        for number, one in enumerate(caught):
            while not heard.exists() or heard.read_text().count("\n") < number + 1:
                assert time.monotonic() < deadline, f"before {one.name}"
                time.sleep(0.01)
            rootless.ok("kill", "-s", one.name if number % 2 else str(int(one)), "ear")
        while heard.read_text().count("\n") < len(caught) + 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        shown = [json.loads(line)["log"].strip() for line in heard.read_text().splitlines()]
        assert shown == ["ready", *(str(int(s)) for s in caught)]
        rootless.ok("kill", "-s", "STOP", "ear")
        rootless.ok("kill", "-s", "CONT", "ear")
        rootless.ok("kill", "ear")
        assert rootless.ok("wait", "ear") == "137\n"
    finally:
        rootless.ok("rm", "-f", "ear")


def test_a_first_process_that_has_changed_its_ids_has_ended_when_ps_says_so(rootless: Rootless) -> None:
    """The change takes the order away that it shall die with its monitor (prctl(2)): whoever finds it kills it."""
    rootless.ok("run", "-d", "--name", "changed", IMAGE, "su", "-s", "/bin/sh", "nobody", "-c", "exec sleep 600")
    state = json.loads((rootless.paths.names / "changed" / "state.json").read_text())
    uids = f"/proc/{state['pid']}/status"
    deadline = time.monotonic() + 10
    while "Uid:\t0" in (told := Path(uids).read_text()) or f"Uid:\t{os.geteuid()}\t" in told:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(state["monitor"], signal.SIGKILL)
    while "Exited (137)" not in rootless.ok("ps", "-a", "--filter", "name=changed"):
        assert time.monotonic() < deadline + 10
    assert not is_running(state["pid"], state["pid_started"])
    rootless.ok("rm", "changed")
