"""What lay below before the container changed it: `base.jsonl`, for a live lower layer.

An image never changes, a live layer (the machine's own root, a directory of the user's) does. Whoever later carries
the container's changes over to it must see where both sides have changed the same file: so before the first copy-up,
whiteout or replacement of a file its identity goes into this file, on the disk before the change is.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple


class Identity(NamedTuple):
    """Which inode stood at a path, and in which state: a file of the same five has not been touched since."""

    dev: int
    ino: int
    ctime_ns: int
    size: int
    mode: int


def identity(status: os.stat_result) -> Identity:
    """The identity of what has these attributes."""
    return Identity(status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size, status.st_mode)


class Record(NamedTuple):
    """One line.

    Attributes:
        path: inside the mount.
        found: what was there; None for what was taken away by whoever carried a deletion over.
        applied: it was brought there by whoever carried a change over, and is not from before the container.
    """

    path: bytes
    found: Identity | None
    applied: bool = False


def line(record: Record) -> bytes:
    """A record as JSON: `path` (base64 in `raw` where it is not UTF-8) and the identity, or `gone`; `applied`."""
    fields: dict[str, object] = {}
    try:
        fields["path"] = record.path.decode()
    except UnicodeDecodeError:
        fields["raw"] = base64.b64encode(record.path).decode()
    fields |= {"gone": True} if record.found is None else record.found._asdict()
    if record.applied:
        fields["applied"] = True
    return json.dumps(fields).encode() + b"\n"


def records(lines: list[bytes]) -> Iterator[Record]:
    """What whole lines say, in their order; one that a kill has cut off says nothing."""
    for text in lines:
        with suppress(ValueError, KeyError, TypeError):
            fields = json.loads(text)
            path = base64.b64decode(fields["raw"]) if "raw" in fields else fields["path"].encode()
            found = None if fields.get("gone") else Identity(*(int(fields[name]) for name in Identity._fields))
            yield Record(path, found, bool(fields.get("applied")))


class Base:
    """The record of a container's first changes, one JSON object a line (`line`)."""

    def __init__(self, path: str, *, sync: bool = True) -> None:
        self._sync = sync
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
        self._cut = bool(lines.pop())  # in the middle of a line, whose change was not made then
        self._known: set[bytes] = set()
        for record in records(lines):
            if record.found is None:
                self._known.discard(record.path)
            elif not record.applied:
                self._known.add(record.path)

    def record(self, path: bytes, status: os.stat_result) -> None:
        """Note what is at `path` below, unless it was noted before; with `sync` on the disk when this returns."""
        if path in self._known:
            return
        self._append(line(Record(path, identity(status))))
        if self._sync:
            os.fsync(self._fd)
        self._known.add(path)

    def _append(self, text: bytes) -> None:
        """Write a whole line. What a failure leaves of it is not taken away, for others append too: it is ended."""
        rest = b"\n" + text if self._cut else text
        self._cut = True
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._cut = False
