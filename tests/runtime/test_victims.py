"""Each party killed with -9 in each state of a container: the store tells the truth afterwards, and nothing stays.

A table of state x victim. What Docker would leave (a started container survives its command) stays; the name is free
again after `rm`; the fixture looks for processes, mounts, sockets and files that are left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"
NAME = "subject"


def stored(rootless: Rootless) -> dict[str, int | str]:
    state: dict[str, int | str] = json.loads((rootless.paths.names / NAME / "state.json").read_text())
    return state


def status(rootless: Rootless) -> str:
    return rootless.ok("inspect", "-f", "{{.State.Status}}", NAME).strip()


@contextmanager
def command(rootless: Rootless, *options: str, script: str = "sleep 60") -> Iterator[subprocess.Popen[bytes]]:
    """`rootless run` in the foreground, until its container is in the wanted state."""
    process = rootless.popen(
        *("run", "--name", NAME, *options, IMAGE, "sh", "-c", script),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def running(rootless: Rootless) -> None:
    wait_for((rootless.paths.names / NAME / "state.json").exists, "the container")
    wait_for(lambda: stored(rootless)["status"] == "running", "the start")


def paused(rootless: Rootless) -> None:
    running(rootless)
    rootless.ok("pause", NAME)


def restarting(rootless: Rootless) -> None:
    wait_for((rootless.paths.names / NAME / "state.json").exists, "the container")
    wait_for(
        lambda: stored(rootless)["status"] == "restarting" and int(stored(rootless)["restart_count"]) > 3, "waiting"
    )


STATES: dict[str, tuple[Callable[[Rootless], None], tuple[str, ...], str]] = {
    "running": (running, (), "exec sleep 60"),
    "paused": (paused, (), "exec sleep 60"),
    "restarting": (restarting, ("--restart", "always"), "exit 1"),
}

EXPECTED = {
    # state, victim: what `inspect` says of the container afterwards
    ("running", "command"): "running",
    ("running", "monitor"): "exited",
    ("running", "pid 1"): "exited",
    ("paused", "command"): "paused",
    ("paused", "monitor"): "exited",
    ("paused", "pid 1"): "exited",
    ("restarting", "command"): "restarting",
    ("restarting", "monitor"): "exited",
}


def kill(rootless: Rootless, state: str, victim: str) -> None:
    reach, options, script = STATES[state]
    with command(rootless, *options, script=script) as process:
        reach(rootless)
        before = stored(rootless)
        match victim:
            case "command":
                process.kill()
            case "monitor":
                os.kill(int(before["monitor"]), signal.SIGKILL)
            case "pid 1":
                os.kill(int(before["pid"]), signal.SIGKILL)
        wanted = {EXPECTED[state, victim]} | ({"running"} if EXPECTED[state, victim] == "restarting" else set())
        wait_for(lambda: status(rootless) in wanted, f"the state {wanted}")
        if victim == "command":
            time.sleep(0.1)
            assert status(rootless) in wanted, "it went on for a moment only"
    rootless.ok("rm", "-f", NAME)
    rootless.ok("run", "--rm", "--name", NAME, IMAGE, "true")


@pytest.mark.parametrize(("state", "victim"), EXPECTED)
def test_the_store_tells_the_truth(rootless: Rootless, state: str, victim: str) -> None:
    kill(rootless, state, victim)


@pytest.mark.long
@pytest.mark.parametrize(("state", "victim"), EXPECTED)
def test_twenty_times_each(rootless: Rootless, state: str, victim: str) -> None:
    for _ in range(20):
        kill(rootless, state, victim)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_the_monitor_killed_at_many_moments_of_a_start(rootless: Rootless, seed: int) -> None:
    """Between its fork and the command's first line: whatever is left, the next command clears it away."""
    import random

    moments = random.Random(seed)
    began = time.monotonic()
    rootless.ok("run", "--rm", "--name", NAME, IMAGE, "true")
    usual = time.monotonic() - began  # seconds from the command's first step to the end of its container, here and now
    found = {"nothing": 0, "exited": 0}
    for _ in range(50):
        process = rootless.popen(
            *("run", "--rm", "--name", NAME, IMAGE, "sleep", "60"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(0, 1.5 * usual))
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        found["exited" if children else "nothing"] += 1
        if not children:
            process.kill()
        process.wait(timeout=60)
        rootless.ok("rm", "-f", NAME)
        wait_for(lambda: not rootless.remains(), "clearing away")
    print(f"the monitor killed at 50 moments of a start: {found}")
    assert min(found.values()) > 0, "the moments have to lie before the monitor's fork as well as after it"


# --- states without processes: there the only party is the command that changes them ----------------------------------

AT_REST = {
    # state, the command that is killed: what `inspect` may say afterwards; "gone" when there is no such container
    ("created", "start"): {"created", "running"},
    ("exited", "start"): {"exited", "running"},
    ("created", "rm"): {"created", "gone"},
    ("exited", "rm"): {"exited", "gone"},
    ("dead", "rm"): {"dead", "gone"},
    ("running", "rm -f"): {"running", "exited", "gone"},
}


def resting(rootless: Rootless, state: str) -> None:
    rootless.ok("create", "--name", NAME, IMAGE, "sleep", "60")
    if state == "created":
        return
    rootless.ok("start", NAME)
    if state == "running":
        return
    rootless.ok("kill", NAME)
    rootless.ok("wait", NAME)
    if state == "dead":  # as a removal leaves it that could not finish
        path = rootless.paths.names / NAME / "state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "dead"}))


def now(rootless: Rootless) -> str:
    done = rootless("inspect", "-f", "{{.State.Status}}", NAME)
    return done.stdout.decode().strip() if done.returncode == 0 else "gone"


def kill_command(rootless: Rootless, state: str, words: str, delay: float) -> None:
    resting(rootless, state)
    process = rootless.popen(*words.split(), NAME, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    process.kill()
    process.wait()
    # A start that was begun is given up by its monitor: the lock is free, or the container runs, soon after.
    wait_for(lambda: now(rootless) in AT_REST[state, words], f"one of {AT_REST[state, words]}")
    rootless.ok("ps", "-a")
    rootless("rm", "-f", NAME)
    rootless.ok("run", "--rm", "--name", NAME, IMAGE, "true")
    # On a busy machine the monitor of the killed command takes its time to see that it is gone.
    wait_for(lambda: not rootless.remains(), "clearing away", timeout=60)


@pytest.mark.parametrize(("state", "words"), AT_REST)
def test_the_command_killed_in_a_state_without_processes(rootless: Rootless, state: str, words: str) -> None:
    kill_command(rootless, state, words, 0.12)


@pytest.mark.long
@pytest.mark.parametrize(("state", "words"), AT_REST)
def test_the_command_killed_twenty_times_in_a_state_without_processes(
    rootless: Rootless, state: str, words: str
) -> None:
    for number in range(20):
        kill_command(rootless, state, words, 0.02 * number)
