"""Reading a container's log: from its end, from a moment on, and on while the container writes it.

The files are opened once and read through their descriptors. The writer only ever renames or removes them, so nothing
is read twice or missed when it begins a new file meanwhile: where this one stands is found again by its inode.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..container.record import timestamp
from .logs import Entry, older

_CHUNK = 1 << 16
_SKEW = 600 * 10**9
"""Nanoseconds by which a file's time and its lines' may differ: the kernel's clock for files ticks slowly, and on NFS
it is another machine's."""

_TRIES = 1000
"""How often the place of a file is looked for that moves while it is looked for."""

Identity = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """Which lines are wanted, by Docker's rules: the last ones first, and of these the ones in time.

    Attributes:
        tail: so many lines from the end; None for all.
        since, until: nanoseconds since 1970, both included.
    """

    tail: int | None = None
    since: int | None = None
    until: int | None = None


class LogReader:
    """Reads the log at `path` and the older files beside it.

    Attributes:
        damaged: lines that were left out because they are none, as a machine that lost its power leaves them.
    """

    def __init__(self, path: Path, part: Part) -> None:
        self.damaged = 0
        self._path = path
        self._part = part
        self._since = timestamp(max(part.since, 0)) if part.since is not None else ""
        self._until = timestamp(max(part.until, 0)) if part.until is not None else ""
        self._decoder = msgspec.json.Decoder(Entry)
        self._current: _File | None = None
        self._next: list[_File] = []
        self._is_over = False

    def read(self) -> Iterator[Entry]:
        """What is there now."""
        try:
            self._start()
            yield from self._read_files()
        finally:
            self.close()

    def follow(self, wait: Callable[[], bool]) -> Iterator[Entry]:
        """What is there, and what comes.

        Args:
            wait: returns when there may be more: True, or False when what is there now is the last.
        """
        try:
            self._start()
            goes_on = True
            while True:
                yield from self._read_files()
                if not goes_on or self._is_over or self._is_late():
                    return
                goes_on = wait()
        finally:
            self.close()

    def _is_late(self) -> bool:
        return self._part.until is not None and self._part.until < time.time_ns()

    def close(self) -> None:
        """Close what is open. Also done at the end of `read` and `follow`."""
        for file in (*self._next, *([self._current] if self._current else [])):
            file.close()
        self._next, self._current = [], None

    # --- the files -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Open the files, the oldest first, each at the line to begin with."""
        self._next = _newer_files(self._path, None)
        if self._part.tail is not None:
            missing = self._part.tail
            for file in reversed(self._next):
                missing -= file.seek_lines_from_end(missing)

    def _read_files(self) -> Iterator[Entry]:
        """Read one file after the other, and those that the writer began since; stay at the end of the last one."""
        yield from self._read_current()
        while not self._is_over:
            if not self._next:
                self._next = _newer_files(self._path, self._current)
                if not self._next:
                    return
                # Between the end that was just reached and the new file, the writer may have added to this one.
                yield from self._read_current()
            if self._current is not None:
                self.damaged += self._current.has_rest
                self._current.close()
            self._current = self._next.pop(0)
            yield from self._read_current()

    def _read_current(self) -> Iterator[Entry]:
        if self._current is None or self._is_over or self._current.changed + _SKEW < (self._part.since or 0):
            return
        for line in self._current.lines():
            try:
                entry = self._decoder.decode(line)
            except msgspec.MsgspecError:
                self.damaged += 1
                continue
            if entry.time < self._since:
                continue
            if self._until and entry.time > self._until:
                self._is_over = True
                return
            yield entry


class _File:
    """An open file of the log, read on from where the last reading stopped.

    Attributes:
        number: where it was when it was last looked for; it only moves to higher ones.
    """

    def __init__(self, fd: int, number: int) -> None:
        self._fd = fd
        self._position = 0
        self._rest = b""
        self.identity = _identity(fd)
        self.number = number

    @property
    def changed(self) -> int:
        """When it was last written: nanoseconds since 1970."""
        return os.fstat(self._fd).st_mtime_ns

    @property
    def is_removed(self) -> bool:
        return os.fstat(self._fd).st_nlink == 0

    @property
    def has_rest(self) -> bool:
        """Whether its last line, as far as it was read, has no end."""
        return bool(self._rest)

    def lines(self) -> Iterator[bytes]:
        """The lines from here to the end of the file. One that is not finished yet waits for the next call."""
        if os.fstat(self._fd).st_size < self._position:  # somebody has emptied it
            self._position, self._rest = 0, b""
        while data := os.pread(self._fd, _CHUNK, self._position):
            self._position += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from lines

    def seek_lines_from_end(self, wanted: int) -> int:
        """Go to the beginning of the last `wanted` lines; how many there are, if they are fewer.

        A last line that is not finished does not count.
        """
        end = self._position = os.fstat(self._fd).st_size
        found = -1  # the newline at the end of the last line, behind which nothing is wanted
        while end > 0:
            start = max(end - _CHUNK, 0)
            data = os.pread(self._fd, end - start, start)
            at = len(data)
            while (at := data.rfind(b"\n", 0, at)) >= 0:
                found += 1
                self._position = start + at + 1
                if found == wanted:
                    return wanted
            end = start
        self._position = 0
        return found + 1

    def close(self) -> None:
        os.close(self._fd)


def _newer_files(path: Path, file: _File | None) -> list[_File]:
    """Open the files that were begun after `file`, or all of them; the oldest first."""
    files: list[_File] = []
    following = _oldest(path) if file is None else _successor(path, file)
    while following is not None:
        files.append(following)
        following = _successor(path, following)
    return files


def _oldest(path: Path) -> _File | None:
    while True:
        number = _highest(path)
        file = _open(path, number)
        if _highest(path) == number and (file is None or _identity(older(path, number)) == file.identity):
            return file
        if file is not None:
            file.close()


def _successor(path: Path, file: _File) -> _File | None:
    """Open the file that was begun after this one; None when there is none yet."""
    for _ in range(_TRIES):
        if file.is_removed:  # as the oldest of too many, so what is oldest now came after it
            return _oldest(path)
        if not _find(path, file):
            continue
        found = next((f for n in range(file.number - 1, -1, -1) if (f := _open(path, n))), None)
        # A rotation renames the older files first. Where this one has not moved, the newer ones have not either.
        if _identity(older(path, file.number)) == file.identity:
            return found
        if found is not None:
            found.close()
    return None  # somebody else has moved it, to where nobody can tell what comes after it


def _find(path: Path, file: _File) -> bool:
    """Look for where a file is now. It may be missed when it moves on while it is looked for."""
    number = file.number
    while (found := _identity(older(path, number))) != file.identity:
        if found is None and number > _highest(path):
            return False
        number += 1
    file.number = number
    return True


def _open(path: Path, number: int) -> _File | None:
    try:
        return _File(os.open(older(path, number), os.O_RDONLY | os.O_CLOEXEC), number)
    except FileNotFoundError:
        return None


def _identity(file: Path | int) -> Identity | None:
    """What tells a file from all others, wherever it is; None when it is not there."""
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _highest(path: Path) -> int:
    """The highest number of an older file; 0 when there is none."""
    pattern = re.compile(re.escape(path.name) + r"\.([1-9][0-9]{0,6})")
    with suppress(FileNotFoundError):
        return max((int(match[1]) for match in map(pattern.fullmatch, os.listdir(path.parent)) if match), default=0)
    return 0
