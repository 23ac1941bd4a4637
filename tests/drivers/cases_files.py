"""Cases of single files: what they hold, whose they are, what is written beside them."""

from __future__ import annotations

import fcntl
import mmap
import os

from tests.drivers.cases import case
from tests.drivers.trial import Trial


@case
def read_everything(t: Trial) -> None:
    for name in ("file", "masked", "both/name", "both/below/x", "both/above/z", "hidden/shown", "empty", "symlink"):
        t.read(name)
    for name in ("deleted", "hidden/inside", "nothing", "file/x"):
        t.stat(name)
    for name in (".", "both", "hidden", "dir"):
        t.list(name)


@case
def attributes_of_lower_files(t: Trial) -> None:
    for name in ("file", "other", "symlink", "fifo", "suid", "sparse", "dir", "setgid", "hardlink"):
        t.stat(name)
    t.do(os.readlink, "symlink")
    t.do(os.readlink, "file")
    t.do(os.getxattr, "dir/a", "user.color")
    t.do(os.getxattr, "dir/a", "user.none")
    t.do(os.listxattr, "dir/a")
    t.do(os.listxattr, "hidden")


@case
def append_copies_up(t: Trial) -> None:
    t.write("dir/a", "more\n", "a")
    t.read("dir/a")
    t.stat("dir/a")
    t.do(os.getxattr, "dir/a", "user.color")


@case(fuse_overlayfs="keeps an image's hard links together, and dates a symlink anew")
def metadata_copies_up(t: Trial) -> None:
    t.do(os.chmod, "file", 0o600)
    t.do(os.chown, "other", 1000, 1001)
    t.do(os.utime, "masked", ns=(123456789, 987654321))
    t.do(os.truncate, "big", 100)
    t.do(os.chown, "symlink", 3, 4, follow_symlinks=False)
    t.do(os.chmod, "dir", 0o711)
    t.do(os.chown, "dir/sub", 12, 13)
    for name in ("file", "other", "masked", "big", "symlink", "dir", "dir/sub", "hardlink"):
        t.stat(name)


@case
def extended_attributes(t: Trial) -> None:
    t.do(os.setxattr, "file", "user.new", b"value")
    t.do(os.setxattr, "file", "user.new", b"again", os.XATTR_CREATE)
    t.do(os.setxattr, "file", "user.other", b"again", os.XATTR_REPLACE)
    t.do(os.removexattr, "dir/a", "user.color")
    t.do(os.removexattr, "dir/a", "user.color")
    t.do(os.setxattr, "dir", "user.on", b"directory")
    t.do(os.setxattr, "file", "trusted.x", b"1")
    t.do(os.getxattr, "file", "trusted.x")
    t.do(os.setxattr, "symlink", "user.x", b"1", follow_symlinks=False)
    t.do(os.setxattr, "file", "user.empty", b"")
    t.do(os.getxattr, "file", "user.empty")
    for name in ("file", "dir/a", "dir"):
        t.do(os.listxattr, name)


@case(fuse_overlayfs="hides a nested overlayfs's attributes")
def nested_overlay_attributes(t: Trial) -> None:
    t.do(os.setxattr, "dir", "user.overlay.opaque", b"y")
    t.do(os.getxattr, "dir", "user.overlay.opaque")
    t.do(os.listxattr, "dir")
    t.list("dir")


@case
def file_capabilities(t: Trial) -> None:
    value = bytes.fromhex("0100000200040000000000000000000000000000")
    t.do(os.setxattr, "file", "security.capability", value)
    t.do(os.getxattr, "file", "security.capability")
    t.write("file", "written", "a")
    t.do(os.getxattr, "file", "security.capability")


@case
def file_capabilities_go_with_chown(t: Trial) -> None:
    value = bytes.fromhex("0100000200040000000000000000000000000000")
    t.do(os.setxattr, "file", "security.capability", value)
    t.do(os.chown, "file", 5, 6)
    t.do(os.getxattr, "file", "security.capability")
    t.do(os.setxattr, "file", "security.capability", value)
    t.do(os.chmod, "file", 0o600)
    t.do(os.getxattr, "file", "security.capability")


