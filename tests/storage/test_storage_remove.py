"""Removal reaches everything below a tree, whoever owns it, and nothing beside it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless import atomic, room
from rootless.errors import ConflictError, StoreError
from rootless.idmap import Extent, IdMap
from rootless.kernel import mount, namespaces
from rootless.paths import Paths
from rootless.storage.remove import remove_tree, sweep


def never() -> int:
    raise AssertionError("the room was asked for where the caller's own permissions suffice")


@pytest.fixture
def inside(room_fd: int) -> Callable[[], int]:
    """What gives a descriptor on the room."""
    return lambda: os.dup(room_fd)


@pytest.fixture
def tree(paths: Paths) -> Path:
    path = paths.store / "tree"
    path.mkdir()
    return path


@pytest.fixture
def victim(paths: Paths) -> Path:
    """A file beside the tree that must survive."""
    path = paths.store / "beside/victim"
    path.parent.mkdir()
    path.write_text("untouched")
    return path


def test_own_files_need_no_room(tree: Path, paths: Paths) -> None:
    """Directories without any permission are the caller's all the same."""
    (tree / "closed/inner").mkdir(parents=True)
    (tree / "closed/inner/f").touch()
    (tree / "closed/inner").chmod(0)
    (tree / "closed").chmod(0o400)
    os.mkfifo(tree / "fifo", 0)
    tree.chmod(0)
    remove_tree(tree, never, tmp=paths.tmp)
    assert not tree.exists() and os.listdir(paths.tmp) == []


def test_files_of_subordinate_ids(tree: Path, paths: Paths, room_fd: int, inside: Callable[[], int]) -> None:
    """As a container leaves them: foreign owners, foreign directories, overlayfs's work directory of mode 000."""

    def fill() -> None:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        for name in "lower", "upper", "work", "merged":
            (tree / name).mkdir()
        options = f"lowerdir={tree}/lower,upperdir={tree}/upper,workdir={tree}/work,userxattr"
        mount.mount("overlay", str(tree / "merged"), "overlay", 0, options)
        (tree / "merged/d/e").mkdir(parents=True)
        for name in "d/e/f", "d/g":
            (tree / "merged" / name).touch()
        for name in "d/e/f", "d/e", "d":
            os.chown(tree / "merged" / name, 33, 44)
        (tree / "merged/d").chmod(0o500)
        os.chown(tree, 7, 7)

    room.call(room_fd, fill)
    assert (tree.stat().st_mode & 0o777, tree.stat().st_uid) != (0o700, os.geteuid())
    remove_tree(tree, inside, tmp=paths.tmp)
    assert not tree.exists() and os.listdir(paths.tmp) == []


def test_what_is_not_there(paths: Paths) -> None:
    remove_tree(paths.store / "missing", never, tmp=paths.tmp)
    remove_tree(paths.store / "missing", never)


def test_a_file_or_a_link_in_the_place_of_a_tree(paths: Paths, victim: Path) -> None:
    """A link to a directory is one file, not the directory."""
    link = paths.store / "link"
    link.symlink_to(victim.parent)
    remove_tree(link, never, tmp=paths.tmp)
    (paths.store / "file").touch()
    remove_tree(paths.store / "file", never)
    assert not link.is_symlink() and not (paths.store / "file").exists() and victim.exists()


def test_links_are_not_followed(tree: Path, victim: Path, room_fd: int, inside: Callable[[], int]) -> None:
    """Neither as the caller nor from inside the room."""
    (tree / "absolute").symlink_to(victim.parent)
    (tree / "relative").symlink_to("../beside")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "d").mkdir()
    room.call(room_fd, lambda: os.chown(tree / "d", 5, 5))
    room.call(room_fd, lambda: (tree / "d/more").symlink_to(victim))
    os.link(victim, tree / "hard")
    remove_tree(tree, inside)
    assert victim.read_text() == "untouched" and victim.stat().st_nlink == 1


@pytest.mark.parametrize(
    ("kind", "where"), [("bind", ""), ("bind", "a/b"), ("bind", "a/file"), ("tmpfs", ""), ("tmpfs", "a/b")]
)
def test_mounts_are_not_entered(kind: str, where: str, tree: Path, victim: Path, room_fd: int) -> None:
    """A forgotten mount below the tree ends the removal, with what it shows untouched: a bind mount of the same file
    system has the same device number, so that can't be the test."""
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/file").touch()
    target = tree / where

    def work() -> bool:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        if kind == "bind":
            source = victim if where == "a/file" else victim.parent
            mount.mount(str(source), str(target), None, mount.MS_BIND)
        else:
            mount.mount("tmpfs", str(target), "tmpfs")
            (target / "inner").touch()
        try:
            remove_tree(tree, never)
        except ConflictError as refused:
            return "mounted" in str(refused) and "stop the container" in str(refused)
        return False

    assert room.call(room_fd, work)
    assert victim.read_text() == "untouched"


def test_deep_trees_need_few_descriptors(tree: Path, paths: Paths) -> None:
    """`mkdir -p` without an end, from inside a container: deeper than any path, any stack and any limit of files."""
    here = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    before = len(os.listdir("/proc/self/fd"))
    remove_tree(tree, never, tmp=paths.tmp)
    assert not tree.exists() and os.listdir(paths.tmp) == [] and len(os.listdir("/proc/self/fd")) == before


