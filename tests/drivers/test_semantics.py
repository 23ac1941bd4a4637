"""The same actions on every driver: the kernel's overlayfs says what must come of them.

Compared are the result or errno of each action, the tree that is seen afterwards through a fresh mount of the same
layers, and the upper directory that is left (so that one driver can mount what another has written).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from rootless.kernel import fs
from tests.drivers.arena import Arena
from tests.drivers.layers import make_layers
from tests.drivers.trial import Trial, manifest

Case = Callable[[Trial], None]
CASES: dict[str, Case] = {}
FUSE_OVERLAYFS_DIFFERS: dict[str, str] = {}


def case(function: Case | None = None, *, fuse_overlayfs: str = "") -> Any:
    """Add a case; `fuse_overlayfs` says in what the C program is known to differ."""

    def add(function: Case) -> Case:
        CASES[function.__name__] = function
        if fuse_overlayfs:
            FUSE_OVERLAYFS_DIFFERS[function.__name__] = fuse_overlayfs
        return function

    return add(function) if function is not None else add


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
def unlink_and_create_again(t: Trial) -> None:
    t.do(os.unlink, "file")
    t.stat("file")
    t.do(os.unlink, "file")
    t.write("file", "anew")
    t.do(os.unlink, "file")
    t.write("deleted", "back")
    t.do(os.unlink, "deleted")
    t.do(os.unlink, "masked")
    t.stat("masked")
    t.do(os.unlink, "dir")
    t.do(os.rmdir, "other")
    t.list(".")


@case
def rmdir_and_mkdir_again(t: Trial) -> None:
    t.do(os.rmdir, "dir")
    t.do(os.unlink, "dir/a")
    t.do(os.unlink, "dir/b")
    t.do(os.unlink, "dir/sub/c")
    t.do(os.rmdir, "dir/sub/deep")
    t.do(os.rmdir, "dir/sub")
    t.list("dir")
    t.do(os.rmdir, "dir")
    t.do(os.mkdir, "dir", 0o750)
    t.list("dir")
    t.stat("dir")
    t.do(os.mkdir, "dir")
    t.do(os.mkdir, "file")
    t.write("dir/new", "1")
    t.do(os.rmdir, "both/above")
    t.do(os.unlink, "both/above/z")
    t.do(os.rmdir, "both/above")
    t.do(os.mkdir, "both/above")


@case(fuse_overlayfs="ends at mknod of a device 0:0")
def types_over_whiteouts(t: Trial) -> None:
    for number, name in enumerate(("file", "other", "masked", "big", "suid")):
        t.do(os.unlink, name)
        if number == 0:
            t.do(os.mkdir, name)
        elif number == 1:
            t.do(os.symlink, "dir", name)
        elif number == 2:
            t.do(os.mkfifo, name, 0o622)
        elif number == 3:
            t.do(os.link, "dir/a", name)
        else:
            t.do(os.mknod, name, stat.S_IFREG | 0o640)
        t.stat(name)
    t.do(os.mknod, "socket", stat.S_IFSOCK | 0o755)
    t.do(os.mknod, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    t.do(os.mknod, "white", stat.S_IFCHR, 0)
    t.do(os.mknod, "block", stat.S_IFBLK | 0o660, os.makedev(7, 0))
    t.list(".")


@case
def hard_links(t: Trial) -> None:
    t.do(os.link, "other", "second")
    t.stat("other")
    t.stat("second")
    t.write("second", "through the second", "w")
    t.read("other")
    t.do(os.unlink, "other")
    t.stat("second")
    t.do(os.link, "second", "dir/third")
    t.do(os.rename, "second", "dir/third")
    t.stat("second")
    t.do(os.link, "symlink", "link-to-symlink", follow_symlinks=False)
    t.do(os.readlink, "link-to-symlink")
    t.do(os.link, "dir", "no")
    t.do(os.link, "file", "masked")
    t.note(os.stat("second").st_ino == os.stat("dir/third").st_ino)


@case
def rename_files(t: Trial) -> None:
    t.do(os.rename, "file", "renamed")
    t.do(os.rename, "other", "masked")
    t.do(os.rename, "renamed", "dir/sub/renamed")
    t.do(os.rename, "nothing", "x")
    t.do(os.rename, "big", "dir")
    t.do(os.rename, "symlink", "both/symlink")
    t.do(os.rename, "fifo", "fifo2")
    t.write("new", "new")
    t.do(os.rename, "new", "newer")
    t.do(os.rename, "newer", "deleted")
    t.list(".")
    t.read("masked")


@case
def rename_new_directories(t: Trial) -> None:
    t.do(os.mkdir, "new")
    t.write("new/inside", "1")
    t.do(os.rename, "new", "newer")
    t.do(os.rename, "newer", "both/moved")
    t.list("both/moved")
    t.do(os.mkdir, "empty1")
    t.do(os.rename, "both/moved", "empty1")
    t.do(os.rename, "empty1", "dir")
    t.do(os.rename, "empty1", "file")
    t.do(os.rename, "file", "empty1")
    t.do(os.rename, "empty1", "empty1/below")
    t.do(os.unlink, "file")
    t.do(os.rename, "empty1", "file")
    t.list("file")
    t.do(os.rmdir, "tree/one/two")
    t.do(os.unlink, "tree/one/two/three")
    t.do(os.mkdir, "fresh")
    t.write("fresh/f", "f")
    t.do(os.rename, "fresh", "tree/one/two")
    t.list("tree/one/two")


@case(fuse_overlayfs="can't exchange a directory")
def rename_flags(t: Trial) -> None:
    here = fs.AT_FDCWD
    rename = partial(fs.renameat2)
    rename.__name__ = "renameat2"  # type: ignore[attr-defined]
    t.do(rename, here, "file", here, "other", fs.RENAME_NOREPLACE)
    t.do(rename, here, "file", here, "fresh", fs.RENAME_NOREPLACE)
    t.do(rename, here, "other", here, "masked", fs.RENAME_EXCHANGE)
    t.read("other")
    t.read("masked")
    t.do(os.mkdir, "new")
    t.do(rename, here, "new", here, "big", fs.RENAME_EXCHANGE)
    t.stat("new")
    t.stat("big")
    t.do(rename, here, "new", here, "nothing", fs.RENAME_EXCHANGE)
    t.list(".")


@case(fuse_overlayfs="ignores the set-gid bit")
def creation_in_a_setgid_directory(t: Trial) -> None:
    t.write("setgid/file")
    t.do(os.mkdir, "setgid/dir")
    t.do(os.symlink, "x", "setgid/link")
    for name in ("setgid/file", "setgid/dir", "setgid/link"):
        t.stat(name)


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


@case(fuse_overlayfs="counts a link of a removed file")
def open_files_outlive_their_names(t: Trial) -> None:
    lower = os.open("file", os.O_RDONLY)
    both = os.open("other", os.O_RDWR)
    t.do(os.unlink, "file")
    t.do(os.unlink, "other")
    t.note(os.fstat(lower).st_nlink, os.fstat(both).st_nlink)
    t.do(os.pread, lower, 100, 0)
    t.do(os.write, both, b"OTHER")
    t.do(os.pread, both, 100, 0)
    t.note(os.fstat(both).st_nlink, os.fstat(both).st_size)
    t.do(os.ftruncate, both, 3)
    t.do(os.fchmod, both, 0o600)
    t.note(oct(os.fstat(both).st_mode), os.fstat(both).st_size)
    kept = os.open("dir/a", os.O_RDWR)
    t.do(os.rename, "dir/b", "dir/a")
    t.do(os.pread, kept, 100, 0)
    t.do(os.write, kept, b"still")
    t.read("dir/a")
    moved = os.open("masked", os.O_RDWR | os.O_APPEND)
    t.do(os.rename, "masked", "dir/masked")
    t.do(os.write, moved, b"appended")
    t.read("dir/masked")
    for fd in (lower, both, kept, moved):
        os.close(fd)
    t.list(".")


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
def long_names(t: Trial) -> None:
    t.write("n" * 255)
    t.write("n" * 256)
    t.do(os.mkdir, "d" * 255)
    t.do(os.symlink, "t" * 4095, "long")
    t.do(os.readlink, "long")
    t.do(os.rename, "n" * 255, "m" * 255)
    t.list(".")


@case
def strange_names(t: Trial) -> None:
    for name in (b"new\nline", b"\xff\xfe", "grüße".encode(), b" ", b"-", b"\\", b"a:b,c"):
        t.do(os.mkdir, name)
        t.do(os.rmdir, name)
        t.do(os.mkdir, name)
    t.note(sorted(os.listdir(b".")))


@case
def a_listing_while_names_come_and_go(t: Trial) -> None:
    os.mkdir("many")
    for number in range(500):
        os.close(os.open(f"many/{number:03}", os.O_CREAT))
    seen = []
    with os.scandir("many") as entries:
        for entry in entries:
            seen.append(entry.name)
            if entry.name.endswith("7"):
                os.unlink(f"many/{entry.name}")
            if len(seen) == 100:
                os.close(os.open("many/new", os.O_CREAT))
    names = [name for name in seen if name != "new"]
    t.note(
        len(names),
        len(set(names)),
        sorted(os.listdir("many")) == sorted({*(f"{number:03}" for number in range(500) if number % 10 != 7), "new"}),
    )


@case(fuse_overlayfs="leaves out ..")
def dot_entries(t: Trial) -> None:
    """readdir(3) gives . and .., which os.listdir leaves out."""
    import subprocess

    for name in (".", "dir", "both"):
        done = subprocess.run(["ls", "-a", name], capture_output=True, text=True, check=True)
        t.note(done.stdout.splitlines())
    t.note(os.stat("dir/..").st_ino == os.stat(".").st_ino, os.stat("dir/sub/..").st_ino == os.stat("dir").st_ino)


@case(fuse_overlayfs="keeps 4 bytes of a name for itself")
def space(t: Trial) -> None:
    space = os.statvfs(".")
    t.note(space.f_bsize, space.f_frsize, space.f_namemax, space.f_blocks)


def setup(arena: Arena) -> None:
    """The layers of the cases."""
    arena.lowers = ["middle", "lower"]
    arena.prepare()
    arena.in_room(make_layers)


def outcome(arena: Arena, driver: str, function: Case) -> dict[str, object]:
    """Run a case and gather everything that is compared."""

    def act() -> list[object]:
        trial = Trial()
        function(trial)
        return trial.results

    results = arena.container(driver, act)
    seen = arena.container(driver, partial(manifest, "."))
    upper = arena.in_room(partial(manifest, "upper"))
    return {"results": results, "tree": seen, "upper": upper}


ORACLE: dict[str, dict[str, object]] = {}


@pytest.mark.parametrize("name", CASES)
def test_like_overlayfs(name: str, driver: str, arena: Arena, room: int) -> None:
    """Results, tree and upper directory are those of the kernel's overlayfs."""
    setup(arena)
    if name not in ORACLE:
        ORACLE[name] = outcome(arena, "overlay", CASES[name])
        if driver == "overlay":
            return
        fresh = Arena(room, arena.base / "again", ["middle", "lower"], arena.log)
        arena.base.joinpath("again").mkdir()
        setup(fresh)
        arena = fresh
    expected = ORACLE[name]
    if driver == "fuse-overlayfs":
        if name in FUSE_OVERLAYFS_DIFFERS:
            pytest.skip(f"fuse-overlayfs 1.10 {FUSE_OVERLAYFS_DIFFERS[name]}")
        assert outcome(arena, driver, CASES[name])["results"] == expected["results"]
        return
    found = outcome(arena, driver, CASES[name])
    for part in ("results", "tree", "upper"):
        assert found[part] == expected[part], part
