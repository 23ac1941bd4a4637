"""What the union knows of a file: one `Node` for each name or inode that the kernel or an open handle refers to.

A directory is one node however many layers it is merged from; its parts are named by layer, 0 being the writable one.
A node has no path: it has a parent and a name, and every system call on it is relative to a descriptor of its parent.
So a rename of a directory touches one node, and no path ever grows near PATH_MAX.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT_INO = 1
UPPER = 0
"""The index of the writable layer; the image's layers follow, top first."""


class Node:
    """What directories and files have in common.

    Attributes:
        ino: the inode number, which is the FUSE node id as well; the same for the life of the mount.
        parent: the directory that `name` stands in; None for the root and for what was removed while still in use.
        layer: where data and attributes lie: UPPER once copied up, else the index of the image's layer.
        kind: the file type bits of the mode; they never change.
        status: attributes as the container sees them, or None when they must be read again.
        reply: what the protocol adapter made of `status`; it goes whenever `status` goes.
        bare: it is known to have no extended attributes, which the kernel asks for again and again.
        lookups: how many references the kernel holds (FUSE_LOOKUP less FUSE_FORGET).
    """

    __slots__ = ("bare", "ino", "kind", "layer", "lookups", "name", "parent", "reply", "status")

    def __init__(self, ino: int, parent: Directory | None, name: bytes, layer: int, status: os.stat_result) -> None:
        self.ino = ino
        self.parent = parent
        self.name = name
        self.layer = layer
        self.kind = stat.S_IFMT(status.st_mode)
        self.status: os.stat_result | None = status
        self.reply: object = None
        self.bare = False
        self.lookups = 0

    def touch(self) -> None:
        """Forget the attributes: something has changed them."""
        self.status = None
        self.reply = None

    @property
    def orphan(self) -> bool:
        """Removed from the tree, and here only because somebody still holds it."""
        return self.parent is None and self.ino != ROOT_INO


class Directory(Node):
    """A directory, merged from `layers` (top first).

    Attributes:
        children: the entries known so far.
        complete: `children` holds every entry, so a name that is not in it does not exist.
        names: what the parts in unchanging lower layers hold, once enough was asked for that they do not have.
        misses: how often that was.
        order: the names as they were listed last, None since one has come or gone (`listing`).
        keeper: an opening has the kernel's kept listing to itself.
        fds: open descriptors by layer; a cache that `handles.Handles` fills and empties.
    """

    __slots__ = ("children", "complete", "fds", "keeper", "layers", "misses", "names", "order")

    def __init__(
        self, ino: int, parent: Directory | None, name: bytes, layers: tuple[int, ...], status: os.stat_result
    ) -> None:
        super().__init__(ino, parent, name, layers[0], status)
        self.layers = layers
        self.children: dict[bytes, Node] = {}
        self.complete = False
        self.names: dict[int, frozenset[bytes]] = {}
        self.misses = 0
        self.fds: dict[int, int] = {}
        self.order: list[bytes] | None = None
        self.keeper = False

    def alter(self) -> None:
        """A name has come or gone, as the kernel knows, or will know when it is answered."""
        self.touch()
        self.order = None

    @property
    def pure(self) -> bool:
        """Nothing of it lies in a lower layer: it can be renamed as it stands."""
        return self.layers == (UPPER,)

    def path(self) -> bytes:
        """The path inside the mount, for messages and for records of what lay below; never for a system call."""
        parts: list[bytes] = []
        node: Directory | None = self
        while node is not None and node.parent is not None:
            parts.append(node.name)
            node = node.parent
        return b"/" + b"/".join(reversed(parts))


class File(Node):
    """Everything that is not a directory.

    Attributes:
        fd: the descriptor that serves every handle on it, or -1.
        writable: whether `fd` can write.
        opens: how many handles the kernel has on it.
        links: its further names, when it is a hard link within the writable layer.
        key: (device, inode) in the writable layer while it may have several names there, else None.
        settled: it is known to have no set-id bits and no capabilities that a write would take away.
    """

    __slots__ = ("fd", "key", "links", "opens", "settled", "writable")

    def __init__(self, ino: int, parent: Directory, name: bytes, layer: int, status: os.stat_result) -> None:
        super().__init__(ino, parent, name, layer, status)
        self.fd = -1
        self.writable = False
        self.opens = 0
        self.links: tuple[tuple[Directory, bytes], ...] = ()
        self.key: tuple[int, int] | None = None
        self.settled = False


class Table:
    """The nodes in use, by inode number, and the giving out of those numbers.

    A number is the real inode's (plus a mark for its device), so that it needs no memory to stay the same when the
    kernel forgets a node and asks for it again. What can't have its own number gets one from a range of ours, and that
    is remembered: a file that was copied up (it keeps the number it had below), names that are hard links of one
    another in an image's layer (a copy-up separates them, so they are files of their own here), and an inode number
    that the file system below has given to a new file while a removed one is still in use.
    """

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self._devices: dict[int, int] = {}
        self._next = 1 << 62
        self._kept: dict[tuple[int, int], int] = {}
        self._linked: dict[tuple[int, bytes], int] = {}
        self.shared: dict[tuple[int, int], File] = {}
        """Files of the writable layer that may have several names, by device and inode."""

    def number(self, parent: Directory, name: bytes, layer: int, status: os.stat_result) -> int:
        """The inode number for what `parent` has under `name`."""
        if layer != UPPER and status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            key = (parent.ino, name)
            number = self._linked.get(key)
            if number is None:
                number = self._linked[key] = self._fresh()
            return number if number not in self.nodes else self._fresh()
        number = self._kept.get((status.st_dev, status.st_ino)) if layer == UPPER and self._kept else None
        if number is None:
            number = self._derived(status)
        if number in self.nodes or number == ROOT_INO:
            number = self._fresh()
            if layer == UPPER:
                self._kept[status.st_dev, status.st_ino] = number
        return number

    def keep(self, node: Node, status: os.stat_result) -> None:
        """`node` now lies in the writable layer as `status`: it keeps the number that it has."""
        if self._derived(status) != node.ino:
            self._kept[status.st_dev, status.st_ino] = node.ino

    def release(self, status: os.stat_result) -> None:
        """The last name of an inode of the writable layer is gone; the file system may give its number to another."""
        self._kept.pop((status.st_dev, status.st_ino), None)

    def share(self, node: File, status: os.stat_result) -> None:
        """Remember a file of the writable layer by its inode, so that its other names find this node."""
        if node.key is None:
            node.key = (status.st_dev, status.st_ino)
            self.shared[node.key] = node

    def unshare(self, node: File) -> None:
        """Its last name is gone."""
        if node.key is not None:
            self.shared.pop(node.key, None)
            node.key = None

    def drop(self, node: Node) -> None:
        """Forget a node that nobody refers to any more."""
        self.nodes.pop(node.ino, None)
        if isinstance(node, File):
            self.unshare(node)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def _derived(self, status: os.stat_result) -> int:
        mark = self._devices.get(status.st_dev)
        if mark is None:
            mark = self._devices[status.st_dev] = len(self._devices) << 48
        return mark ^ (status.st_ino & 0xFFFF_FFFF_FFFF)

    def _fresh(self) -> int:
        self._next += 1
        return self._next
