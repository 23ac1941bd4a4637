"""The C library through ctypes, and the one place where a system call's errno becomes an OSError.

This package is a leaf on purpose. Its functions run between fork(2) and execve(2), in user namespaces and with other
credentials, where importing something more or waiting for a lock is not safe; so it imports only the standard library.
"""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)

SYSCALL = {
    # asm/unistd.h of each architecture; from 424 on the numbers are the same everywhere.
    "x86_64": {"clone": 56, "pivot_root": 155, "keyctl": 250, "seccomp": 317, "capget": 125, "capset": 126},
    "aarch64": {"clone": 220, "pivot_root": 41, "keyctl": 219, "seccomp": 277, "capget": 90, "capset": 91},
}.get(os.uname().machine, {}) | {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}


def check(result: int, *paths: str | bytes | None) -> int:
    """Give `result` back, or raise the OSError of the calling thread's errno, naming at most two paths."""
    if result >= 0:
        return result
    number = ctypes.get_errno()
    first, second = (*paths, None, None)[:2]
    raise OSError(number, os.strerror(number), first, None, second)


def syscall(name: str, *arguments: object, paths: tuple[str | bytes | None, ...] = ()) -> int:
    """syscall(2) by name. ENOSYS (as the kernel would say it) on an architecture whose number is not known here."""
    if name not in SYSCALL:
        raise OSError(38, f"{name}: the system call number is not known on {os.uname().machine}")
    # Through varargs an int travels as 32 bits: every number goes as a long, or high halves would be garbage.
    raw = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(libc.syscall(ctypes.c_long(SYSCALL[name]), *raw), *paths)


def encode(path: str | bytes | None) -> bytes | None:
    """A path as the kernel takes it; None stays a null pointer. ValueError when a NUL would cut it short."""
    if path is None:
        return None
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise ValueError("embedded null byte")
    return raw