@case(fuse_overlayfs="keeps set-id bits")
def set_id_bits_go_with_a_write(t: Trial) -> None:
    t.write("suid", "more", "a")
    t.stat("suid")
    t.do(os.chmod, "suid", 0o6755)
    t.do(os.truncate, "suid", 1)
    t.stat("suid")
    t.do(os.chmod, "suid", 0o6755)
    t.do(os.chown, "suid", 1, 1)
    t.stat("suid")


@case
def as_another_user(t: Trial) -> None:
    """What a user other than root may do, and to whom belongs what it makes."""

    def child(report: int) -> None:
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        inner = Trial()
        inner.write("file", "no", "a")
        inner.write("open/mine", "yes")
        inner.do(os.mkdir, "open/dir")
        inner.do(os.symlink, "x", "open/link")
        inner.do(os.chown, "open/mine", 0, 0)
        inner.do(os.chmod, "open/mine", 0o640)
        inner.do(os.listdir, "private")
        inner.do(os.unlink, "other")
        inner.stat("open/mine")
        inner.stat("open/dir")
        inner.stat("open/link")
        os.write(report, repr(inner.results).encode())

    t.do(os.mkdir, "open")
    t.do(os.chmod, "open", 0o777)
    t.do(os.mkdir, "private", 0o700)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(write)
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        t.note(file.read())
    os.waitpid(pid, 0)


@case(fuse_overlayfs="counts an image's links after a copy-up")
def open_flags(t: Trial) -> None:
    t.do(os.open, "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    t.do(os.open, "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
    t.do(os.open, "dir", os.O_WRONLY)
    t.do(os.open, "file", os.O_DIRECTORY)
    t.do(os.open, "symlink", os.O_RDONLY | os.O_NOFOLLOW)
    t.do(os.open, "symlink", os.O_WRONLY | os.O_TRUNC)
    t.stat("file")
    t.do(os.open, "big", os.O_RDWR | os.O_TRUNC)
    t.stat("big")
    fd = os.open("other", os.O_WRONLY | os.O_APPEND)
    t.do(os.write, fd, b"1")
    t.do(os.pwrite, fd, b"2", 0)
    t.read("other")


@case
def memory_maps(t: Trial) -> None:
    fd = os.open("big", os.O_RDWR)
    with mmap.mmap(fd, 0) as view:
        t.note(view[:10])
        view[5:8] = b"map"
        view.flush()
    t.do(os.pread, fd, 10, 0)
    os.close(fd)
    t.read("big")


@case
def locks(t: Trial) -> None:
    one = os.open("file", os.O_RDWR)
    other = os.open("file", os.O_RDWR)
    t.do(fcntl.flock, one, fcntl.LOCK_EX)
    t.do(fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    t.do(fcntl.lockf, one, fcntl.LOCK_EX | fcntl.LOCK_NB)


@case
def sparse_files(t: Trial) -> None:
    t.do(os.chmod, "sparse", 0o600)
    t.stat("sparse")
    with open("holes", "wb") as file:
        file.seek(1 << 24)
        file.write(b"end")
    t.note(os.stat("holes").st_blocks < 2000)


@case(fuse_overlayfs="loses the owner of a symlink")
def times_to_the_nanosecond(t: Trial) -> None:
    t.write("new")
    t.do(os.utime, "new", ns=(1_111_111_111_222_222_333, 1_000_000_000_444_444_555))
    status = os.stat("new")
    t.note(status.st_atime_ns, status.st_mtime_ns)
    t.do(os.utime, "symlink", ns=(5, 6), follow_symlinks=False)
    t.stat("symlink")
    before = os.stat("dir/sub").st_mtime_ns
    t.do(os.chmod, "dir/sub/c", 0o600)
    t.note(os.stat("dir/sub").st_mtime_ns == before)


@case(fuse_overlayfs="keeps 4 bytes of a name for itself")
def space(t: Trial) -> None:
    space = os.statvfs(".")
    t.note(space.f_bsize, space.f_frsize, space.f_namemax, space.f_blocks)
