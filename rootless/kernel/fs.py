"""Files: what `os` lacks. openat2(2), renameat2(2), O_TMPFILE's linkat(2), fallocate(2), and the whiteout device."""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from .libc import check, encode, libc, syscall

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

WHITEOUT_DEV = os.makedev(0, 0)


def openat2(dirfd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2), close-on-exec: open `path` below `dirfd` under the RESOLVE_ restrictions.

    Raises:
        OSError: EXDEV or ELOOP when the path would leave what `resolve` allows, EAGAIN when a rename raced with it.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    buffer = ctypes.create_string_buffer(how, len(how))
    return syscall("openat2", dirfd, encode(path), ctypes.cast(buffer, ctypes.c_void_p), len(how), paths=(path,))


def renameat2(old_dir: int, old: str | bytes, new_dir: int, new: str | bytes, flags: int = 0) -> None:
    """renameat2(2): rename with RENAME_NOREPLACE, RENAME_EXCHANGE or RENAME_WHITEOUT."""
    result = libc.renameat2(old_dir, encode(old), new_dir, encode(new), ctypes.c_uint(flags))
    check(result, old, new)


def whiteout(name: str | bytes, dirfd: int | None = None) -> None:
    """Make an overlayfs whiteout, the character device 0:0 that mknod(2) grants to everybody (Linux 5.8)."""
    os.mknod(name, stat.S_IFCHR | 0o000, WHITEOUT_DEV, dir_fd=dirfd)


def is_whiteout(status: os.stat_result) -> bool:
    """Whether these are the attributes of an overlayfs whiteout (overlayfs.rst, "whiteouts and opaque directories")."""
    return status.st_rdev == 0 and stat.S_ISCHR(status.st_mode)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2) with a mode (FALLOC_FL_PUNCH_HOLE ...), which os.posix_fallocate has not."""
    check(libc.fallocate64(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def syncfs(fd: int) -> None:
    """syncfs(2): write everything of the file system that holds `fd` to the disk. Failures show since Linux 5.8."""
    check(libc.syncfs(fd))


def start_writeback(fd: int, offset: int, count: int) -> None:
    """sync_file_range(2) with SYNC_FILE_RANGE_WRITE: begin to write dirty pages to the disk, without waiting for it."""
    check(libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(count), ctypes.c_uint(2)))
