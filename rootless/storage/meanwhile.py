"""What the machine had where a container has changed it, and whether it still has: the judge of conflicts.

For the image `host` the file system has noted it before each first change (fuse/base.py). Below the kernel's overlay of
a mount nothing is noted: there a file has changed meanwhile when its status did after the container's first start.
What `apply` itself brings to the machine is noted by it in both cases, so that it is not taken for somebody else's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import StoreError
from ..fuse import base
from ..fuse.base import Identity, Record

NOTES = "base.jsonl"
SINCE = "since"


class Meanwhile:
    """The notes of one writable layer, open for more of them."""

    def __init__(self, directory: Path) -> None:
        """
        Args:
            directory: holds base.jsonl, and for a kernel's overlay `since`: nanoseconds since 1970.

        Raises:
            StoreError: `since` is no time.
        """
        self._path = directory / NOTES
        self.since = _read_since(directory / SINCE)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        lines = self._path.read_bytes().split(b"\n")
        if lines.pop():  # cut off by a kill
            os.write(self._fd, b"\n")
        self._records: list[Record] = []
        self._before: set[bytes] = set()
        self._applied: set[Identity] = set()
        self._files: set[Identity] = set()
        self._directories: set[tuple[int, int, int]] = set()
        for record in base.records(lines):
            self._learn(record)

    def close(self) -> None:
        os.close(self._fd)

    def same(self, status: os.stat_result) -> bool:
        """Whether nobody but us has touched what has these attributes. Of a directory that was noted only the inode
        and its mode count: its entries are looked at one by one."""
        found = base.identity(status)
        if found in self._files:
            return True
        if stat.S_ISDIR(found.mode) and (found.dev, found.ino, found.mode) in self._directories:
            return True
        return self.since is not None and found.ctime_ns < self.since

    def had(self, path: bytes) -> bool:
        """Whether it is noted that there was something at `path` before the container, which we have not taken away."""
        return path in self._before

    def applied(self, status: os.stat_result) -> bool:
        """Whether we have brought what has these attributes."""
        return base.identity(status) in self._applied

    def note(self, path: bytes, status: os.stat_result | None) -> None:
        """Write down that the machine has this at `path` by our doing, or for None that it has nothing there."""
        record = Record(path, base.identity(status) if status is not None else None, applied=True)
        os.write(self._fd, base.line(record))
        self._learn(record)

    def forget(self, paths: Iterable[bytes], *, everything: bool) -> None:
        """What is noted of `paths` is settled; a container that changes them once more begins anew.

        Args:
            everything: the writable layer is empty by now.
        """
        gone = set(paths)
        if everything:
            kept: list[Record] = []
        elif self.since is None:
            kept = [record for record in self._records if record.path not in gone]
        else:
            return  # without these notes our own work would look like somebody else's: `since` stays what it was
        draft = self._path.with_suffix(".new")
        draft.write_bytes(b"".join(map(base.line, kept)))
        os.rename(draft, self._path)
        if everything:
            self._path.with_name(SINCE).unlink(missing_ok=True)

    def _learn(self, record: Record) -> None:
        self._records.append(record)
        if record.found is None:
            self._before.discard(record.path)
            return
        if record.applied:
            self._applied.add(record.found)
        else:
            self._before.add(record.path)
        self._files.add(record.found)
        if stat.S_ISDIR(record.found.mode):
            self._directories.add((record.found.dev, record.found.ino, record.found.mode))


def _read_since(path: Path) -> int | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    if not text.isdigit():
        raise StoreError(
            f"{path} is damaged: it should hold the time of the container's first start",
            hint="`rootless cp` still takes files out of the container; `rootless discard` lets it begin anew",
        )
    return int(text)
