"""What every storage driver offers: a container's root file system, mounted from read-only layers and a writable one.

A driver is an object without state of its own. `mount` runs as PID 1 of the container, in its user and mount
namespaces and with the store as working directory; a driver whose file system is a process also has `serve`, which the
stage runs in a child outside the container's mount and pid namespaces, and `server_place` says in which user namespace.
"""

from __future__ import annotations

import socket
from typing import Literal, NoReturn, Protocol

import msgspec

LayerKind = Literal["auto", "owned", "mapped"]

Owners = Literal["mapped", "owned"]
"""How a writable layer keeps whose its files are: as the inodes' own ids, or written down beside inodes that all belong
to the caller."""

Place = Literal["inside", "outside"]
"""In the container's user namespace as its root, or in the initial one as the caller."""

HOST = "/"
"""The layer that is no image's: the machine's own root, read-only, as the caller sees it. All others are relative."""


class LayerStack(msgspec.Struct, frozen=True):
    """The parts of one container's root file system, all paths relative to the store.

    Attributes:
        layers: unpacked image layers, top first; at least one. `HOST` alone is the machine's own root.
        upper: the writable layer.
        work: a directory beside it on the same file system, for what is not finished.
        owners: how `upper` keeps whose its files are.
        size: how many bytes `upper` may hold; 0 for no limit.
        base: base.jsonl, where is noted what a living layer had before the container changed it.
        ids: how many user and group ids the container has, from 0 on.
        volatile: `upper` goes with the container, so that nothing of it needs to outlive a crash of the machine:
            neither a copy-up nor fsync(2) waits for the disk.
    """

    layers: tuple[str, ...]
    upper: str
    work: str
    owners: Owners = "mapped"
    size: int = 0
    base: str = ""
    ids: tuple[int, int] = (1 << 32, 1 << 32)
    volatile: bool = False


class StorageDriver(Protocol):
    """One way to mount a `LayerStack`."""

    name: str
    layer_kind: LayerKind

    def unavailable(self) -> str:
        """Why this driver can't serve on this machine; empty when nothing is known against it."""

    def server_place(self, stack: LayerStack) -> Place | None:
        """Where the process of this file system lives; None when the kernel is its server."""

    def mount(self, stack: LayerStack, target: str, server: socket.socket | None) -> None:
        """Mount `stack` at `target`, a path that leads to an existing directory.

        Args:
            server: the connection to this driver's `serve`, when it has one.

        Raises:
            OSError, RootlessError: the mount was refused.
        """

    def serve(self, stack: LayerStack, connection: socket.socket) -> NoReturn:
        """Be the file system's process until the mount is gone. Only where `server_place` names one."""
