"""Limits, as they are felt: with a cgroup where this machine gives one, and with what stands in where it gives none.

A cgroup is had in one of two ways: the tests run in one that is delegated to the account (docs/internals/resources.md
says how to make one), or in the scope that the account's systemd makes. Tests of a controller are skipped where it is
not to be had; freezer and cgroup.kill need none.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from rootless.idmap import detect
from rootless.kernel import cgroup as kernel
from rootless.kernel.process import oom_score_adj
from rootless.runtime import cgroup
from tests.conftest import Rootless
from tests.waiting import wait_for

LIMITED = ("-m", "64m", "--pids-limit", "30", "--cpus", "0.5")
SLEEP = ("busybox", "sleep", "1000")


def inspect(rootless: Rootless, name: str, form: str) -> str:
    return rootless.ok("inspect", "-f", form, name).strip()


def directory_of(rootless: Rootless, name: str) -> Path:
    """The container's cgroup; the test is skipped where it has none."""
    container_id = inspect(rootless, name, "{{.Id}}")
    state = json.loads((rootless.paths.container(container_id) / "state.json").read_bytes())
    if not state["cgroup"]:
        pytest.skip("no cgroup is delegated to this account")
    return Path(state["cgroup"])


@contextmanager
def running(rootless: Rootless, *words: str) -> Iterator[str]:
    rootless.ok("run", "-d", "--name", "limited", *words)
    try:
        yield "limited"
    finally:
        rootless("rm", "-f", "limited")


def has(rootless: Rootless, controller: str) -> None:
    """Skip where a container can't have this controller."""
    words = {"memory": ("-m", "64m"), "pids": ("--pids-limit", "30"), "cpu": ("--cpus", "0.5")}[controller]
    with running(rootless, *words, *SLEEP) as name:
        if controller not in kernel.controllers(directory_of(rootless, name)):
            pytest.skip(f"no {controller} controller is delegated to this account")


# --- everywhere -----------------------------------------------------------------------------------------------------


def test_what_was_asked_for_is_shown(rootless: Rootless) -> None:
    options = (*LIMITED, "--memory-reservation", "32m", "-c", "512", "--cpuset-cpus", "0", "--oom-score-adj", "7")
    rootless.ok("create", "--name", "limited", *options, *SLEEP)
    shown = json.loads(rootless.ok("inspect", "limited"))[0]
    rootless.ok("rm", "limited")
    assert {name: shown["HostConfig"][name] for name in (
        "Memory", "MemorySwap", "MemoryReservation", "NanoCpus", "CpuShares", "CpusetCpus", "PidsLimit", "OomScoreAdj"
    )} == {
        "Memory": 64 << 20,
        "MemorySwap": 128 << 20,
        "MemoryReservation": 32 << 20,
        "NanoCpus": 500_000_000,
        "CpuShares": 512,
        "CpusetCpus": "0",
        "PidsLimit": 30,
        "OomScoreAdj": 7,
    }  # fmt: skip
    assert shown["State"]["OOMKilled"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-m", "lots"), 'invalid argument "lots" for "-m, --memory" flag: invalid size'),
        (("-m", "1m"), "Minimum memory limit allowed is 6MB"),
        (("--cpus", "x"), "failed to parse x as a rational number"),
        (("--cpus", "5000"), "Range of CPUs is from 0.01 to"),
        (("--cpuset-cpus", "5000"), "Requested CPUs are not available - requested 5000"),
        (("--oom-score-adj", "2000"), "range for oom score adj is [-1000, 1000]"),
    ],
)
def test_what_can_not_be_meant_makes_no_container(rootless: Rootless, words: tuple[str, ...], message: str) -> None:
    done = rootless("run", "--rm", *words, "busybox", "true")
    assert done.returncode == 125
    assert message in done.stderr.decode()


