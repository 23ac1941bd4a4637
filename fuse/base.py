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


def line(path: bytes, found: Identity | None) -> bytes:
    """A record: `path` (inside the mount; base64 in `raw` where it is not UTF-8) and the identity, or `gone` for what
    was taken away by whoever carried a deletion over."""
    fields: dict[str, object] = {}
    try:
        fields["path"] = path.decode()
    except UnicodeDecodeError:
        fields["raw"] = base64.b64encode(path).decode()
    fields |= {"gone": True} if found is None else found._asdict()
    return json.dumps(fields).encode() + b"\n"


def records(lines: list[bytes]) -> Iterator[tuple[bytes, Identity | None]]:
    """What whole lines say, in their order; one that a kill has cut off says nothing."""
    for text in lines:
        with suppress(ValueError, KeyError, TypeError):
            fields = json.loads(text)
            path = base64.b64decode(fields["raw"]) if "raw" in fields else fields["path"].encode()
            found = None if fields.get("gone") else Identity(*(int(fields[name]) for name in Identity._fields))
            yield path, found


class Base:
    """The record of a container's first changes, one JSON object a line (`line`)."""

    def __init__(self, path: str, *, sync: bool = True) -> None:
        self._sync = sync
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
        if lines.pop():  # a kill in the middle of a line: its change was not made
            os.write(self._fd, b"\n")
        known = dict(records(lines))
        self._known = {path for path, found in known.items() if found is not None}

    def record(self, path: bytes, status: os.stat_result) -> None:
        """Note what is at `path` below, unless it was noted before; with `sync` on the disk when this returns."""
        if path in self._known:
            return
        os.write(self._fd, line(path, identity(status)))
        if self._sync:
            os.fsync(self._fd)
        self._known.add(path)
