"""The merged tree: finding names in the layers, listing directories, and forgetting what nobody refers to."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from .base import Base
from .handles import Handles
from .layer import Layer
from .living import Living
from .metadata import at
from .node import ROOT_INO, UPPER, Directory, File, Node, Table
from .quota import Quota

NAME_MAX = 255
"""Bytes of a name (limits.h); FUSE itself would let 1024 through."""

MISSES = 4
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def error(number: int) -> OSError:
    """The OSError of an errno."""
    return OSError(number, os.strerror(number))


class Tree:
    """The nodes in use and the layers that they come from.

    Attributes:
        layers: by index, the writable one first; without one (a read-only mount) the first is a stand-in never used.
        quota: the account of the writable layer, when it is limited.
        living: what is done about layers that others change.
        table: the nodes by inode number.
        announce: told of a node whose attributes have changed by something that the kernel did not ask to change them.
        root: the mount's root directory.
    """

    def __init__(
        self, layers: dict[int, Layer], handles: Handles, quota: Quota | None = None, base: Base | None = None
    ) -> None:
        self.layers = layers
        self.handles = handles
        self.quota = quota
        self.live = any(layer.live for layer in layers.values())
        self.living = Living(layers, handles, self._drop_if_unused)
        self._base = base
        self.table = Table()
        self.announce: Callable[[Node], object] = id  # nobody is told, as long as nobody wants to be
        present = tuple(sorted(layers))
        top = layers[present[0]]
        self.root = Directory(ROOT_INO, None, b"", present, top.descriptor_status(top.root))
        self.root.lookups = 1 << 40
        self.table.nodes[ROOT_INO] = self.root

    def child(self, parent: Directory, name: bytes) -> Node | None:
        """What `parent` has under `name`, or None. ENAMETOOLONG: not even asked for what can't be there."""
        node = parent.children.get(name)
        if node is not None and self.live:
            node = self.living.revalidate(parent, name, node)
        if node is not None:
            return node
        if len(name) > NAME_MAX:
            raise error(errno.ENAMETOOLONG)
        return None if parent.complete else self._find(parent, name)

    def require(self, parent: Directory, name: bytes) -> Node:
        """What `parent` has under `name`. ENOENT when there is nothing."""
        node = self.child(parent, name)
        if node is None:
            raise error(errno.ENOENT)
        return node

    def status(self, node: Node) -> os.stat_result:
        """The attributes of `node`, read from its topmost layer unless they are known."""
        status = node.status
        if status is None:
            status = node.status = self._read_status(node)
        return status

    def links(self, node: Node, status: os.stat_result) -> int:
        """The link count as stat(2) shows it.

        A merged directory has 1, as in the kernel's overlayfs: "unknown" to find(1) and fts(3), which else would take
        it for a promise about the number of subdirectories.
        """
        if isinstance(node, Directory) and len(node.layers) > 1:
            return 1
        if node.orphan and (isinstance(node, Directory) or status.st_nlink <= 1):
            return 0
        return status.st_nlink

    def lower_has(self, parent: Directory, name: bytes) -> bool:
        """Whether something of this name would come to light below the writable layer."""
        for index in parent.layers:
            if index == UPPER:
                continue
            layer = self.layers[index]
            try:
                directory = self.handles.directory(parent, index)
                status = layer.status(directory, name)
            except OSError as problem:
                if problem.errno in _ABSENT:
                    continue
                raise
            return not layer.is_whiteout(directory, name, status)
        return False

    def load(self, node: Directory) -> None:
        """Learn every entry of a directory, attributes included."""
        if node.complete or node.orphan:
            return
        found: dict[bytes, tuple[int, os.stat_result, list[int]]] = {}
        closed: set[bytes] = set()
        for index in node.layers:
            self._scan(node, index, found, closed)
        children = node.children
        if self.live:
            self.living.reconcile(node, {name: status for name, (_, status, _) in found.items()})
        for name, (index, status, parts) in found.items():
            if name not in children:
                self.add(node, name, index, tuple(parts), status)
        node.complete = not any(self.layers[index].live for index in node.layers)

    def add(self, parent: Directory, name: bytes, layer: int, parts: tuple[int, ...], status: os.stat_result) -> Node:
        """The node for what `parent` has under `name`: a directory merged from `parts`, or a file of `layer`."""
        node: Node
        if parts:
            node = Directory(self.table.number(parent, name, layer, status), parent, name, parts, status)
        else:
            if layer == UPPER and status.st_nlink > 1:
                known = self.table.shared.get((status.st_dev, status.st_ino))
                if known is not None:
                    return self.add_link(known, parent, name)
            node = File(self.table.number(parent, name, layer, status), parent, name, layer, status)
            if layer == UPPER and status.st_nlink > 1:
                self.table.share(node, status)
        self.table.nodes[node.ino] = node
        parent.children[name] = node
        return node

    def add_link(self, node: File, parent: Directory, name: bytes) -> File:
        """A further name for a file of the writable layer."""
        if node.parent is None:
            node.parent, node.name = parent, name
        elif (node.parent, node.name) != (parent, name):
            node.links += ((parent, name),)
        parent.children[name] = node
        return node

    def detach(self, parent: Directory, name: bytes, node: Node) -> None:
        """`name` is gone from `parent`; a hard link lives on under another name, an open file without one."""
        parent.children.pop(name, None)
        parent.alter()
        node.reply = None  # the link count in it is no longer true
        if isinstance(node, File):
            self._detach_file(parent, name, node)
        elif isinstance(node, Directory):
            self.handles.close(node)
            node.parent = None
            node.complete = True
            if self.quota is not None and node.layer == UPPER and node.status is not None:
                self.quota.drop(node.status.st_ino)
        if node.lookups <= 0:
            self._drop_if_unused(node)

    def forget(self, node: Node, count: int) -> None:
        """The kernel gives back `count` references."""
        node.lookups -= count
        at_hand: Node | None = node
        while at_hand is not None and at_hand.lookups <= 0:
            parent = at_hand.parent
            if not self._drop_if_unused(at_hand):
                return
            at_hand = parent

    def released(self, node: File) -> None:
        """The last handle on `node` is gone."""
        if node.orphan:
            if self.quota is not None and node.layer == UPPER and node.key is None:
                self.quota.drop(os.fstat(node.fd).st_ino)
            self.handles.close(node)
        if node.lookups <= 0:
            self._drop_if_unused(node)

    def expire(self, node: Node) -> None:
        """What is known of a live layer's file may be old: have its attributes read again."""
        if self.live and self.layers[node.layer].live and not node.orphan:
            node.touch()

    def note_base(self, node: Node) -> None:
        """`node` is about to be changed, hidden or replaced: note what a live layer has of it, before that happens."""
        if self._base is None or node.parent is None or not self.layers[node.layer].live:
            return
        path = node.path() if isinstance(node, Directory) else node.parent.path().rstrip(b"/") + b"/" + node.name
        self.expire(node)
        self._base.record(path, self.status(node))

    def removed_files(self) -> list[int]:
        """Descriptors of the writable layer's files that have no name any more, but are open."""
        return [
            node.fd
            for node in self.table
            if isinstance(node, File) and node.orphan and node.layer == UPPER and node.key is None and node.fd >= 0
        ]

    def _find(self, parent: Directory, name: bytes) -> Node | None:
        parts: list[int] = []
        top = -1
        status: os.stat_result | None = None
        last = parent.layers[-1]
        for index in parent.layers:
            known = parent.names.get(index)
            if known is not None and name not in known:
                continue
            layer = self.layers[index]
            try:
                directory = self.handles.directory(parent, index)
                seen = layer.status(directory, name)
            except (FileNotFoundError, NotADirectoryError):
                self._missed(parent, index)
                continue
            if stat.S_ISDIR(seen.st_mode):
                parts.append(index)
                if status is None:
                    top, status = index, seen
                if index == last or layer.is_opaque(at(directory, name)):
                    break
                continue
            if status is None and not layer.is_whiteout(directory, name, seen):
                top, status = index, seen
            break
        if status is None:
            return None
        return self.add(parent, name, top, tuple(parts), status)

    def _missed(self, parent: Directory, index: int) -> None:
        """A layer did not have a name. After a few times its list of names is cheaper than asking the kernel again."""
        if index == UPPER or self.layers[index].live:
            return
        parent.misses += 1
        if parent.misses > MISSES:
            parent.misses = 0
            with suppress(OSError):  # listing may not be allowed where looking up is
                names = os.listdir(self.handles.directory(parent, index))
                parent.names[index] = frozenset(map(os.fsencode, names))

    def _scan(
        self,
        node: Directory,
        index: int,
        found: dict[bytes, tuple[int, os.stat_result, list[int]]],
        closed: set[bytes],
    ) -> None:
        """Merge the entries of one layer into `found`; a name in `closed` has nothing more below."""
        layer = self.layers[index]
        directory = self.handles.directory(node, index)
        encode = os.fsencode
        last = index == node.layers[-1]
        for entry in self._entries(directory):
            name = encode(entry.name)
            known = found.get(name)
            if name in closed:
                continue
            if known is not None:
                # A directory above: what is below merges with it, unless it is opaque or this is no directory.
                above = self.layers[known[2][-1]]
                place = at(self.handles.directory(node, above.index), name)
                if entry.is_dir(follow_symlinks=False) and not above.is_opaque(place):
                    known[2].append(index)
                else:
                    closed.add(name)
                continue
            try:
                status = layer.entry_status(entry, directory)
            except FileNotFoundError:  # a live layer: gone since it was listed
                continue
            if stat.S_ISDIR(status.st_mode):
                found[name] = (index, status, [index])
            else:
                if not layer.is_whiteout(directory, name, status):
                    found[name] = (index, status, [])
                if not last:
                    closed.add(name)

    @staticmethod
    def _entries(directory: int) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                return list(entries)
        except OSError as problem:
            if problem.errno == errno.EBADF:  # opened with O_PATH, because listing it is not allowed
                raise error(errno.EACCES) from problem
            raise

    def _read_status(self, node: Node) -> os.stat_result:
        layer = self.layers[node.layer]
        if isinstance(node, File) and node.fd >= 0:
            return layer.descriptor_status(node.fd)
        if node.parent is None:
            if node.ino == ROOT_INO:
                return layer.descriptor_status(layer.root)
            raise error(errno.ENOENT)
        return layer.status(self.handles.directory(node.parent, node.layer), node.name)

    def _detach_file(self, parent: Directory, name: bytes, node: File) -> None:
        if node.layer == UPPER and node.status is not None and node.status.st_nlink <= 1:
            self.table.release(node.status)
            self.table.unshare(node)
            if self.quota is not None and not node.opens:
                self.quota.drop(node.status.st_ino)
        elif node.layer == UPPER:
            node.touch()  # one link less, a new change time
        if (node.parent, node.name) != (parent, name):
            node.links = tuple(link for link in node.links if link != (parent, name))
        elif node.links:
            (node.parent, node.name), *more = node.links
            node.links = tuple(more)
        else:
            node.parent = None
            if not node.opens:
                self.handles.close(node)

    def _drop_if_unused(self, node: Node) -> bool:
        """Forget a node, and what was only listed below it; False when something of that is referred to or open.

        Without recursion: the copying of a directory may have listed a tree of any depth.
        """
        if node.ino == ROOT_INO:
            return False
        unused: list[Node] = [node]
        for each in unused:
            if each.lookups > 0 or (isinstance(each, File) and each.opens):
                return False
            if isinstance(each, Directory):
                unused += each.children.values()
        for each in reversed(unused):
            self.handles.close(each)
            self._forget_names(each)
            self.table.drop(each)
        return True

    @staticmethod
    def _forget_names(node: Node) -> None:
        names = ((node.parent, node.name), *(node.links if isinstance(node, File) else ()))
        for parent, name in names:
            if parent is not None and parent.children.get(name) is node:
                del parent.children[name]
                parent.complete = False
