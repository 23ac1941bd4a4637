"""What the drivers on FUSE share: PID 1 mounts, the server gets the descriptor.

/dev/fuse is opened inside the container's user namespace (one that was opened outside is refused with EINVAL), mounted
at once, and sent to the server; whoever looks into the mount waits until that has answered FUSE_INIT. PID 1 keeps no
copy: the kernel ends the connection when the last one is closed, and a forgotten duplicate would hang every client of
a dead server.
"""

from __future__ import annotations

import os
import socket

from ..errors import RootlessError, UnavailableError
from ..kernel import mount as m

DEVICE = "/dev/fuse"


def mount(name: str, target: str, server: socket.socket) -> None:
    """Mount a file system called `name` at `target` and hand it to `server`.

    allow_other lets every user of the container in; default_permissions has the kernel check modes (fuse(4)).

    Raises:
        UnavailableError: /dev/fuse can't be opened or mounted.
    """
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as problem:
        raise UnavailableError(
            f"{DEVICE}: {problem.strerror}",
            hint=f"an administrator can run: modprobe fuse; chmod 0666 {DEVICE}",
        ) from problem
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    try:
        m.mount(name, target, "fuse", 0, options)
        socket.send_fds(server, [b"fuse"], [device])
    except OSError as problem:
        raise UnavailableError(f"a FUSE mount was refused: {problem.strerror}", hint="it needs Linux 4.18") from problem
    finally:
        os.close(device)
        server.close()


def receive_device(connection: socket.socket) -> int:
    """The server's side: the descriptor of the mounted device, close-on-exec.

    Raises:
        RootlessError: PID 1 ended before it had mounted.
    """
    _, fds, _, _ = socket.recv_fds(connection, 16, 1)
    connection.close()
    if not fds:
        raise RootlessError("PID 1 ended before it had mounted its root")
    return fds[0]
