"""Mounts: mount(2), umount2(2), pivot_root(2), and the newer calls that work on descriptors (open_tree(2) ...)."""

from __future__ import annotations

import ctypes
import os
import struct

from .libc import check, encode, libc, syscall

# linux/mount.h
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_NOATIME = 0x400
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_RELATIME = 0x200000
MS_STRICTATIME = 0x1000000

MNT_DETACH = 2

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100
AT_FDCWD = -100
MOVE_MOUNT_F_EMPTY_PATH = 4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8

_OCTAL = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


def mount(source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2). `data` is the file system's own option string.

    Raises:
        OSError: with `target`; EPERM also stands for a flag that an outer user namespace has locked
            (mount_namespaces(7)).
        ValueError: an option string of a page or more, which the kernel would cut off without a word.
    """
    options = encode(data)
    if options is not None and len(options) >= os.sysconf("SC_PAGESIZE"):
        raise ValueError(f"mount options of {len(options)} bytes: the kernel reads one page")
    result = libc.mount(encode(source), encode(target), encode(fstype), ctypes.c_ulong(flags), options)
    check(result, target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    check(libc.umount2(encode(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2). With "." for both, the old root is stacked over the new one and can be unmounted from there."""
    syscall("pivot_root", encode(new_root), encode(put_old), paths=(new_root, put_old))


def open_tree(dirfd: int, path: str, flags: int) -> int:
    """open_tree(2): with OPEN_TREE_CLONE a detached copy of the mount at `path`, which no name reaches yet."""
    return syscall("open_tree", dirfd, encode(path), flags | OPEN_TREE_CLOEXEC, paths=(path,))


def move_mount(from_fd: int, to_fd: int, to_path: str = "") -> None:
    """move_mount(2): attach a detached mount at `to_path` below `to_fd`, or on `to_fd` itself when that is empty."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if to_path else MOVE_MOUNT_T_EMPTY_PATH)
    syscall("move_mount", from_fd, b"", to_fd, encode(to_path), flags, paths=(to_path,))


def mount_setattr(dirfd: int, path: str, flags: int, attr_set: int, attr_clear: int = 0, propagation: int = 0) -> None:
    """mount_setattr(2) with a struct mount_attr of version 0; AT_RECURSIVE reaches the submounts too (Linux 5.12)."""
    attributes = ctypes.create_string_buffer(struct.pack("=QQQQ", attr_set, attr_clear, propagation, 0), 32)
    raw = ctypes.cast(attributes, ctypes.c_void_p)
    syscall("mount_setattr", dirfd, encode(path), flags, raw, 32, paths=(path,))


def mountinfo(pid: int | str = "self") -> list[tuple[str, str, str]]:
    """(mount point, file system type, per-mount options) of every mount that process sees (proc_pid_mountinfo(5))."""
    found = []
    with open(f"/proc/{pid}/mountinfo", errors="surrogateescape") as file:
        for line in file:
            head, _, tail = line.partition(" - ")
            fields = head.split(" ")
            found.append((unescape(fields[4]), tail.split(" ")[0], fields[5]))
    return found


def propagation(path: str) -> tuple[str, str]:
    """(mount point, optional fields) of the mount that `path`, which must be a real path, is on: `shared:1 master:2`,
    one of these, or nothing (proc_pid_mountinfo(5))."""
    point, fields = "", ""
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        for line in file:
            head = line.partition(" - ")[0].split(" ")
            place = unescape(head[4])
            if (path == place or path.startswith(place.rstrip("/") + "/")) and len(place) >= len(point):
                point, fields = place, " ".join(head[6:])
    return point, fields


def unescape(text: str) -> str:
    """The four characters that the kernel writes as octal escapes in mountinfo."""
    if "\\" not in text:
        return text
    for escape, character in _OCTAL.items():
        text = text.replace(escape, character)
    return text