def test_what_does_not_hold_is_told_and_the_container_starts(rootless: Rootless) -> None:
    """Never silently ignored, and never a failure of the start."""
    done = rootless("run", "--rm", *LIMITED, "busybox", "echo", "started")
    assert done.stdout == b"started\n"
    with running(rootless, *LIMITED, *SLEEP) as name:
        container_id = inspect(rootless, name, "{{.Id}}")
        state = json.loads((rootless.paths.container(container_id) / "state.json").read_bytes())
        files = {"--memory": "memory.max", "--pids-limit": "pids.max", "--cpus": "cpu.max"}
        there = {option for option, file in files.items() if state["cgroup"] and Path(state["cgroup"], file).exists()}
    warning = done.stderr.decode()
    missing = files.keys() - there
    if detect().single:
        missing -= {"--pids-limit"}
    assert {option for option in files if option in warning} == missing
    assert not missing or "you can run" in warning or "an administrator can" in warning or "does not have" in warning


def test_a_start_without_limits_says_nothing(rootless: Rootless) -> None:
    assert rootless("run", "--rm", "busybox", "true").stderr == b""


def test_no_more_processes_than_the_limit(rootless: Rootless) -> None:
    """By pids.max or by RLIMIT_NPROC: forty sleeps do not fit into thirty processes, and the host is none the worse."""
    loop = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; echo all forty"
    done = rootless("run", "--rm", "--pids-limit", "30", "busybox", "sh", "-c", loop)
    assert done.returncode != 0
    assert b"all forty" not in done.stdout
    assert b"can't fork" in done.stderr


def test_a_limit_on_processes_counts_one_container_only(rootless: Rootless) -> None:
    """RLIMIT_NPROC is counted in the user namespace: another container of the same user takes nothing of it."""
    crowd = "i=0; while [ $i -lt 25 ]; do sleep 1000 & i=$((i+1)); done; wait"
    with running(rootless, "--pids-limit", "30", "busybox", "sh", "-c", crowd):
        done = rootless("run", "--rm", "--pids-limit", "30", "busybox", "sh", "-c", crowd.replace("1000", "1"))
        assert done.returncode == 0, done.stderr


def test_exec_counts_towards_the_limit_as_well(rootless: Rootless) -> None:
    crowd = "i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; wait"
    with running(rootless, "--pids-limit", "30", "busybox", "sh", "-c", crowd) as name:
        time.sleep(0.5)
        done = rootless("exec", name, "sh", "-c", crowd.replace("1000", "5"))
        assert b"can't fork" in done.stderr


def test_processors(rootless: Rootless) -> None:
    last = max(os.sched_getaffinity(0))
    script = "nproc; grep Cpus_allowed_list /proc/self/status"
    for words in ("run", "--rm", "--cpuset-cpus", str(last), "busybox"), ("exec", "limited"):
        with running(rootless, "--cpuset-cpus", str(last), *SLEEP):
            assert rootless.ok(*words, "sh", "-c", script).split() == ["1", "Cpus_allowed_list:", str(last)]


def test_oom_score(rootless: Rootless) -> None:
    score = str(oom_score_adj() + 100)
    with running(rootless, "--oom-score-adj", score, *SLEEP) as name:
        for words in ("run", "--rm", "--oom-score-adj", score, "busybox"), ("exec", name):
            done = rootless(*words, "cat", "/proc/self/oom_score_adj")
            assert done.stdout.decode().strip() == score
            assert done.stderr == b""


@pytest.mark.skipif(os.geteuid() == 0, reason="real root may lower it")
def test_a_lower_oom_score_than_one_s_own_is_told(rootless: Rootless) -> None:
    done = rootless("run", "--rm", "--oom-score-adj", "-500", "busybox", "cat", "/proc/self/oom_score_adj")
    assert done.stdout.decode().strip() == str(oom_score_adj())
    assert b"--oom-score-adj does not hold: only an administrator" in done.stderr


# --- update ---------------------------------------------------------------------------------------------------------


def test_update_of_a_stopped_container(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "limited", *SLEEP)
    assert (
        rootless.ok("update", "--pids-limit", "12", "-m", "32m", "--restart", "on-failure:2", "limited") == "limited\n"
    )
    policy = "{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}"
    form = "{{.HostConfig.PidsLimit}} {{.HostConfig.Memory}} " + policy
    assert inspect(rootless, "limited", form) == f"12 {32 << 20} on-failure:2"
    rootless.ok("rm", "limited")


