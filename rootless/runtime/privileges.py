"""From the root of the container's namespaces to the user and the powers that the command shall have."""

from __future__ import annotations

import os
import resource
import signal
from typing import TYPE_CHECKING

from ..container.record import Ulimit
from ..errors import UnavailableError
from ..kernel import caps, process
from .users import User

if TYPE_CHECKING:
    from .program import Program

LIMITS = {
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "locks": 10,  # RLIMIT_LOCKS: the resource module lacks it, and no kernel since 2.4.25 holds anybody to it
    "memlock": resource.RLIMIT_MEMLOCK,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nice": resource.RLIMIT_NICE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "rss": resource.RLIMIT_RSS,
    "rtprio": resource.RLIMIT_RTPRIO,
    "rttime": 15,  # RLIMIT_RTTIME of asm-generic/resource.h, which the resource module lacks
    "sigpending": resource.RLIMIT_SIGPENDING,
    "stack": resource.RLIMIT_STACK,
}
"""The resources of `--ulimit`, by Docker's names (setrlimit(2))."""

ROOM = 64
"""More descriptors than a process has on its way to execve(2)."""


def drop(program: Program, user: User) -> None:
    """Become `user` with the program's capabilities, limits and system call filter; no way leads back. The limit of
    open files is whole only after `tighten`.

    The order is the kernel's: the filter needs CAP_SYS_ADMIN unless no_new_privs is set, so it comes before the
    capabilities go, and last only with it; the bounding set needs CAP_SETPCAP; setuid(2) away from 0 clears the
    permitted set by itself.

    Raises:
        UnavailableError: a limit above the hard limit that the caller has.
    """
    for limit in program.ulimits:
        _limit(_roomy(limit))
    if program.affinity:
        _bind(program.affinity)
    if program.no_new_privileges:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    elif program.filter is not None:
        program.filter.load()
    caps.drop_bounding(program.capabilities)
    if not program.idmap.single:  # with one id setgroups(2) has been given up
        os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    caps.clear_ambient()
    held = program.capabilities if user.uid == 0 else frozenset()
    caps.set_caps(held, held)
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)  # the change of ids cleared it (prctl(2))
    if program.no_new_privileges and program.filter is not None:
        program.filter.load()


def tighten(program: Program) -> None:
    """Set a limit of open files that would not have let this process itself come to its execve(2)."""
    for limit in program.ulimits:
        if limit != _roomy(limit):
            _limit(limit)


def _roomy(limit: Ulimit) -> Ulimit:
    if limit.name != "nofile":
        return limit
    return Ulimit(limit.name, *(value if value < 0 else max(value, ROOM) for value in (limit.soft, limit.hard)))


def _bind(processors: frozenset[int]) -> None:
    try:
        os.sched_setaffinity(0, processors)
    except OSError as problem:
        raise UnavailableError(
            "none of the CPUs of --cpuset-cpus may be used", hint=f"there are: {sorted(os.sched_getaffinity(0))}"
        ) from problem


def _limit(limit: Ulimit) -> None:
    values = tuple(resource.RLIM_INFINITY if v < 0 else v for v in (limit.soft, limit.hard))
    try:
        resource.setrlimit(LIMITS[limit.name], (values[0], values[1]))
    except (OSError, ValueError, OverflowError) as problem:
        hard = resource.getrlimit(LIMITS[limit.name])[1]
        raise UnavailableError(
            f"--ulimit {limit.name}={limit.soft}:{limit.hard} is above your own hard limit of {hard}",
            hint="ask for less, or let an administrator raise it in /etc/security/limits.conf",
        ) from problem
