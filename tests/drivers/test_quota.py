"""`--storage-opt size=`: what the container cannot do, what it gets back, and that nothing is half-copied."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless.fuse import server
from tests.drivers.arena import Arena
from tests.drivers.test_semantics import setup

LIMIT = 1 << 20


def limited(arena: Arena, size: int = LIMIT) -> Callable[[], server.Config]:
    """A configuration with a limit."""

    def config() -> server.Config:
        plain = arena.config()
        return server.Config(plain.lowers, plain.upper, plain.work, size=size, log=plain.log)

    return config


def fill(name: str, piece: int = 10000) -> int:
    """Write until the file system is full; gives how much went in."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while True:
            os.write(fd, bytes(piece))
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise
    written = os.lseek(fd, 0, os.SEEK_END)
    os.close(fd)
    return written


def near(filled: int, expected: int) -> bool:
    """But for two blocks: when the disk is busy, what was written may be laid out in pieces already, and a block more
    than the data takes tells where they are."""
    return abs(filled - expected) <= 2 * 4096


def test_the_limit_is_exact_and_given_back(arena: Arena) -> None:
    setup(arena)

    def work() -> None:
        assert near(fill("a"), LIMIT)
        assert os.statvfs(".").f_bfree == 0
        with pytest.raises(OSError, match="No space"):
            os.mkdir("no")
        assert fill("b") == 0
        os.truncate("a", LIMIT // 2)
        assert near(fill("b"), LIMIT // 2)
        os.unlink("a")
        assert near(fill("c"), LIMIT // 2)
        os.rename("c", "b")
        assert near(fill("d"), LIMIT // 2)
        held = os.open("d", os.O_RDWR)
        os.unlink("d")
        assert fill("e") == 0, "what is open takes its room until it is closed"
        os.pwrite(held, b"over what is there", 100)
        os.close(held)
        os.listdir(".")
        assert near(fill("e", 4096), LIMIT // 2)
        os.link("e", "f")
        os.unlink("e")
        assert fill("g") == 0, "a file with another name is not gone"
        os.unlink("f")
        assert near(fill("g"), LIMIT // 2)

    arena.container("cow", work, config=limited(arena))


def test_the_limit_holds_after_a_remount(arena: Arena) -> None:
    setup(arena)
    assert near(arena.container("cow", lambda: fill("a"), config=limited(arena, LIMIT // 2)), LIMIT // 2)
    assert near(arena.container("cow", lambda: fill("b"), config=limited(arena)), LIMIT // 2)

    def more_than_full() -> None:
        assert near(fill("b"), LIMIT // 2)
        with pytest.raises(OSError, match="No space"):
            os.mkfifo("c")

    arena.container("cow", more_than_full, config=limited(arena, LIMIT // 2))


def test_holes_cost_nothing(arena: Arena) -> None:
    setup(arena)

    def work() -> int:
        with open("sparse2", "wb") as file:
            file.truncate(LIMIT * 100)
            file.seek(LIMIT * 50)
            file.write(b"x")
        os.chmod("sparse", 0o600)
        return fill("a", 4096)

    assert near(arena.container("cow", work, config=limited(arena)), LIMIT - 2 * 4096)


def test_nothing_is_half_copied(arena: Arena) -> None:
    """A copy-up, a deep one and a new file without room leave the tree as it was, and the room too."""
    setup(arena)

    def work() -> None:
        free = os.statvfs(".").f_bfree
        for action in (
            lambda: os.chmod("big", 0o600),
            lambda: os.truncate("big", 10),
            lambda: open("big", "a"),
            lambda: os.rename("dir", "moved"),
            lambda: os.rename("big", "dir/big"),
        ):
            with pytest.raises(OSError, match="No space"):
                action()
        assert os.statvfs(".").f_bfree == free
        assert len(Path("big").read_bytes()) == 200000
        assert sorted(os.listdir("dir")) == ["a", "b", "sub"]
        open("big", "w").close()
        os.chmod("dir/a", 0o600)

    arena.container("cow", work, config=limited(arena, 5 * 4096))
    assert sorted(arena.in_room(lambda: os.listdir("upper"))) == ["big", "dir"]


def test_a_directory_of_an_image_is_counted_when_it_is_renamed(arena: Arena) -> None:
    setup(arena)

    def work() -> int:
        before = os.statvfs(".").f_bfree
        held = os.open("removed", os.O_RDWR | os.O_CREAT)
        os.write(held, bytes(8192))
        os.unlink("removed")
        os.rename("dir", "moved")
        used = before - os.statvfs(".").f_bfree
        os.close(held)
        return used

    # dir, dir/sub, dir/sub/deep; a, b, c; two blocks without a name; the bytes of two attributes
    assert arena.container("cow", work, config=limited(arena)) == 3 + 3 + 2 + 1


def until_full(action: Callable[[int], object]) -> int:
    """Repeat until the file system is full; gives how often it was done."""
    for done in range(10000):
        try:
            action(done)
        except OSError as problem:
            if problem.errno != errno.ENOSPC:
                raise
            return done
    raise AssertionError("there is no limit")


def test_nothing_escapes(arena: Arena) -> None:
    """Symlinks, fifos, attributes and names take room too, and give it back."""
    setup(arena)

    def work() -> None:
        free = os.statvfs(".").f_bfree
        assert until_full(lambda n: os.symlink("x" * 50, f"link{n}")) <= free
        for name in os.listdir("."):
            if name.startswith("link"):
                os.unlink(name)
        assert os.statvfs(".").f_bfree >= free - 1, "all but what the directory itself has grown by"
        assert until_full(lambda n: os.mkfifo(f"fifo{n}")) <= free
        for name in os.listdir("."):
            if name.startswith("fifo") and name != "fifo":
                os.unlink(name)
        os.mkdir("many")
        for number in range(100):
            open(f"many/{number}", "w").close()
        done = until_full(lambda n: os.setxattr(f"many/{n}", "user.big", bytes(3000)))
        assert done * 3000 <= free * 4096
        for number in range(done):
            os.removexattr(f"many/{number}", "user.big")
        os.link("many/0", "another")
        assert until_full(lambda n: os.link("another", "x" * 200 + str(n))) > 0
        with pytest.raises(OSError, match="No space"):
            open("y" * 250, "w").close()

    arena.container("cow", work, config=limited(arena, 20 * 4096))


def test_a_remount_counts_the_same(arena: Arena) -> None:
    """Whatever was made, changed, moved, replaced and removed: the account is what the layer holds."""
    setup(arena)

    def free() -> int:
        os.sync()
        return os.statvfs(".").f_bfree

    def work() -> list[int]:
        seen = [free()]
        for number in range(300):
            Path(f"both/{number:0100}").touch()
        seen.append(free())
        os.symlink("x" * 1000, "long")
        os.symlink("x", "short")
        os.chown("short", 5, 6, follow_symlinks=False)
        os.mkfifo("pipe")
        os.chown("pipe", 7, 8)
        seen.append(free())
        os.chmod("big", 0o600)
        os.truncate("big", 5000)
        os.setxattr("dir/a", "user.color", bytes(900))
        os.setxattr("dir", "user.kind", b"x")
        os.setxattr("dir/b", "user.gone", bytes(2000))
        os.removexattr("dir/b", "user.gone")
        seen.append(free())
        os.rename("dir", "moved")
        os.rename("both", "dir")
        os.rename("other", "dir/name")
        os.rename("dir/name", "big")
        os.rename("short", "long")
        seen.append(free())
        os.mkdir("made")
        os.mkdir("again")
        os.rename("made", "again")
        os.rmdir("again")
        os.unlink("file")
        os.link("masked", "linked")
        os.unlink("masked")
        for number in range(0, 300, 2):
            os.unlink(f"dir/{number:0100}")
        with open("held", "w+b") as held:
            held.write(bytes(50000))
            os.unlink("held")
        os.listdir(".")
        seen.append(free())
        return seen

    seen = arena.container("cow", work, config=limited(arena, 100 << 20))
    assert arena.container("cow", lambda: [free()], config=limited(arena, 100 << 20)) == seen[-1:]
    assert len(set(seen)) > 3


def test_a_copy_up_that_fails_costs_nothing(arena: Arena) -> None:
    """The copy is made, and then can't take its place."""
    setup(arena)

    def config() -> server.Config:
        rename = os.rename

        def refused(old: bytes, new: bytes, **directories: int) -> None:
            if new in (b"big", b"sub"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            rename(old, new, **directories)

        os.rename = refused  # type: ignore[assignment]
        return limited(arena)()

    def work() -> None:
        os.chmod("dir", 0o700)
        free = os.statvfs(".").f_bfree
        for path in "big", "dir/sub":
            with pytest.raises(OSError, match="Input/output"):
                os.chmod(path, 0o700)
            assert os.statvfs(".").f_bfree == free

    arena.container("cow", work, config=config)
