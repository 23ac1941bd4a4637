"""What others may change while it is mounted: telling the files of a living layer from those that it had before."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from .handles import Handles
from .layer import Layer
from .node import Directory, File, Node


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether these are attributes of one inode, whose number was not given to another kind of file since."""
    return (one.st_dev, one.st_ino, stat.S_IFMT(one.st_mode)) == (
        other.st_dev,
        other.st_ino,
        stat.S_IFMT(other.st_mode),
    )


class Living:
    """The nodes of living layers, and those that merge with such."""

    def __init__(self, layers: dict[int, Layer], handles: Handles, drop: Callable[[Node], object]) -> None:
        """`drop` forgets a node that nobody refers to."""
        self._layers = layers
        self._handles = handles
        self._drop = drop

    def merges(self, node: Node) -> bool:
        """Whether a part of a directory lies where others may replace it."""
        return isinstance(node, Directory) and any(self._layers[index].live for index in node.layers)

    def revalidate(self, parent: Directory, name: bytes, node: Node) -> Node | None:
        """What a live layer has under a name now: the same file, or another one, for which `node` makes way."""
        layer = self._layers[node.layer]
        if isinstance(node, Directory):
            self._recheck_parts(parent, name, node)
        if not layer.live:
            return node
        known = node.status
        try:
            seen = layer.status(self._handles.directory(parent, node.layer), name)
        except (FileNotFoundError, NotADirectoryError):
            seen = None
        if seen is not None and known is not None and same_file(known, seen):
            node.status = seen
            return node
        self._supersede(parent, name, node)
        return None

    def reconcile(self, parent: Directory, found: dict[bytes, os.stat_result]) -> None:
        """Part with the children of a live layer that a new listing shows to be gone or to be other files."""
        for name, node in list(parent.children.items()):
            if isinstance(node, Directory):
                self._recheck_parts(parent, name, node)
            if self._layers[node.layer].live:
                seen = found.get(name)
                if seen is None or node.status is None or not same_file(node.status, seen):
                    self._supersede(parent, name, node)
                else:
                    node.touch()
                    node.status = seen

    def _recheck_parts(self, parent: Directory, name: bytes, node: Directory) -> None:
        """Find out whether the live parts below the topmost one of a directory still are what `node` was merged from.

        One that was replaced is opened anew, one that is gone is merged no longer.
        """
        for index in node.layers[1:]:
            if not self._layers[index].live:
                continue
            fd = node.fds.get(index)
            try:
                seen = os.stat(name, dir_fd=self._handles.directory(parent, index), follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                seen = None
            if seen is None or not stat.S_ISDIR(seen.st_mode):
                self._handles.forget_layers(node)
                node.layers = tuple(each for each in node.layers if each != index)
                node.touch()
            elif fd is not None and not os.path.samestat(os.fstat(fd), seen):
                self._handles.forget_layers(node)

    def _supersede(self, parent: Directory, name: bytes, node: Node) -> None:
        """What a live layer had under a name is no longer there: whoever has it open keeps it."""
        parent.children.pop(name, None)
        if not (isinstance(node, File) and node.opens):
            self._handles.close(node)
        node.parent = None
        if node.lookups <= 0:
            self._drop(node)
