"""The 512-byte headers of a tar archive and the records of pax: bytes in, checked values out. No input or output here.

pax(1) ("ustar Interchange Format", "pax Extended Header"), and for what GNU tar adds its manual ("Basic Tar Format",
"GNU Extensions to the Tar Format"). Numbers and names come from strangers: whatever is not of the form is refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache

from ..errors import InvalidError

BLOCK = 512
MAX_LENGTH = 2**63 - 1
"""Of a file: an offset is a signed number of 64 bits (off_t)."""

REGULAR, OLD_REGULAR, CONTIGUOUS = b"0", b"\0", b"7"
HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"1", b"2", b"3", b"4", b"5", b"6"
PAX, PAX_GLOBAL, GNU_LONG_NAME, GNU_LONG_LINK, GNU_SPARSE = b"x", b"g", b"L", b"K", b"S"

FILES = frozenset({REGULAR, OLD_REGULAR, CONTIGUOUS, GNU_SPARSE})
HEADER_ONLY = frozenset({HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})
"""No data follows these, whatever their size field says: some writers put a hard link's length there."""

_XATTR = b"SCHILY.xattr."
_NANOSECONDS = 10**9
_FURTHEST = 2**62 * _NANOSECONDS


@dataclass(slots=True)
class Attributes:
    """What a file has beside its name and content.

    Attributes:
        mode: permission bits with set-user-id, set-group-id and sticky (0 to 0o7777).
        uid, gid: container ids.
        mtime: nanoseconds since the epoch.
        xattrs: extended attributes by full name.
    """

    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Entry(Attributes):
    """One member of an archive.

    Attributes:
        name, link: as they stand in the archive, not yet judged.
        type: one of this module's type flags.
        size: bytes of data that follow in the archive.
        device: (major, minor).
        sparse: (offset, length) of each piece of data, in order; None for a file without holes.
        length: of the file once its holes are counted; meaningful with `sparse`.
    """

    name: bytes = b""
    type: bytes = REGULAR
    link: bytes = b""
    size: int = 0
    device: tuple[int, int] = (0, 0)
    sparse: list[tuple[int, int]] | None = None
    length: int = 0


def parse_header(raw: bytes) -> Entry:
    """The header block `raw`. InvalidError when its checksum is wrong or a number is none."""
    _check_sum(raw)
    kind = raw[156:157]
    entry = Entry(
        mode=_number(raw[100:108]) & 0o7777,
        uid=_number(raw[108:116]),
        gid=_number(raw[116:124]),
        size=number(raw[124:136]),
        mtime=_bounded(number(raw[136:148], signed=True) * _NANOSECONDS),
        name=raw[:100].partition(b"\0")[0],
        type=kind,
        link=raw[157:257].partition(b"\0")[0],
    )
    if raw[257:263] == b"ustar\0" and raw[345]:
        # Only POSIX has a prefix here. GNU ("ustar  \0") keeps times in this place.
        entry.name = raw[345:500].partition(b"\0")[0] + b"/" + entry.name
    if kind in HEADER_ONLY:
        entry.size = 0
        if kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = _number(raw[329:337]), _number(raw[337:345])
    elif kind == OLD_REGULAR and entry.name.endswith(b"/"):
        entry.type = DIRECTORY  # before POSIX there was no other way to say it
    return entry


def _check_sum(raw: bytes) -> None:
    stored = _number(raw[148:156])
    rest = raw[:148] + b"        " + raw[156:]
    if sum(rest) != stored and sum(b - ((b & 0x80) << 1) for b in rest) != stored:  # some old tars added signed bytes
        raise InvalidError("a tar header's checksum is wrong")


def number(raw: bytes, *, signed: bool = False) -> int:
    """A numeric field: octal digits padded with spaces or NULs, or GNU's base 256 when the first bit is set.

    Raises:
        InvalidError: neither of both, or below zero where that makes no sense.
    """
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big", signed=True)
        # The first bit only marks the format; the second one is the sign.
        value = value & ((1 << (8 * len(raw) - 1)) - 1) if not raw[0] & 0x40 else value
    else:
        digits = raw.strip(b" \0").partition(b"\0")[0].rstrip(b" ")
        if digits.translate(None, b"01234567"):
            raise InvalidError(f"a tar header has {digits!r} where a number belongs")
        value = int(digits or b"0", 8)
    if value < 0 and not signed:
        raise InvalidError(f"a tar header has the negative number {value}")
    return value


