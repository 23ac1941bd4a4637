"""The machine's own file system as the lower layer: a sandbox over what the caller has, served by the caller."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rootless.fuse import server
from rootless.fuse.host import OWN
from rootless.kernel import mount, process
from tests.drivers.arena import Arena


@pytest.fixture
def outside(arena: Arena) -> Iterator[Callable[[str], Callable[[], server.Config]]]:
    """Configurations of a server that is not in the room: what it leaves behind belongs to the caller."""
    for name in "upper", "work":
        shutil.rmtree(arena.base / name)
        (arena.base / name).mkdir(mode=0o755)

    def make(top: str) -> Callable[[], server.Config]:
        def config() -> server.Config:
            assert arena.log is not None
            return server.Config(
                (server.LayerSpec(top, "host", live=True),),
                server.LayerSpec(str(arena.base / "upper"), "owned"),
                str(arena.base / "work"),
                base=str(arena.base / "base.jsonl"),
                log=os.open(arena.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            )

        return config

    yield make
    assert {path.stat(follow_symlinks=False).st_uid for path in (arena.base / "upper").rglob("*")} <= {os.getuid()}


Outside = Callable[[str], Callable[[], server.Config]]


def test_the_machine_is_seen_and_not_changed(arena: Arena, outside: Outside) -> None:
    """Across its mounts, with ids that mean something, programs and all; what is changed stays in the sandbox."""
    others = [point for point, _, _ in mount.mountinfo() if os.access(point, os.X_OK)]
    others = [point for point in others if point.split("/")[1] not in ("", *OWN)]

    def work() -> None:
        assert os.stat("usr/bin").st_uid == 0
        assert Path("etc/passwd").read_bytes() == Path("/etc/passwd").read_bytes()
        assert os.listdir("proc") == os.listdir("dev") == [], "not the machine's"
        for point in others:
            assert os.stat(point.lstrip("/")).st_ino, "another mount"
        shell = ["chroot", ".", "/bin/sh", "-c", "echo $(id -u)"]
        assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout == "0\n"
        with open("etc/motd.rootless", "w") as file:
            file.write("in the sandbox")
        with pytest.raises(PermissionError):
            open("etc/shadow").close()
        os.rename("etc/hostname", "etc/moved")
        os.unlink("etc/passwd")
        os.chown("etc/moved", 5, 6)
        assert os.stat("etc/moved").st_uid == 5

    arena.container("cow", work, config=outside("/"), outside=True)
    assert Path("/etc/passwd").exists()
    assert not Path("/etc/motd.rootless").exists()
    noted = [json.loads(line) for line in (arena.base / "base.jsonl").read_text().splitlines()]
    assert {entry["path"] for entry in noted} == {"/etc", "/etc/hostname", "/etc/passwd"}
    real = os.stat("/etc/passwd")
    (found,) = [entry for entry in noted if entry["path"] == "/etc/passwd"]
    assert (found["ino"], found["size"], found["ctime_ns"]) == (real.st_ino, real.st_size, real.st_ctime_ns)


def test_a_live_layer_is_seen_as_it_is_now(arena: Arena, outside: Outside, tmp_path: Path) -> None:
    """What others do to it shows within the second that the kernel may remember."""
    live = tmp_path / "live"
    (live / "dir").mkdir(parents=True)
    (live / "file").write_text("one")
    (live / "gone").write_text("gone")
    (live / "kept").write_text("kept")
    pause = 1.3

    def work() -> None:
        assert sorted(os.listdir(".")) == ["dir", "file", "gone", "kept"]
        assert Path("file").read_text() == "one"
        assert not os.path.exists("new")
        kept = os.open("kept", os.O_RDONLY)
        ask("change")
        time.sleep(pause)
        assert sorted(os.listdir(".")) == ["dir", "file", "kept", "new"]
        assert Path("file").read_text() == "two, longer"
        assert Path("new").read_text() == "new"
        assert not os.path.exists("gone")
        assert os.listdir("dir") == ["inside"]
        assert os.pread(kept, 10, 0) == b"kept", "an open file is not taken away"
        assert Path("kept").read_text() == "another"
        with open("file", "a") as file:
            file.write(" and ours")
        ask("again")
        time.sleep(pause)
        assert Path("file").read_text() == "two, longer and ours"

    def ask(what: str) -> None:
        (tmp_path / what).touch()
        while (tmp_path / what).exists():
            time.sleep(0.01)

    def others() -> None:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        while not (tmp_path / "change").exists():
            time.sleep(0.01)
        (live / "file").write_text("two, longer")
        (live / "gone").unlink()
        (live / "new").write_text("new")
        (live / "dir/inside").touch()
        (live / "other").write_text("another")
        (live / "other").rename(live / "kept")
        (tmp_path / "change").unlink()
        while not (tmp_path / "again").exists():
            time.sleep(0.01)
        (live / "file").write_text("three")
        (tmp_path / "again").unlink()

    tmp_path.chmod(0o777)
    pid = os.fork()
    if pid == 0:
        others()
        os._exit(0)
    try:
        arena.container("cow", work, config=outside(str(live)), outside=True)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert (live / "file").read_text() == "three"
