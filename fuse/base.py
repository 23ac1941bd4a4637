"""What lay below before the container changed it: `base.jsonl`, for a live lower layer.

An image never changes, a live layer (the machine's own root, a directory of the user's) does. Whoever later carries
the container's changes over to it must see where both sides have changed the same file: so before the first copy-up,
whiteout or replacement of a file its identity goes into this file, on the disk before the change is.
"""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress


class Base:
    """The record of a container's first changes, one JSON object a line.

    Each has `path` (inside the mount; base64 in `raw` where it is not UTF-8), `dev`, `ino`, `ctime_ns`, `size` and
    `mode`.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._known: set[bytes] = set()
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
        if lines.pop():  # a kill in the middle of a line: its change was not made
            os.write(self._fd, b"\n")
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):
                self._known.add(_path(json.loads(line)))

    def record(self, path: bytes, status: os.stat_result) -> None:
        """Note what is at `path` below, unless it was noted before; on the disk when this returns."""
        if path in self._known:
            return
        fields: dict[str, object] = {}
        try:
            fields["path"] = path.decode()
        except UnicodeDecodeError:
            fields["raw"] = base64.b64encode(path).decode()
        fields |= {"dev": status.st_dev, "ino": status.st_ino, "ctime_ns": status.st_ctime_ns}
        fields |= {"size": status.st_size, "mode": status.st_mode}
        os.write(self._fd, json.dumps(fields).encode() + b"\n")
        os.fsync(self._fd)
        self._known.add(path)


def _path(fields: dict[str, str]) -> bytes:
    return base64.b64decode(fields["raw"]) if "raw" in fields else fields["path"].encode()
