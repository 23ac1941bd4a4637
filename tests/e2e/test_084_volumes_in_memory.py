"""`volume create --opt type=tmpfs`: Docker's local driver mounts it with the first container and lets go with the last.
Nobody here is there to do so: the containers hold it up together."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Iterator

import pytest

from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"
TMPFS = ("--opt", "type=tmpfs", "--opt", "device=tmpfs")


@pytest.fixture
def engine(rootless: Rootless) -> Iterator[Rootless]:
    """The command; afterwards no volume is left."""
    yield rootless
    rootless.ok("volume", "prune", "-af")


def start(engine: Rootless, name: str, script: str, *options: str) -> None:
    """A container that runs until it is stopped, after its script."""
    words = ("--name", name, *options, IMAGE, "sh", "-c", f"{script}; echo ready; exec sleep 1000")
    engine.ok("run", "-d", *words)
    wait_for(lambda: "ready" in engine.ok("logs", name), "the script's end", pause=0.2)


def test_what_its_options_say_holds_and_its_end_is_its_end(engine: Rootless) -> None:
    engine.ok("volume", "create", *TMPFS, "--opt", "o=size=1m,uid=5,mode=0750,noexec", "fast")
    script = "stat -c '%u %a' /v; grep ' /v ' /proc/mounts; head -c 2m /dev/zero > /v/big; stat -c %s /v/big"
    done = engine("run", "--rm", "-v", "fast:/v", IMAGE, "sh", "-c", script)
    owner, mount, size = done.stdout.decode().splitlines()
    assert owner == "5 750" and "noexec" in mount and "size=1024k" in mount
    assert int(size) <= 1 << 20 and b"error" in done.stderr
    assert engine.ok("run", "--rm", "-v", "fast:/v", IMAGE, "ls", "/v") == ""
    assert list((engine.paths.volumes / "fast" / "_data").iterdir()) == []


def test_two_containers_have_the_same_one_and_the_last_takes_it_along(engine: Rootless) -> None:
    engine.ok("volume", "create", *TMPFS, "fast")
    start(engine, "one", "echo from one > /v/file; mkdir /v/d; ln -s /etc /v/out", "-v", "fast:/v")
    start(engine, "two", "cat /w/file; echo from two > /w/d/file", "-v", "fast:/w", "--storage-opt", "size=1g")
    assert engine.ok("logs", "two") == "from one\nready\n"
    assert engine.ok("exec", "one", "cat", "/v/d/file") == "from two\n"
    read_only = engine("run", "--rm", "-v", "fast:/v:ro", IMAGE, "touch", "/v/x")
    assert (read_only.returncode, b"Read-only" in read_only.stderr) == (1, True)
    part = "type=volume,src=fast,dst=/p,volume-subpath="
    assert engine.ok("run", "--rm", "--mount", f"{part}d", IMAGE, "cat", "/p/file") == "from two\n"
    leads_out = engine("run", "--rm", "--mount", f"{part}out", IMAGE, "ls", "/p")
    assert leads_out.returncode == 125 and leads_out.stderr.decode() == (
        "rootless: cannot access path out of volume fast: it leads out of the volume\n"
    )
    assert "volume is in use" in engine("volume", "rm", "fast").stderr.decode()
    engine.ok("rm", "-f", "one")
    assert engine.ok("exec", "two", "cat", "/w/file") == "from one\n", "the first one's end changes nothing"
    engine.ok("restart", "-t", "0", "two")
    assert engine.ok("exec", "two", "ls", "/w") == "", "for a moment nobody had it"
    engine.ok("rm", "-f", "two")


def test_a_killed_monitor_takes_it_along_and_leaves_nothing(engine: Rootless) -> None:
    engine.ok("volume", "create", *TMPFS, "fast")
    start(engine, "one", "echo x > /v/file", "-v", "fast:/v")
    (held,) = engine.paths.rooms.glob("*-tmpfs-*/*")
    os.kill(int(held.name), signal.SIGKILL)
    wait_for(lambda: engine.ok("ps", "-q") == "", "the end of its container", pause=0.2)
    assert engine.ok("run", "--rm", "-v", "fast:/v", IMAGE, "ls", "/v") == ""
    engine.ok("rm", "one")


def test_its_archive(engine: Rootless) -> None:
    engine.ok("volume", "create", *TMPFS, "fast")
    assert names(engine) == ["."]
    into = engine("volume", "import", "fast", "-", stdin=archive("late"))
    assert into.returncode == 1 and into.stderr.decode() == (
        "rootless: volume fast is in memory, and no container that has it runs: nothing can be put into it; "
        "start one first\n"
    )
    start(engine, "one", "echo x > /v/file", "-v", "fast:/v")
    engine.ok("volume", "import", "fast", "-", stdin=archive("brought"))
    assert engine.ok("exec", "one", "cat", "/v/brought") == "brought"
    assert names(engine) == [".", "./brought", "./file"]
    engine.ok("rm", "-f", "one")


def names(engine: Rootless) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(engine("volume", "export", "fast").stdout)) as found:
        return sorted(found.getnames())


def archive(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        entry = tarfile.TarInfo(name)
        entry.size = len(name)
        made.addfile(entry, io.BytesIO(name.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--opt", "type=tmpfs"), 'missing required option: "device"'),
        ((*TMPFS, "--opt", "o=sise=1m"), 'invalid tmpfs option "sise=1m"'),
        ((*TMPFS, "--opt", "o=size"), 'invalid tmpfs option "size"'),
        ((*TMPFS, "--opt", "size=1m"), "quota size requested but no quota support"),
    ],
)
def test_options_that_cannot_be(engine: Rootless, options: tuple[str, ...], message: str) -> None:
    done = engine("volume", "create", *options, "fast")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1) and message in done.stderr.decode()


def test_what_only_the_kernel_refuses_is_told_at_the_start(engine: Rootless) -> None:
    """As in Docker, which passes the options on."""
    option = "volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=banana"
    done = engine("run", "--rm", "--mount", f"type=volume,src=fast,dst=/v,{option}", IMAGE, "true")
    assert (done.returncode, done.stderr.count(b"\n")) == (125, 1)
    assert b"failed to mount local volume: mount tmpfs:" in done.stderr
    assert b"data: size=banana: invalid argument" in done.stderr
