"""Archives to unpack, made by the standard library's tarfile, and by hand where no honest program would write them."""

from __future__ import annotations

import io
import tarfile
from typing import Any

MTIME = 1_700_000_000

FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = (
    tarfile.REGTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


class Archive:
    """A tar archive that grows: each method adds an entry and gives the archive back."""

    def __init__(self, form: int = tarfile.PAX_FORMAT) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(
            fileobj=self._buffer, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
        )

    def add(self, name: str, kind: bytes = FILE, data: bytes = b"", **fields: Any) -> Archive:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mtime = kind, len(data), MTIME
        info.mode = 0o755 if kind == DIRECTORY else 0o644
        info.pax_headers = fields.pop("pax", {})
        for key, value in fields.items():
            setattr(info, key, value)
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def file(self, name: str, data: bytes = b"", **fields: Any) -> Archive:
        return self.add(name, FILE, data, **fields)

    def directory(self, name: str, **fields: Any) -> Archive:
        return self.add(name, DIRECTORY, **fields)

    def symlink(self, name: str, target: str, **fields: Any) -> Archive:
        return self.add(name, SYMLINK, linkname=target, **fields)

    def link(self, name: str, target: str, **fields: Any) -> Archive:
        return self.add(name, HARD_LINK, linkname=target, **fields)

    def bytes(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def header(name: bytes, kind: bytes = FILE, size: bytes = b"%011o\0" % 0, link: bytes = b"") -> bytes:
    """One header block with the fields as they are given, and a correct checksum."""
    raw = bytearray(512)
    raw[:100] = name[:100].ljust(100, b"\0")
    raw[100:108], raw[108:116], raw[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    raw[124:136] = size
    raw[136:148] = b"%011o\0" % MTIME
    raw[156:157] = kind
    raw[157:257] = link.ljust(100, b"\0")
    raw[257:265] = b"ustar\x0000"
    return summed(raw)


def summed(raw: bytes | bytearray) -> bytes:
    """The header with its checksum put right."""
    fixed = bytearray(raw)
    fixed[148:156] = b" " * 8
    fixed[148:156] = b"%06o\0 " % sum(fixed)
    return bytes(fixed)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def record(text: bytes) -> bytes:
    """A pax record of `KEY=VALUE`, with the length that counts itself."""
    length = len(text) + 3
    while len(b"%d %s\n" % (length, text)) != length:
        length += 1
    return b"%d %s\n" % (length, text)


def pax(*records: bytes) -> bytes:
    """A pax header with these records."""
    raw = b"".join(records)
    return header(b"p", b"x", b"%011o\0" % len(raw)) + padded(raw)


END = bytes(1024)
