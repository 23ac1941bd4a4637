"""`kill -9` of each party at every moment: the store tells the truth, and nothing stays that Docker would not leave."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"


def state(rootless: Rootless, name: str) -> dict[str, object]:
    return json.loads(rootless.ok("inspect", name))[0]["State"]


def stored(rootless: Rootless, name: str) -> dict[str, object]:
    """The state as it lies on disk, which nobody has repaired yet."""
    return json.loads((rootless.paths.names / name / "state.json").read_text())


def alive(pid: int) -> bool:
    """Whether the process is there and not a zombie that only waits for this machine's init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_the_command(rootless: Rootless, name: str, delay: float) -> None:
    process = rootless.popen(
        *("run", "--rm", "--name", name, IMAGE, "sleep", "60"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(delay)
    process.kill()
    process.wait()


def settle(rootless: Rootless, name: str) -> str:
    """Wait until the monitor has made up its mind: "nothing" is there, or the container is "running"."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not rootless.remains():
            return "nothing"
        try:
            if stored(rootless, name)["status"] == "running":
                return "running"
        except OSError:
            pass
        time.sleep(0.01)
    raise AssertionError(f"neither gone nor running: {rootless.remains()}")


def kill_at_random(rootless: Rootless, points: int, seed: int) -> dict[str, int]:
    """Kill `rootless run` at so many moments of its start; what came of each."""
    moments = random.Random(seed)
    outcomes = {"nothing": 0, "running": 0}
    for number in range(points):
        name = f"victim{number}"
        kill_the_command(rootless, name, moments.uniform(0, 0.25))
        outcome = settle(rootless, name)
        outcomes[outcome] += 1
        if outcome == "running":
            rootless.ok("rm", "-f", name)
    return outcomes


def test_the_command_killed_before_the_start_leaves_nothing(rootless: Rootless) -> None:
    """Without a further command: the monitor notices that nobody waits for it. Once started, the container goes on."""
    outcomes = kill_at_random(rootless, 25, seed=1)
    assert outcomes["nothing"] > 0, "no kill came before the start: the test proves nothing"


@pytest.mark.long
def test_the_command_killed_at_many_moments(rootless: Rootless) -> None:
    outcomes = kill_at_random(rootless, 400, seed=2)
    print(f"killed at 400 moments: {outcomes}")
    assert min(outcomes.values()) > 20


def test_a_started_container_survives_its_command_and_ends_well(rootless: Rootless) -> None:
    process = rootless.popen(
        *("run", "--name", "survivor", IMAGE, "sh", "-c", "echo begun; sleep 0.5; echo done; exit 3"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert state(rootless, "survivor")["Status"] == "running"
    wait_for(lambda: stored(rootless, "survivor")["status"] == "exited", "its end")
    assert state(rootless, "survivor")["ExitCode"] == 3
    log = (rootless.paths.names / "survivor" / "log").read_text()
    assert [json.loads(line)["log"] for line in log.splitlines()] == ["begun\n", "done\n"]
    rootless.ok("rm", "survivor")


def test_a_killed_monitor_takes_its_container_along_and_ps_tells(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--name", "orphan", IMAGE, "sh", "-c", "sleep 60 & sleep 60")
    before = stored(rootless, "orphan")
    os.kill(before["monitor"], signal.SIGKILL)
    wait_for(lambda: not alive(before["pid"]), "the end of PID 1")
    assert stored(rootless, "orphan")["status"] == "running", "nobody was there to write it down"
    assert "Exited (137)" in rootless.ok("ps", "-a", "--format", "{{.Status}}")
    assert state(rootless, "orphan")["Error"] == "its monitor was killed"
    rootless.ok("rm", "orphan")
    rootless.ok("run", "--rm", "--name", "orphan", IMAGE, "true")


def test_a_killed_monitor_of_a_throwaway_container(rootless: Rootless) -> None:
    """Nobody is left who would remove it: the next command does, and the name is free again."""
    rootless.ok("run", "-d", "--rm", "--name", "thrown", IMAGE, "sleep", "60")
    os.kill(stored(rootless, "thrown")["monitor"], signal.SIGKILL)
    rootless.ok("run", "--rm", "--name", "thrown", IMAGE, "true")


def test_the_attached_command_hears_of_its_monitors_death(rootless: Rootless) -> None:
    process = rootless.popen("run", "--name", "heard", IMAGE, "sleep", "60", stderr=subprocess.PIPE)
    wait_for(lambda: rootless.ok("ps", "-q"), "the start")
    os.kill(stored(rootless, "heard")["monitor"], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 125
    assert b"monitor was killed" in errors
    rootless.ok("rm", "heard")


def test_pid_one_killed_from_the_host(rootless: Rootless) -> None:
    process = rootless.popen("run", "--name", "shot", IMAGE, "sleep", "60")
    wait_for(lambda: rootless.ok("ps", "-q"), "the start")
    os.kill(stored(rootless, "shot")["pid"], signal.SIGKILL)
    assert process.wait(timeout=60) == 137
    assert state(rootless, "shot")["ExitCode"] == 137
    rootless.ok("rm", "shot")


def test_a_pid_that_was_given_to_another_process_is_not_killed(rootless: Rootless) -> None:
    """After a reboot or a long time the stored pid may be anybody's: only the start time makes it the container's."""
    rootless.ok("run", "-d", "--name", "reused", IMAGE, "sleep", "60")
    before = stored(rootless, "reused")
    os.kill(before["monitor"], signal.SIGKILL)
    wait_for(lambda: not alive(before["pid"]), "the end of PID 1")
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        path = rootless.paths.names / "reused" / "state.json"
        path.write_text(json.dumps(before | {"pid": bystander.pid}))
        rootless.ok("rm", "-f", "reused")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_run_directory_that_vanished(rootless: Rootless) -> None:
    """Somebody cleaned up: what lives is still shown as living, can be entered and ended, and its end is the truth."""
    rootless.ok("run", "-d", "--name", "homeless", IMAGE, "sleep", "600")
    shutil.rmtree(rootless.paths.run)
    assert rootless.ok("ps", "--format", "{{.Names}} {{.State}}") == "homeless running\n"
    assert rootless.ok("exec", "homeless", "echo", "inside") == "inside\n"
    rootless.ok("run", "--rm", IMAGE, "true")
    rootless.ok("kill", "homeless")
    wait_for(lambda: stored(rootless, "homeless")["status"] == "exited", "the end")
    assert rootless.ok("ps", "-a", "--format", "{{.Names}} {{.State}}") == "homeless exited\n"
    rootless.ok("start", "homeless")
    monitor = stored(rootless, "homeless")["monitor"]
    shutil.rmtree(rootless.paths.run)
    os.kill(monitor, signal.SIGKILL)
    assert "Exited (137)" in rootless.ok("ps", "-a", "--format", "{{.Status}}")
    rootless.ok("rm", "homeless")


def test_a_state_of_an_earlier_boot_is_over(rootless: Rootless) -> None:
    rootless.ok("run", "--name", "old", IMAGE, "true")
    path = rootless.paths.names / "old" / "state.json"
    machine = Path("/etc/machine-id").read_text().strip() if Path("/etc/machine-id").exists() else os.uname().nodename
    running = {"status": "running", "pid": 1, "monitor": 1, "boot_id": "an earlier one", "machine_id": machine}
    path.write_text(json.dumps(running | {"started_at": "2026-01-01T00:00:00.000000000Z"}))
    assert "Exited (255)" in rootless.ok("ps", "-a", "--format", "{{.Status}}")
    rootless.ok("rm", "old")


def test_a_container_that_runs_on_another_machine_is_shown_and_left_alone(rootless: Rootless) -> None:
    """A home on NFS: what another host runs can neither be judged nor repaired from here."""
    rootless.ok("run", "--name", "far", IMAGE, "true")
    path = rootless.paths.names / "far" / "state.json"
    running = {"status": "running", "pid": 1, "monitor": 1, "boot_id": "x", "machine_id": "another", "host": "node7"}
    path.write_text(json.dumps(running | {"started_at": "2026-01-01T00:00:00.000000000Z"}))
    assert rootless.ok("ps", "--format", "{{.Status}}").strip().endswith("on node7")
    done = rootless("rm", "-f", "far")
    assert (done.returncode, b"is running on node7" in done.stderr) == (1, True)
    path.write_text('{"status": "exited"}')
    rootless.ok("rm", "far")


@pytest.mark.parametrize("damage", ["", "{", '{"id": "other"}', "\0\0\0"])
def test_a_container_whose_record_is_damaged_can_be_removed(rootless: Rootless, damage: str) -> None:
    rootless.ok("run", "--name", "broken", IMAGE, "true")
    (rootless.paths.names / "broken" / "config.json").write_text(damage)
    assert rootless.ok("ps", "-a", "-q") == "", "one damaged container must not hide the others"
    assert rootless.ok("rm", "broken") == "broken\n"
