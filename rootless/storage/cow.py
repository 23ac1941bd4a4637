"""The engine's own copy-on-write file system, `rootless.fuse`, as a storage driver."""

from __future__ import annotations

import os
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from ..errors import UnavailableError
from . import fuse_mount
from .driver import HOST, LayerKind, LayerStack, Place

if TYPE_CHECKING:
    from ..fuse import server


class Cow:
    """The driver `cow`."""

    name = "cow"
    layer_kind: LayerKind = "auto"

    def unavailable(self) -> str:
        """Why this driver can't serve here; empty when it can (whether a mount is allowed is seen only by mounting)."""
        if find_spec("pyfuse3") is None:
            return "pyfuse3 is not installed (pip install 'rootless[fuse]')"
        if not os.access(fuse_mount.DEVICE, os.R_OK | os.W_OK):
            return f"{fuse_mount.DEVICE} may not be opened"
        return ""

    def server_place(self, stack: LayerStack) -> Place:
        """Real ids can be read and given only inside. What belongs to the caller is the caller's to serve; from inside,
        of all of the machine's ids only the caller's own could be told from the rest."""
        return "outside" if stack.owners == "owned" else "inside"

    def mount(self, stack: LayerStack, target: str, server: socket.socket | None) -> None:
        if reason := self.unavailable():
            raise UnavailableError(f"the driver cow can't serve: {reason}", hint="take --storage-driver overlay")
        assert server is not None
        fuse_mount.mount(self.name, target, server)

    def serve(self, stack: LayerStack, connection: socket.socket) -> NoReturn:
        from ..fuse import server

        server.prepare()
        server.serve(fuse_mount.receive_device(connection), _config(stack))


def _config(stack: LayerStack) -> server.Config:
    from ..fuse import server

    return server.Config(
        tuple(_layer(layer) for layer in stack.layers),
        server.LayerSpec(stack.upper, kind=stack.owners),
        stack.work,
        size=stack.size or None,
        base=stack.base or None,
        volatile=stack.volatile,
        hidden=(os.curdir,) if HOST in stack.layers else (),  # the store
        ids=stack.ids if stack.owners == "owned" and HOST not in stack.layers else None,
    )


def _layer(layer: str) -> server.LayerSpec:
    """A layer by its link's target: how owners are kept is in the name there, `owned` or `mapped-...`."""
    from ..fuse.server import LayerSpec

    if layer == HOST:
        return LayerSpec(HOST, kind="host", live=True)
    tree = os.path.normpath(os.path.join("l", os.readlink(layer)))
    return LayerSpec(tree, kind="owned" if os.path.basename(tree) == "owned" else "mapped")
