"""gzip and zstd: recognised by what they are, refused when damaged, and never more than a little in memory."""

from __future__ import annotations

import gzip
import io
import random
import resource
import zlib
from contextlib import suppress

import pytest
import zstandard
from isal import igzip

from rootless.errors import InvalidError
from rootless.storage import compression
from rootless.storage.compression import decompressor, gzip_writer, recognise

RANDOM = random.Random(1)
DATA = b"".join(RANDOM.randbytes(RANDOM.randrange(300)) * RANDOM.randrange(1, 30) for _ in range(400))
GZIP = gzip.compress(DATA)
ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(DATA)


def read(data: bytes, step: int = 1 << 16) -> bytes:
    stream = decompressor(io.BytesIO(data))
    return b"".join(iter(lambda: stream.read(step), b""))


class Trickle(io.RawIOBase):
    """A pipe or socket that gives a byte or two at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._data.read(min(len(buffer), RANDOM.randrange(1, 3)))
        buffer[: len(data)] = data
        return len(data)


def stored_block(data: bytes, *, content_size: bool, checksum: bool, single: bool) -> bytes:
    """A zstd frame by hand (RFC 8878): raw blocks, a run, and the header's fields as asked for."""
    run = b"r" * 1000
    size = len(data) + len(run)
    descriptor = (2 << 6 if content_size else 0) | single << 5 | checksum << 2
    frame = b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + (b"" if single else b"\x50")
    frame += size.to_bytes(4, "little") if content_size else b""
    frame += (len(data) << 3).to_bytes(3, "little") + data
    frame += (1000 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"r"
    return frame + (xxh64(data + run) if checksum else b"")


def xxh64(data: bytes) -> bytes:
    """The checksum that libzstd itself puts at the end of a frame with this content."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)[-4:]


SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"

WHOLE = {
    "plain": (DATA, DATA),
    "nothing": (b"", b""),
    "a few bytes": (b"abc", b"abc"),
    "gzip": (GZIP, DATA),
    "gzip of nothing": (gzip.compress(b""), b""),
    "gzip members one after the other": (GZIP + gzip.compress(b"more") + GZIP, DATA + b"more" + DATA),
    "gzip with zeros behind it, as on a tape": (GZIP + bytes(1000), DATA),
    "gzip with a name, a comment and extra fields": (
        b"\x1f\x8b\x08\x1c" + bytes(6) + b"\x03\0abc" + b"name\0" + b"comment\0" + GZIP[10:],
        DATA,
    ),
    "zstd": (ZSTD, DATA),
    "zstd of nothing": (zstandard.compress(b""), b""),
    "zstd frames one after the other": (ZSTD + SKIPPABLE + zstandard.compress(b"more"), DATA + b"more"),
    "zstd with a skippable frame first, as pzstd and zstd:chunked write it": (SKIPPABLE + ZSTD + SKIPPABLE, DATA),
    "zstd with an empty skippable frame": (b"\x5f\x2a\x4d\x18" + bytes(4) + ZSTD, DATA),
    **{
        f"zstd by hand {choice}": (stored_block(b"raw" * 50, **choice), b"raw" * 50 + b"r" * 1000)
        for choice in (
            {"content_size": False, "checksum": False, "single": False},
            {"content_size": True, "checksum": False, "single": True},
            {"content_size": True, "checksum": True, "single": False},
        )
    },
}


@pytest.mark.parametrize("what", WHOLE)
def test_whole_streams(what: str) -> None:
    """Read in large and small steps, and from a source that gives little at a time."""
    data, expected = WHOLE[what]
    assert read(data) == expected
    assert read(data, 777) == expected
    if len(data) < 2000:
        assert decompressor(io.BufferedReader(Trickle(data))).read() == expected
        trickling = decompressor(Trickle(data))
        assert b"".join(iter(lambda: trickling.read(5), b"")) == expected


@pytest.mark.parametrize(
    "whole", [GZIP, ZSTD, GZIP + GZIP, SKIPPABLE + ZSTD], ids=["gzip", "zstd", "members", "frames"]
)
def test_truncated_anywhere(whole: bytes) -> None:
    """Never taken for the end: libzstd's own reader would, at every point."""
    ends = {*range(7, 60), len(GZIP), len(SKIPPABLE), *RANDOM.sample(range(60, len(whole)), 60), len(whole) - 1}
    for end in sorted(end for end in ends if end < len(whole)):
        if whole[:end] in (GZIP, SKIPPABLE):
            continue  # a boundary: nothing is missing there
        with pytest.raises(InvalidError, match="end too early: they are truncated"):
            read(whole[:end])


@pytest.mark.parametrize("whole", [GZIP, ZSTD], ids=["gzip", "zstd"])
def test_damaged_anywhere(whole: bytes) -> None:
    """One flipped bit is an error, or changes nothing (in gzip's header: flags that nobody needs, time, system)."""
    for at in RANDOM.sample(range(len(whole)), 150):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << RANDOM.randrange(8)
        with suppress(InvalidError):
            assert read(bytes(damaged)) in (DATA, bytes(damaged))


@pytest.mark.parametrize("whole", [GZIP, ZSTD], ids=["gzip", "zstd"])
def test_something_else_behind_it(whole: bytes) -> None:
    with pytest.raises(InvalidError, match="damaged|truncated"):
        read(whole + b"and more that is neither")


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"\xfd7zXZ\0", "xz"), (b"BZh91A", "bzip2"), (b"\x04\x22\x4d\x18ab", "lz4"), (b"PK\x03\x04ab", "zip")],
)
def test_foreign_compressions_have_a_name(head: bytes, name: str) -> None:
    with pytest.raises(InvalidError, match=f"compressed with {name}; layers are tar archives, plain or gzip or zstd"):
        recognise(head)


def test_recognised_by_content() -> None:
    assert (recognise(GZIP[:6]), recognise(ZSTD[:6]), recognise(b"etc/\0\0"), recognise(b"")) == (
        "gzip", "zstd", "none", "none",
    )  # fmt: skip


@pytest.mark.parametrize("make", [igzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_bomb_needs_no_memory(make: object) -> None:
    """A thousand bytes for each megabyte of zeros (zstd: a few): what nobody asks for is not unpacked."""
    bomb = make(bytes(100 << 20))  # type: ignore[operator]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stream = decompressor(io.BytesIO(bomb))
    for _ in range(100):
        assert len(stream.read(1 << 16)) == 1 << 16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


def test_a_zstd_window_of_any_size_is_not_given() -> None:
    """A frame's header may ask for 4 GiB and more before the first byte comes."""
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([24 << 3]) + b"\x01\0\0"  # a window of 2 ** 34
    with pytest.raises(InvalidError, match="memory"):
        read(frame)


def test_the_writer_makes_equal_blobs_of_equal_layers() -> None:
    """No time and no name in the header, which every gunzip reads: RFC 1952."""
    results = []
    for _ in range(2):
        sink = io.BytesIO()
        with gzip_writer(sink) as writer:
            for at in range(0, len(DATA), 7000):
                writer.write(DATA[at : at + 7000])
        assert not sink.closed
        results.append(sink.getvalue())
    assert results[0] == results[1] and results[0][:4] == b"\x1f\x8b\x08\0" and results[0][4:8] == bytes(4)
    assert gzip.decompress(results[0]) == DATA and zlib.decompress(results[0], 31) == DATA
    assert len(results[0]) < len(DATA) / 3 and compression.GZIP_LEVEL in range(4)
