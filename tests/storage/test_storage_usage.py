"""How much a tree holds, whoever owns it and however it is nested."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless.idmap import IdMap
from rootless.kernel import fs
from rootless.paths import Paths
from rootless.room import call
from rootless.storage.usage import tree_size


def no_room() -> int:
    pytest.fail("the caller may read everything here")


def test_files_count_once_and_directories_do_not(paths: Paths) -> None:
    top = paths.store / "tree"
    (top / "a/b").mkdir(parents=True)
    (top / "a/one").write_bytes(b"x" * 1000)
    os.link(top / "a/one", top / "a/b/again")
    (top / "a/link").symlink_to("123456789")
    (top / "hole").touch()
    os.truncate(top / "hole", 1 << 20)
    os.mkfifo(top / "fifo")
    fs.whiteout(str(top / "gone"))
    assert tree_size(top, no_room) == 1000 + 9 + (1 << 20)


def test_nothing_is_there(tmp_path: Path) -> None:
    assert tree_size(tmp_path / "none", no_room) == 0


def test_links_lead_nowhere(paths: Paths) -> None:
    top = paths.store / "tree"
    top.mkdir()
    (paths.store / "outside").mkdir()
    (paths.store / "outside/file").write_bytes(b"x" * 1000)
    (top / "d").symlink_to("../outside")
    assert tree_size(top, no_room) == len("../outside")
    with pytest.raises(OSError, match="Not a directory"):
        tree_size(top / "d", no_room)


def test_directories_of_subordinate_ids(paths: Paths, room_fd: int, idmap: IdMap) -> None:
    """A container's user may close a directory to everybody: the caller can't look into it, the room's root can."""
    top = paths.store / "tree"
    top.mkdir(mode=0o755)

    def fill() -> None:
        (top / "closed").mkdir()
        (top / "closed/file").write_bytes(b"x" * 777)
        os.chown(top / "closed", 1000, 1000)
        (top / "closed").chmod(0)

    top.chmod(0o777)
    call(room_fd, fill)
    with pytest.raises(PermissionError):
        os.listdir(top / "closed")
    assert tree_size(top, lambda: os.dup(room_fd)) == 777


def test_deeper_than_a_path_is_long(paths: Paths) -> None:
    top = paths.store / "tree"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for depth in range(100):
        name = f"{depth:03}" + "n" * 200
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.truncate(f"/proc/self/fd/{fd}/file", 5)
    os.close(fd)
    assert tree_size(top, no_room) == 5
