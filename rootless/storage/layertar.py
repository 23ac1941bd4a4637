"""Trees of a container as archives: the writable layer as an image's layer, the whole root for `export`.

OCI image-spec/layer.md: a deleted name is an empty file `.wh.NAME`, a directory that replaced the one below holds
`.wh..wh..opq`. Times are whole seconds, as Docker writes them: a fraction would cost a second header for each file.
Equal trees make equal archives, whichever driver wrote them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from ..errors import InvalidError
from ..fuse.layer import Layer
from ..fuse.metadata import at
from ..fuse.node import Directory, Node
from ..fuse.tree import Tree
from . import tarheader as th
from .diff import LONGEST, walk
from .owners import kept
from .tarheader import Entry
from .tarwriter import Sink, TarWriter
from .trees import Trees

_SECOND = 10**9
_TYPES = {
    stat.S_IFREG: th.REGULAR,
    stat.S_IFDIR: th.DIRECTORY,
    stat.S_IFLNK: th.SYMLINK,
    stat.S_IFIFO: th.FIFO,
    stat.S_IFCHR: th.CHARACTER,
    stat.S_IFBLK: th.BLOCK_DEVICE,
}


def write_layer(trees: Trees, sink: Sink, latest: int | None = None) -> None:
    """The writable layer as an archive.

    Args:
        latest: seconds since 1970; what is younger gets this time (reproducible-builds.org, SOURCE_DATE_EPOCH).

    Raises:
        InvalidError: a path is too long to be unpacked anywhere.
    """
    archive = TarWriter(sink)
    writer = _Files(archive, latest)
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
    writer = _Files(archive, None)
    for path, node in _nodes(tree):
        layer = tree.layers[node.layer]
        if node.parent is not None:
            directory = tree.handles.directory(node.parent, node.layer)
            writer.add(layer, directory, node.name, path, tree.status(node))
    archive.close()


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


class _Files:
    """Writes files as entries; the further names of a file as links to its first."""

    def __init__(self, archive: TarWriter, latest: int | None) -> None:
        self._archive = archive
        self._latest = latest
        self._linked: dict[tuple[int, int], bytes] = {}

    def add(self, layer: Layer, directory: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        """Write what `directory` has under `name`. Nothing for a socket, and for what has just been removed."""
        kind = _TYPES.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return
        entry = Entry(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, self._time(status), name=path)
        entry.type = kind
        with suppress(FileNotFoundError, NotADirectoryError):
            if kind == th.REGULAR:
                self._regular(entry, layer, directory, name, status)
            elif kind == th.DIRECTORY:
                entry.name = b"./" if path == b"" else path + b"/"
                entry.xattrs = _xattrs(layer, at(directory, name) if path else directory)
                self._archive.add(entry)
            elif not self._link(entry, status):
                self._special(entry, layer, directory, name, status)

    def _regular(self, entry: Entry, layer: Layer, directory: int, name: bytes, status: os.stat_result) -> None:
        if self._link(entry, status):
            return
        fd = layer.open_file(directory, name, os.O_RDONLY)
        try:
            if (real := os.fstat(fd)).st_ino != status.st_ino or not stat.S_ISREG(real.st_mode):
                return  # the container runs, and has just put another file in its place
            entry.size = real.st_size
            entry.xattrs = _xattrs(layer, fd)
            self._archive.add(entry, fd)
        finally:
            os.close(fd)

    def _special(self, entry: Entry, layer: Layer, directory: int, name: bytes, status: os.stat_result) -> None:
        if entry.type == th.SYMLINK:
            entry.link = layer.readlink(directory, name)
            entry.mode = 0o777
        elif entry.type != th.FIFO:
            entry.device = os.major(status.st_rdev), os.minor(status.st_rdev)
        self._archive.add(entry)

    def _link(self, entry: Entry, status: os.stat_result) -> bool:
        """Write a further name of a file that is in the archive already; False when it is not."""
        if status.st_nlink < 2:
            return False
        key = status.st_dev, status.st_ino
        first = self._linked.setdefault(key, entry.name)
        if first == entry.name:
            return False
        entry.type, entry.link = th.HARD_LINK, first
        self._archive.add(entry)
        return True

    def _time(self, status: os.stat_result) -> int:
        seconds = status.st_mtime_ns // _SECOND
        return (seconds if self._latest is None else min(seconds, self._latest)) * _SECOND


def _xattrs(layer: Layer, target: int | str) -> dict[bytes, bytes]:
    """Those that a layer can hold."""
    try:
        names = layer.attributes(target)
    except OSError:  # a file system that has none
        return {}
    return kept({os.fsencode(name): layer.get_attribute(target, name) for name in names})
