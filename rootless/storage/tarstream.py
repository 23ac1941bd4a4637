"""A tar archive as a stream: entries one after the other, their data as slices of what was read, nothing kept.

Why not the standard library's tarfile: it takes a broken header in the middle for the end of the archive, reads pax
headers of any size into memory, believes negative sizes (Python 3.11.2, Debian 12's) and keeps times as floats; in
stream mode it costs four times as much an entry (docs/internals/storage.md has the figures).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InvalidError
from . import tarheader as th
from .tarheader import BLOCK, Entry

MAX_META = 1 << 20
"""Largest pax header, GNU long name or sparse map, in bytes: Go's archive/tar and so Docker draw the line here too."""

_ZEROS = bytes(BLOCK)
_TRUNCATED = "the archive ends in the middle of {what}: it is truncated"


class TarStream:
    """Iterate to get the entries; between two of them, `data` gives the bytes of the first one.

    Raises, whenever something is read:
        InvalidError: this is no tar archive, a header is damaged, or the end is missing.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        """`chunks` are the archive's uncompressed bytes in pieces of any size; empty ones are not allowed."""
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._at = 0
        self._left = 0
        """Bytes of the current entry's data that were not read yet."""
        self._padding = 0
        self._started = False

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            yield entry

    def data(self) -> Iterator[memoryview]:
        """What remains of the current entry's data, piece by piece."""
        while self._left:
            piece = self._some(self._left)
            self._left -= len(piece)
            yield piece

    def drain(self) -> None:
        """Read on to the end of the stream: what follows the end mark belongs to the layer's digest too."""
        self._at = len(self._chunk)
        for _ in self._chunks:
            pass

    def _next(self) -> Entry | None:
        """The next entry with all that its extension headers say, or None at the end mark."""
        records: dict[bytes, bytes] = {}
        pieces: list[tuple[int, int]] = []
        long: dict[bytes, bytes] = {}
        while (entry := self._header()) is not None:
            if entry.type == th.PAX:
                more, pieces = th.parse_pax(self._meta(entry))
                records.update(more)
            elif entry.type in (th.GNU_LONG_NAME, th.GNU_LONG_LINK):
                long[entry.type] = self._meta(entry).partition(b"\0")[0]
            elif entry.type != th.PAX_GLOBAL:  # Docker and podman pass over those, and so must equal layers come out
                entry.name = long.get(th.GNU_LONG_NAME, entry.name)
                entry.link = long.get(th.GNU_LONG_LINK, entry.link)
                self._complete(entry, records, pieces)
                return entry
        if records or long:
            raise InvalidError("the archive ends after a header that announces another one")
        return None

    def _header(self) -> Entry | None:
        """The next header block, after what is left of the entry before."""
        self._skip()
        raw = self._block()
        if raw is None:
            if not self._started:
                raise InvalidError("the archive is empty")
            return None  # without the end mark, as some writers leave it and every reader takes it
        if raw == _ZEROS:
            if (self._block() or _ZEROS) != _ZEROS:
                raise InvalidError("data follow the archive's end mark where its second half should be")
            return None
        try:
            entry = th.parse_header(raw)
        except InvalidError as problem:
            if self._started:
                raise
            raise InvalidError(f"this is not a tar archive ({problem.message})") from None
        self._started = True
        self._begin(entry.size)
        if entry.type == th.GNU_SPARSE:
            self._old_sparse(entry, raw)
        return entry

    def _begin(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK

    def _complete(self, entry: Entry, records: dict[bytes, bytes], pieces: list[tuple[int, int]]) -> None:
        if not records:
            return
        th.apply_pax(entry, records)
        if entry.type not in th.FILES:
            return
        if entry.type != th.GNU_SPARSE:
            self._begin(entry.size)
        if b"GNU.sparse.map" in records or pieces or b"GNU.sparse.major" in records:
            self._pax_sparse(entry, records, pieces)

    def _old_sparse(self, entry: Entry, raw: bytes) -> None:
        """GNU's first sparse format: four pieces in the header, and 21 in each block that follows it."""
        entry.length = th.number(raw[483:495])
        pieces = _pairs(raw[386:482])
        extended = raw[482]
        while extended:
            block = self._block()
            if block is None:
                raise InvalidError(_TRUNCATED.format(what="a sparse file's map"))
            pieces += _pairs(block[:504])
            extended = block[504]
            if len(pieces) * 24 > MAX_META:
                raise InvalidError("a sparse file's map is too large")
        entry.sparse = _checked(pieces, entry)

    def _pax_sparse(self, entry: Entry, records: dict[bytes, bytes], pieces: list[tuple[int, int]]) -> None:
        entry.name = records.get(b"GNU.sparse.name") or entry.name
        length = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
        if length is None:
            raise InvalidError("a sparse file in the archive has no length")
        entry.length = th.decimal(length)
        version = records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor")
        if version == (b"1", b"0"):
            pieces = self._map_in_data(entry)
        elif version[0] not in (None, b"0"):
            raise InvalidError("a sparse file in the archive has an unknown format")
        elif b"GNU.sparse.map" in records:
            numbers = [th.decimal(n) for n in records[b"GNU.sparse.map"].split(b",") if n]
            pieces = list(zip(numbers[::2], numbers[1::2], strict=False))
        entry.sparse = _checked(pieces, entry)

    def _map_in_data(self, entry: Entry) -> list[tuple[int, int]]:
        """GNU's sparse format 1.0: the data begin with decimal lines, a count and as many pairs, up to a full block."""
        text = bytearray()
        count: int | None = None
        while count is None or text.count(b"\n") < 2 * count + 1:
            if self._left < BLOCK or len(text) >= MAX_META:
                raise InvalidError("a sparse file's map is truncated or too large")
            text += self._exactly(BLOCK, "a sparse file's map")
            self._left -= BLOCK
            if count is None and b"\n" in text:
                count = th.decimal(bytes(text.partition(b"\n")[0]))
        entry.size = self._left
        numbers = [th.decimal(bytes(line)) for line in text.split(b"\n", 2 * count + 1)[1 : 2 * count + 1]]
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _meta(self, entry: Entry) -> bytes:
        """The data of an extension header."""
        if entry.size > MAX_META:
            raise InvalidError(f"an extension header of {entry.size} bytes in the archive: {MAX_META} are allowed")
        self._left = 0
        raw = self._exactly(entry.size, "an extension header")
        return bytes(raw)

    def _skip(self) -> None:
        """Pass over what is left of the current entry's data, and the padding behind it."""
        rest, self._left, self._padding = self._left + self._padding, 0, 0
        while rest:
            rest -= len(self._some(rest))

    def _block(self) -> bytes | None:
        """The next 512 bytes; None at the end of the stream."""
        at = self._at
        if at + BLOCK <= len(self._chunk):
            self._at = at + BLOCK
            return bytes(self._chunk[at : at + BLOCK])
        if at == len(self._chunk) and not self._refill():
            return None
        return bytes(self._exactly(BLOCK, "a header"))

    def _exactly(self, size: int, what: str) -> bytearray:
        found = bytearray()
        while len(found) < size:
            found += self._some(size - len(found), what)
        return found

    def _some(self, most: int, what: str = "a file's data") -> memoryview:
        """Between 1 and `most` of the next bytes."""
        if self._at == len(self._chunk) and not self._refill():
            raise InvalidError(_TRUNCATED.format(what=what))
        piece = self._chunk[self._at : self._at + most]
        self._at += len(piece)
        return piece

    def _refill(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._chunk = memoryview(chunk)
        self._at = 0
        return True


def _pairs(raw: bytes) -> list[tuple[int, int]]:
    """(offset, length) pairs of 12-byte numbers, up to the first empty one."""
    found = []
    for at in range(0, len(raw), 24):
        if not raw[at]:
            break
        found.append((th.number(raw[at : at + 12]), th.number(raw[at + 12 : at + 24])))
    return found


def _checked(pieces: list[tuple[int, int]], entry: Entry) -> list[tuple[int, int]]:
    """The map itself when its pieces ascend without overlap, end within the file and account for all its data."""
    if entry.length > th.MAX_LENGTH:
        raise InvalidError(f"a sparse file in the archive has {entry.length} bytes: no file has so many")
    at = 0
    for offset, length in pieces:
        if offset < at:
            raise InvalidError("a sparse file's map goes backwards")
        at = offset + length
    if at > entry.length or sum(length for _, length in pieces) != entry.size:
        raise InvalidError("a sparse file's map does not fit the file")
    return [piece for piece in pieces if piece[1]]
