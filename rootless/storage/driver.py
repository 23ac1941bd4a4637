"""What every storage driver offers: a container's root file system, mounted from read-only layers and a writable one.

A driver is an object without state of its own. `mount` runs as PID 1 of the container, in its user and mount
namespaces and with the store as working directory; a driver whose file system is a process also has `serve`, which the
stage runs in a child inside the container's user namespace but outside its mount and pid namespaces.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol

LayerKind = Literal["auto", "owned", "mapped"]

MAX_LAYERS = 120
"""Docker's limit too. The `l/...` links of 120 layers fit into the one page that mount(2) takes options from."""


@dataclass(frozen=True)
class LayerStack:
    """The parts of one container's root file system, all paths relative to the store.

    Attributes:
        layers: unpacked image layers, top first; at least one.
        upper: the writable layer.
        work: a directory beside it on the same file system, for what is not finished.
    """

    layers: tuple[str, ...]
    upper: str
    work: str


class StorageDriver(Protocol):
    """One way to mount a `LayerStack`."""

    name: str
    layer_kind: LayerKind
    has_server: bool

    def mount(self, stack: LayerStack, target: str, server: socket.socket | None) -> None:
        """Mount `stack` at `target`, a path that leads to an existing directory.

        Args:
            server: the connection to this driver's `serve`, when it has one.

        Raises:
            OSError, RootlessError: the mount was refused.
        """

    def serve(self, stack: LayerStack, connection: socket.socket) -> NoReturn:
        """Be the file system's process until the mount is gone. Only where `has_server`."""
