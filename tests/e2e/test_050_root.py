"""Started by real root: the container's root is a subordinate id, never the host's root."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rootless.idmap import detect
from tests.conftest import Rootless

pytestmark = pytest.mark.root

IMAGE = "busybox:latest"


def test_container_root_is_never_host_root(rootless: Rootless) -> None:
    start = detect().uids[0].outside
    assert start > 0
    shown = rootless.ok("run", "--rm", IMAGE, "sh", "-c", "id -u; cat /proc/self/uid_map").split()
    assert shown[0] == "0"
    rootless.ok("run", "-d", "--name", "seen", IMAGE, "sleep", "60")
    pid = json.loads((rootless.paths.names / "seen" / "state.json").read_text())["pid"]
    assert os.stat(f"/proc/{pid}").st_uid == start
    rootless.ok("rm", "-f", "seen")


def test_every_id_of_a_container_is_a_subordinate_one(rootless: Rootless) -> None:
    rootless.ok("run", "--name", "made", IMAGE, "sh", "-c", "touch /mine; chown 1000:1000 /mine; touch /roots")
    start = detect().uids[0].outside
    upper = rootless.paths.names / "made" / "upper"
    assert ((upper / "mine").stat().st_uid, (upper / "roots").stat().st_uid) == (start + 1000, start)
    rootless.ok("rm", "made")


def test_nothing_of_the_host_can_be_written(rootless: Rootless) -> None:
    """Not even what the engine itself binds into the container, and not the kernel's knobs."""
    script = (
        "echo x > /proc/sys/kernel/hostname || echo refused; cat /proc/1/root/etc/shadow >/dev/null 2>&1 || echo none"
    )
    assert "refused" in rootless.ok("run", "--rm", "--privileged", IMAGE, "sh", "-c", script)


@pytest.mark.parametrize("driver", ["overlay", "cow", "fuse-overlayfs"])
def test_drivers(rootless: Rootless, driver: str) -> None:
    """The store's directories let the subordinate ids through, and nobody has to open /root for them."""
    shown = rootless.ok(
        "--storage-driver", driver, "run", "--rm", IMAGE, "sh", "-c", "rm /etc/group; touch /x; stat -c %u /x"
    )
    assert shown == "0\n"


def test_a_terminal(rootless: Rootless) -> None:
    assert rootless("run", "--rm", "-t", IMAGE, "tty").stdout == b"/dev/pts/0\r\n"


def test_the_store_may_lie_below_a_private_directory(rootless: Rootless, tmp_path: Path, busybox_tar: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    engine = Rootless(private / "store")
    engine.ok("import", str(busybox_tar), IMAGE)
    assert engine.ok("run", "--rm", IMAGE, "echo", "reached") == "reached\n"


@pytest.mark.parametrize("words", [("host",), ("--storage-opt", "ownership=owned", IMAGE)])
def test_the_machines_root_is_not_served_by_root(rootless: Rootless, words: tuple[str, ...]) -> None:
    """A server that is real root would show the container what only root may read."""
    done = rootless("run", *words, "true")
    assert done.returncode == 125
    assert b"is not for root" in done.stderr
