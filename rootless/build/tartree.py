"""A context that comes as a tar archive: read once, its files' data into a nameless file, everything else into memory.

Nothing is ever unpacked, so there is no path in the archive, however hostile, that could lead anywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..errors import InvalidError
from ..storage import tarheader as th
from ..storage.tarstream import TarStream
from .tree import CHUNK, Content, Entry, join

FILES_LIMIT = 1_000_000
"""Members of an archive: what is remembered of each takes about half a kilobyte."""

_TYPES = {
    th.DIRECTORY: stat.S_IFDIR,
    th.SYMLINK: stat.S_IFLNK,
    th.CHARACTER: stat.S_IFCHR,
    th.BLOCK_DEVICE: stat.S_IFBLK,
    th.FIFO: stat.S_IFIFO,
} | dict.fromkeys((*th.FILES, th.CONTIGUOUS), stat.S_IFREG)


@dataclass(frozen=True, slots=True)
class _Data:
    """Where a file's data lie in the nameless file: pieces (offset in the file, length), one after the other."""

    start: int
    pieces: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Member:
    entry: Entry
    data: _Data | None = None
    xattrs: dict[str, bytes] | None = None
    names: set[str] | None = None
    """A directory's members."""


def _directory(path: str) -> _Member:
    return _Member(Entry(path, stat.S_IFDIR | 0o755, 0, 0, 0, 0), names=set())


class TarTree:
    """The files of an archive.

    Args:
        chunks: its uncompressed bytes.
        directory: where the nameless file is made.

    Raises:
        InvalidError: it is no tar archive, damaged, or has paths that make no sense.
        OSError: its data can't be written down.
    """

    def __init__(self, chunks: Iterable[bytes], directory: str | os.PathLike[str]) -> None:
        self._members: dict[str, _Member] = {"": _directory("")}
        self._spool = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._end = 0
        try:
            self._read(TarStream(iter(chunks)))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TarTree:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the nameless file back."""
        os.close(self._spool)

    def hint(self, path: str) -> str:
        return ""

    def entry(self, path: str) -> Entry | None:
        member = self._members.get(path)
        return member.entry if member else None

    def children(self, path: str) -> list[Entry]:
        names = self._members[path].names or ()
        return [self._members[join(path, name)].entry for name in sorted(names)]

    @contextmanager
    def open(self, entry: Entry) -> Iterator[Content]:
        yield _Reader(self._spool, self._members[entry.path])

    def _read(self, stream: TarStream) -> None:
        for found in stream:
            path = _path(found.name)
            if path and found.type in _TYPES:
                self._add(path, found, stream)
            elif path and found.type == th.HARD_LINK:
                self._add_link(path, _path(found.link))
            elif path:
                raise InvalidError(f"the archive has '{path}' of an unknown type {found.type!r}")
            if len(self._members) > FILES_LIMIT:
                raise InvalidError(f"the archive has more than {FILES_LIMIT} files")

    def _add(self, path: str, found: th.Entry, stream: TarStream) -> None:
        kind = _TYPES[found.type]
        length = found.size if found.sparse is None else found.length
        entry = Entry(
            path=path,
            mode=kind | found.mode,
            uid=found.uid,
            gid=found.gid,
            size=length if kind == stat.S_IFREG else 0,
            mtime=found.mtime,
            link=os.fsdecode(found.link) if kind == stat.S_IFLNK else "",
            device=os.makedev(*found.device),
        )
        old = self._members.get(path)
        member = _Member(entry, xattrs={os.fsdecode(name): value for name, value in found.xattrs.items()})
        if kind == stat.S_IFDIR:
            member.names = old.names if old and old.names is not None else set()
        elif old is not None and old.names:
            raise InvalidError(
                f"the archive has '{path}' as a directory with something in it, and then as something else"
            )
        if kind == stat.S_IFREG:
            pieces = tuple(found.sparse) if found.sparse is not None else ((0, found.size),)
            member.data = _Data(self._end, pieces)
            for piece in stream.data():
                self._write(piece)
        self._put(path, member)

    def _add_link(self, path: str, target: str) -> None:
        """Another name of a file that came before."""
        first = self._members.get(target)
        if first is None or first.names is not None:
            raise InvalidError(f"the archive has '{path}' as another name of '{target}', which it has not")
        if first.entry.inode is None:
            first.entry = replace(first.entry, inode=(0, len(self._members)))
        self._put(path, _Member(replace(first.entry, path=path), first.data, first.xattrs))

    def _put(self, path: str, member: _Member) -> None:
        self._members[path] = member
        while path:
            above, _, name = path.rpartition("/")
            parent = self._members.setdefault(above, _directory(above))
            if parent.names is None:
                raise InvalidError(f"the archive has '{path}' below '{above}', which is no directory")
            if name in parent.names:
                return
            parent.names.add(name)
            path = above

    def _write(self, data: memoryview) -> None:
        while data:
            written = os.pwrite(self._spool, data, self._end)
            self._end += written
            data = data[written:]


def _path(name: bytes) -> str:
    """A member's path as a tree has it. InvalidError when it leads upwards."""
    parts = [part for part in os.fsdecode(name).split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidError(f"the archive has a path that leads out of it: '{os.fsdecode(name)}'")
    return "/".join(parts)


class _Reader:
    """The content of a file of a TarTree."""

    def __init__(self, spool: int, member: _Member) -> None:
        self._spool = spool
        self._member = member

    def chunks(self) -> Iterator[bytes]:
        data = self._member.data
        at, position = 0, data.start if data else 0
        for offset, length in data.pieces if data else ():
            yield from _zeros(offset - at)
            for start in range(position, position + length, CHUNK):
                yield os.pread(self._spool, min(CHUNK, position + length - start), start)
            at, position = offset + length, position + length
        yield from _zeros(self._member.entry.size - at)

    def xattrs(self) -> dict[str, bytes]:
        return self._member.xattrs or {}


def _zeros(count: int) -> Iterator[bytes]:
    """A hole, piece by piece: it may be of any length."""
    while count > 0:
        yield bytes(min(count, CHUNK))
        count -= CHUNK
