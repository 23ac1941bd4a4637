"""From the root of the container's namespaces to the user and the powers that the command shall have."""

from __future__ import annotations

import os
import resource
import signal

from ..container.record import Ulimit
from ..errors import UnavailableError
from ..kernel import caps, process, seccomp
from .bundle import Bundle
from .users import User

LIMITS = {
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
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


def drop(bundle: Bundle, user: User) -> None:
    """Become `user` with the bundle's capabilities, limits and system call filter; no way leads back.

    The order is the kernel's: the filter needs CAP_SYS_ADMIN unless no_new_privs is set, so it comes before the
    capabilities go; the bounding set needs CAP_SETPCAP; setuid(2) away from 0 clears the permitted set by itself.

    Raises:
        UnavailableError: a limit above the hard limit that the caller has.
    """
    spec = bundle.record.spec
    for limit in spec.ulimits:
        _limit(limit)
    if spec.no_new_privileges:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    if bundle.filter is not None:
        seccomp.load(bundle.filter.program, bundle.filter.flags)
    caps.drop_bounding(bundle.capabilities)
    if not bundle.idmap.single:  # with one id setgroups(2) has been given up
        os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    caps.clear_ambient()
    held = bundle.capabilities if user.uid == 0 else frozenset()
    caps.set_caps(held, held)
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)  # the change of ids cleared it (prctl(2))


def _limit(limit: Ulimit) -> None:
    values = tuple(resource.RLIM_INFINITY if v < 0 else v for v in (limit.soft, limit.hard))
    try:
        resource.setrlimit(LIMITS[limit.name], (values[0], values[1]))
    except (OSError, ValueError) as problem:
        hard = resource.getrlimit(LIMITS[limit.name])[1]
        raise UnavailableError(
            f"--ulimit {limit.name}={limit.soft}:{limit.hard} is above your own hard limit of {hard}",
            hint="ask for less, or let an administrator raise it in /etc/security/limits.conf",
        ) from problem
