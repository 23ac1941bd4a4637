"""What commands answer in states that last a moment only, or that they don't expect. Docker's words."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from rootless.container.container import Hold
from rootless.kernel.process import boot_id, machine_id, start_time
from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"
POLITE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done")
A_WHILE = 1.0
"""Seconds that a command is left waiting. One that needs longer to begin has nothing to wait for, and is right too."""


def state(rootless: Rootless, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((rootless.paths.names / name / "state.json").read_text())
    return found


def status(rootless: Rootless, name: str) -> str:
    return str(state(rootless, name)["status"])


@pytest.mark.parametrize("words", [("start", "rests"), ("rm", "rests"), ("cp", "rests:/etc/passwd", "-")])
def test_who_works_on_a_container_at_rest_is_waited_for(rootless: Rootless, words: tuple[str, ...]) -> None:
    """Its monitor lets the lock go a moment after the end was told: `wait x; rm x` must not depend on who is faster."""
    rootless.ok("create", "--name", "rests", IMAGE, *POLITE)
    hold = Hold.take((rootless.paths.names / "rests").resolve())
    assert hold is not None
    process = rootless.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(A_WHILE)
    hold.release()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
    rootless("rm", "-f", "rests")


@pytest.mark.parametrize("words", [("start",), ("restart", "-t", "5")])
def test_two_that_start_at_once_both_have_it_running(rootless: Rootless, words: tuple[str, ...]) -> None:
    rootless.ok("create", "--name", "twice", IMAGE, *POLITE)
    started = [rootless.popen(*words, "twice", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    ends = [(process.communicate(timeout=60), process.returncode) for process in started]
    assert ends == [((b"twice\n", b""), 0)] * 3
    assert status(rootless, "twice") == "running"
    rootless.ok("rm", "-f", "twice")


@pytest.fixture
def paused(rootless: Rootless) -> Iterator[str]:
    rootless.ok("run", "-d", "--name", "frozen", IMAGE, *POLITE)
    rootless.ok("pause", "frozen")
    yield "frozen"
    rootless.ok("rm", "-f", "frozen")


def test_a_paused_container(rootless: Rootless, paused: str) -> None:
    done = rootless("start", paused)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cannot start a paused container, try unpause instead" in done.stderr
    assert b"is already paused" in rootless("pause", paused).stderr


def test_the_stop_signal_reaches_a_paused_container(rootless: Rootless, paused: str) -> None:
    rootless.ok("kill", "-s", "TERM", paused)
    wait_for(lambda: status(rootless, paused) == "exited", "its end")
    assert state(rootless, paused)["exit_code"] == 0


def test_words_about_what_is_not_paused(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "quiet", IMAGE, *POLITE)
    assert b"is not running" in rootless("pause", "quiet").stderr
    assert b"is not paused" in rootless("unpause", "quiet").stderr
    rootless.ok("start", "quiet")
    assert b"is not paused" in rootless("unpause", "quiet").stderr
    rootless.ok("rm", "-f", "quiet")


@pytest.fixture
def between_two_runs(rootless: Rootless) -> Iterator[str]:
    """A container that waits for its restart, and goes on waiting: its monitor is stopped."""
    rootless.ok("run", "-d", "--name", "again", "--restart", "always", IMAGE, "sh", "-c", "exit 3")
    monitor = int(str(state(rootless, "again")["monitor"]))

    def stopped() -> bool:
        os.kill(monitor, signal.SIGSTOP)
        if status(rootless, "again") == "restarting":
            return True
        os.kill(monitor, signal.SIGCONT)
        return False

    wait_for(stopped, "the time between two runs")
    yield "again"
    os.kill(monitor, signal.SIGCONT)
    rootless.ok("rm", "-f", "again")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pause", "again"), "is restarting, wait until the container is running"),
        (("exec", "again", "true"), "is restarting, wait until the container is running"),
        (("top", "again"), "is restarting, wait until the container is running"),
        (("unpause", "again"), "is not paused"),
        (("attach", "again"), "You cannot attach to a restarting container, wait until it is running"),
    ],
)
def test_what_needs_processes_says_that_there_are_none(
    rootless: Rootless, between_two_runs: str, words: tuple[str, ...], message: str
) -> None:
    done = rootless(*words)
    assert (done.returncode, done.stdout) == (1, b"")
    assert message in done.stderr.decode()


def test_events_have_the_name_of_their_time(rootless: Rootless) -> None:
    """A monitor and a removal have read the container's document long before."""
    identifier = rootless.ok("run", "-d", "--name", "before", IMAGE, *POLITE).strip()
    rootless.ok("rename", "before", "after")
    for words in ("pause",), ("unpause",), ("stop", "-t", "9"), ("rm",):
        rootless.ok(*words, "after")
    form = "{{.Action}} {{.Actor.Attributes.name}}"
    shown = rootless.ok("events", "--since", "0", "--until", "0s", "-f", f"container={identifier}", "--format", form)
    assert shown.splitlines()[-6:] == [
        "pause after",
        "unpause after",
        "kill after",
        "die after",
        "stop after",
        "destroy after",
    ]


