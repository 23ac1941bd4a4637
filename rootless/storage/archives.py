"""Archives from people: `import`, `load`, `volume import`, a build's context and ADD. Beside what image layers may be
compressed with (gzip and zstd), they may be compressed with xz and bzip2, as Docker takes them.

Which compression it is is told by the first bytes, never by a name. Memory is bounded whatever a stream says.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol, cast

from ..errors import InvalidError
from . import compression

CHUNK = 1 << 18
XZ, BZIP2 = b"\xfd7zXZ\0", b"BZh"
_XZ_MEMORY = 256 << 20
"""Bytes that an xz stream may make the decoder take; `xz -9` asks for 65 MiB."""


def uncompressed(stream: BinaryIO) -> BinaryIO:
    """The plain bytes of an archive.

    Reading raises:
        InvalidError: the data are damaged or truncated, or compressed in an unknown way.
    """
    peeked = Peeked(stream, len(XZ))
    whole = cast(BinaryIO, io.BufferedReader(peeked, CHUNK))
    if peeked.head.startswith(XZ):
        import lzma  # a library of its own, which few archives need

        return _decoded(whole, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY), lzma.LZMAError, "xz")
    if peeked.head.startswith(BZIP2):
        import bz2

        return _decoded(whole, bz2.BZ2Decompressor, OSError, "bzip2")
    return compression.decompressor(whole)


class Peeked(io.RawIOBase):
    """A stream whose first bytes were looked at.

    Attributes:
        head: `count` bytes, less only where the stream has no more.
    """

    def __init__(self, stream: BinaryIO, count: int) -> None:
        self._stream = stream
        self.head = b""
        while len(self.head) < count and (piece := stream.read(count - len(self.head))):
            self.head += piece
        self._left = self.head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._left[: len(buffer)] or self._stream.read(len(buffer))
        self._left = self._left[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class Joined(io.RawIOBase):
    """Pieces of data as a stream."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


class _Decoder(Protocol):
    """What lzma's and bz2's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _decoded(stream: BinaryIO, new: Callable[[], _Decoder], damage: type[Exception], name: str) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(Joined(_decode(stream, new, damage, name)), CHUNK))


def _decode(stream: BinaryIO, new: Callable[[], _Decoder], damage: type[Exception], name: str) -> Iterator[bytes]:
    """Decode one stream after the other, never more than a chunk at once."""
    decoder = new()
    data = b""
    while True:
        if decoder.eof:
            data = decoder.unused_data.lstrip(b"\0") or stream.read(CHUNK).lstrip(b"\0")  # xz pads with NULs
            if not data:
                return
            decoder = new()
        elif decoder.needs_input and not data:
            data = stream.read(CHUNK)
            if not data:
                raise InvalidError(f"the {name} data end too early: they are truncated")
        try:
            yield decoder.decompress(data, CHUNK)
        except (damage, ValueError) as problem:
            raise InvalidError(f"the {name} data are damaged: {problem}") from problem
        data = b""
