"""Trees of a container as archives: the writable layer as an image's layer, the whole root for `export`.

OCI image-spec/layer.md: a deleted name is an empty file `.wh.NAME`, a directory that replaced the one below holds
`.wh..wh..opq`. Times are whole seconds, as Docker writes them: a fraction would cost a second header for each file.
Equal trees make equal archives, whichever driver wrote them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from ..errors import InvalidError
from ..fuse.handles import Handles, capacity
from ..fuse.node import Directory, Node
from ..fuse.tree import Tree
from . import tarheader as th
from .diff import LONGEST, walk
from .filewriter import FileWriter
from .tarheader import Entry
from .tarwriter import Sink, TarWriter
from .trees import Trees


def write_layer(trees: Trees, sink: Sink, latest: int | None = None) -> None:
    """The writable layer as an archive.

    Args:
        latest: seconds since 1970; what is younger gets this time (reproducible-builds.org, SOURCE_DATE_EPOCH).

    Raises:
        InvalidError: a path is too long to be unpacked anywhere.
    """
    archive = TarWriter(sink)
    writer = FileWriter(archive, latest)
    for step in walk(trees):
        path = step.path[1:]
        if step.status is not None:
            writer.add(trees.upper, step.directory, step.name, path, step.status)
        elif not step.hidden:
            above, slash, name = path.rpartition(b"/")
            archive.add(_mark(above + slash + b".wh." + name))
        if step.opaque:
            archive.add(_mark(path + b"/.wh..wh..opq"))
    archive.close()


def write_root(tree: Tree, sink: Sink) -> None:
    """A merged tree as one archive, without whiteouts."""
    archive = TarWriter(sink)
    writer = FileWriter(archive, None)
    for path, node in _nodes(tree):
        layer = tree.layers[node.layer]
        if node.parent is not None:
            directory = tree.handles.directory(node.parent, node.layer)
            writer.add(layer, directory, node.name, path, tree.status(node))
    archive.close()


def write_difference(full: Tree, fresh: int, sink: Sink, latest: int | None = None) -> None:
    """The topmost layers of a merged tree as the one layer that they come to.

    Args:
        fresh: how many of the layers that is.
        latest: as in `write_layer`.
    """
    archive = TarWriter(sink)
    writer = FileWriter(archive, latest)
    rest = {index: layer for index, layer in full.layers.items() if index > fresh}
    base = Tree(rest, Handles(rest, capacity())) if rest else None
    waiting: list[tuple[bytes, Node, Node | None]] = [(b"", full.root, base.root if base is not None else None)]
    while waiting:
        path, node, under = waiting.pop()
        if node.layer <= fresh and node.parent is not None:
            directory = full.handles.directory(node.parent, node.layer)
            writer.add(full.layers[node.layer], directory, node.name, path, full.status(node))
        if not isinstance(node, Directory) or not any(index <= fresh for index in node.layers):
            continue
        full.load(node)
        full.handles.trim()
        hidden: dict[bytes, Node] = {}
        if base is not None and isinstance(under, Directory):
            if all(index <= fresh for index in node.layers):
                archive.add(_mark(_inside(path, b".wh..wh..opq")))
            else:
                base.load(under)
                hidden = under.children
        for name in sorted(hidden.keys() - node.children.keys()):
            archive.add(_mark(_inside(path, b".wh." + name)))
        inner = sorted(node.children.items(), reverse=True)
        waiting += [(_inside(path, name), child, hidden.get(name)) for name, child in inner]
    archive.close()


def _inside(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _nodes(tree: Tree) -> Iterator[tuple[bytes, Node]]:
    """Everything below the root, a directory before its entries."""
    waiting: list[tuple[bytes, Node]] = [(b"", tree.root)]
    while waiting:
        path, node = waiting.pop()
        if len(path) > LONGEST:
            raise InvalidError(f"{os.fsdecode(path[:100])}... has {len(path)} bytes: no program could open it by name")
        if path:
            yield path, node
        if isinstance(node, Directory):
            with suppress(PermissionError):  # of a directory of the machine's, which only others may list
                tree.load(node)
            tree.handles.trim()
            names = sorted(node.children, reverse=True)
            waiting += [(path + b"/" + name if path else name, node.children[name]) for name in names]


def _mark(name: bytes) -> Entry:
    return Entry(0, 0, 0, 0, name=name, type=th.REGULAR)
