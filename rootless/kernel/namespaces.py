"""Namespaces: clone(2), unshare(2), setns(2), and the files under /proc/PID/ns (namespaces(7))."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct

from .libc import SYSCALL, check, libc

CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

# The clone below must not let go of the interpreter's lock: a PyDLL call keeps it.
_held = ctypes.PyDLL(None, use_errno=True)

NS_GET_USERNS = 0xB701

FILES = {
    CLONE_NEWUSER: "user",
    CLONE_NEWNS: "mnt",
    CLONE_NEWPID: "pid",
    CLONE_NEWIPC: "ipc",
    CLONE_NEWUTS: "uts",
    CLONE_NEWNET: "net",
    CLONE_NEWCGROUP: "cgroup",
}
"""Each CLONE_NEW flag's file under /proc/PID/ns, in the order in which a process may enter them: the user namespace
first, because it gives the capabilities for all the others."""


def clone(flags: int, cgroup: int = -1) -> int:
    """fork(2) into new namespaces: 0 in the child, its pid in the caller (clone(2), nothing shared).

    CLONE_PARENT makes the child a sibling: the caller's own parent waits for it. Only for a process with one thread.

    Args:
        cgroup: a descriptor on the cgroup (version 2) that the child is born in; -1 for the caller's own. To be born
            there costs nothing, while moving there later waits for every processor of the machine (an RCU grace
            period, some 10 ms). A cgroup namespace made by the same call has the *caller's* cgroup as its root.

    Raises:
        OSError: EPERM or ENOSPC when the namespaces are refused (user.max_user_namespaces), EAGAIN without process ids;
            EACCES when the caller may not bring processes from its own cgroup to that one.
    """
    # The interpreter's own fork hooks: without them the child would believe that other threads hold its locks.
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _clone(flags) if cgroup < 0 else _clone_into(flags, cgroup)
    number = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    ctypes.set_errno(number)
    return check(pid)


def _clone(flags: int) -> int:
    number = ctypes.c_long(SYSCALL["clone"])
    result: int = _held.syscall(number, ctypes.c_long(flags | signal.SIGCHLD), None, None, None, None)
    return result


def _clone_into(flags: int, cgroup: int) -> int:
    """clone3(2), whose struct clone_args has a place for the cgroup: flags, pidfd, child_tid, parent_tid, exit_signal,
    stack, stack_size, tls, set_tid, set_tid_size, cgroup."""
    # With CLONE_PARENT the child's exit signal is the caller's own, and to name one is refused (EINVAL).
    exit_signal = 0 if flags & CLONE_PARENT else signal.SIGCHLD
    arguments = struct.pack("=11Q", flags | CLONE_INTO_CGROUP, 0, 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup)
    size = ctypes.c_size_t(len(arguments))
    pid: int = _held.syscall(ctypes.c_long(SYSCALL["clone3"]), arguments, size)
    if pid < 0 and ctypes.get_errno() == errno.ENOSYS:  # some sandboxes hide clone3, whose flags a filter can't see
        pid = _clone(flags)
        if pid == 0:
            _join(cgroup)
    return pid


def _join(cgroup: int) -> None:
    with open("cgroup.procs", "w", opener=lambda name, flags: os.open(name, flags, dir_fd=cgroup)) as file:
        file.write("0")


def unshare(flags: int) -> None:
    """unshare(2): move the caller (for CLONE_NEWPID: its children) into new namespaces."""
    check(libc.unshare(flags))


def setns(fd: int, flags: int) -> None:
    """setns(2): enter the namespace that `fd` refers to, or, with a pidfd, all those of `flags` of that process."""
    check(libc.setns(fd, flags))


def open_namespace(pid: int | str, flag: int) -> int:
    """A descriptor on one namespace of a process, close-on-exec; it keeps the namespace alive.

    Raises:
        OSError: ESRCH or ENOENT when the process is gone, EACCES when ptrace(2) of it would be refused.
    """
    return os.open(f"/proc/{pid}/ns/{FILES[flag]}", os.O_RDONLY | os.O_CLOEXEC)


def owner(fd: int) -> int:
    """The user namespace that owns another namespace (ioctl_ns(2), NS_GET_USERNS). EPERM when it is no descendant of
    the caller's."""
    return fcntl.ioctl(fd, NS_GET_USERNS)


def same_namespace(one: int, other: int) -> bool:
    """Whether two descriptors refer to the same namespace: nsfs gives each its own inode (namespaces(7))."""
    a, b = os.fstat(one), os.fstat(other)
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def sethostname(name: str) -> None:
    """sethostname(2) in the caller's UTS namespace; at most 64 bytes."""
    raw = os.fsencode(name)
    check(libc.sethostname(raw, ctypes.c_size_t(len(raw))))


def setdomainname(name: str) -> None:
    """setdomainname(2) in the caller's UTS namespace; at most 64 bytes."""
    raw = os.fsencode(name)
    check(libc.setdomainname(raw, ctypes.c_size_t(len(raw))))
