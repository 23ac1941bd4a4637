"""Pins: what a running import, pull or build needs although no image refers to it yet.

    pins/<name>     a digest (of a blob) or a chain id (of an unpacked layer) a line; flocked while its owner lives

Whoever removes blobs or layers holds the index's lock meanwhile and reads every pin first. Whoever wants to rely on
one, be it there already or about to be published, pins it first, under the same lock. So nothing goes between the look
and the use; and a killed owner's pin holds nothing, because the kernel has released it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .. import atomic, locks
from ..paths import Paths


class Pin:
    """The pins of one running operation. Made by `hold`.

    Attributes:
        digests: all that was pinned.
    """

    def __init__(self, paths: Paths, fd: int) -> None:
        self._paths = paths
        self._fd = fd
        self.digests: list[str] = []

    def add(self, *digests: str) -> None:
        """Nobody removes these from now on."""
        with self.adding() as add:
            for digest in digests:
                add(digest)

    @contextmanager
    def adding(self) -> Iterator[Callable[[str], None]]:
        """The lock under which nothing is removed, and a function that pins: for a digest that is only then known."""
        with locks.lock(self._paths.index_lock):
            yield self._add

    def _add(self, digest: str) -> None:
        self.digests.append(digest)
        os.write(self._fd, f"{digest}\n".encode())


@contextmanager
def hold(paths: Paths) -> Iterator[Pin]:
    """Pins that last as long as the block, or until the process dies."""
    path = atomic.new_name(paths.pins, "pin")
    paths.pins.mkdir(mode=0o700, exist_ok=True)
    # Under the lock: a reader that found the file not locked yet would take it for a dead owner's.
    with locks.lock(paths.index_lock):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield Pin(paths, fd)
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def pinned(paths: Paths) -> set[str]:
    """All that living owners pinned; what dead ones left is removed. The caller holds the index's lock."""
    found: set[str] = set()
    with suppress(FileNotFoundError):
        for entry in os.scandir(paths.pins):
            with suppress(FileNotFoundError):
                found |= _read(entry.path)
    return found


def _read(path: str) -> set[str]:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with open(fd, closefd=False) as file:
            return set(file.read().split())
    else:
        os.unlink(path)
        return set()
    finally:
        os.close(fd)
