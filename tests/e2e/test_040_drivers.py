"""The same container on each storage driver; what goes on beneath is tests/drivers' business."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


def test_changes_are_seen_inside_and_nowhere_else(rootless: Rootless, driver: str) -> None:
    script = (
        "rm /etc/group; echo x >> /etc/passwd; mkdir -p /a/b; mv /a /c; ln -s x /l; ls /c /etc; tail -n 1 /etc/passwd"
    )
    shown = rootless.ok("--storage-driver", driver, "run", "--rm", IMAGE, "sh", "-c", script).split()
    assert shown == ["/c:", "b", "/etc:", "hostname", "hosts", "passwd", "resolv.conf", "x"]
    again = rootless.ok("--storage-driver", driver, "run", "--rm", IMAGE, "sh", "-c", "ls /etc; tail -n 1 /etc/passwd")
    assert again.split()[-1].startswith("nobody:")
    assert "group" in again.split()


def test_owners_are_kept(rootless: Rootless, driver: str) -> None:
    script = "touch /f; chown 1000:2000 /f; chmod 4755 /f; stat -c '%u:%g:%a' /f /bin /etc/passwd"
    shown = rootless.ok("--storage-driver", driver, "run", "--rm", IMAGE, "sh", "-c", script).split()
    assert shown == ["1000:2000:4755", "0:0:755", "0:0:644"]


def test_the_root_is_the_drivers_own(rootless: Rootless, driver: str) -> None:
    kind = {"overlay": "overlay", "cow": "fuse", "fuse-overlayfs": "fuse"}[driver]
    shown = rootless.ok("--storage-driver", driver, "run", "--rm", IMAGE, "sh", "-c", "grep ' / ' /proc/mounts")
    assert shown.split()[2] == kind


def test_a_longer_run_ends_without_a_word(rootless: Rootless, driver: str) -> None:
    """The file system's process ends with its mount, a moment before PID 1 is reported: that is no accident."""
    done = rootless("--storage-driver", driver, "run", "--rm", IMAGE, "sh", "-c", "sleep 0.3; exit 4")
    assert (done.returncode, done.stderr) == (4, b"")


def test_what_goes_with_the_container_need_not_reach_the_disk(rootless: Rootless) -> None:
    """With --rm, as podman does it: who has no use for the files afterwards should not wait for them either."""
    script = "grep -c ' / overlay .*volatile' /proc/mounts; cat /x; echo x >> /x; sync /x"
    overlay = ("--storage-driver", "overlay")
    assert rootless(*overlay, "run", "--rm", IMAGE, "sh", "-c", script).stdout == b"1\n"
    rootless.ok(*overlay, "run", "--name", "lasting", IMAGE, "true")
    assert rootless(*overlay, "run", "--name", "kept", IMAGE, "sh", "-c", script).stdout == b"0\n"
    rootless.ok("rm", "lasting", "kept")


def test_a_volatile_root_can_be_visited_before_it_is_run(rootless: Rootless, driver: str, tmp_path: Path) -> None:
    """The kernel refuses to mount what was mounted so before, until its mark is taken away."""
    (tmp_path / "x").write_text("x\n")
    rootless.ok("--storage-driver", driver, "create", "--rm", "--name", "visited", IMAGE, "cat", "/x", "/y")
    for name in "x", "y":
        rootless.ok("cp", str(tmp_path / "x"), f"visited:/{name}")
    assert rootless.ok("start", "-a", "visited") == "x\nx\n"


@pytest.mark.parametrize("name", ["cow", "fuse-overlayfs"])
def test_a_killed_file_system_ends_the_container_and_says_why(rootless: Rootless, name: str) -> None:
    process = rootless.popen(
        *("--storage-driver", name, "run", "--network", "none", "--name", "bereft", IMAGE, "sleep", "60"),
        stderr=subprocess.PIPE,
    )
    while not rootless.ok("ps", "-q"):
        time.sleep(0.02)
    state = json.loads((rootless.paths.names / "bereft" / "state.json").read_text())
    server = _only_child_beside(state["pid"], state["monitor"])
    os.kill(server, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 137
    assert b"the process of its file system ended" in errors
    shown = rootless.ok("inspect", "-f", "{{.State.Status}} {{.State.Error}}", "bereft")
    assert shown.startswith("exited the process of its file system ended")
    rootless.ok("rm", "bereft")


def _only_child_beside(pid: int, parent: int) -> int:
    """The other child of `parent`, once the stage is no longer one."""
    path = Path(f"/proc/{parent}/task/{parent}/children")
    deadline = time.monotonic() + 10
    while len(children := set(path.read_text().split()) - {str(pid)}) != 1:
        assert time.monotonic() < deadline, f"children of {parent}: {children}"
        time.sleep(0.02)
    return int(children.pop())


def test_no_driver_makes_the_end_wait(rootless: Rootless, driver: str) -> None:
    """The file system's process ends with the mount namespace, and nobody of ours may keep that alive. On a busy
    machine the fastest of some runs counts: one that waits waits each time."""
    times: list[float] = []
    while len(times) < 5 and min(times, default=4) >= 4:
        began = time.monotonic()
        rootless.ok("--storage-driver", driver, "run", "--rm", IMAGE, "true")
        times.append(time.monotonic() - began)
    assert min(times) < 4
