"""Capabilities of the calling thread: capget(2), capset(2), the bounding and the ambient set (capabilities(7))."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterable
from enum import IntEnum
from itertools import count

from .libc import syscall
from .process import PR_CAP_AMBIENT, prctl

PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT_CLEAR_ALL = 4

_LINUX_CAPABILITY_VERSION_3 = 0x20080522


class Cap(IntEnum):
    """The capabilities of linux/capability.h, up to Linux 5.9; none has been added since."""

    CAP_CHOWN = 0
    CAP_DAC_OVERRIDE = 1
    CAP_DAC_READ_SEARCH = 2
    CAP_FOWNER = 3
    CAP_FSETID = 4
    CAP_KILL = 5
    CAP_SETGID = 6
    CAP_SETUID = 7
    CAP_SETPCAP = 8
    CAP_LINUX_IMMUTABLE = 9
    CAP_NET_BIND_SERVICE = 10
    CAP_NET_BROADCAST = 11
    CAP_NET_ADMIN = 12
    CAP_NET_RAW = 13
    CAP_IPC_LOCK = 14
    CAP_IPC_OWNER = 15
    CAP_SYS_MODULE = 16
    CAP_SYS_RAWIO = 17
    CAP_SYS_CHROOT = 18
    CAP_SYS_PTRACE = 19
    CAP_SYS_PACCT = 20
    CAP_SYS_ADMIN = 21
    CAP_SYS_BOOT = 22
    CAP_SYS_NICE = 23
    CAP_SYS_RESOURCE = 24
    CAP_SYS_TIME = 25
    CAP_SYS_TTY_CONFIG = 26
    CAP_MKNOD = 27
    CAP_LEASE = 28
    CAP_AUDIT_WRITE = 29
    CAP_AUDIT_CONTROL = 30
    CAP_SETFCAP = 31
    CAP_MAC_OVERRIDE = 32
    CAP_MAC_ADMIN = 33
    CAP_SYSLOG = 34
    CAP_WAKE_ALARM = 35
    CAP_BLOCK_SUSPEND = 36
    CAP_AUDIT_READ = 37
    CAP_PERFMON = 38
    CAP_BPF = 39
    CAP_CHECKPOINT_RESTORE = 40


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


# Version 3: effective, permitted and inheritable in 32 bits each, then the same three for capabilities 32 to 63.
_Words = ctypes.c_uint32 * 6


def last_cap() -> int:
    """The highest capability this kernel knows; 40 or less up to Linux 6.18.

    Asked of prctl(2), which says EINVAL for the first unknown one, and not of /proc/sys/kernel/cap_last_cap: in a
    container anything may lie there, and a limit of open files may forbid to look.

    Raises:
        OSError: PR_CAPBSET_READ is refused altogether.
    """
    prctl(PR_CAPBSET_READ, 0)
    return next(number for number in count() if not _is_known(number + 1))


def _is_known(number: int) -> bool:
    try:
        prctl(PR_CAPBSET_READ, number)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
        return False
    return True


def supported() -> frozenset[Cap]:
    """Every capability of `Cap` that this kernel knows."""
    last = last_cap()
    return frozenset(cap for cap in Cap if cap <= last)


def set_caps(effective: Iterable[Cap], permitted: Iterable[Cap], inheritable: Iterable[Cap] = ()) -> None:
    """capset(2) of the calling thread.

    Raises:
        OSError: EPERM when `permitted` would grow, `effective` is not within it, or `inheritable` takes in what is
            neither inheritable nor permitted now (without CAP_SETPCAP), or is not in the bounding set.
    """
    masks = [mask(caps) for caps in (effective, permitted, inheritable)]
    words = _Words(*(m & 0xFFFFFFFF for m in masks), *(m >> 32 for m in masks))
    syscall("capset", ctypes.byref(_Header(_LINUX_CAPABILITY_VERSION_3, 0)), words)


def bounding() -> frozenset[Cap]:
    """The bounding set of the calling thread (PR_CAPBSET_READ)."""
    return frozenset(cap for cap in supported() if prctl(PR_CAPBSET_READ, cap))


def drop_bounding(keep: Iterable[Cap]) -> None:
    """Take everything but `keep` out of the bounding set, for ever, also what this module has no name for.

    Raises:
        OSError: EPERM without CAP_SETPCAP, once something has to be dropped.
    """
    kept = frozenset(keep)
    for number in range(last_cap() + 1):
        if number not in kept and prctl(PR_CAPBSET_READ, number):
            prctl(PR_CAPBSET_DROP, number)


def clear_ambient() -> None:
    """Empty the ambient set (PR_CAP_AMBIENT_CLEAR_ALL)."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def mask(caps: Iterable[Cap]) -> int:
    """The set as the kernel prints it in /proc/PID/status (CapBnd and its kin): bit n is capability n."""
    return sum(1 << cap for cap in frozenset(caps))
