"""Calls that a file system in user space need not have: they work, or fail in the way that programs cope with.

pyfuse3 has no handlers for O_TMPFILE, fallocate(2) and lseek(2), and no ACLs are promised. EOPNOTSUPP is what every
caller of these has to expect (ext2, NFS 3, tmpfs of old answer so); EIO, a silent nothing or a half-done change is not.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rootless.kernel import fs
from tests.drivers.arena import Arena
from tests.drivers.test_semantics import setup

KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
MODES = (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, COLLAPSE, ZERO, ZERO | KEEP_SIZE, INSERT, PUNCH_HOLE, UNSHARE)
"""fallocate(2)'s; ext4 knows the last two not, and XFS one of them."""

FICLONE = 0x40049409
ACL = bytes.fromhex("02000000 01000600ffffffff 02000600e8030000 04000400ffffffff 10000600ffffffff 20000400ffffffff")
"""u::rw-,u:1000:rw-,g::r--,m::rw-,o::r--"""


def outcome(action: Callable[[], object]) -> str:
    """`works`, or the errno's name."""
    try:
        action()
    except OSError as problem:
        return errno.errorcode[problem.errno or 0]
    return "works"


def make_pattern(name: str) -> int:
    """A descriptor of a file of 16 different blocks."""
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(fd, b"".join(bytes([65 + number]) * 4096 for number in range(16)))
    return fd


def allocated(content: bytes, mode: int) -> bytes:
    """What fallocate(2) of the second and third block makes of a file's contents."""
    if mode & (PUNCH_HOLE | ZERO):
        return content[:4096] + bytes(8192) + content[12288:]
    if mode & COLLAPSE:
        return content[:4096] + content[12288:]
    if mode & INSERT:
        return content[:4096] + bytes(8192) + content[4096:]
    return content


@pytest.mark.parametrize("mode", MODES)
def test_fallocate(arena: Arena, driver: str, mode: int) -> None:
    setup(arena)

    def work() -> str:
        fd = make_pattern("new")
        before = os.pread(fd, 1 << 20, 0)
        found = outcome(lambda: fs.fallocate(fd, mode, 4096, 8192))
        expected = allocated(before, mode) if found == "works" else before
        assert os.pread(fd, 1 << 20, 0) == expected, "done, or nothing done"
        assert os.fstat(fd).st_size == len(expected)
        return found

    found = arena.container(driver, work)
    assert found in ("works", "ENOTSUP")
    if driver == "overlay" and mode not in (PUNCH_HOLE, UNSHARE):
        assert found == "works", "the file system below can"


def test_what_programs_do_about_it(arena: Arena, driver: str) -> None:
    """posix_fallocate(3) writes where the file system can't; who gets no nameless file makes a named one."""
    setup(arena)

    def work() -> None:
        fd = os.open("new", os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(fd, 0, 10_000)
        assert os.fstat(fd).st_size == 10_000
        assert os.pread(fd, 20_000, 0) == bytes(10_000)
        assert outcome(lambda: os.open(".", os.O_TMPFILE | os.O_RDWR)) in ("works", "ENOTSUP")
        import tempfile

        with tempfile.TemporaryFile(dir=".") as file:
            file.write(b"nameless")
            assert os.pread(file.fileno(), 20, 0) == b""
            file.flush()
            assert os.pread(file.fileno(), 20, 0) == b"nameless"

    arena.container(driver, work)


def data(fd: int) -> Iterator[tuple[int, int]]:
    """The ranges that lseek(2) says hold data."""
    end = os.fstat(fd).st_size
    offset = 0
    while offset < end:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno != errno.ENXIO:  # nothing but a hole up to the end
                raise
            return
        offset = os.lseek(fd, start, os.SEEK_HOLE)
        assert offset > start
        yield start, offset


def test_nothing_is_taken_for_a_hole_that_is_none(arena: Arena, driver: str) -> None:
    """Of the image's files, of copies and of new ones. A file system that knows of no holes has one at the end."""
    setup(arena)

    def work() -> None:
        os.chmod("sparse", 0o600)
        new = os.open("new", os.O_RDWR | os.O_CREAT)
        os.pwrite(new, b"end", 1 << 20)
        for name in "sparse", "new", "big":
            fd = os.open(name, os.O_RDONLY)
            content = os.pread(fd, 1 << 23, 0)
            rebuilt = bytearray(len(content))
            for start, end in data(fd):
                rebuilt[start:end] = content[start:end]
            assert rebuilt == content, name
        with pytest.raises(OSError, match="No such device or address"):
            os.lseek(new, 1 << 30, os.SEEK_DATA)

    arena.container(driver, work)


def test_copying_in_the_kernel(arena: Arena, driver: str) -> None:
    """From an image's file and a changed one, within one too; reflinks where the file system has them."""
    setup(arena)

    def work() -> str:
        lower = os.open("big", os.O_RDONLY)
        fd = os.open("new", os.O_RDWR | os.O_CREAT)
        assert os.copy_file_range(lower, fd, 100_000, 50, 10) == 100_000
        assert os.pread(fd, 100_000, 10) == os.pread(lower, 100_000, 50)
        assert os.copy_file_range(fd, fd, 1000, 10, 150_000) == 1000
        assert os.pread(fd, 1000, 150_000) == os.pread(lower, 1000, 50)
        assert os.copy_file_range(lower, fd, 10, 1 << 30, 0) == 0
        assert os.sendfile(fd, lower, 0, 50_000) == 50_000
        clone = os.open("clone", os.O_RDWR | os.O_CREAT)
        found = outcome(lambda: fcntl.ioctl(clone, FICLONE, lower))
        assert os.fstat(clone).st_size == (200_000 if found == "works" else 0)
        return found

    assert arena.container(driver, work) in ("works", "ENOTSUP", "EXDEV", "EINVAL", "ENOTTY")


def test_access_control_lists(arena: Arena, driver: str) -> None:
    """Kept and obeyed, or refused: never taken and ignored."""
    setup(arena)

    def work() -> str:
        found = outcome(lambda: os.setxattr("file", "system.posix_acl_access", ACL))
        expected = 0o664 if found == "works" else 0o644
        assert os.stat("file").st_mode & 0o777 == expected, "the mask is the group's part"
        assert outcome(lambda: os.setxattr("dir", "system.posix_acl_default", ACL)) == found
        if found == "works":
            assert os.getxattr("file", "system.posix_acl_access") == ACL
        else:
            assert outcome(lambda: os.getxattr("file", "system.posix_acl_access")) == "ENOTSUP"
        assert Path("file").read_bytes() == b"bottom\n"
        return found

    found = arena.container(driver, work)
    assert found == ("ENOTSUP" if driver == "cow" else "works")


def test_direct_input_and_locks_of_open_files(arena: Arena, driver: str) -> None:
    import mmap
    import struct

    setup(arena)

    def work() -> None:
        fd = os.open("big", os.O_RDONLY | os.O_DIRECT)
        with mmap.mmap(-1, 4096) as page:
            assert os.preadv(fd, [page], 0) == 4096
            assert page[:10] == b"0123456789"
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        one, other = os.open("file", os.O_RDWR), os.open("file", os.O_RDWR)
        fcntl.fcntl(one, fcntl.F_OFD_SETLK, lock)
        with pytest.raises(BlockingIOError):
            fcntl.fcntl(other, fcntl.F_OFD_SETLK, lock)
        fs.syncfs(one)

    arena.container(driver, work)
