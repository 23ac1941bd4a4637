"""Cases of names: they are made, linked, renamed, removed, listed."""

from __future__ import annotations

import os
import stat
from functools import partial

from rootless.kernel import fs
from tests.drivers.cases import case
from tests.drivers.trial import Trial


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


@case(fuse_overlayfs="keeps 4 bytes of a name for itself")
def long_names(t: Trial) -> None:
    t.write("n" * 255)
    t.write("n" * 256)
    t.do(os.mkdir, "d" * 255)
    t.do(os.symlink, "t" * 4095, "long")
    t.do(os.readlink, "long")
    t.do(os.rename, "n" * 255, "m" * 255)
    t.list(".")
    t.do(os.mkdir, "fresh")  # all of whose names are known
    for directory in "fresh", "dir":
        longest, longer = f"{directory}/{'l' * 255}", f"{directory}/{'l' * 256}"
        for name in longest, longer:
            t.stat(name)
            t.do(os.chmod, name, 0o600)
            t.do(os.unlink, name)
            t.do(os.rename, "file", name)
            t.do(os.link, "other", name)
            t.do(os.rename, name, "gone")


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
