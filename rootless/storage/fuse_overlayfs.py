"""The C program fuse-overlayfs as a storage driver: a subprocess of the monitor's, watched like a server of our own."""

from __future__ import annotations

import os
import shutil
import socket
from typing import NoReturn

from ..errors import UnavailableError
from . import fuse_mount
from .driver import LayerKind, LayerStack

PROGRAM = "fuse-overlayfs"


class FuseOverlayfs:
    """The driver `fuse-overlayfs`. Its messages go to the container's monitor.log."""

    name = "fuse-overlayfs"
    layer_kind: LayerKind = "auto"
    has_server = True

    def unavailable(self) -> str:
        """Why this driver can't serve here; empty when it can."""
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
        """Become the program. libfuse takes a descriptor that is mounted already as `/dev/fd/N` (fuse_mount(3))."""
        device = fuse_mount.receive_device(connection)
        os.set_inheritable(device, True)
        parts = f"lowerdir={':'.join(stack.layers)},upperdir={stack.upper},workdir={stack.work}"
        os.execvp(PROGRAM, [PROGRAM, "-f", "-o", parts, f"/dev/fd/{device}"])