def test_update_of_processors_at_once(rootless: Rootless) -> None:
    last = max(os.sched_getaffinity(0))
    with running(rootless, *SLEEP) as name:
        rootless.ok("update", "--cpuset-cpus", str(last), name)
        assert rootless.ok("exec", name, "grep", "Cpus_allowed_list", "/proc/1/status").split()[1] == str(last)


def test_update_of_a_restart_policy_while_it_runs(rootless: Rootless) -> None:
    """The monitor learns of it at the end of the run."""
    with running(rootless, "busybox", "sh", "-c", "sleep 4; exit 3") as name:
        rootless.ok("update", "--restart", "on-failure:1", name)
        assert rootless.ok("wait", name).strip() == "3"
        deadline = time.monotonic() + 30
        while inspect(rootless, name, "{{.RestartCount}} {{.State.Status}}") != "1 exited":
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_update_between_two_runs_touches_nobody_else(rootless: Rootless) -> None:
    """There is no PID 1 then, and its number in the state, 0, is the ancestor of every process of the machine. What
    stands in for a cgroup was put on all that the account may change: a lower hard limit can never be raised again."""
    last = max(os.sched_getaffinity(0))
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        with running(rootless, "--restart", "always", "busybox", "sh", "-c", "exit 3") as name:
            # Each back-off is twice as long as the one before: this one outlasts the command.
            wait_for(lambda: int(inspect(rootless, name, "{{.RestartCount}}")) >= 4, "a long back-off")
            wait_for(lambda: inspect(rootless, name, "{{.State.Status}}") == "restarting", "the back-off")
            before = limits_of(bystander.pid)
            rootless.ok("update", "--pids-limit", "30000", "--cpuset-cpus", str(last), name)
            assert limits_of(bystander.pid) == before
            assert inspect(rootless, name, "{{.HostConfig.PidsLimit}}") == "30000"
    finally:
        bystander.kill()
        bystander.wait()


def limits_of(pid: int) -> tuple[tuple[int, int], set[int]]:
    return resource.prlimit(pid, resource.RLIMIT_NPROC), os.sched_getaffinity(pid)


def test_update_that_makes_no_sense_changes_nothing(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "limited", "-m", "32m", "--rm", *SLEEP)
    for words, message in (
        ((), "you must provide one or more flags when using this command"),
        (("-m", "1m"), "Minimum memory limit allowed is 6MB"),
        (("-m", "1g", "--memory-swap", "512m"), "Minimum memoryswap limit should be larger than memory limit"),
        (("--restart", "always"), "Restart policy cannot be updated because AutoRemove is enabled"),
    ):
        done = rootless("update", *words, "limited")
        assert done.returncode != 0
        assert message in done.stderr.decode()
    assert inspect(rootless, "limited", "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}") == f"{32 << 20} no"
    rootless.ok("rm", "limited")


# --- stats ----------------------------------------------------------------------------------------------------------

COLUMNS = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]


def test_stats(rootless: Rootless) -> None:
    busy = "(while :; do :; done) & sleep 1000 & wait"
    with running(rootless, "busybox", "sh", "-c", busy) as name:
        title, line = rootless.ok("stats", "--no-stream").splitlines()
        assert [column.strip() for column in title.split("   ") if column.strip()] == COLUMNS
        assert line.split()[0] == inspect(rootless, name, "{{.Id}}")[:12]
        form = "{{.Name}} {{.CPUPerc}} {{.PIDs}} {{.MemUsage}}"
        shown = rootless.ok("stats", "--no-stream", "--format", form, name).split()
        assert shown[0] == name
        assert 10 < float(shown[1].rstrip("%")) <= 150, "one loop keeps one processor busy, if others leave it that"
        assert shown[2] == "3"
        assert shown[3].endswith("iB") and shown[5].endswith("iB")


def test_stats_of_what_does_not_run(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "limited", *SLEEP)
    assert len(rootless.ok("stats", "--no-stream").splitlines()) == 1
    shown = json.loads(rootless.ok("stats", "-a", "--no-stream", "--format", "json"))
    rootless.ok("rm", "limited")
    assert (shown["CPUPerc"], shown["MemUsage"], shown["PIDs"]) == ("0.00%", "0B / 0B", "0")


