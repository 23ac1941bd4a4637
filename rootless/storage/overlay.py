"""The kernel's overlayfs, mounted inside the container's user namespace (Linux 5.11, `userxattr`)."""

from __future__ import annotations

import socket
from typing import NoReturn

from ..errors import UnavailableError
from ..kernel import mount as m
from .driver import LayerKind, LayerStack


class Overlay:
    """The driver `overlay`."""

    name = "overlay"
    layer_kind: LayerKind = "auto"

    def server_place(self, stack: LayerStack) -> None:
        return None

    def mount(self, stack: LayerStack, target: str, server: socket.socket | None) -> None:
        """Mount by one mount(2) call; an error is the kernel's own.

        Without `userxattr` the kernel wants trusted.overlay.* attributes, which no user namespace may write
        (overlayfs.rst, "User xattr").
        """
        options = f"lowerdir={':'.join(stack.layers)},upperdir={stack.upper},workdir={stack.work},userxattr"
        try:
            m.mount("overlay", target, "overlay", 0, options)
        except OSError as problem:
            raise UnavailableError(
                f"overlayfs can't be mounted here: {problem.strerror}",
                hint="it needs a local file system; name another driver with --storage-driver",
            ) from problem

    def serve(self, stack: LayerStack, connection: socket.socket) -> NoReturn:
        """Never called: the kernel is the server."""
        raise NotImplementedError
