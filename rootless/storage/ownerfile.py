"""Owner, mode and type of a file written down: the extended attribute's text, and `owners.jsonl` beside a layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..errors import StoreError

OVERRIDE = "user.containers.override_stat"
"""`uid:gid:mode:type`, the mode as four octal digits (containers/storage, pkg/idtools; fuse-overlayfs(1))."""

_STAT = re.compile(r"(\d{1,10}):(\d{1,10}):([0-7]{1,7})(?::([a-z]+(?:-\d+-\d+)?))?")

_AGAIN = "remove the layer; it can be unpacked again"


class OwnerRecord(NamedTuple):
    """What the image says of a file that on the disk belongs to the caller.

    Attributes:
        mode: permission bits with set-user-id, set-group-id and sticky.
        type: file, dir, symlink, pipe, socket, char-MAJOR-MINOR or block-MAJOR-MINOR.
        xattrs: those that could not be set on the file itself.
    """

    uid: int
    gid: int
    mode: int
    type: str
    xattrs: Mapping[bytes, bytes] = {}

    def text(self) -> str:
        """As user.containers.override_stat holds it."""
        return f"{self.uid}:{self.gid}:{self.mode:04o}:{self.type}"

    @classmethod
    def parse(cls, value: bytes | str) -> OwnerRecord:
        """The reverse of `text`; older writers left the type out. StoreError when it is malformed."""
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
        match = _STAT.fullmatch(text)
        if match is None:
            raise StoreError(f"a file of a layer has the malformed owner {text[:60]!r}", hint=_AGAIN)
        uid, gid, mode, kind = match.groups()
        return cls(int(uid), int(gid), int(mode, 8) & 0o7777, kind or "file")


class _Line(msgspec.Struct, omit_defaults=True):
    """One line. `path` where it is UTF-8, else `raw` (base64 in JSON); relative to the layer's root, which is ""."""

    stat: str
    path: str | None = None
    raw: bytes | None = None
    xattrs: dict[str, bytes] = {}


def dump(records: Mapping[bytes, OwnerRecord]) -> bytes:
    """The content of an `owners.jsonl`, sorted by path."""
    encode = msgspec.json.Encoder().encode
    return b"".join(encode(_line(path, records[path])) + b"\n" for path in sorted(records))


def load(file: Path) -> dict[bytes, OwnerRecord]:
    """The records of an `owners.jsonl`; none when it is not there. StoreError when it is damaged."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return dict(_records(raw))
    except (msgspec.MsgspecError, StoreError) as problem:
        raise StoreError(f"{file} is damaged: {problem}", hint=_AGAIN) from problem


def _line(path: bytes, record: OwnerRecord) -> _Line:
    xattrs = {name.decode("utf-8", "backslashreplace"): value for name, value in record.xattrs.items()}
    line = _Line(record.text(), xattrs=xattrs)
    try:
        line.path = path.decode()
    except UnicodeDecodeError:
        line.raw = path
    return line


def _records(raw: bytes) -> Iterator[tuple[bytes, OwnerRecord]]:
    decode = msgspec.json.Decoder(_Line).decode
    for text in raw.splitlines():
        line = decode(text)
        path = line.raw if line.raw is not None else (line.path or "").encode()
        xattrs = {name.encode(): value for name, value in line.xattrs.items()}
        yield path, OwnerRecord.parse(line.stat)._replace(xattrs=xattrs)
