"""Pins: what a running import, pull or build needs although no image refers to it yet.

    pins/pin.<name>     a digest (of a blob) or a chain id (of an unpacked layer) a line; flocked while its owner lives
    pins/made.<name>    the same; what is in it is of no use to anybody should its owner die
    pins/gone.<name>    what somebody is about to take away: the store's journal, so that a kill leaves no garbage

Whoever removes blobs or layers holds the index's lock meanwhile and reads every pin first. Whoever wants to rely on
one, be it there already or about to be published, pins it first, under the same lock. So nothing goes between the look
and the use; and a killed owner's pin holds nothing, because the kernel has released it. What the dead have left in the
last two is looked at by the next command that changes the store (garbage.py).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .. import atomic, locks
from ..paths import Paths

_NOTES = ("made.", "gone.")
"""Whose content is of interest after its owner's death."""


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
def hold(paths: Paths, *, made: bool = False) -> Iterator[Pin]:
    """Pins that last as long as the block, or until the process dies.

    Args:
        made: what is pinned is made here, and goes if this process is killed; what a pull has, its next try uses.
    """
    path = atomic.new_name(paths.pins, "made" if made else "pin")
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
            if entry.name.startswith("gone."):
                continue
            with suppress(FileNotFoundError):
                digests, alive = _read(entry.path)
                if alive:
                    found |= digests
                elif not entry.name.startswith("made."):
                    os.unlink(entry.path)
    return found


def condemn(paths: Paths, digests: Iterable[str]) -> Path:
    """Note what is about to be taken away; the caller holds the index's lock, and removes the note when it is done."""
    path = atomic.new_name(paths.pins, "gone")
    atomic.write(path, "".join(f"{digest}\n" for digest in digests).encode(), tmp=paths.tmp)
    return path


def may_be_left(paths: Paths) -> bool:
    """Whether it is worth while to take the lock and look."""
    with suppress(FileNotFoundError):
        return any(name.startswith(_NOTES) for name in os.listdir(paths.pins))
    return False


def left(paths: Paths) -> dict[Path, set[str]]:
    """What dead owners have made for nobody or had begun to take away, by the file that says so; the caller holds the
    index's lock, looks after it, and removes the file."""
    found = {}
    with suppress(FileNotFoundError):
        for path in paths.pins.iterdir():
            if path.name.startswith(_NOTES):
                with suppress(FileNotFoundError):
                    digests, alive = _read(str(path))
                    if not alive:
                        found[path] = digests
    return found


def _read(path: str) -> tuple[set[str], bool]:
    """(what is pinned, whether its owner lives). Nobody but a pin's owner locks it for longer than this takes."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        with open(fd, closefd=False) as file:
            digests = set(file.read().split())
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return digests, True
    else:
        return digests, False
    finally:
        os.close(fd)
