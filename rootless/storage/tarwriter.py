"""A tar archive to be written: checked values in, bytes out. The counterpart of `tarheader`.

ustar headers, with a pax header before each that can't hold what is to be said (pax(1), "pax Extended Header"). Files
with large holes are written in GNU's sparse format 1.0 (GNU tar manual, "PAX Format, Version 1.0"), which GNU tar,
bsdtar, Go and Python read. Nothing of the moment or the machine gets in: equal entries make equal bytes.
"""

from __future__ import annotations

import errno
import os
from typing import Protocol

from . import tarheader as th
from .tarheader import BLOCK, Entry

_CHUNK = 1 << 18
_NANOSECONDS = 10**9
_LARGEST_SIZE = 8**11 - 1
_LARGEST_ID = 8**7 - 1
_FIELD = 100
HOLES = 1 << 20
"""Bytes of holes from which on a file is written as sparse: below, the plain form is what every program reads."""


class Sink(Protocol):
    """Where the archive goes. `write` takes all of what it is given."""

    def write(self, data: bytes, /) -> object: ...


class TarWriter:
    """Entries one after the other, then `close`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def add(self, entry: Entry, fd: int = -1) -> None:
        """Write an entry, for a regular file with the first `entry.size` bytes behind `fd`.

        A file that becomes shorter meanwhile is filled up with zeros: its header is out already.
        """
        if fd < 0:
            self._sink.write(header(entry))
            return
        pieces = data_pieces(fd, entry.size)
        if entry.size - sum(length for _, length in pieces) < HOLES:
            self._sink.write(header(entry))
            self._copy(fd, 0, entry.size)
            self._pad(entry.size)
        else:
            self._sparse(entry, fd, pieces)

    def close(self) -> None:
        """The end mark: two empty blocks."""
        self._sink.write(bytes(2 * BLOCK))

    def _sparse(self, entry: Entry, fd: int, pieces: list[tuple[int, int]]) -> None:
        if not pieces or sum(pieces[-1]) != entry.size:
            pieces = [*pieces, (entry.size, 0)]  # readers take the last piece's end for the file's
        lines = [len(pieces), *(number for piece in pieces for number in piece)]
        text = b"".join(b"%d\n" % number for number in lines)
        text += bytes(-len(text) % BLOCK)
        size = len(text) + sum(length for _, length in pieces)
        self._sink.write(header(entry, stored=size))
        self._sink.write(text)
        for offset, length in pieces:
            self._copy(fd, offset, length)
        self._pad(size)

    def _copy(self, fd: int, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            data = os.pread(fd, min(_CHUNK, end - offset), offset)
            self._sink.write(data or bytes(min(_CHUNK, end - offset)))
            offset += len(data) or min(_CHUNK, end - offset)

    def _pad(self, size: int) -> None:
        if size % BLOCK:
            self._sink.write(bytes(-size % BLOCK))


def data_pieces(fd: int, size: int) -> list[tuple[int, int]]:
    """(offset, length) of what is data among the first `size` bytes of a file (lseek(2), SEEK_DATA); all of it where
    the file system can't tell."""
    pieces = []
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                break  # nothing but a hole up to the end
            return [(0, size)]
        if start < size:
            pieces.append((start, min(end, size) - start))
        offset = end
    return pieces


def header(entry: Entry, stored: int | None = None) -> bytes:
    """The header block of an entry, after a pax header where one is needed.

    Args:
        stored: of a sparse file: the bytes that follow in the archive, its map included.
    """
    records = _records(entry)
    name = entry.name
    size = entry.size if entry.type in th.FILES else 0
    if stored is not None:
        records = [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", entry.name),
            (b"GNU.sparse.realsize", b"%d" % entry.size),
            *((key, value) for key, value in records if key not in (b"path", b"size")),
        ]
        name, size = b"GNUSparseFile.0/" + entry.name.rpartition(b"/")[2], stored
        if size > _LARGEST_SIZE:
            records.append((b"size", b"%d" % size))
    before = b""
    if records:
        body = b"".join(_record(key, value) for key, value in records)
        before = _block(Entry(0o644, 0, 0, 0, name=b"PaxHeaders.0/" + name.rpartition(b"/")[2], type=th.PAX), len(body))
        before += body + bytes(-len(body) % BLOCK)
    return before + _block(entry, size, name)


def _records(entry: Entry) -> list[tuple[bytes, bytes]]:
    """What the header block can't hold."""
    found = []
    if len(entry.name) > _FIELD:
        found.append((b"path", entry.name))
    if len(entry.link) > _FIELD:
        found.append((b"linkpath", entry.link))
    if entry.type in th.FILES and entry.size > _LARGEST_SIZE:
        found.append((b"size", b"%d" % entry.size))
    for key, number in (b"uid", entry.uid), (b"gid", entry.gid):
        if number > _LARGEST_ID:
            found.append((key, b"%d" % number))
    seconds, rest = divmod(entry.mtime, _NANOSECONDS)
    if rest or not 0 <= seconds <= _LARGEST_SIZE:
        found.append((b"mtime", _decimal_time(entry.mtime)))
    found += sorted((b"SCHILY.xattr." + name, value) for name, value in entry.xattrs.items())
    return found


def _decimal_time(time: int) -> bytes:
    sign = b"-" if time < 0 else b""
    seconds, rest = divmod(abs(time), _NANOSECONDS)
    return b"%s%d.%09d" % (sign, seconds, rest) if rest else b"%s%d" % (sign, seconds)


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _block(entry: Entry, size: int, name: bytes | None = None) -> bytes:
    seconds = min(max(entry.mtime // _NANOSECONDS, 0), _LARGEST_SIZE)
    block = bytearray(BLOCK)
    block[0:_FIELD] = (entry.name if name is None else name)[:_FIELD].ljust(_FIELD, b"\0")
    block[100:108] = b"%07o\0" % entry.mode
    block[108:116] = b"%07o\0" % min(entry.uid, _LARGEST_ID)
    block[116:124] = b"%07o\0" % min(entry.gid, _LARGEST_ID)
    block[124:136] = b"%011o\0" % min(size, _LARGEST_SIZE)
    block[136:148] = b"%011o\0" % seconds
    block[148:156] = b"        "
    block[156:157] = entry.type
    block[157:257] = entry.link[:_FIELD].ljust(_FIELD, b"\0")
    block[257:265] = b"ustar\x0000"
    block[329:337] = b"%07o\0" % entry.device[0]
    block[337:345] = b"%07o\0" % entry.device[1]
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