def test_events_of_an_exec_belong_together(rootless: Rootless) -> None:
    identifier = rootless.ok("run", "-d", "--name", "busy", IMAGE, *POLITE).strip()
    assert rootless("exec", "busy", "sh", "-c", "exit 5").returncode == 5
    words = ("events", "--since", "0", "--until", "0s", "--format", "json", "-f", f"container={identifier}")

    def seen() -> list[dict[str, dict[str, dict[str, str]]]]:
        events = [json.loads(line) for line in rootless.ok(*words).splitlines()]
        return [event for event in events if event["Action"].startswith("exec_")]

    wait_for(lambda: len(seen()) == 3, "the event of its end")
    assert sorted(str(event["Action"]) for event in seen()) == [
        "exec_create: sh -c exit 5",
        "exec_die",
        "exec_start: sh -c exit 5",
    ]
    attributes = [event["Actor"]["Attributes"] for event in seen()]
    assert len({found["execID"] for found in attributes}) == 1
    assert [found["exitCode"] for found in attributes if "exitCode" in found] == ["5"]
    rootless.ok("rm", "-f", "busy")


def test_restart_keeps_a_container_that_goes_with_its_end(rootless: Rootless) -> None:
    """As in Docker: a restart is not its end. Afterwards `stop` is."""
    identifier = rootless.ok("run", "-d", "--rm", "--name", "stays", IMAGE, *POLITE).strip()
    rootless.ok("exec", "stays", "touch", "/mine")
    assert rootless.ok("restart", "-t", "9", "stays") == "stays\n"
    assert rootless.ok("inspect", "-f", "{{.Id}} {{.State.Status}}", "stays") == f"{identifier} running\n"
    rootless.ok("exec", "stays", "test", "-e", "/mine")
    rootless.ok("stop", "-t", "9", "stays")
    wait_for(lambda: not rootless.containers(), "its removal")


def test_an_ended_container_of_rm_stays_as_long_as_its_restart_lives(rootless: Rootless) -> None:
    """In between it looks like one whose monitor was killed, which everybody clears away."""
    rootless.ok("create", "--rm", "--name", "left", IMAGE)
    file = rootless.paths.names / "left" / "state.json"
    ended = state(rootless, "left") | {"status": "exited", "machine_id": machine_id(), "boot_id": boot_id()}
    with subprocess.Popen(["sleep", "60"]) as starter:
        file.write_text(json.dumps(ended | {"monitor": starter.pid, "monitor_started": start_time(starter.pid)}))
        assert rootless.ok("ps", "-a", "--format", "{{.Names}}") == "left\n"
        starter.kill()
    assert rootless.ok("ps", "-a", "--format", "{{.Names}}") == ""
    assert rootless.containers() == []


def test_a_start_by_hand_counts_restarts_anew(rootless: Rootless) -> None:
    script = "test -e /ok || exit 5; sleep 99"
    rootless.ok("run", "-d", "--restart", "on-failure:1", "--name", "counts", IMAGE, "sh", "-c", script)
    wait_for(lambda: status(rootless, "counts") == "exited", "the end of its policy")
    assert rootless.ok("inspect", "-f", "{{.RestartCount}}", "counts") == "1\n"
    (rootless.paths.names / "counts" / "upper" / "ok").touch()
    rootless.ok("start", "counts")
    assert rootless.ok("inspect", "-f", "{{.RestartCount}}", "counts") == "0\n"
    rootless.ok("rm", "-f", "counts")


@pytest.fixture
def elsewhere(rootless: Rootless) -> Iterator[str]:
    """A container that runs on another machine, with the store on a home directory that both have."""
    rootless.ok("create", "--name", "away", IMAGE)
    file = rootless.paths.names / "away" / "state.json"
    before = file.read_text()
    away = {"status": "running", "machine_id": "0" * 32, "host": "elsewhere", "pid": 1, "monitor": 1}
    file.write_text(json.dumps(json.loads(before) | away))
    yield "away"
    file.write_text(before)
    rootless.ok("rm", "away")