def test_stats_of_nobody(rootless: Rootless) -> None:
    done = rootless("stats", "--no-stream", "nobody")
    assert (done.returncode, done.stderr) == (1, b"rootless: No such container: nobody\n")


def test_stats_goes_on_until_it_is_stopped(rootless: Rootless) -> None:
    with running(rootless, *SLEEP):
        process = rootless.popen("stats", "--format", "{{.Name}}", stdout=-1)
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"limited\n"] * 3
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.stdout.close()
        assert process.wait(10) == 130


# --- with a cgroup --------------------------------------------------------------------------------------------------


def test_the_processes_are_in_it_and_it_is_their_root(rootless: Rootless) -> None:
    with running(rootless, *SLEEP) as name:
        directory = directory_of(rootless, name)
        pid = int(inspect(rootless, name, "{{.State.Pid}}"))
        assert kernel.processes(directory / cgroup.INNER) == [pid]
        assert "0::/" in rootless.ok("exec", name, "cat", "/proc/self/cgroup").splitlines()
        assert "0::/" in rootless.ok("exec", name, "cat", "/proc/1/cgroup").splitlines()
    assert not directory.exists()


def test_pause_is_the_freezer_s_where_there_is_one(rootless: Rootless) -> None:
    """Unlike SIGSTOP nothing of it can be seen from inside: the process is not stopped, it just gets no turn."""
    with running(rootless, "busybox", "sh", "-c", "while :; do date +%s%N; done") as name:
        directory = directory_of(rootless, name)
        rootless.ok("exec", "-d", name, "sleep", "1000")
        rootless.ok("pause", name)
        assert kernel.read_table(directory, "cgroup.events")["frozen"] == 1
        before = rootless.ok("logs", "--tail", "1", name)
        time.sleep(0.3)
        assert rootless.ok("logs", "--tail", "1", name) == before
        rootless.ok("unpause", name)
        time.sleep(0.3)
        assert rootless.ok("logs", "--tail", "1", name) != before
        assert kernel.read_table(directory, "cgroup.events")["frozen"] == 0


def test_pause_reaches_what_exec_brought_in(rootless: Rootless) -> None:
    """With a cgroup or without: the process of an exec is no descendant of PID 1."""
    with running(rootless, *SLEEP) as name:
        process = rootless.popen("exec", name, "sh", "-c", "while :; do echo x; sleep 0.02; done", stdout=-1)
        assert process.stdout is not None
        process.stdout.read(4)
        rootless.ok("pause", name)
        os.set_blocking(process.stdout.fileno(), False)
        time.sleep(0.3)
        process.stdout.read()
        time.sleep(0.3)
        assert not process.stdout.read(), "it went on"
        rootless.ok("unpause", name)
        time.sleep(0.5)
        assert process.stdout.read()
    process.stdout.close()
    process.wait(10)


def test_the_file_system_s_process_is_not_frozen_with_its_clients(rootless: Rootless) -> None:
    """Inside the container's cgroup it would be, and whoever looks at the files of a paused container would hang."""
    if find_spec("pyfuse3") is None or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("cow needs pyfuse3 and /dev/fuse")
    rootless.ok("--storage-driver", "cow", "run", "-d", "--name", "limited", *SLEEP)
    try:
        directory = directory_of(rootless, "limited")
        inside = [pid for part in kernel.subtree(directory) for pid in kernel.processes(part)]
        assert inside == [int(inspect(rootless, "limited", "{{.State.Pid}}"))]
        rootless.ok("pause", "limited")
        assert kernel.read_table(directory, "cgroup.events")["frozen"] == 1
    finally:
        rootless("rm", "-f", "limited")


def test_a_paused_container_can_be_killed(rootless: Rootless) -> None:
    with running(rootless, *SLEEP) as name:
        rootless.ok("pause", name)
        rootless.ok("rm", "-f", name)


@pytest.mark.parametrize("again", ["ps", "start"])
def test_nothing_is_left_of_it_when_the_monitor_is_killed(rootless: Rootless, again: str) -> None:
    with running(rootless, *SLEEP) as name:
        directory = directory_of(rootless, name)
        container_id = inspect(rootless, name, "{{.Id}}")
        state = json.loads((rootless.paths.container(container_id) / "state.json").read_bytes())
        os.kill(state["monitor"], signal.SIGKILL)
        time.sleep(0.3)
        rootless.ok(again, *([name] if again == "start" else ["-a"]))
        assert directory.exists() == (again == "start")
    assert not directory.exists()


