"""`run --log-driver` and `--log-opt`."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


def test_rotation(rootless: Rootless) -> None:
    """Two files of 10 kB at most, whatever the container writes; `logs` reads over both, and the next run goes on."""
    options = ("--log-opt", "max-size=10k", "--log-opt", "max-file=2")
    rootless.ok("run", "-d", "--name", "chatty", *options, IMAGE, "sh", "-c", "seq 1 2000")
    try:
        for _ in range(2):
            assert rootless.ok("wait", "chatty") == "0\n"
            directory = rootless.paths.names / "chatty"
            assert sorted(name for name in os.listdir(directory) if name.startswith("log")) == ["log", "log.1"]
            assert all((directory / name).stat().st_size < 11_000 for name in ("log", "log.1"))
            shown = [int(line) for line in rootless.ok("logs", "chatty").split()]
            assert shown[-1] == 2000
            assert len(shown) > 100
            assert rootless.ok("logs", "-n", "200", "chatty").split()[-1] == "2000"
            rootless.ok("start", "chatty")
        config = json.loads(rootless.ok("inspect", "chatty"))[0]["HostConfig"]["LogConfig"]
        assert config == {"Type": "json-file", "Config": {"max-size": "10k", "max-file": "2"}}
    finally:
        rootless.ok("rm", "-f", "chatty")


def test_follow_across_rotations(rootless: Rootless) -> None:
    options = ("--log-opt", "max-size=2k", "--log-opt", "max-file=3")
    script = "read start; for i in $(seq 300); do echo $i; usleep 3000; done"
    rootless.ok("run", "-di", "--name", "chatty", *options, IMAGE, "sh", "-c", script)
    follower = rootless.popen("logs", "-f", "chatty", stdout=subprocess.PIPE)
    time.sleep(1)
    rootless.ok("attach", "chatty", stdin=b"go\n")
    assert follower.communicate(timeout=60)[0].split() == [b"%d" % number for number in range(1, 301)]
    rootless.ok("rm", "chatty")


def test_no_log(rootless: Rootless) -> None:
    done = rootless("run", "--name", "mute", "--log-driver", "none", IMAGE, "echo", "heard")
    assert done.stdout == b"heard\n"
    assert not (rootless.paths.names / "mute/log").exists()
    done = rootless("logs", "mute")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"configured logging driver does not support reading" in done.stderr
    rootless.ok("rm", "mute")


def test_details(rootless: Rootless) -> None:
    options = ("-l", "tier=front end", "-e", "COLOUR=green", "--log-opt", "labels=tier,none", "--log-opt", "env=COLOUR")
    rootless.ok("run", "--name", "labelled", *options, IMAGE, "echo", "hi")
    assert rootless.ok("logs", "--details", "labelled") == "COLOUR=green,tier=front+end hi\n"
    assert rootless.ok("logs", "labelled") == "hi\n"
    rootless.ok("rm", "labelled")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--log-driver", "syslog"), "no log driver named 'syslog'"),
        (("--log-opt", "compress=true"), "unknown log opt 'compress' for json-file log driver"),
        (("--log-opt", "max-size=huge"), "max-size must be a positive number"),
    ],
)
def test_options_that_mean_nothing(rootless: Rootless, options: tuple[str, ...], message: str) -> None:
    done = rootless("create", *options, IMAGE)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (125, b"", 1)
    assert message in done.stderr.decode()
