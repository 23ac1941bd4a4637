"""What happens to containers and images, for whoever wants to follow it: one JSON object a line, in Docker's form.

The file lies in the run directory: events are for watching, not for the record, and a reboot may take them. Whoever
does something appends one line with one write(2), so that lines of several processes never mix.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from .errors import encodable
from .paths import Paths, private_directory

LIMIT = 1 << 20
"""Bytes after which the file begins anew; the one before is kept beside it."""


class Actor(msgspec.Struct, frozen=True, rename="pascal"):
    """To whom it happened. The attributes are the labels, the name, and what belongs to the action."""

    id: str = msgspec.field(name="ID")
    attributes: dict[str, str]


class Event(msgspec.Struct, frozen=True):
    """One event, as `docker events --format json` prints it."""

    type: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")
    actor: Actor = msgspec.field(name="Actor")
    time: int
    time_nano: int = msgspec.field(name="timeNano")
    scope: str = "local"


def file(paths: Paths) -> Path:
    """Where the newest events are; the older ones are in `events.1` beside it."""
    return paths.run / "events"


def emit(paths: Paths, kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
    """Note that `action` happened. Nothing fails because it could not be noted.

    Args:
        kind: `container` or `image`.
    """
    moment = time.time_ns()
    words = {name: encodable(value) for name, value in attributes.items()}
    event = Event(kind, encodable(action), Actor(identifier, words), moment // 1_000_000_000, moment)
    path = file(paths)
    with suppress(OSError):
        private_directory(paths.run)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, msgspec.json.encode(event) + b"\n")
            if os.fstat(fd).st_size > LIMIT:
                _rotate(fd, path)
        finally:
            os.close(fd)


def _rotate(fd: int, path: Path) -> None:
    """Begin a new file after the one that is open as `fd`, unless another writer has done so, or does now."""
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _identity(path) == _identity(fd):
            path.rename(_older(path))


class Reader:
    """Reads events as they come. No rotation takes any from it: what it reads it keeps open, the file before the newest
    too, for a writer that opened it before it was renamed."""

    def __init__(self, paths: Paths) -> None:
        self._path = file(paths)
        self._files: list[_Tail] = []

    def read(self) -> Iterator[Event]:
        """What came since the last call; at first, all that is kept."""
        if not self._files or _identity(self._path) != self._files[-1].identity:
            self._find()
        for tail in self._files:
            yield from tail.events()
        while len(self._files) > 2:
            self._files.pop(0).close()

    def _find(self) -> None:
        """Open the files that are not open yet. The older one may be such: two rotations since the last look."""
        while True:
            found = [tail for path in (_older(self._path), self._path) if (tail := _Tail.open(path)) is not None]
            newest = _identity(self._path)
            if newest is None or newest in [tail.identity for tail in found]:
                break
            for tail in found:
                tail.close()
        known = [tail.identity for tail in self._files]
        for tail in found:
            if tail.identity in known:
                tail.close()
            else:
                self._files.append(tail)

    def close(self) -> None:
        """Close what is open."""
        for tail in self._files:
            tail.close()
        self._files.clear()


class _Tail:
    """An open file, and how far it was read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._position = 0
        self.identity = _identity(fd)

    @classmethod
    def open(cls, path: Path) -> _Tail | None:
        with suppress(FileNotFoundError):
            return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return None

    def events(self) -> Iterator[Event]:
        """Those that were appended since the last call."""
        size = os.fstat(self._fd).st_size
        if size < self._position:  # somebody has emptied it
            self._position = 0
        data = os.pread(self._fd, size - self._position, self._position)
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            try:
                yield msgspec.json.decode(line, type=Event)
            except msgspec.MsgspecError:
                continue  # a line of another version, or one that a full disk cut short

    def close(self) -> None:
        os.close(self._fd)


def _older(path: Path) -> Path:
    return path.with_name("events.1")


def _identity(place: Path | int) -> tuple[int, int] | None:
    """What tells a file from all others, wherever it is; None when it is not there."""
    try:
        status = os.stat(place)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