def test_a_start_that_fails_leaves_none(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "limited", "busybox", "no-such-command")
    assert rootless("start", "limited").returncode != 0
    container_id = inspect(rootless, "limited", "{{.Id}}")
    state = json.loads((rootless.paths.container(container_id) / "state.json").read_bytes())
    rootless.ok("rm", "limited")
    assert state["cgroup"] == ""
    own = kernel.own()
    assert own is None or not list(own.parent.rglob(f"rootless-{container_id[:12]}"))


# --- with controllers -----------------------------------------------------------------------------------------------


def test_memory(rootless: Rootless) -> None:
    has(rootless, "memory")
    greedy = "x=$(dd if=/dev/zero bs=1M count=200 2>/dev/null | tr '\\0' a)"
    words = ("-m", "20m", "--memory-swap", "20m", "busybox", "sh", "-c")
    assert rootless("run", "--name", "limited", *words, greedy).returncode == 137
    assert inspect(rootless, "limited", "{{.State.OOMKilled}} {{.State.ExitCode}}") == "true 137"
    rootless.ok("rm", "limited")
    assert rootless.ok("run", "--rm", *words, "cat /sys/fs/cgroup/memory.max").strip() == str(20 << 20)


def test_what_container_root_writes_in_its_own_cgroup_does_not_lift_the_limit(rootless: Rootless) -> None:
    has(rootless, "memory")
    script = "echo max > /sys/fs/cgroup/memory.max; x=$(dd if=/dev/zero bs=1M count=200 2>/dev/null | tr '\\0' a)"
    words = ("--privileged", "-m", "20m", "--memory-swap", "20m", "busybox", "sh", "-c", script)
    assert rootless("run", "--rm", *words).returncode == 137


def test_processor_time(rootless: Rootless) -> None:
    has(rootless, "cpu")
    with running(rootless, "--cpus", "0.3", "busybox", "sh", "-c", "while :; do :; done") as name:

        def percent() -> float:
            return float(rootless.ok("stats", "--no-stream", "--format", "{{.CPUPerc}}", name).strip().rstrip("%"))

        assert 5 < percent() < 40
        rootless.ok("update", "--cpus", "0.1", name)
        assert percent() < 20


def test_a_fork_bomb(rootless: Rootless) -> None:
    """The classic one; it can't be told from a container that is busy, and the command still stops it."""
    has(rootless, "pids")
    with running(rootless, "--pids-limit", "50", "busybox", "sh", "-c", "b() { b | b & }; b; sleep 1000") as name:
        time.sleep(2)
        # Older kernels count in the cgroup of who wanted to fork, newer ones in that whose limit it was.
        levels = directory_of(rootless, name), directory_of(rootless, name) / cgroup.INNER
        assert any(kernel.read_table(level, "pids.events")["max"] > 0 for level in levels)
        began = time.monotonic()
        rootless.ok("rm", "-f", name)
        assert time.monotonic() - began < 10


def test_what_holds_nowhere_is_told_and_does_not_stop_a_script(rootless: Rootless) -> None:
    unheld = (
        *("--memory-swappiness", "10", "--oom-kill-disable", "--kernel-memory", "10m", "--cpu-rt-runtime", "1000"),
        *("--cpu-rt-period", "1000", "--device-cgroup-rule", "c 1:3 rwm"),
    )
    done = rootless("run", "--rm", *unheld, "busybox", "true")
    assert done.returncode == 0
    told = [line.split()[2] for line in done.stderr.decode().splitlines()]
    assert sorted(told) == sorted(word for word in unheld if word.startswith("--"))
    for words, message in (
        (("--memory-swappiness", "101"), "invalid value: 101. Valid memory swappiness range is 0-100"),
        (("--device-cgroup-rule", "foo"), "invalid device cgroup format 'foo'"),
        (("--disable-content-trust=false",), "content trust is not checked here"),
    ):
        refused = rootless("run", *words, "busybox", "true")
        assert refused.returncode == 125 and message in refused.stderr.decode()
