"""Files for a layer, as a tar archive: what COPY, ADD and WORKDIR put into the root file system.

The archive has an entry for every directory on the way as well, with the attributes that it has below: a program that
unpacks the layer alone would have to invent them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from ..errors import InvalidError
from ..storage import tarheader as th
from ..storage.owners import kept
from ..storage.tarheader import BLOCK, Attributes, Entry
from ..storage.tarstream import TarStream
from ..storage.tarwriter import Sink, TarWriter, header
from .modes import Mode
from .sources import Item, Source
from .tree import Tree, join

_TYPES = {
    stat.S_IFREG: th.REGULAR,
    stat.S_IFDIR: th.DIRECTORY,
    stat.S_IFLNK: th.SYMLINK,
    stat.S_IFIFO: th.FIFO,
}
_SECOND = 10**9
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Rules:
    """What the files of one step get that they don't bring along.

    Attributes:
        owner: (uid, gid) of all of them; None for their own.
        mode: what becomes of their permissions; None for nothing.
        moment: nanoseconds since 1970, for what has no time of its own.
        clamp: whether that is also the latest time that a file may have (SOURCE_DATE_EPOCH).
    """

    owner: tuple[int, int] | None
    mode: Mode | None
    moment: int
    clamp: bool

    def time(self, mtime: int) -> int:
        """Whole seconds, as in every layer (storage/layertar.py)."""
        mtime = min(mtime, self.moment) if self.clamp else mtime
        return mtime // _SECOND * _SECOND

    def applied(self, entry: Entry) -> Entry:
        uid, gid = self.owner or (entry.uid, entry.gid)
        mode = entry.mode
        if self.mode is not None and entry.type != th.SYMLINK:
            mode = self.mode.applied(mode, is_directory=entry.type == th.DIRECTORY)
        return replace(entry, uid=uid, gid=gid, mode=mode, mtime=self.time(entry.mtime))


@dataclass
class Packer:
    """Writes the archive of one step.

    Attributes:
        existing: the directories that are there already, with their attributes, by path.
        ids: whether the sources' files bring their owners along; else they are root's.
    """

    sink: Sink
    rules: Rules
    existing: Mapping[str, Attributes]
    ids: bool = False
    _done: set[str] = field(default_factory=set)
    _names: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def directory(self, path: str, mode: int = 0o755) -> None:
        """A directory, and those above it: as it is below, or a new one, which gets `mode`."""
        if path in self._done:
            return
        if path:
            self.directory(path.rpartition("/")[0])
        self._done.add(path)
        known = self.existing.get(path)
        if known is not None:
            entry = _entry(path, th.DIRECTORY, known)
            entry.mtime = self.rules.time(known.mtime)
        elif not path:
            return  # a root of which nothing is known is the unpacker's to make
        else:
            uid, gid = self.rules.owner or (0, 0)
            entry = _entry(path, th.DIRECTORY, Attributes(mode, uid, gid, self.rules.time(self.rules.moment)))
        self.sink.write(header(entry))

    def source(self, tree: Tree, source: Source, root: str, *, top: bool = False) -> None:
        """All of a source, whose items go to where `root` says.

        A directory whose contents are copied is no part of them (`sources.digest`): that which they come into is as it
        was, or a new one.

        Args:
            top: it is one of them nevertheless.

        The names of one file stay names of one file within a source, not from one source to the next: as in BuildKit,
        where each is copied by itself, and as the key says.

        Raises:
            InvalidError: a file changed since it was chosen, or can't be in a layer.
        """
        self._names.clear()
        for item in source.items:
            path = join(root, item.target) if item.target else root
            if item.entry.is_directory and not item.target and not top:
                fixed = self.rules.mode.fixed if self.rules.mode is not None else None
                self.directory(path, 0o755 if fixed is None else fixed)
            else:
                self._item(tree, item, path)

    def _item(self, tree: Tree, item: Item, path: str) -> None:
        found = item.entry
        kind = _TYPES.get(stat.S_IFMT(found.mode))
        if kind is None:
            raise InvalidError(f"/{found.path} is a device, and no layer that is made here can have one")
        _require_name(path)
        self.directory(path.rpartition("/")[0] if path else "")
        if not path or (kind == th.DIRECTORY and path in self._done):
            return
        self._done.add(path)
        uid, gid = (found.uid, found.gid) if self.ids else (0, 0)
        xattrs = kept({os.fsencode(name): value for name, value in item.xattrs})
        own = Attributes(found.mode & 0o7777, uid, gid, found.mtime, xattrs)
        entry = self.rules.applied(_entry(path, kind, own))
        if kind == th.SYMLINK:
            entry.link, entry.mode = os.fsencode(found.link), 0o777
        if kind == th.REGULAR:
            self._file(tree, item, entry)
        else:
            self.sink.write(header(entry))

    def _file(self, tree: Tree, item: Item, entry: Entry) -> None:
        inode = item.entry.inode
        if inode is not None and inode in self._names:
            entry.type, entry.link, entry.xattrs = th.HARD_LINK, self._names[inode], {}
            self.sink.write(header(entry))
            return
        if inode is not None:
            self._names[inode] = entry.name
        entry.size = item.entry.size
        self.sink.write(header(entry))
        with tree.open(item.entry) as content:
            for chunk in content.chunks():
                self.sink.write(chunk)
        self.sink.write(bytes(-entry.size % BLOCK))

    def data(self, path: str, content: Iterable[bytes], size: int, mode: int, mtime: int | None = None) -> None:
        """A regular file that comes from no tree."""
        _require_name(path)
        self.directory(path.rpartition("/")[0])
        self._done.add(path)
        moment = self.rules.moment if mtime is None else mtime
        entry = self.rules.applied(_entry(path, th.REGULAR, Attributes(mode, 0, 0, moment)))
        entry.size = size
        self.sink.write(header(entry))
        for chunk in content:
            self.sink.write(chunk)
        self.sink.write(bytes(-size % BLOCK))

    def archive(self, archive: TarStream, places: Mapping[bytes, str]) -> None:
        """What another archive holds (ADD).

        Args:
            places: the path that each entry's name leads to.
        """
        from ..storage.untar import inner_path

        for entry in archive:
            path = places[entry.name]
            _require_name(path)
            self.directory(path.rpartition("/")[0] if path else "")
            top = not inner_path(entry.name)  # the destination, which keeps its attributes
            if not path or (entry.type == th.DIRECTORY and (path in self._done or (top and path in self.existing))):
                continue
            self._done.add(path)
            self._archived(archive, entry, path, places)

    def _archived(self, archive: TarStream, entry: Entry, path: str, places: Mapping[bytes, str]) -> None:
        placed = replace(self.rules, mode=None).applied(entry)  # as in BuildKit: --chmod is for what is copied
        placed.name = os.fsencode(path) + (b"/" if entry.type == th.DIRECTORY else b"")
        placed.xattrs = kept(entry.xattrs)
        if entry.type == th.HARD_LINK:
            placed.link = os.fsencode(places[entry.link]) if entry.link in places else entry.link
        if entry.type not in th.FILES:
            placed.size = 0
            self.sink.write(header(placed))
            return
        placed.type, placed.sparse = th.REGULAR, None
        placed.size = entry.size if entry.sparse is None else entry.length
        self.sink.write(header(placed))
        at = 0
        for offset, piece in _pieces(archive, entry):
            self._zeros(offset - at)
            self.sink.write(bytes(piece))
            at = offset + len(piece)
        self._zeros(placed.size - at)
        self.sink.write(bytes(-placed.size % BLOCK))

    def _zeros(self, count: int) -> None:
        while count > 0:
            self.sink.write(bytes(min(count, _CHUNK)))
            count -= _CHUNK

    def close(self) -> None:
        TarWriter(self.sink).close()


def _pieces(archive: TarStream, entry: Entry) -> Iterable[tuple[int, memoryview]]:
    """(offset in the file, bytes) of an entry's data."""
    extents = iter(entry.sparse if entry.sparse is not None else [(0, entry.size)])
    offset = left = 0
    for data in archive.data():
        while data:
            if not left:
                offset, left = next(extents)
            yield offset, data[:left]
            taken = len(data[:left])
            offset, left, data = offset + taken, left - taken, data[taken:]


def _entry(path: str, kind: bytes, attributes: Attributes) -> Entry:
    return Entry(
        mode=attributes.mode,
        uid=attributes.uid,
        gid=attributes.gid,
        mtime=attributes.mtime,
        xattrs=dict(attributes.xattrs),
        name=os.fsencode((path or ".") + "/" if kind == th.DIRECTORY else path),
        type=kind,
    )


def _require_name(path: str) -> None:
    if any(part.startswith(".wh.") for part in path.split("/")):
        raise InvalidError(f"/{path}: a name that begins with .wh. means something else in a layer")


def pass_on(source: BinaryIO, sink: Sink) -> None:
    """All of a stream."""
    while chunk := source.read(_CHUNK):
        sink.write(chunk)
