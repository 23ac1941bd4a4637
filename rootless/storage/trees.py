"""A container's layers as trees to be read, without mounting anything: the writable one, and those below it merged.

The union that `cow` serves reads layers of every kind; here it is a library. Real ids show only inside the room and
what the caller may not open only its root may, so that work runs in a child there; an owned layer is the caller's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from .. import child, room
from ..fuse import metadata
from ..fuse.handles import Handles, capacity
from ..fuse.layer import DIRECTORY, Layer, LayerSpec
from ..fuse.node import UPPER
from ..fuse.owned import OwnedLayer
from ..fuse.tree import Tree
from ..fuse.union import open_layer
from .driver import HOST, LayerStack
from .fuse_overlayfs import FuseOverlayfs

T = TypeVar("T")

_WHAT = "the process that reads the layers"


class ShownOwned(OwnedLayer):
    """The writable layer of the kernel's overlayfs over `owned` layers.

    A file that was copied up has brought its owner's record along. What the container changed since shows in the inode
    itself: its own files, and a mode that is no longer the one that the record was given on the disk.
    """

    def _true(self, status: os.stat_result, target: int | str) -> os.stat_result:
        raw = self._override(status, target)
        if raw is None:
            return status
        found = super()._true(status, target)
        usable = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
        if stat.S_IMODE(status.st_mode) == found.st_mode & 0o777 | usable:
            return found
        return metadata.changed(found, mode=status.st_mode)


class ProgramsLayer(Layer):
    """The writable layer of fuse-overlayfs, which says the kernel's words in its own where it may not say them, and has
    files beside that repeat them."""

    def is_opaque(self, target: int | str) -> bool:
        if super().is_opaque(target):
            return True
        try:
            return os.getxattr(target, "user.fuseoverlayfs.opaque", follow_symlinks=isinstance(target, int)) == b"y"
        except OSError:
            return False

    def is_whiteout(self, directory: int, name: bytes, status: os.stat_result) -> bool:
        return name.startswith(b".wh.") or super().is_whiteout(directory, name, status)


@dataclass(frozen=True)
class Trees:
    """The layers of one container, open.

    Attributes:
        upper: the writable layer.
        below: what lies under it, merged.
    """

    upper: Layer
    below: Tree

    def merged(self) -> Tree:
        """Both as one tree, as the container sees it."""
        layers = {UPPER: self.upper, **self.below.layers}
        return Tree(layers, Handles(layers, capacity()))


class Reader:
    """Runs work on the layers of a container in a process that may read them all."""

    def __init__(self, store: Path, stack: LayerStack, open_room: Callable[[], int], driver: str = "overlay") -> None:
        """
        Args:
            store: what the paths of `stack` are relative to.
            open_room: gives a descriptor on the room (closed here).
            driver: who has written the writable layer.
        """
        self._driver = driver
        self._store = store
        self._stack = stack
        self._open_room = open_room

    def call(self, work: Callable[[Trees], T]) -> T:
        """Do `work`, and give back what it returns or raise what it raises. Only in a process with one thread."""
        with self._opened() as (room_fd, fds):
            if room_fd < 0:
                return child.call(lambda: work(self._trees(fds)), _WHAT)
            return room.call(room_fd, lambda: work(self._trees(fds)), keep_groups=True)

    @contextmanager
    def stream(self, work: Callable[[Trees, BinaryIO], None]) -> Iterator[BinaryIO]:
        """Do `work`, whose writing is read in the block: see `child.stream`."""
        with self._opened() as (room_fd, fds):

            def write(sink: BinaryIO) -> None:
                work(self._trees(fds), sink)

            with child.stream(write, _WHAT) if room_fd < 0 else room.stream(room_fd, write) as source:
                yield source

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, list[int]]]:
        """A descriptor on the room (-1 where the caller does), and one on each layer, the writable one first. Opened
        here: root's container root may not walk root's paths."""
        with ExitStack() as opened:
            fds = []
            for path in (self._stack.upper, *self._stack.layers):
                fd = os.open(self._store / path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, fd)
                fds.append(fd)
            room_fd = -1
            if self._stack.owners == "mapped":
                room_fd = self._open_room()
                opened.callback(os.close, room_fd)
            yield room_fd, fds

    def _trees(self, fds: list[int]) -> Trees:
        upper, *lower = (os.open(".", DIRECTORY, dir_fd=fd) for fd in fds)
        specs = [self._spec(*pair) for pair in zip(self._stack.layers, lower, strict=True)]
        below = {index: open_layer(index, spec) for index, spec in enumerate(specs, UPPER + 1)}
        tree = Tree(below, Handles(below, capacity()))
        return Trees(self._open_upper(LayerSpec(upper, self._stack.owners), specs), tree)

    def _open_upper(self, spec: LayerSpec, below: list[LayerSpec]) -> Layer:
        if spec.kind == "mapped" and any(layer.kind == "owned" for layer in below):
            return ShownOwned(UPPER, spec)
        if self._driver == FuseOverlayfs.name:
            return ProgramsLayer(UPPER, spec)
        layer = open_layer(UPPER, spec)
        layer.file_whiteouts = spec.kind == "owned"
        return layer

    def _spec(self, layer: str, fd: int) -> LayerSpec:
        """How owners are kept is in the name of a layer's directory: `owned`, or `mapped-...`."""
        if layer == HOST:
            return LayerSpec(fd, kind="host", live=True)
        if os.path.isabs(layer):  # a directory of the machine's, below the overlay of a mount
            return LayerSpec(fd, live=True)
        tree = os.path.basename(os.readlink(self._store / layer))
        return LayerSpec(fd, kind="owned" if tree == "owned" else "mapped")