_number = lru_cache(maxsize=1024)(number)
"""For fields that hold the same few values all through an archive."""


def parse_pax(raw: bytes) -> tuple[dict[bytes, bytes], list[tuple[int, int]]]:
    """The records of a pax header (`LENGTH KEY=VALUE\\n`), and the pieces of GNU's sparse format 0.0.

    That one format repeats its two keys for each piece; all other keys may repeat too, and then the last one counts.
    """
    records: dict[bytes, bytes] = {}
    offsets: list[int] = []
    pieces: list[tuple[int, int]] = []
    at = 0
    while at < len(raw):
        space = raw.find(b" ", at, at + 20)
        end = at + decimal(raw[at:space]) if space > 0 else 0
        key, equals, value = raw[space + 1 : end - 1].partition(b"=")
        if not space < end <= len(raw) or raw[end - 1 : end] != b"\n" or not equals or not key:
            raise InvalidError("a pax header in the archive is malformed")
        if key == b"GNU.sparse.offset":
            offsets.append(decimal(value))
        elif key == b"GNU.sparse.numbytes":
            pieces.append((offsets[-1] if offsets else 0, decimal(value)))
        records[key] = value
        at = end
    return records, pieces


def apply_pax(entry: Entry, records: dict[bytes, bytes]) -> None:
    """Let the records overrule the header; an empty value leaves the header's own."""
    for key, value in records.items():
        if key.startswith(_XATTR):
            name = key[len(_XATTR) :]
            if not name or b"\0" in name:
                raise InvalidError(f"an extended attribute in a pax header has the name {os.fsdecode(name)!r}")
            entry.xattrs[name] = value
        elif value and key in _FIELDS:
            if b"\0" in value:
                raise InvalidError(f"the {key.decode()} in a pax header has a NUL in it")
            _FIELDS[key](entry, value)


def _set_size(entry: Entry, value: bytes) -> None:
    if entry.type not in HEADER_ONLY:
        entry.size = decimal(value)


def _set_name(entry: Entry, value: bytes) -> None:
    entry.name = value


def _set_link(entry: Entry, value: bytes) -> None:
    entry.link = value


def _set_uid(entry: Entry, value: bytes) -> None:
    entry.uid = decimal(value)


def _set_gid(entry: Entry, value: bytes) -> None:
    entry.gid = decimal(value)


def _set_mtime(entry: Entry, value: bytes) -> None:
    entry.mtime = _bounded(nanoseconds(value))


_FIELDS = {
    b"path": _set_name,
    b"linkpath": _set_link,
    b"size": _set_size,
    b"uid": _set_uid,
    b"gid": _set_gid,
    b"mtime": _set_mtime,
}


def _bounded(time: int) -> int:
    """utimensat(2) takes 64 bits of seconds; a file system then cuts off at what it can store."""
    return max(-_FURTHEST, min(time, _FURTHEST))


def decimal(text: bytes) -> int:
    """A non-negative decimal number of at most 20 digits. InvalidError for anything else."""
    if not text.isdigit() or len(text) > 20:
        raise InvalidError(f"{text[:40]!r} stands where the archive should have a number")
    return int(text)


def nanoseconds(text: bytes) -> int:
    """Seconds with a fraction, exactly: a float would lose the last digits. Digits beyond nanoseconds round down."""
    negative = text.startswith(b"-")
    seconds, _, fraction = text.removeprefix(b"-").partition(b".")
    whole = decimal(seconds or b"0") * _NANOSECONDS
    if not fraction:
        return -whole if negative else whole
    part = decimal(fraction[:9].ljust(9, b"0"))
    rest = fraction[9:].strip(b"0")
    return -(whole + part + bool(rest)) if negative else whole + part
