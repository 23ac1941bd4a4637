"""What only `cow` promises, or promises more of than the kernel's overlayfs does."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rootless.fuse import server
from rootless.fuse.copyup import FICLONE
from tests.drivers.arena import Arena, wait_for
from tests.drivers.test_semantics import setup
from tests.drivers.trial import manifest


def test_a_directory_of_an_image_is_renamed_whole(arena: Arena) -> None:
    """Where overlayfs (userxattr) and fuse-overlayfs answer EXDEV; overlayfs mounts what it leaves behind."""
    setup(arena)

    def work() -> tuple[dict[str, object], dict[str, object]]:
        os.unlink("dir/b")
        with open("dir/sub/new", "w") as file:
            file.write("new")
        before = manifest("dir")
        number = os.stat("dir").st_ino, os.stat("dir/sub/c").st_ino
        kept = os.open("dir/sub/c", os.O_RDWR)
        os.rename("dir", "both/moved")
        os.rename("tree", "tree2")
        os.rename("both", "hidden/both")
        assert (os.stat("hidden/both/moved").st_ino, os.stat("hidden/both/moved/sub/c").st_ino) == number
        os.write(kept, b"C")
        os.pwrite(kept, b"c", 0)
        assert not os.path.lexists("dir")
        assert not os.path.lexists("both")
        assert sorted(os.listdir("tree2/one/two")) == ["three"]
        return before, manifest("hidden/both/moved")

    before, after = arena.container("cow", work)
    changed = {name for name in before if before[name] != after.get(name)}
    assert before.keys() == after.keys()
    assert changed <= {"sub/c", "sub"}, "only the file that was written to"
    seen = arena.container("cow", lambda: manifest(".", links=False))
    assert arena.container("overlay", lambda: manifest(".", links=False)) == seen


def test_an_exchange_of_directories_of_an_image(arena: Arena) -> None:
    setup(arena)

    def work() -> None:
        from rootless.kernel import fs

        fs.renameat2(fs.AT_FDCWD, "dir", fs.AT_FDCWD, "both", fs.RENAME_EXCHANGE)
        assert sorted(os.listdir("dir")) == ["above", "below", "name"]
        assert sorted(os.listdir("both")) == ["a", "b", "sub"]

    arena.container("cow", work)
    seen = arena.container("cow", lambda: manifest(".", links=False))
    assert arena.container("overlay", lambda: manifest(".", links=False)) == seen


def test_nothing_waits_for_the_disk_where_nothing_needs_to_last(arena: Arena) -> None:
    """A volatile mount: neither copy-up nor fsync(2), as on the kernel's."""
    setup(arena)

    def config() -> server.Config:
        def unwanted(fd: int) -> None:
            raise AssertionError("the disk was waited for")

        os.fsync = os.fdatasync = unwanted
        return replace(arena.config(), volatile=True)

    def work() -> bytes:
        fd = os.open("file", os.O_RDWR | os.O_APPEND)
        os.write(fd, b"more")
        os.fsync(fd)
        os.fdatasync(fd)
        directory = os.open("dir", os.O_RDONLY)
        os.fsync(directory)
        os.rename("dir", "moved")
        return Path("file").read_bytes()

    assert arena.container("cow", work, config=config) == b"bottom\nmore"
    assert arena.container("overlay", lambda: Path("file").read_bytes()) == b"bottom\nmore"


def test_a_copy_up_shows_at_once(arena: Arena) -> None:
    """Also one that the kernel does not know to have changed the file: another inode, a link less."""
    setup(arena)

    def work() -> list[int]:
        found = []
        for action in (lambda: None, lambda: os.close(os.open("file", os.O_RDWR)), lambda: os.rename("dir", "moved")):
            action()
            found.append(os.stat("file").st_nlink)
            found.append(os.stat("moved/linked" if os.path.exists("moved") else "dir/linked").st_nlink)
        return found

    arena.in_room(lambda: os.link("lower/other", "lower/dir/linked"))
    assert arena.container("cow", work) == [2, 2, 1, 2, 1, 1]


def test_inode_numbers_stay(arena: Arena) -> None:
    """Over copy-up and rename, and after the kernel has forgotten the file."""
    setup(arena)

    def work() -> None:
        before = {}
        for name in ("file", "dir", "symlink", "dir/sub/c", "hardlink"):
            before[name] = os.lstat(name).st_ino
            os.chown(name, 1, 1, follow_symlinks=False)
            assert os.lstat(name).st_ino == before[name], name
        big = os.stat("big").st_ino
        os.rename("big", "dir/big")
        assert os.stat("dir/big").st_ino == big

    arena.container("cow", work)


def test_copied_holes_stay_holes(arena: Arena) -> None:
    setup(arena)

    def work() -> int:
        os.chmod("sparse", 0o600)
        return os.stat("sparse").st_blocks

    assert arena.container("cow", work) < 64


def test_a_copy_shares_its_blocks_where_the_file_system_can(arena: Arena) -> None:
    """XFS, Btrfs: a first write to a large file of an image neither takes the time nor the room of a copy."""
    size = 64 << 20
    (arena.base / "probe").write_bytes(b"x")
    try:
        with open(arena.base / "probe") as one, open(arena.base / "clone", "w") as other:
            fcntl.ioctl(other, FICLONE, one.fileno())
    except OSError:
        pytest.skip("the file system of temporary files shares no blocks")

    def make() -> None:
        Path("lower/large").write_bytes(os.urandom(size))
        os.sync()

    def work() -> int:
        before = os.statvfs(".")
        fd = os.open("large", os.O_WRONLY)
        os.pwrite(fd, b"x" * 4096, 8192)
        os.fsync(fd)
        return (before.f_bfree - os.statvfs(".").f_bfree) * before.f_frsize

    arena.in_room(make)
    assert arena.container("cow", work) < size // 4
    assert arena.in_room(lambda: os.stat("upper/large").st_size) == size


