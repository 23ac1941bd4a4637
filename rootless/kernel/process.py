"""Processes: prctl(2), session keyrings, descriptors to close, and who a pid really is."""

from __future__ import annotations

import ctypes
import os

from .libc import check, libc, syscall

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

KEYCTL_JOIN_SESSION_KEYRING = 1


def prctl(option: int, argument: int = 0, *more: int) -> int:
    """prctl(2) with unsigned long arguments."""
    numbers = [ctypes.c_ulong(n) for n in (argument, *more, 0, 0, 0)[:4]]
    return check(libc.prctl(option, *numbers))


def set_name(name: str) -> None:
    """The name that ps and /proc/PID/comm show for this thread, cut to 15 bytes (PR_SET_NAME)."""
    check(libc.prctl(PR_SET_NAME, ctypes.c_char_p(os.fsencode(name)[:15]), 0, 0, 0))


def set_command_line(text: str) -> None:
    """Overwrite what /proc/PID/cmdline shows of this process, cut to the room that its real arguments take.

    The kernel reads it from the process's own memory, between arg_start and arg_end (fields 48 and 49 of
    proc_pid_stat(5), which only the process itself is told once it is undumpable).
    """
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if start:
        ctypes.memmove(start, os.fsencode(text)[: end - start].ljust(end - start, b"\0"), end - start)


def new_session_keyring() -> None:
    """Leave the caller's session keyring for a new, empty, anonymous one (keyctl_join_session_keyring(3))."""
    syscall("keyctl", KEYCTL_JOIN_SESSION_KEYRING, None, 0, 0, 0)


def close_from(first: int, keep: frozenset[int] = frozenset()) -> None:
    """Close every descriptor from `first` up, but for those in `keep` (close_range(2))."""
    low = first
    for fd in sorted(k for k in keep if k >= first):
        if low < fd:
            os.closerange(low, fd)
        low = fd + 1
    syscall("close_range", low, 0xFFFFFFFF, 0)


def allow_descriptors(most: int) -> None:
    """Open as many as the hard limit lets this process, but no more than `most` (getrlimit(2))."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if hard == resource.RLIM_INFINITY else min(hard, most), hard))


def oom_score_adj() -> int:
    """What is added to the score by which the kernel chooses whom to kill for memory (proc_pid_oom_score_adj(5))."""
    with open("/proc/self/oom_score_adj") as file:
        return int(file.read())


def set_oom_score_adj(value: int) -> None:
    """Change it for this process and those it will make. EACCES below what somebody with CAP_SYS_RESOURCE has set."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(value))


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot: with the boot id it names one process for ever.

    Field 22 of /proc/PID/stat (proc_pid_stat(5)); the command in field 2 may hold spaces and parentheses.

    Raises:
        OSError: ENOENT or ESRCH when there is no such process.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def is_running(pid: int, started: int) -> bool:
    """Whether the process that started then still runs: its pid may be another's, and one that only waits for its
    parent to take note of its end has ended (state Z)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(fields[19]) == started and fields[0] not in (b"Z", b"X")


def boot_id() -> str:
    """A random id that changes with each boot of the kernel (proc_sys_kernel(5), random/boot_id)."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def machine_id() -> str:
    """What tells this machine from the others that share a home: machine-id(5), else the host name."""
    for path in "/etc/machine-id", "/var/lib/dbus/machine-id":
        try:
            with open(path) as file:
                if text := file.read().strip():
                    return text
        except OSError:
            continue
    return os.uname().nodename