@pytest.mark.parametrize("words", ["stop", "kill", "restart", "pause", "unpause", "wait", "attach", "exec"])
def test_who_wants_processes_of_another_machine_is_sent_there(rootless: Rootless, elsewhere: str, words: str) -> None:
    done = rootless(words, elsewhere, *["true"] * (words == "exec"), timeout=60)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"container away is running on elsewhere" in done.stderr


def test_two_that_paste_at_once_and_one_that_went_do_not_end_the_container(rootless: Rootless) -> None:
    """What they send waits until the container reads, each for its turn; one that is killed meanwhile is no trouble."""
    rootless.ok("run", "-di", "--name", "pasted", IMAGE, "sleep", "300")
    pasting = [
        rootless.popen("attach", "pasted", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in pasting:
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        wait_for(partial(_is_full, process.stdin.fileno()), "a client that waits for the container")
    pasting[0].kill()
    pasting[0].communicate()
    late = rootless.popen("attach", "pasted", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert late.stdin is not None
    late.stdin.write(b"hello")
    late.stdin.flush()
    assert rootless.ok("exec", "pasted", "echo", "alive") == "alive\n"
    assert status(rootless, "pasted") == "running"
    rootless.ok("rm", "-f", "pasted")
    for process in pasting[1], late:
        process.kill()
        process.communicate()


def _is_full(fd: int) -> bool:
    """Whether a pipe takes no more."""
    try:
        return os.write(fd, b"y" * 65536) == 0
    except BlockingIOError:
        return True


def test_a_paused_container_with_a_policy_starts_again_after_its_end(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--restart", "always", "--name", "killed", IMAGE, *POLITE)
    rootless.ok("pause", "killed")
    pid = int(str(state(rootless, "killed")["pid"]))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: state(rootless, "killed")["pid"] not in (0, pid), "the next run")
    assert status(rootless, "killed") == "running"
    rootless.ok("rm", "-f", "killed")


def test_a_request_that_is_none_ends_nobody(rootless: Rootless) -> None:
    """A command of a newer version may have requests that a monitor does not know; also between two runs."""
    rootless.ok("run", "-d", "--restart", "always", "--name", "asked", IMAGE, "sh", "-c", "exit 3")
    monitor = state(rootless, "asked")["monitor"]
    control = rootless.paths.runtime_of((rootless.paths.names / "asked").resolve().name) / "control"

    def asked() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
            try:
                caller.connect(str(control))
                caller.send(b"[]")
            except OSError:
                return False
            return status(rootless, "asked") == "restarting"

    wait_for(asked, "a request between two runs")
    count = int(str(state(rootless, "asked")["restart_count"]))
    wait_for(lambda: int(str(state(rootless, "asked")["restart_count"])) > count, "a further restart")
    assert state(rootless, "asked")["monitor"] == monitor
    rootless.ok("rm", "-f", "asked")


@pytest.mark.parametrize("options", [(), ("-i",)], ids=["quiet", "under trio"])
def test_who_waits_no_more_costs_nothing(rootless: Rootless, options: tuple[str, ...]) -> None:
    """A script that looks in now and then would use up the monitor's descriptors."""
    rootless.ok("run", "-d", *options, "--name", "long", IMAGE, "sleep", "600")
    descriptors = f"/proc/{state(rootless, 'long')['monitor']}/fd"
    if options:  # somebody has spoken to it
        rootless.ok("pause", "long")
        rootless.ok("unpause", "long")

    def count() -> int:
        return len(os.listdir(descriptors))

    before = count()
    waiting = [rootless.popen("wait", "long", stdout=subprocess.DEVNULL) for _ in range(16)]
    wait_for(lambda: count() >= before + len(waiting), "that they wait")
    for each in waiting:
        each.kill()
        each.wait()
    # trio, which comes with whoever has gone before he was heard, has some of its own.
    wait_for(lambda: count() <= before + len(waiting) // 2, "that they are let go")
    last = rootless.popen("wait", "long", stdout=subprocess.PIPE)
    rootless.ok("stop", "-t", "0", "long")
    assert last.communicate(timeout=60)[0] == b"137\n"
    rootless.ok("rm", "long")


@pytest.fixture
def deaf(rootless: Rootless) -> Iterator[subprocess.Popen[bytes]]:
    """The command of a container that writes more than its reader takes, which is nothing, and then ends."""
    reading, writing = os.pipe()
    script = "trap 'exit 4' TERM; head -c 700000 /dev/zero; touch /written; sleep 3 & wait; exit 4"
    command = rootless.popen("run", "--restart", "always", "--name", "loud", IMAGE, "sh", "-c", script, stdout=writing)
    os.close(writing)
    wait_for((rootless.paths.names / "loud" / "upper" / "written").exists, "its output")
    yield command
    os.close(reading)
    command.kill()
    command.wait()
    rootless.ok("rm", "-f", "loud")


def test_nobody_waits_for_a_client_that_does_not_read(rootless: Rootless, deaf: subprocess.Popen[bytes]) -> None:
    """A stop after the end, and then the lock, are to be had while that one still has output to get."""
    identifier = (rootless.paths.names / "loud").resolve()
    wait_for(lambda: int(str(state(rootless, "loud")["restart_count"])) == 1, "the end")
    assert deaf.poll() is None, "its command has not got everything"
    assert rootless.ok("stop", "-t", "9", "loud") == "loud\n"
    assert status(rootless, "loud") == "exited"
    with container_lock(identifier):
        assert deaf.poll() is None
    assert status(rootless, "loud") == "exited", "a stop is for good"


@contextmanager
def container_lock(directory: Path) -> Iterator[None]:
    """The lock of a container at rest: nobody has it for longer than a monitor needs to go."""
    holds: list[Hold] = []

    def taken() -> bool:
        found = Hold.take(directory)
        holds.extend([found] if found is not None else [])
        return found is not None

    wait_for(taken, "that the lock is free")
    with holds[0]:
        yield


def test_a_slow_reader_of_a_container_that_is_restarted_gets_everything(rootless: Rootless) -> None:
    script = "test -e /mine && exec sleep 60; touch /mine; head -c 700000 /dev/zero"
    reading, writing = os.pipe()
    command = rootless.popen("run", "--restart", "always", "--name", "whole", IMAGE, "sh", "-c", script, stdout=writing)
    os.close(writing)
    wait_for((rootless.paths.names / "whole" / "upper" / "mine").exists, "the first run")
    wait_for(lambda: int(str(state(rootless, "whole")["restart_count"])) == 1, "its end")
    wait_for(lambda: status(rootless, "whole") == "running", "the next run")
    with open(reading, "rb") as output:
        assert len(output.read()) == 700000
    assert command.wait(60) == 0
    rootless.ok("rm", "-f", "whole")


def test_a_restart_waits_for_a_store_that_can_be_written(rootless: Rootless) -> None:
    """A disk may be full for a while. Neither the policy nor the exit code may be lost by it."""
    script = "trap 'exit 5' TERM; touch /ready; while :; do sleep 0.1; done"
    rootless.ok("run", "-d", "--restart", "always", "--name", "patient", IMAGE, "sh", "-c", script)
    wait_for((rootless.paths.names / "patient" / "upper" / "ready").exists, "its being ready to end")
    monitor, pid = state(rootless, "patient")["monitor"], int(str(state(rootless, "patient")["pid"]))
    log = rootless.paths.names / "patient" / "monitor.log"
    rootless.paths.tmp.chmod(0o500)
    try:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: "its state can't be written" in log.read_text(), "the complaint")
    finally:
        rootless.paths.tmp.chmod(0o700)
    wait_for(lambda: state(rootless, "patient")["restart_count"] == 1, "the end's being written down")
    wait_for(lambda: status(rootless, "patient") == "running", "the next run")
    assert state(rootless, "patient")["monitor"] == monitor
    rootless.ok("rm", "-f", "patient")


def test_a_restart_keeps_the_place_where_commands_find_the_monitor(rootless: Rootless) -> None:
    """Whoever connects in that moment would be turned away, or hear of a monitor that was killed."""
    rootless.ok("run", "-d", "--name", "phoenix", "--restart", "always", IMAGE, "sh", "-c", "sleep 0.2; exit 3")
    path = rootless.paths.runtime_of(json.loads(rootless.ok("inspect", "phoenix"))[0]["Id"]) / "control"
    place = path.stat().st_ino
    wait_for(lambda: int(rootless.ok("inspect", "-f", "{{.RestartCount}}", "phoenix")) >= 2, "two restarts")
    assert path.stat().st_ino == place
    rootless.ok("rm", "-f", "phoenix")
