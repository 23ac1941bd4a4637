"""create, start, attach, exec, stop, kill, restart, pause, wait: Docker's words, output and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"


def stored(rootless: Rootless, name: str) -> dict[str, object]:
    state: dict[str, object] = json.loads((rootless.paths.names / name / "state.json").read_text())
    return state


def status(rootless: Rootless, name: str) -> str:
    return rootless.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name).strip()


def test_a_created_container_waits_to_be_started(rootless: Rootless) -> None:
    created = rootless.ok("create", "--name", "later", IMAGE, "sh", "-c", "echo ran; exit 4").strip()
    assert len(created) == 64
    assert status(rootless, "later") == "created 0"
    assert rootless.ok("start", "later") == "later\n"
    wait_for(lambda: status(rootless, "later") == "exited 4", "the end")
    done = rootless("start", "-a", "later")
    assert (done.returncode, done.stdout) == (4, b"ran\n")
    rootless.ok("rm", "later")


def test_what_was_changed_is_still_there_after_the_next_start(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "keeper", IMAGE, "sh", "-c", "cat /kept 2>/dev/null; echo again >> /kept")
    for expected in b"", b"again\n", b"again\nagain\n":
        assert rootless("start", "-a", "keeper").stdout == expected
    rootless.ok("rm", "keeper")


def test_start_attached_gives_a_container_its_input(rootless: Rootless) -> None:
    rootless.ok("create", "-i", "--name", "reader", IMAGE, "cat")
    assert rootless("start", "-ai", "reader", stdin=b"words\n").stdout == b"words\n"
    rootless.ok("rm", "reader")


def test_starting_a_running_container_is_no_error(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--name", "up", IMAGE, "sleep", "60")
    assert rootless.ok("start", "up") == "up\n"
    rootless.ok("rm", "-f", "up")


def test_a_failed_start_is_told_and_noted(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "wrong", IMAGE, "nosuch")
    done = rootless("start", "wrong")
    assert done.returncode == 1
    assert b'exec: "nosuch": executable file not found' in done.stderr
    assert status(rootless, "wrong") == "created 127"
    rootless.ok("rm", "wrong")


def test_stop_sends_term_and_then_kill(rootless: Rootless) -> None:
    """PID 1 that handles TERM ends by itself; one that does not is killed when its time is over."""
    polite = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    rootless.ok("run", "-d", "--name", "polite", IMAGE, "sh", "-c", polite)
    wait_for((rootless.paths.names / "polite" / "log").exists, "its first line")
    assert rootless.ok("stop", "polite") == "polite\n"
    assert status(rootless, "polite") == "exited 3"
    rootless.ok("run", "-d", "--name", "deaf", "--stop-timeout", "600", IMAGE, "sleep", "600")
    began = time.monotonic()
    assert rootless.ok("stop", "-t", "1", "deaf") == "deaf\n"
    assert time.monotonic() - began > 0.9
    assert status(rootless, "deaf") == "exited 137"
    assert rootless.ok("stop", "deaf") == "deaf\n", "stopping what is stopped is no error"
    rootless.ok("rm", "polite", "deaf")


def test_the_stop_signal_is_the_containers_own(rootless: Rootless) -> None:
    script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    rootless.ok("run", "-d", "--name", "own", "--stop-signal", "USR1", IMAGE, "sh", "-c", script)
    wait_for((rootless.paths.names / "own" / "log").exists, "its first line")
    rootless.ok("stop", "own")
    assert status(rootless, "own") == "exited 9"
    rootless.ok("rm", "own")


@pytest.mark.parametrize(
    ("name", "number"),
    [("HUP", 1), ("SIGINT", 2), ("quit", 3), ("10", 10), ("usr2", 12), ("RTMIN", 34), ("RTMIN+3", 37), ("rtmax-1", 63)],
)
def test_kill_sends_any_signal(rootless: Rootless, name: str, number: int) -> None:
    script = f"trap 'echo got; exit 0' {number}; echo ready; while :; do sleep 0.05; done"
    rootless.ok("run", "-d", "--name", "target", IMAGE, "sh", "-c", script)
    log = rootless.paths.names / "target" / "log"
    wait_for(log.exists, "its first line")
    assert rootless.ok("kill", "-s", name, "target") == "target\n"
    wait_for(lambda: status(rootless, "target") == "exited 0", "the end")
    assert json.loads(log.read_text().splitlines()[-1])["log"] == "got\n"
    rootless.ok("rm", "target")


def test_kill_of_what_does_not_run(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "idle", IMAGE)
    done = rootless("kill", "idle")
    assert done.returncode == 1
    assert b"is not running" in done.stderr
    assert rootless("kill", "-s", "NOSUCH", "idle").stderr.startswith(b"rootless: invalid signal: NOSUCH")
    rootless.ok("rm", "idle")


def test_restart_by_hand(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--name", "again", IMAGE, "sleep", "60")
    before = stored(rootless, "again")["pid"]
    assert rootless.ok("restart", "-t", "0", "again") == "again\n"
    after = stored(rootless, "again")
    assert after["status"] == "running" and after["pid"] != before
    rootless.ok("rm", "-f", "again")


def test_pause_stops_every_process_and_unpause_lets_them_go_on(rootless: Rootless) -> None:
    script = "(while :; do echo x >> /ticks; sleep 0.02; done) & while :; do sleep 0.02; done"
    rootless.ok("run", "-d", "--name", "frozen", IMAGE, "sh", "-c", script)
    ticks = rootless.paths.names / "frozen" / "upper" / "ticks"
    wait_for(ticks.exists, "the first tick")
    assert rootless.ok("pause", "frozen") == "frozen\n"
    assert "(Paused)" in rootless.ok("ps", "--format", "{{.Status}}")
    size = ticks.stat().st_size
    time.sleep(0.3)
    assert ticks.stat().st_size == size
    assert rootless("exec", "frozen", "true").returncode == 1
    done = rootless("pause", "frozen")
    assert (done.returncode, b"paused" in done.stderr) == (1, True)
    assert rootless.ok("unpause", "frozen") == "frozen\n"
    wait_for(lambda: ticks.stat().st_size > size, "a further tick")
    rootless.ok("pause", "frozen")
    assert rootless.ok("stop", "-t", "1", "frozen") == "frozen\n", "a paused container can be stopped"
    rootless.ok("rm", "frozen")


def test_restart_on_failure_and_how_often(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--restart", "on-failure:2", "--name", "failing", IMAGE, "sh", "-c", "echo try; exit 5")
    wait_for(lambda: status(rootless, "failing") == "exited 5", "the last end")
    assert rootless.ok("inspect", "-f", "{{.RestartCount}}", "failing") == "2\n"
    assert (rootless.paths.names / "failing" / "log").read_text().count("try") == 3
    rootless.ok("rm", "failing")
    rootless.ok("run", "-d", "--restart", "on-failure", "--name", "fine", IMAGE, "true")
    wait_for(lambda: status(rootless, "fine") == "exited 0", "its end")
    rootless.ok("rm", "fine")


def test_restart_always_until_it_is_stopped(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--restart", "always", "--name", "tireless", IMAGE, "sh", "-c", "sleep 0.05")
    wait_for(lambda: int(stored(rootless, "tireless")["restart_count"]) >= 2, "a second restart")  # type: ignore[call-overload]
    for _ in range(3):
        rootless.ok("stop", "-t", "0", "tireless")
        assert status(rootless, "tireless").startswith("exited")
        rootless.ok("start", "tireless")
    rootless.ok("rm", "-f", "tireless")


def test_kill_is_for_good_even_with_a_policy(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--restart", "always", "--name", "shot", IMAGE, "sleep", "60")
    rootless.ok("kill", "shot")
    wait_for(lambda: status(rootless, "shot") == "exited 137", "the end")
    time.sleep(0.3)
    assert status(rootless, "shot") == "exited 137"
    rootless.ok("rm", "shot")


def test_two_attached_at_once_see_the_same(rootless: Rootless) -> None:
    (rootless.paths.run / "events").unlink(missing_ok=True)
    script = "read go; for i in 1 2 3; do echo $i; done"
    rootless.ok("run", "-di", "--name", "shared", IMAGE, "sh", "-c", script)
    first, second = (
        rootless.popen("attach", "shared", stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    )
    noted = rootless.paths.run / "events"
    wait_for(lambda: noted.read_text().count('"Action":"attach"') == 2, "both being attached")
    time.sleep(0.3)  # their requests are on their way; nothing tells when the monitor has taken them
    assert first.stdin is not None
    first.stdin.write(b"go\n")
    first.stdin.flush()
    assert [second.communicate(timeout=60)[0], first.communicate(timeout=60)[0]] == [b"1\n2\n3\n"] * 2
    rootless.ok("rm", "shared")


def test_commands_of_another_session_reach_the_monitor(rootless: Rootless, tmp_path: Path) -> None:
    """A login has a run directory of its own, cron and `su` have none: one store, one container, whoever asks."""
    login, cron = {"XDG_RUNTIME_DIR": str(tmp_path)}, {"XDG_RUNTIME_DIR": ""}
    assert rootless("run", "-d", "-i", "--name", "both", IMAGE, "head", "-n1", env=login).returncode == 0
    for words in (("pause", "both"), ("unpause", "both")):
        done = rootless(*words, env=cron)
        assert (done.returncode, done.stderr) == (0, b"")
    done = rootless("run", "--rm", "--network", "container:both", IMAGE, "true", env=cron)
    assert (done.returncode, f"another run directory, {tmp_path}/rootless/" in done.stderr.decode()) == (125, True)
    assert rootless("attach", "both", stdin=b"heard\n", env=cron).stdout == b"heard\n"
    for session, other in ((cron, login), (login, cron)):
        assert rootless("start", "both", env=session).returncode == 0
        assert rootless("stop", "-t", "0", "both", env=other).returncode == 0
    rootless.ok("rm", "both")
    assert list(tmp_path.glob("rootless/*/*/control")) == []


def test_attach_to_what_does_not_run(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "off", IMAGE)
    done = rootless("attach", "off")
    assert (done.returncode, done.stderr) == (
        1,
        b"rootless: You cannot attach to a stopped container, start it first\n",
    )
    rootless.ok("rm", "off")


def test_a_client_that_does_not_read_does_not_hold_the_container_up_for_good(rootless: Rootless) -> None:
    """After ten seconds in which it read nothing it is let go; the container gets on with its work."""
    script = "yes 0123456789 | head -c 30000000; touch /finished; sleep 60"
    process = rootless.popen("run", "--name", "blocked", IMAGE, "sh", "-c", script, stdout=subprocess.PIPE)
    wait_for((rootless.paths.names / "blocked" / "upper").exists, "the start")
    wait_for((rootless.paths.names / "blocked" / "upper" / "finished").exists, "the end of the output", timeout=40)
    process.kill()
    process.communicate()
    rootless.ok("rm", "-f", "blocked")


def test_much_through_a_slow_reader_is_whole(rootless: Rootless) -> None:
    """No byte is lost because somebody reads slowly."""
    process = rootless.popen("run", "--rm", IMAGE, "sh", "-c", "seq 1 600000", stdout=subprocess.PIPE)
    assert process.stdout is not None
    data = b""
    while chunk := os.read(process.stdout.fileno(), 1 << 16):
        data += chunk
        time.sleep(0.01)
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert data == b"".join(b"%d\n" % n for n in range(1, 600001))


def test_signals_to_the_command_reach_pid_one(rootless: Rootless) -> None:
    script = "trap 'echo got; exit 6' TERM; echo ready; while :; do sleep 0.05; done"
    process = rootless.popen("run", "--rm", IMAGE, "sh", "-c", script, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.communicate(timeout=60)[0] == b"got\n"
    assert process.returncode == 6


def test_cidfile(rootless: Rootless, tmp_path: Path) -> None:
    file = tmp_path / "id"
    created = rootless.ok("create", "--cidfile", str(file), "--name", "noted", IMAGE).strip()
    assert file.read_text() == created
    done = rootless("run", "--rm", "--cidfile", str(file), IMAGE, "true")
    assert (done.returncode, b"container ID file found" in done.stderr) == (125, True)
    rootless.ok("rm", "noted")


def test_a_cidfile_that_cannot_be_made_stands_against_the_container(rootless: Rootless, tmp_path: Path) -> None:
    """Whoever asks for the file means to find the container by it."""
    file = tmp_path / "missing" / "id"
    for command, code in (("run", 125), ("create", 1)):
        done = rootless(command, "--cidfile", str(file), IMAGE, "true")
        assert (done.returncode, done.stdout) == (code, b"")
        message = f"failed to create the container ID file: open {file}: no such file or directory"
        assert message in done.stderr.decode()
    assert rootless.ok("ps", "-aq") == ""


def test_a_cidfile_goes_when_there_is_no_container(rootless: Rootless, tmp_path: Path) -> None:
    file = tmp_path / "id"
    assert rootless("run", "--rm", "--cidfile", str(file), IMAGE, "/no/such").returncode == 127
    assert rootless("create", "--cidfile", str(file), "--pull", "never", "no/such/image").returncode == 1
    assert not file.exists()


def test_a_cidfile_stays_with_a_container_that_could_not_be_started(rootless: Rootless, tmp_path: Path) -> None:
    """What a script does next is `rm $(cat FILE)`."""
    file = tmp_path / "id"
    assert rootless("run", "--cidfile", str(file), IMAGE, "/no/such").returncode == 127
    assert rootless.ok("rm", file.read_text()) == file.read_text() + "\n"


def test_a_restart_policy_ends_with_its_monitor_and_comes_back_with_a_start(rootless: Rootless) -> None:
    """docs/differences.md promises no more, and no less: this is also what a reboot leaves."""
    rootless.ok("run", "-d", "--restart", "always", "--name", "policy", IMAGE, "sleep", "600")
    before = stored(rootless, "policy")
    os.kill(int(str(before["monitor"])), signal.SIGKILL)
    wait_for(lambda: status(rootless, "policy") == "exited 137", "the end")
    rootless.ok("start", "policy")
    started = stored(rootless, "policy")
    assert started["pid"] != before["pid"]
    os.kill(int(str(started["pid"])), signal.SIGKILL)
    wait_for(lambda: stored(rootless, "policy")["pid"] not in (0, started["pid"]), "the restart")
    rootless.ok("rm", "-f", "policy")


def test_three_signals_that_the_container_ignores_free_the_terminal(rootless: Rootless) -> None:
    """As with Docker's command. The container goes on: only `kill` is sure to end it."""
    script = "trap '' INT TERM; echo ready; sleep 60"
    process = rootless.popen(
        *("run", "--name", "stubborn", IMAGE, "sh", "-c", script), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        assert process.poll() is None
        process.send_signal(number)
        time.sleep(0.3)
    assert b"got 3 SIGTERM/SIGINTs, forcefully exiting" in process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert rootless.ok("ps", "-q", "--filter", "name=stubborn") != ""
    rootless.ok("rm", "-f", "stubborn")


def test_between_two_runs_the_last_ones_end_stands(rootless: Rootless) -> None:
    """A signal then is nobody's and no failure; when its monitor is killed, no process of the container was."""
    rootless.ok("run", "-d", "--name", "again", "--restart", "always", IMAGE, "sh", "-c", "exit 3")
    wait_for(lambda: waits_long(rootless), "a back-off of some seconds")
    assert rootless.ok("kill", "-s", "HUP", "again") == "again\n"
    os.kill(json.loads((rootless.paths.names / "again" / "state.json").read_text())["monitor"], signal.SIGKILL)
    wait_for(lambda: status(rootless, "again") == "exited 3", "the end, told rightly")
    rootless.ok("rm", "again")


def waits_long(rootless: Rootless) -> bool:
    """Restarts are 0.1, 0.2, 0.4 ... seconds apart."""
    state = json.loads(rootless.ok("inspect", "again"))[0]
    return bool(state["RestartCount"] >= 5 and state["State"]["Status"] == "restarting")


def test_a_stop_signal_that_cannot_be_read_is_sigterm(rootless: Rootless) -> None:
    """As the record of an earlier version may hold one: its container could neither be stopped nor killed."""
    identifier = rootless.ok("run", "-d", "--name", "odd", "--init", "busybox:latest", "sleep", "1000").strip()
    path = rootless.paths.container(identifier) / "config.json"
    record = json.loads(path.read_bytes())
    record["spec"]["stop_signal"] = "BOGUS"
    path.write_text(json.dumps(record))
    rootless.ok("kill", "-s", "WINCH", "odd")
    rootless.ok("stop", "odd")
    assert rootless.ok("inspect", "-f", "{{.State.ExitCode}}", "odd") == "143\n"
    rootless.ok("rm", "odd")