def test_readers_see_what_is_written_through_another_handle(arena: Arena) -> None:
    """overlayfs leaves a reader of a lower file with the old contents; one inode here is one file."""
    setup(arena)

    def work() -> bytes:
        reader = os.open("file", os.O_RDONLY)
        os.read(reader, 100)
        with open("file", "a") as file:
            file.write("more\n")
        return os.pread(reader, 100, 0)

    assert arena.container("cow", work) == b"bottom\nmore\n"


def test_what_is_held_by_path_only_keeps_its_attributes(arena: Arena) -> None:
    """O_PATH descriptors and working directories are no open files to the server."""
    setup(arena)

    def work() -> None:
        lower = os.open("file", os.O_PATH)
        replaced = os.open("other", os.O_PATH)
        os.mkdir("new")
        directory = os.open("new", os.O_PATH)
        with open("made", "w") as file:
            file.write("made")
        made = os.open("made", os.O_PATH)
        os.unlink("file")
        os.unlink("made")
        os.rename("masked", "other")
        os.rmdir("new")
        sizes = [os.fstat(fd).st_size for fd in (lower, replaced, made)]
        assert sizes == [7, 6, 4]
        assert os.fstat(directory).st_nlink == 0

    arena.container("cow", work)


def test_a_very_deep_tree_is_renamed_and_forgotten(arena: Arena) -> None:
    """Far beyond PATH_MAX and the limits of descriptors and of recursion."""
    depth = 400

    def descend(make: bool) -> None:
        for _ in range(depth):
            if make:
                os.mkdir("d" * 20)
            os.chdir("d" * 20)

    def deep() -> None:
        os.chdir("lower")
        os.mkdir("top")
        os.chdir("top")
        descend(make=True)
        Path("bottom").write_text("deep")
        os.chdir(arena.base)

    def config() -> server.Config:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        sys.setrecursionlimit(300)
        return arena.config()

    def work() -> None:
        top = os.getcwd()
        os.rename("top", "moved")
        os.chdir("moved")
        descend(make=False)
        assert Path("bottom").read_text() == "deep"
        Path("bottom").write_text("changed")
        os.chdir(top)
        assert not os.path.exists("top")

    def check() -> None:
        os.chdir("moved")
        descend(make=False)
        assert Path("bottom").read_text() == "changed"

    arena.in_room(deep)
    arena.container("cow", work, config=config)
    arena.container("overlay", check)


def test_a_read_only_mount_refuses_every_change(arena: Arena) -> None:
    setup(arena)

    def config() -> server.Config:
        return server.Config(lowers=tuple(server.LayerSpec(str(arena.base / name)) for name in arena.lowers))

    def work() -> list[int | None]:
        found: list[int | None] = []
        for action in (
            lambda: os.mkdir("x"),
            lambda: os.unlink("file"),
            lambda: os.rename("file", "x"),
            lambda: os.chmod("file", 0),
            lambda: open("file", "a"),
            lambda: os.setxattr("file", "user.x", b""),
        ):
            try:
                action()
                found.append(None)
            except OSError as problem:
                found.append(problem.errno)
        assert Path("file").read_text() == "bottom\n"
        return found

    assert arena.container("cow", work, config=config) == [30] * 6


def test_the_stacks_are_dumped_on_a_signal(arena: Arena) -> None:
    """Even while the loop waits in the kernel with the interpreter's lock."""
    setup(arena)
    log = arena.log
    assert log is not None

    served_read, served_write = os.pipe()

    def signalled(one: int, daemon: int) -> None:
        os.read(served_read, 1)
        # The server belongs to the room: only from inside may it be signalled.
        arena.in_room(lambda: os.kill(daemon, signal.SIGUSR1))

    def work() -> None:
        os.stat("file")
        os.write(served_write, b"x")
        assert wait_for(lambda: "engine.py" in log.read_text()), log.read_text()
        os.stat("other")

    arena.container("cow", work, started=signalled)


def test_a_listing_shows_what_is_replaced_or_forgotten_meanwhile(arena: Arena) -> None:
    """A name that exists all the time is listed, whatever file it is, known to the server or not."""
    setup(arena)

    def config() -> server.Config:
        from rootless.fuse import operations

        plain = operations.Operations.readdir

        async def forgetful(self: operations.Operations, handle: int, offset: int, token: object) -> None:
            if offset:
                for node in list(self._listings[handle].node.children.values()):
                    if node.name.startswith(b"k"):
                        self._tree.forget(node, node.lookups)
            await plain(self, handle, offset, token)

        operations.Operations.readdir = forgetful  # type: ignore[assignment,method-assign]
        return arena.config()

    def work() -> None:
        os.mkdir("many")
        for number in range(400):
            Path(f"many/k{number:03}").touch()
        seen = []
        with os.scandir("many") as entries:
            for entry in entries:
                seen.append(entry.name)
                if len(seen) == 1:
                    for number in range(400):
                        if number % 3 == 0:
                            Path("many/new").touch()
                            os.rename("many/new", f"many/k{number:03}")
        assert sorted(set(seen) - {"new"}) == [f"k{number:03}" for number in range(400)]
        assert len(seen) == len(set(seen))

    arena.container("cow", work, config=config)
