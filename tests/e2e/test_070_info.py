"""`rootless info` and `rootless version`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from rootless import __version__
from tests.conftest import Rootless

IMAGE = "busybox:latest"


def test_info_counts_and_tells_where_things_are(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "idle", IMAGE)
    rootless.ok("run", "-d", "--name", "resting", IMAGE, "sleep", "60")
    rootless.ok("pause", "resting")
    rootless.ok("run", "-d", "--name", "running", IMAGE, "sleep", "60")
    try:
        text = rootless.ok("info")
        assert re.search(r" Containers: 3\n  Running: 1\n  Paused: 1\n  Stopped: 1\n Images: \d+\n", text)
        assert f" Root Dir: {rootless.root}\n" in text
        assert f" Run Dir: {rootless.paths.run}\n" in text
        assert f" Kernel Version: {os.uname().release}\n" in text
        facts = json.loads(rootless.ok("system", "info", "--format", "json"))
        assert (facts["Containers"], facts["ContainersRunning"], facts["ServerVersion"]) == (3, 1, __version__)
        assert facts["Rootless"]["UIDs"][0] == {"Inside": 0, "Outside": os.getuid(), "Count": 1}
        form = "{{.ContainersStopped}} {{.OSType}} {{.DockerRootDir}}"
        assert rootless.ok("info", "-f", form) == f"1 linux {rootless.root}\n"
    finally:
        rootless.ok("rm", "-f", "idle", "resting", "running")


def test_info_says_why_a_driver_was_taken(rootless: Rootless) -> None:
    assert "\n Storage Driver: cow\n  Reason: it was asked for\n" in rootless.ok("--storage-driver", "cow", "info")
    status = dict(json.loads(rootless.ok("info", "-f", "{{json .DriverStatus}}")))
    assert status.keys() == {"Reason", "Ownership", "Backing Filesystem", "cow", "fuse-overlayfs"}


def test_info_says_how_containers_are_connected(rootless: Rootless, tmp_path: Path) -> None:
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text().strip()
    assert f"  Ports of the host's: from {first} on\n" in rootless.ok("info")
    alone = rootless("--root", str(tmp_path / "s"), "info", env={"PATH": str(tmp_path)}).stdout.decode()
    assert "  Default: none (the container has no network: pasta is not installed; " in alone


def test_info_warns_of_a_single_id(rootless: Rootless, tmp_path: Path) -> None:
    """Without the helpers of uidmap there is one id; the line says what an administrator can do."""
    done = rootless("--root", str(tmp_path / "s"), "info", env={"PATH": str(tmp_path)})
    assert done.returncode == 0
    assert f"  UIDs: 0 are {os.getuid()}\n".encode() in done.stdout
    assert re.fullmatch(rb"WARNING: there is only one id in a container.*apt-get install uidmap\n", done.stderr)


def test_version(rootless: Rootless) -> None:
    text = rootless.ok("version")
    assert text.startswith(f"Client:\n Version:           {__version__}\n")
    assert f"\n Linux:\n  Version:          {os.uname().release}\n" in text
    assert rootless.ok("version", "--format", "{{.Client.Version}} {{.Server.Os}}") == f"{__version__} linux\n"
    assert json.loads(rootless.ok("version", "-f", "json"))["Server"]["Version"] == __version__
    assert rootless.ok("--version") == f"rootless version {__version__}\n"
    done = rootless("version", "-f", "{{.Nothing}}")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
