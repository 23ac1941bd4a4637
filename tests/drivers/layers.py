"""The two lower layers that the cases of the suite act on: a bit of everything that an image may hold."""

from __future__ import annotations

import os
import stat

from tests.drivers.trial import OLD


def make_file(path: str, text: str = "", mode: int = 0o644) -> None:
    """A file with this text."""
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def lower(top: str) -> None:
    """The bottom layer."""
    os.makedirs(f"{top}/dir/sub/deep")
    os.makedirs(f"{top}/empty")
    os.makedirs(f"{top}/both/below")
    os.makedirs(f"{top}/hidden/inside")
    os.makedirs(f"{top}/setgid")
    os.makedirs(f"{top}/tree/one/two")
    make_file(f"{top}/file", "bottom\n")
    make_file(f"{top}/other", "other\n")
    make_file(f"{top}/masked", "masked\n")
    make_file(f"{top}/deleted", "deleted\n")
    make_file(f"{top}/dir/a", "a\n")
    make_file(f"{top}/dir/b", "b\n", 0o600)
    make_file(f"{top}/dir/sub/c", "c\n")
    make_file(f"{top}/both/below/x", "x\n")
    make_file(f"{top}/both/name", "from below\n")
    make_file(f"{top}/hidden/inside/y", "y\n")
    make_file(f"{top}/tree/one/two/three", "three\n")
    make_file(f"{top}/suid", "suid\n", 0o6755)
    make_file(f"{top}/big", "0123456789" * 20000)
    os.link(f"{top}/file", f"{top}/hardlink")
    os.symlink("file", f"{top}/symlink")
    os.symlink("nowhere", f"{top}/dangling")
    os.mkfifo(f"{top}/fifo", 0o640)
    make_file(f"{top}/sparse")
    os.truncate(f"{top}/sparse", 1 << 22)
    with open(f"{top}/sparse", "r+b") as file:
        file.seek(1 << 21)
        file.write(b"middle")
    os.chown(f"{top}/other", 5, 6)
    os.chown(f"{top}/symlink", 7, 8, follow_symlinks=False)
    os.chown(f"{top}/dir", 10, 11)
    os.chown(f"{top}/setgid", 0, 50)
    os.chmod(f"{top}/setgid", 0o2775)
    os.setxattr(f"{top}/dir/a", "user.color", b"blue")
    os.setxattr(f"{top}/dir", "user.kind", b"directory")


def middle(top: str) -> None:
    """The layer above it: a merge, a whiteout, an opaque directory, a file over a directory."""
    os.makedirs(f"{top}/both/above")
    os.makedirs(f"{top}/hidden")
    make_file(f"{top}/both/name", "from above\n")
    make_file(f"{top}/both/above/z", "z\n")
    make_file(f"{top}/masked", "seen\n")
    make_file(f"{top}/hidden/shown", "shown\n")
    os.setxattr(f"{top}/hidden", "user.overlay.opaque", b"y")
    os.mknod(f"{top}/deleted", stat.S_IFCHR, 0)
    make_file(f"{top}/empty", "a file over a directory\n")


def age(top: str) -> None:
    """Give everything below `top` one old time, so that what a driver touches shows."""
    for directory, names, files in os.walk(top, topdown=False):
        for name in (*names, *files):
            os.utime(os.path.join(directory, name), ns=(OLD, OLD), follow_symlinks=False)
    os.utime(top, ns=(OLD, OLD))


def make_layers() -> None:
    """Both layers, below the current directory."""
    lower("lower")
    middle("middle")
    age("lower")
    age("middle")
