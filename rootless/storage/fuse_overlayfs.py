"""The C program fuse-overlayfs as a storage driver: a subprocess of the monitor's, watched like a server of our own."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from ..errors import UnavailableError
from ..kernel import mount as m
from ..kernel import namespaces
from . import fuse_mount
from .driver import LayerKind, LayerStack, Place

PROGRAM = "fuse-overlayfs"
STAND_IN = "/tmp"
"""Where the program sees the store. Any directory would do that every system has and that the program does not use."""


class FuseOverlayfs:
    """The driver `fuse-overlayfs`. Its messages go to the container's monitor.log."""

    name = "fuse-overlayfs"
    layer_kind: LayerKind = "auto"

    def server_place(self, stack: LayerStack) -> Place:
        return "inside"

    def unavailable(self) -> str:
        """Why this driver can't serve here; empty when it can."""
        import shutil  # not on the path of a start

        if shutil.which(PROGRAM) is None:
            return f"{PROGRAM} is not installed (apt-get install {PROGRAM})"
        if not os.access(fuse_mount.DEVICE, os.R_OK | os.W_OK):
            return f"{fuse_mount.DEVICE} may not be opened"
        return ""

    def mount(self, stack: LayerStack, target: str, server: socket.socket | None) -> None:
        if reason := self.unavailable():
            raise UnavailableError(
                f"the driver {self.name} can't serve: {reason}", hint="take --storage-driver overlay"
            )
        assert server is not None
        fuse_mount.mount(self.name, target, server)

    def serve(self, stack: LayerStack, connection: socket.socket) -> NoReturn:
        """Become the program. libfuse takes a descriptor that is mounted already as `/dev/fd/N` (fuse_mount(3)).

        The program asks realpath(3) for its directories. Below real root's home the id that container root is may not
        walk, so in a mount namespace of the program's own the store stands where everybody may.
        """
        device = fuse_mount.receive_device(connection)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        m.mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
        m.mount(".", STAND_IN, None, m.MS_BIND)
        os.chdir(STAND_IN)
        os.set_inheritable(device, True)
        parts = f"lowerdir={':'.join(stack.layers)},upperdir={stack.upper},workdir={stack.work}"
        parts += ",volatile" if stack.volatile else ""
        os.execvp(PROGRAM, [PROGRAM, "-f", "-o", parts, f"/dev/fd/{device}"])
