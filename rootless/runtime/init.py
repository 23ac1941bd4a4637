"""PID 1 of a container, from clone(2) to execve(2): builds the world around itself, then becomes the command.

It runs in the container's namespaces as their root, with the host's files still in sight until `pivot_root`; after that
no module can be imported any more. What fails is told over the channel as the user shall read it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from ..errors import RootlessError
from ..idmap import IdMap
from ..kernel import mount as m
from ..kernel import namespaces as ns
from ..kernel import pty
from . import rootfs
from .bundle import Bundle
from .channel import Channel, Mapped
from .mountpoint import Root
from .program import Stdio, become, connect_streams, cut_ties, report, wait_for

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # netdevice(7)


def run(
    bundle: Bundle, stdio: Stdio, channel: Channel, server: socket.socket | None, borrowed: dict[str, int]
) -> NoReturn:
    """The body of PID 1. Ends by execve(2), or with a `Failed` on the channel.

    Args:
        borrowed: as in `rootfs.Root`.
    """
    try:
        wait_for(channel, Mapped)
        os.setresgid(0, 0, 0)  # with keep-id the caller, as whom it comes here, is somebody else inside
        os.setresuid(0, 0, 0)
        cut_ties(stdio, channel, *borrowed.values(), *([server.fileno()] if server is not None else []))
        console = _build(bundle, server, borrowed)
        connect_streams(stdio, console, channel)
        become(bundle.program, channel)
    except BaseException as problem:
        report(bundle.program, channel, problem)
    finally:
        os._exit(1)


def _build(bundle: Bundle, server: socket.socket | None, borrowed: dict[str, int]) -> tuple[int, int] | None:
    """Names, network, file systems, terminal (its two sides are returned); then the container's root is `/`."""
    spec = bundle.record.spec
    if bundle.sharing.own & ns.CLONE_NEWUTS:
        ns.sethostname(spec.hostname)
        if spec.domainname:
            ns.setdomainname(spec.domainname)
    if bundle.sharing.own & ns.CLONE_NEWNET:
        _loopback_up()
        _loosen(bundle.idmap)
    m.mount(None, "/", None, m.MS_REC | (m.MS_SLAVE if bundle.follows_host else m.MS_PRIVATE))
    bundle.driver.mount(bundle.stack, bundle.target, server)
    root_fd = _fill(bundle, borrowed)
    console = _open_console(bundle, root_fd) if spec.tty else None
    _pivot(root_fd)
    return console


def _fill(bundle: Bundle, borrowed: dict[str, int]) -> int:
    """Execute the plan in the mounted root; a descriptor of that."""
    try:
        root_fd = os.open(bundle.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        rootfs.execute(bundle.plan, Root(root_fd, borrowed))
    except (OSError, RootlessError) as problem:
        cause = problem.__cause__ or problem
        if isinstance(cause, OSError) and cause.errno == errno.ENOTCONN:  # what a FUSE mount without a server says
            message = "the process of the container's file system ended as soon as it had begun"
            raise RootlessError(message, hint="rootless --debug shows what it said") from problem
        raise
    return root_fd


def _loopback_up() -> None:
    """A new network namespace has one interface, lo, and it is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("16sH", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def _loosen(idmap: IdMap) -> None:
    """As in Docker: every port is anybody's, and so is ping's kind of socket, as far as there are groups (icmp(7))."""
    with suppress(OSError):  # a /proc/sys that is read-only, in a container around this one
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
        Path("/proc/sys/net/ipv4/ping_group_range").write_text(f"0 {idmap.gids[0].inside + idmap.gids[0].count - 1}")


def _open_console(bundle: Bundle, root_fd: int) -> tuple[int, int]:
    """A terminal of the container's own devpts, as its /dev/console too: (controlling side, terminal side)."""
    controller, terminal, number = pty.open_pair(f"/proc/self/fd/{root_fd}/dev/pts/ptmx")
    pty.set_window_size(terminal, *bundle.program.window)
    rootfs.Bind(f"/proc/self/fd/{root_fd}/dev/pts/{number}", "/dev/console").execute(Root(root_fd))
    return controller, terminal


def _pivot(root_fd: int) -> None:
    """Make the container's root the root of this mount namespace, and let go of the host's.

    With "." twice the old root ends up stacked on the new one, so no directory for it is needed in the image
    (pivot_root(2), NOTES).
    """
    os.fchdir(root_fd)
    m.pivot_root(".", ".")
    m.umount(".", m.MNT_DETACH)
    os.chdir("/")
