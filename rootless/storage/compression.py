"""The compressions of image layers, recognised by their first bytes: media types and file names are only claims.

gzip is RFC 1952 (isal, several times faster than zlib), zstd is RFC 8878. Memory is bounded whatever a stream says.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from typing import BinaryIO, Literal, cast

import zstandard
from isal import igzip, isal_zlib

from ..errors import InvalidError

Compression = Literal["gzip", "zstd", "none"]

GZIP = b"\x1f\x8b\x08"
_ZSTD = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_FOREIGN = {
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
    b"LZIP": "lzip",
    b"PK\x03\x04": "zip",
    b"\x1f\x9d": "compress",
}
_DAMAGED = igzip.BadGzipFile, cast(type[Exception], isal_zlib.error)
_HEAD = 6
_BUFFER = 1 << 18

GZIP_LEVEL = 2
"""isal's levels go from 0 to 3: 2 is 14 times faster than zlib's 6 for a result 11 % larger."""

_ZSTD_WINDOW = 1 << 27
"""128 MiB, as the zstd program and Go's libraries allow: a frame may ask for any amount of memory."""


def recognise(head: bytes) -> Compression:
    """The compression of a stream that begins with these (at least 6) bytes; "none" for what may be a plain archive.

    Raises:
        InvalidError: a compression that image layers can't have.
    """
    if head.startswith(GZIP):
        return "gzip"
    magic = int.from_bytes(head[:4], "little")
    if magic == _ZSTD or magic in _SKIPPABLE:
        return "zstd"
    for mark, name in _FOREIGN.items():
        if head.startswith(mark):
            raise InvalidError(f"this is compressed with {name}", hint="layers are tar archives, plain or gzip or zstd")
    return "none"


def decompressor(stream: BinaryIO) -> BinaryIO:
    """The uncompressed bytes of `stream`, which stays the caller's to close. Members and frames may follow one another.

    Reading raises:
        InvalidError: the stream is truncated, damaged, or compressed in an unknown way.
    """
    head = b""
    while len(head) < _HEAD and (piece := stream.read(_HEAD - len(head))):
        head += piece
    whole = _Rejoined(head, stream)
    match recognise(head):
        case "gzip":
            return io.BufferedReader(_Gunzip(whole), _BUFFER)
        case "zstd":
            return io.BufferedReader(_Unzstd(whole), _BUFFER)
        case _:
            return io.BufferedReader(whole, _BUFFER)


def gzip_writer(sink: BinaryIO) -> BinaryIO:
    """What is written here arrives in `sink` as gzip; `close` completes it and leaves `sink` open.

    The header holds neither a time nor a name, so equal layers have equal blobs.
    """
    writer = igzip.IGzipFile("", "wb", GZIP_LEVEL, sink, mtime=0)  # type: ignore[no-untyped-call]
    return cast(BinaryIO, writer)


class _Layered(io.RawIOBase):
    """A stream made of another one."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        raise NotImplementedError


class _Rejoined(_Layered):
    """`stream` with the bytes that were already taken from it put back."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._stream.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class _Gunzip(_Layered):
    def __init__(self, stream: io.RawIOBase) -> None:
        self._file = igzip.IGzipFile(None, "rb", 0, io.BufferedReader(stream, _BUFFER))  # type: ignore[no-untyped-call]

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            return self._file.readinto(buffer)
        except EOFError:
            raise InvalidError("the gzip data end too early: they are truncated") from None
        except _DAMAGED as problem:
            raise InvalidError(f"the gzip data are damaged: {problem}") from problem


class _Unzstd(_Layered):
    def __init__(self, stream: io.RawIOBase) -> None:
        self._frames = _Frames(stream)
        context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        frames = cast(BinaryIO, io.BufferedReader(self._frames, _BUFFER))
        self._reader = context.stream_reader(frames, read_size=_BUFFER, read_across_frames=True)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            count = self._reader.readinto(buffer)
        except zstandard.ZstdError as problem:
            raise InvalidError(f"the zstd data are damaged: {problem}") from problem
        if count == 0 and len(buffer):
            self._frames.check_complete()
        return count


class _Frames(_Layered):
    """Passes zstd data through and follows their structure: to libzstd's reader a truncated frame is a whole one."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream
        self._inside = False
        self._walk = self._follow()
        self._wanted = next(self._walk)
        self._part = b""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._stream.readinto(buffer) or 0
        at = 0
        while at < count:
            at = self._feed(buffer[:count], at)
        return count

    def check_complete(self) -> None:
        """InvalidError unless the last byte that passed was the last one of a frame."""
        if self._inside or self._part:
            raise InvalidError("the zstd data end too early: they are truncated")

    def _feed(self, data: memoryview, at: int) -> int:
        """Give the walk the next part: `wanted` bytes, or, where it is negative, so many passed over."""
        if self._wanted < 0:
            step = min(-self._wanted, len(data) - at)
            self._wanted += step
            if self._wanted == 0:
                self._wanted = self._walk.send(b"")
            return at + step
        piece = data[at : at + self._wanted - len(self._part)]
        self._part += piece
        if len(self._part) == self._wanted:
            part, self._part = self._part, b""
            self._wanted = self._walk.send(part)
        return at + len(piece)

    def _follow(self) -> Generator[int, bytes, None]:
        """Walks over frames: yields how many bytes it has to see next, or as a negative number how many it need not."""
        while True:
            magic = int.from_bytes((yield 4), "little")
            self._inside = True
            yield from _skippable() if magic in _SKIPPABLE else _frame()
            self._inside = False


def _skippable() -> Generator[int, bytes, None]:
    size = int.from_bytes((yield 4), "little")
    if size:
        yield -size


def _frame() -> Generator[int, bytes, None]:
    """RFC 8878, 3.1.1: a header whose length its first byte tells, blocks up to the last one, perhaps a checksum."""
    (descriptor,) = yield 1
    single = descriptor >> 5 & 1
    header = (1 - single) + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[descriptor >> 6]
    if header:
        yield -header
    last = 0
    while not last:
        block = int.from_bytes((yield 3), "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        size = 1 if kind == 1 else size  # a run is one byte, repeated
        if size:
            yield -size
    if descriptor & 4:
        yield -4
