"""The options that say whose namespaces a container has, and what of the kernel and the machine it may change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import click

from ..container import sharing, sysctl, userns
from ..container.record import Device
from ..errors import NotFoundError, UsageError

_NAMESPACE_OPTIONS = (
    click.option("--pid", default="", metavar="STRING", help="PID namespace to use (host, container:NAME)"),
    click.option(
        "--ipc", default="", metavar="STRING", help="IPC mode to use (host, private, shareable, none, container:NAME)"
    ),
    click.option("--uts", default="", metavar="STRING", help="UTS namespace to use (host)"),
    click.option("--userns", default="", metavar="STRING", help="User namespace to use (host, keep-id[:uid=N,gid=N])"),
    click.option("--cgroupns", default="", metavar="STRING", help="Cgroup namespace to use (host, private)"),
    click.option("--sysctl", multiple=True, metavar="MAP", help="Sysctl options (NAME=VALUE)"),
    click.option("--device", multiple=True, metavar="LIST", help="Add a host device to the container"),
    click.option("--annotation", multiple=True, metavar="MAP", help="Add an annotation to the container"),
)


def namespace_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with all of them."""
    for option in reversed(_NAMESPACE_OPTIONS):
        function = option(function)
    return function


def read_namespaces(given: dict[str, Any]) -> dict[str, Any]:
    """Take these options out of what a command was given, as fields of `spec.Options`.

    Raises:
        UsageError: one means nothing, or two contradict each other; in Docker's words.
        NotFoundError: a device that is not there.
    """
    modes = {name: sharing.check(name, given.pop(name)) for name in ("pid", "ipc", "uts", "cgroupns")}
    if modes["uts"] == sharing.HOST and given["hostname"]:
        raise UsageError("conflicting options: hostname and the UTS mode")
    return {
        **modes,
        "userns": userns.parse(given.pop("userns")),
        "sysctls": dict(sysctl.parse(text) for text in given.pop("sysctl")),
        "devices": tuple(_devices(given.pop("device"))),
        "annotations": dict(_annotation(text) for text in given.pop("annotation")),
    }


def _annotation(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise UsageError("invalid Annotations: the empty string is not permitted as an annotation key")
    return name, value


def _devices(texts: Iterable[str]) -> list[Device]:
    return [device for text in texts for device in _device(text)]


def _device(text: str) -> list[Device]:
    """`HOST[:CONTAINER][:PERMISSIONS]`; of a directory every device in it.

    Which of reading and writing a container may do, only a device cgroup could tell apart, which takes the machine's
    root; making devices (`m`) no user namespace may.
    """
    host, *rest = text.split(":")
    permissions = rest.pop() if rest and _are_permissions(rest[-1]) else "rwm"
    inside = rest.pop() if rest else host
    if rest or not host.startswith("/") or not inside.startswith("/"):
        raise UsageError(f'invalid argument "{text}" for "--device" flag: bad format for path: {text}')
    if set(permissions) | {"m"} != set("rwm"):
        raise UsageError(
            f"--device {text}: a device can't be limited to {permissions!r}",
            hint="it has what you have: give rw or rwm",
        )
    if not os.path.lexists(host):
        raise NotFoundError(
            f'error gathering device information while adding custom device "{host}": no such file or directory'
        )
    if os.path.isdir(host):
        found = (os.path.join(top, name) for top, _, names in os.walk(host) for name in sorted(names))
        return [Device(path, inside + path[len(host) :]) for path in found if _is_device(path)]
    if not _is_device(host):
        raise UsageError(f'error gathering device information while adding custom device "{host}": not a device node')
    return [Device(host, inside)]


def _are_permissions(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def _is_device(path: str) -> bool:
    from stat import S_ISBLK, S_ISCHR

    mode = os.stat(path).st_mode
    return S_ISBLK(mode) or S_ISCHR(mode)
