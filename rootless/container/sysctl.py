"""`--sysctl`: the kernel parameters that belong to a namespace (namespaces(7), sysctl(8))."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import UsageError
from .sharing import HOST

_IPC = (
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
)


NO_ROUTER = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
"""What a new network namespace may have from the machine's own (net.core.devconf_inherit_init_net), which is a router
wherever Docker runs. A container that is one as well would lead those on its internal networks outside."""


def parse(text: str) -> tuple[str, str]:
    """`NAME=VALUE` of one that belongs to a namespace.

    Raises:
        UsageError: it is none of those; in Docker's words.
    """
    name, equals, value = text.partition("=")
    if "." not in name:
        name = name.replace("/", ".")
    known = name in _IPC or name.startswith(("net.", "fs.mqueue."))
    if not (known and equals) or any(part in ("", ".", "..") for part in path(name).split("/")):
        raise UsageError(f'invalid argument "{text}" for "--sysctl" flag: sysctl \'{text}\' is not allowed')
    return name, value


def path(name: str) -> str:
    """The file below /proc/sys: a dot parts directories, and a slash stands for a dot in one, as in `eth0/1`."""
    return name.translate({ord("."): "/", ord("/"): "."})


def require_own(sysctls: Mapping[str, str], *, network: str, ipc: str) -> None:
    """The caller's own namespaces are not a container's to change.

    Raises:
        UsageError: one of these belongs to a namespace that the container has from its caller.
    """
    for name in sysctls:
        if name.startswith("net.") and network == HOST:
            raise UsageError(f'sysctl "{name}" not allowed in host network namespace')
        if not name.startswith("net.") and ipc == HOST:
            raise UsageError(f'sysctl "{name}" not allowed in host ipc namespace')
