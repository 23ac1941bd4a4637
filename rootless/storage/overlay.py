"""The kernel's overlayfs, mounted inside the container's user namespace (Linux 5.11, `userxattr`)."""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from typing import NoReturn

from ..errors import UnavailableError
from ..kernel import mount as m
from .driver import LayerKind, LayerStack


class Overlay:
    """The driver `overlay`."""

    name = "overlay"
    layer_kind: LayerKind = "auto"

    def unavailable(self) -> str:
        """Why it can't serve with this kernel; what the store's file system can't do, drivers.py knows."""
        release = re.match(r"(\d+)\.(\d+)", os.uname().release)
        if release and (int(release[1]), int(release[2])) < (5, 11):
            return f"Linux {os.uname().release} mounts no overlayfs in a user namespace"
        return ""

    def server_place(self, stack: LayerStack) -> None:
        return None

    def mount(self, stack: LayerStack, target: str, server: socket.socket | None) -> None:
        """Mount by one mount(2) call; an error is the kernel's own.

        Without `userxattr` the kernel wants trusted.overlay.* attributes, which no user namespace may write
        (overlayfs.rst, "User xattr").
        """
        options = f"lowerdir={':'.join(stack.layers)},upperdir={stack.upper},workdir={stack.work},userxattr"
        if stack.volatile:
            _forget_volatile(stack.work)
            options += ",volatile"
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


def _forget_volatile(work: str) -> None:
    """Take away the mark of an earlier volatile mount, over which the kernel refuses to mount (overlayfs.rst, "Volatile
    mount"): the machine has not crashed since, or the container would be gone.
    """
    mark = f"{work}/work/incompat"
    with suppress(FileNotFoundError):
        os.unlink(f"{mark}/volatile/dirty")
    with suppress(FileNotFoundError):
        os.rmdir(f"{mark}/volatile")
        os.rmdir(mark)
