"""The engine's own copy-on-write file system, `rootless.fuse`, as a storage driver."""

from __future__ import annotations

import os
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from ..errors import UnavailableError
from . import fuse_mount
from .driver import LayerKind, LayerStack

if TYPE_CHECKING:
    from ..fuse import server


class Cow:
    """The driver `cow`."""

    name = "cow"
    layer_kind: LayerKind = "auto"
    has_server = True

    def unavailable(self) -> str:
        """Why this driver can't serve here; empty when it can (whether a mount is allowed is seen only by mounting)."""
        if find_spec("pyfuse3") is None:
            return "pyfuse3 is not installed (pip install 'rootless[fuse]')"
        if not os.access(fuse_mount.DEVICE, os.R_OK | os.W_OK):
            return f"{fuse_mount.DEVICE} may not be opened"
        return ""

    def mount(self, stack: LayerStack, target: str, server: socket.socket | None) -> None:
        if reason := self.unavailable():
            raise UnavailableError(f"the driver cow can't serve: {reason}", hint="take --storage-driver overlay")
        assert server is not None
        fuse_mount.mount(self.name, target, server)

    def serve(self, stack: LayerStack, connection: socket.socket) -> NoReturn:
        device = fuse_mount.receive_device(connection)
        from ..fuse import server

        server.serve(device, server.Config(_layers(stack), server.LayerSpec(stack.upper), stack.work))


def _layers(stack: LayerStack) -> tuple[server.LayerSpec, ...]:
    """The layers by their directories: how owners are kept is in the name, `owned` or `mapped-...`."""
    from ..fuse.server import LayerSpec

    trees = [os.path.normpath(os.path.join("l", os.readlink(link))) for link in stack.layers]
    return tuple(LayerSpec(tree, kind="owned" if os.path.basename(tree) == "owned" else "mapped") for tree in trees)