def test_ids_outside_the_map(tree: Path, tmp_path: Path, room_fd: int) -> None:
    """A store that came with another map: the error says whose fault it is, instead of a traceback."""
    (tree / "d").mkdir()
    (tree / "d/f").touch()
    room.call(room_fd, lambda: os.chown(tree / "d", 5, 5))
    uid, gid = os.geteuid(), os.getegid()
    single = IdMap((Extent(0, uid, 1),), (Extent(0, gid, 1),))
    run = Paths(store=tmp_path / "s2", run=tmp_path / "r2")
    with pytest.raises(StoreError, match="can't be removed.*; its files belong to ids that are not yours"):
        remove_tree(tree, lambda: room.open_room(run, single))


def test_sweep_goes_on_after_what_it_may_not_remove(tree: Path, paths: Paths, room_fd: int, tmp_path: Path) -> None:
    """A store that came with another map: one tree that stays must not make every command fail."""
    (tree / "d").mkdir()
    (tree / "d/f").touch()
    room.call(room_fd, lambda: os.chown(tree / "d", 5, 5))
    dead = dead_process()
    foreign = paths.tmp / f"container.{ORIGIN}.{dead}.00c0ffee"
    tree.rename(foreign)
    (paths.tmp / f"zz.{ORIGIN}.{dead}.00c0ffee").mkdir()
    single = IdMap((Extent(0, os.geteuid(), 1),), (Extent(0, os.getegid(), 1),))
    run = Paths(store=tmp_path / "s2", run=tmp_path / "r2")
    assert sweep(paths.tmp, lambda: room.open_room(run, single)) == [f"zz.{ORIGIN}.{dead}.00c0ffee"]
    (left,) = atomic.drafts(paths.tmp)
    room.call(room_fd, lambda: os.chown(paths.tmp / left / "d", 0, 0))


def dead_process() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


ORIGIN = atomic.new_name(Path(), "x").name.split(".")[1]
"""How this machine and this boot of it stand in a draft's name."""
FOREIGN = "layer.000000-000000.999999.00c0ffee"
"""A draft of another machine on a shared home: whether its writer lives can't be known here."""


def test_an_earlier_boots_drafts_are_dead() -> None:
    machine = ORIGIN.partition("-")[0]
    assert atomic.is_abandoned(f"layer.{machine}-000000.1.00c0ffee")


def test_sweep_takes_what_dead_writers_left(paths: Paths, room_fd: int, inside: Callable[[], int]) -> None:
    """Names of atomic.new_name whose process is gone; nothing that somebody alive may be writing, nothing of others."""
    dead = dead_process()
    gone = paths.tmp / f"layer.{ORIGIN}.{dead}.00c0ffee", paths.tmp / f"blob.with.dots.{ORIGIN}.{dead}.00c0ffee"
    alive = atomic.new_name(paths.tmp, "blob"), paths.tmp / f"layer.{ORIGIN}.1.00c0ffee"
    foreign = tuple(
        paths.tmp / name
        for name in (
            "notes",
            f"x.{ORIGIN}.{dead}.short",
            f"layer.{ORIGIN}.{dead}",
            f"layer.{ORIGIN}.0.00c0ffee",
            FOREIGN,
        )
    )
    gone[0].mkdir()
    (gone[0] / "d").mkdir()
    room.call(room_fd, lambda: os.chown(gone[0] / "d", 9, 9))
    for path in (gone[1], *alive, *foreign):
        path.touch()
    assert sorted(sweep(paths.tmp, inside)) == sorted(path.name for path in gone)
    assert sorted(paths.tmp.iterdir()) == sorted((*alive, *foreign))
    assert sweep(paths.store / "no such directory", never) == []


def test_two_sweepers_at_once(paths: Paths, inside: Callable[[], int]) -> None:
    dead = dead_process()
    for number in range(200):
        (paths.tmp / f"layer.{ORIGIN}.{dead}.{number:08x}/d").mkdir(parents=True)
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                sweep(paths.tmp, inside)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4 and os.listdir(paths.tmp) == []


def test_killed_while_removing(tree: Path, paths: Paths, room_fd: int, inside: Callable[[], int]) -> None:
    """From the first moment the name is free; what is left is in tmp/, and the next sweep takes it."""
    chance = random.Random(4)
    for _ in range(5):
        tree.mkdir(exist_ok=True)
        room.call(room_fd, lambda: fill(tree))
        pid = os.fork()
        if pid == 0:
            try:
                remove_tree(tree, inside, tmp=paths.tmp)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0.001, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert (tree / "19/19").exists() or not tree.exists(), "a tree under its name is whole"
        deadline = time.monotonic() + 5
        while os.listdir(paths.tmp) and time.monotonic() < deadline:
            sweep(paths.tmp, inside)  # the child in the room may be a moment behind its parent
        assert os.listdir(paths.tmp) == []


def fill(tree: Path) -> None:
    for number in range(20):
        (tree / str(number)).mkdir(exist_ok=True)
        for name in range(20):
            (tree / str(number) / str(name)).touch()
        os.chown(tree / str(number), 3, 3)
