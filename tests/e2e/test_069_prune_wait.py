"""`rootless container prune` and `rootless wait`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


def names(rootless: Rootless) -> list[str]:
    return sorted(rootless.ok("ps", "-a", "--format", "{{.Names}}").split())


def test_prune_takes_what_does_not_run(rootless: Rootless) -> None:
    ended = rootless("run", "--name", "ended", IMAGE, "sh", "-c", "head -c 5000000 /dev/zero > /f").returncode
    assert ended == 0
    rootless.ok("create", "--name", "idle", IMAGE)
    rootless.ok("run", "-d", "--name", "running", IMAGE, "sleep", "60")
    rootless.ok("run", "-d", "--name", "resting", IMAGE, "sleep", "60")
    rootless.ok("pause", "resting")
    ids = {n: rootless.ok("inspect", "-f", "{{.Id}}", n).strip() for n in ("ended", "idle")}
    try:
        assert rootless.ok("container", "prune", stdin=b"n\n").splitlines() == [
            "WARNING! This will remove all stopped containers.",
            "Are you sure you want to continue? [y/N] ",
        ]
        assert rootless.ok("container", "prune", stdin=b"").endswith("[y/N] "), "the end of the input says no"
        assert len(names(rootless)) == 4
        done = rootless.ok("container", "prune", stdin=b"y\n")
        text = done.partition("[y/N] ")[2]
        assert text == f"Deleted Containers:\n{ids['idle']}\n{ids['ended']}\n\nTotal reclaimed space: 5MB\n"
        assert names(rootless) == ["resting", "running"]
        assert rootless.ok("container", "prune", "-f") == "Total reclaimed space: 0B\n"
    finally:
        rootless.ok("rm", "-f", "running", "resting")


def test_prune_filters(rootless: Rootless) -> None:
    for name, label in ("a", "keep=yes"), ("b", "keep=no"), ("c", "other="):
        rootless.ok("create", "--name", f"box_{name}", "-l", label, IMAGE)

    def pruned(*filters: str) -> None:
        rootless.ok("container", "prune", "-f", *(word for text in filters for word in ("--filter", text)))

    pruned("until=1h")
    assert len(names(rootless)) == 3
    pruned("label=keep", "label!=keep=yes")
    assert names(rootless) == ["box_a", "box_c"]
    pruned("label!=other")
    assert names(rootless) == ["box_c"]
    done = rootless("container", "prune", "-f", "--filter", "status=created")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"invalid filter 'status'" in done.stderr
    pruned("until=" + time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 5)))
    assert names(rootless) == []


def test_prune_goes_on_after_one_that_can_not_be_removed(rootless: Rootless) -> None:
    """Somebody is just about to start it: its lock is held."""
    for name in "first", "second":
        rootless.ok("create", "--name", name, IMAGE)
    lock = rootless.paths.names / "first/lock"
    with subprocess.Popen(["flock", str(lock), "sleep", "60"]) as holder:
        time.sleep(0.3)
        done = rootless("container", "prune", "-f")
        os.kill(int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text()), signal.SIGTERM)
        holder.kill()
    assert done.returncode == 1
    assert re.fullmatch(r"Deleted Containers:\n[0-9a-f]{64}\n\nTotal reclaimed space: 0B\n", done.stdout.decode())
    assert b"cannot remove container first" in done.stderr
    assert names(rootless) == ["first"]
    rootless.ok("rm", "first")


def test_wait_prints_the_codes_in_order(rootless: Rootless) -> None:
    for number in 1, 2, 3:
        rootless.ok("run", "-d", "--name", f"w{number}", IMAGE, "sh", "-c", f"sleep 0.{9 - 2 * number}; exit {number}")
    assert rootless.ok("wait", "w1", "w2", "w3") == "1\n2\n3\n"
    assert rootless.ok("container", "wait", "w2") == "2\n", "it has ended: at once"
    done = rootless("wait", "w3", "nobody", "w1")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"3\n1\n", b"rootless: No such container: nobody\n")
    rootless.ok("rm", "w1", "w2", "w3")


def test_wait_for_one_that_removes_itself(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--rm", "--name", "gone", IMAGE, "sh", "-c", "sleep 1; exit 7")
    assert rootless.ok("wait", "gone") == "7\n"


def test_wait_for_one_that_was_never_started(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "idle", IMAGE)
    assert rootless.ok("wait", "idle") == "0\n"
    rootless.ok("rm", "idle")


@pytest.mark.parametrize("victim", ["pid", "monitor"])
def test_wait_sees_a_kill(rootless: Rootless, victim: str) -> None:
    rootless.ok("run", "-d", "--name", "victim", IMAGE, "sleep", "60")
    waiter = rootless.popen("wait", "victim", stdout=subprocess.PIPE)
    time.sleep(0.7)
    assert waiter.poll() is None
    os.kill(json.loads((rootless.paths.names / "victim/state.json").read_text())[victim], signal.SIGKILL)
    assert waiter.communicate(timeout=60)[0] == b"137\n"
    rootless.ok("rm", "victim")


def test_system_prune(rootless: Rootless) -> None:
    """One command for what is stopped and what nobody uses; what runs, and its image, stays."""
    rootless.ok("run", "--name", "ended", IMAGE, "true")
    rootless.ok("run", "-d", "--name", "lives", IMAGE, "sleep", "600")
    rootless.ok("network", "create", "unused")
    try:
        asked = rootless("system", "prune", stdin=b"n\n")
        assert b"  - all stopped containers\n  - all networks not used by at least one container\n" in asked.stdout
        assert rootless.ok("ps", "-aq").count("\n") == 2, "who says no keeps everything"
        shown = rootless.ok("system", "prune", "-f")
        assert "Deleted Containers:\n" in shown and "Deleted Networks:\nunused\n" in shown
        assert "Total reclaimed space: " in shown
        assert rootless.ok("ps", "-a", "--format", "{{.Names}}") == "lives\n"
        assert rootless.ok("images", "-q", IMAGE)
    finally:
        rootless.ok("rm", "-f", "lives")
