"""Descriptors: which are open, and which go when there are too many.

Hard limits are often low (1024 by ulimit, 20,000 by an administrator), so no inode owns one. Directories keep
descriptors for the `*at()` calls on their entries, files one for all handles on them; both are caches, filled on
demand and emptied oldest first. Only a removed file that is still open can't be opened again: it keeps its own until
it is released.
"""

from __future__ import annotations

import errno
import os
import resource

from .layer import Layer
from .node import UPPER, Directory, File, Node

SPARE = 64
"""Descriptors that are not the cache's: layer roots, the device, the log, and what one operation opens for a moment."""


def capacity() -> int:
    """Raise the soft limit to the hard one, and give how many descriptors the cache may hold."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(16, min(4096, limit - SPARE - limit // 4))


class Handles:
    """The cache of open descriptors."""

    def __init__(self, layers: dict[int, Layer], limit: int) -> None:
        self._layers = layers
        self._limit = limit
        self._open: dict[Node, int] = {}
        self._count = 0
        self.excess = False
        """Set when `trim` has work to do, between operations: none must lose a descriptor that it is using."""

    def directory(self, node: Directory, layer: int) -> int:
        """A descriptor of the part of `node` that lies in `layer`.

        Raises:
            OSError: ENOENT when the directory was removed.
        """
        fd = node.fds.get(layer)
        return fd if fd is not None else self._open_directory(node, layer)

    def reading(self, node: File) -> int:
        """A descriptor that can at least read `node`."""
        return node.fd if node.fd >= 0 else self._open_file(node, os.O_RDONLY)

    def writing(self, node: File) -> int:
        """A descriptor that can write `node`, which must lie in the writable layer."""
        return node.fd if node.writable else self._open_file(node, os.O_RDWR)

    def adopt(self, node: File, fd: int, *, writable: bool) -> None:
        """Let `fd` serve the handles on `node` from now on."""
        self._close_file(node)
        node.fd = fd
        node.writable = writable
        self._note(node, 1)

    def adopt_directory(self, node: Directory, layer: int, fd: int) -> None:
        """Let `fd` serve the entries of `node` in `layer`."""
        node.fds[layer] = fd
        self._note(node, 1)

    def close(self, node: Node) -> None:
        """Close what is open for `node`."""
        if isinstance(node, File):
            self._close_file(node)
        elif isinstance(node, Directory):
            self._close_directory(node)

    def forget_layers(self, node: Directory) -> None:
        """The parts of `node` have changed: open them anew when they are asked for."""
        self._close_directory(node)

    def trim(self) -> None:
        """Close the oldest until a quarter is free again."""
        for node in list(self._open):
            if self._count <= self._limit * 3 // 4:
                break
            if not node.orphan:
                self.close(node)
        self.excess = False

    def _open_directory(self, node: Directory, layer: int) -> int:
        """Open from the nearest ancestor that is open, holding one descriptor at a time however deep the path is."""
        chain: list[Directory] = []
        at: Directory | None = node
        while at is not None and layer not in at.fds:
            chain.append(at)
            at = at.parent
        if at is None and not (chain and chain[-1].ino == 1):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        held = self._layers[layer].root if at is None else at.fds[layer]
        if at is None:
            root = chain.pop()
            self.adopt_directory(root, layer, os.dup(held))
        passing = -1
        try:
            for step in reversed(chain):
                held = self._layers[layer].open_directory(held, step.name)
                if passing >= 0:
                    os.close(passing)
                passing = held
        except BaseException:
            if passing >= 0:
                os.close(passing)
            raise
        if passing < 0:
            return node.fds[layer]
        self.adopt_directory(node, layer, passing)
        return passing

    def _open_file(self, node: File, access: int) -> int:
        if node.parent is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        directory = self.directory(node.parent, node.layer)
        layer = self._layers[node.layer]
        writable = node.layer == UPPER
        try:
            # One descriptor for readers and writers: what one writes the other must read.
            fd = layer.open_file(directory, node.name, os.O_RDWR if writable else os.O_RDONLY)
        except OSError as problem:
            if access != os.O_RDONLY or not writable or problem.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            writable = False
            fd = layer.open_file(directory, node.name, os.O_RDONLY)
        self.adopt(node, fd, writable=writable)
        return fd

    def _close_file(self, node: File) -> None:
        if node.fd >= 0:
            os.close(node.fd)
            node.fd = -1
            node.writable = False
            self._note(node, -1)

    def _close_directory(self, node: Directory) -> None:
        for fd in node.fds.values():
            os.close(fd)
        self._note(node, -len(node.fds))
        node.fds.clear()

    def _note(self, node: Node, change: int) -> None:
        held = self._open.pop(node, 0) + change
        if held > 0:
            self._open[node] = held
        self._count += change
        if self._count > self._limit:
            self.excess = True
