"""The files of a stage or an image as a tree for COPY, read from its layers as they lie on disk, merged but not mounted
(storage/trees.py)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ..fuse.node import Directory, File, Node
from ..fuse.tree import Tree as Merged
from .tree import CHUNK, Content, Entry, join, seen


class MergedTree:
    """What a container of the stage would see, with its own ids. Nothing in it changes."""

    def __init__(self, merged: Merged) -> None:
        self._merged = merged

    def entry(self, path: str) -> Entry | None:
        node = self._node(path)
        return self._entry(path, node) if node is not None else None

    def children(self, path: str) -> list[Entry]:
        node = self._node(path)
        if not isinstance(node, Directory):
            return []
        self._merged.load(node)
        found = sorted((os.fsdecode(name), child) for name, child in node.children.items())
        entries = [self._entry(join(path, name), child) for name, child in found]
        return [entry for entry in entries if not stat.S_ISSOCK(entry.mode)]

    @contextmanager
    def open(self, entry: Entry) -> Iterator[Content]:
        node = self._node(entry.path)
        assert node is not None, "layers don't change"
        layer = self._merged.layers[node.layer]
        if isinstance(node, File):
            fd = layer.open_file(*self._place(node), os.O_RDONLY)
        elif node.parent is None:
            fd = os.dup(layer.root)
        else:
            fd = layer.open_directory(*self._place(node))
        try:
            yield _OpenFile(self._merged, node, fd, entry)
        finally:
            os.close(fd)
            if self._merged.handles.excess:
                self._merged.handles.trim()

    def hint(self, path: str) -> str:
        return ""

    def _node(self, path: str) -> Node | None:
        node: Node | None = self._merged.root
        for part in path.split("/") if path else []:
            if not isinstance(node, Directory):
                return None
            node = self._merged.child(node, os.fsencode(part))
        return node

    def _entry(self, path: str, node: Node) -> Entry:
        status = self._merged.status(node)
        link = ""
        if stat.S_ISLNK(status.st_mode):
            link = os.fsdecode(self._merged.layers[node.layer].readlink(*self._place(node)))
        return seen(path, status, link)

    def _place(self, node: Node) -> tuple[int, bytes]:
        assert node.parent is not None, "not for the root"
        return self._merged.handles.directory(node.parent, node.layer), node.name


class _OpenFile:
    """The content of a file of a MergedTree."""

    def __init__(self, merged: Merged, node: Node, fd: int, entry: Entry) -> None:
        self._merged, self._node, self._fd, self._entry = merged, node, fd, entry

    def chunks(self) -> Iterator[bytes]:
        while chunk := os.read(self._fd, CHUNK):
            yield chunk

    def xattrs(self) -> dict[str, bytes]:
        layer = self._merged.layers[self._node.layer]
        names = [n for n in layer.attributes(self._fd) if n.startswith("user.") or n == "security.capability"]
        return {name: layer.get_attribute(self._fd, name) for name in sorted(names)}
