"""What an `apply` that was killed has left on the machine, taken away before the container goes on or goes.

As long as an `apply` is at work, a note in the container's directory says where; so what it has left is found by
whoever removes the container, also when nothing else of it can be read any more.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from .. import atomic
from ..errors import RootlessError, StoreError
from ..fuse.layer import descend
from .driver import LayerStack
from .ground import Ground
from .trees import Reader, Trees

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EACCES)


class Place(msgspec.Struct, frozen=True):
    """A directory of the machine's in which an `apply` makes changes.

    Attributes:
        stack: the directory, and the writable layer over it.
        driver: who has written that.
        cross: as for `Ground`.
    """

    stack: LayerStack
    driver: str
    cross: bool


class _Note(msgspec.Struct, frozen=True):
    draft: str
    places: tuple[Place, ...]


def write_down(note: Path, draft: bytes, places: Sequence[Place]) -> None:
    """Say, before anything is made, where to look if the `apply` does not come to its end, which unlinks the note."""
    atomic.write(note, msgspec.json.encode(_Note(os.fsdecode(draft), tuple(places))), tmp=note.parent)


def clear(note: Path, store: Path, open_room: Callable[[], int]) -> None:
    """Take away what a killed `apply` has left, if there was one, and its note. The caller holds the container's lock.

    A directory of the machine's that is gone has nothing left in it.

    Args:
        store, open_room: as for `Reader`.

    Raises:
        StoreError: it can't be taken away; nothing is forgotten.
    """
    try:
        found = msgspec.json.decode(note.read_bytes(), type=_Note)
        for place in found.places:
            if all((store / path).is_dir() for path in (place.stack.layers[0], place.stack.upper)):
                work = partial(sweep, draft=os.fsencode(found.draft), cross=place.cross)
                Reader(store, place.stack, open_room, place.driver).call(work)
    except FileNotFoundError:
        return
    except (OSError, RootlessError, msgspec.MsgspecError) as problem:
        raise StoreError(
            f"what an `apply` that was killed has left on the machine can't be taken away: {problem}",
            hint=f"its files are called .rootless-apply-{note.parent.name[:12]}; `rootless rm -f` leaves them there",
        ) from problem
    note.unlink()


def sweep(trees: Trees, draft: bytes, *, cross: bool) -> None:
    """Remove what has the name `draft` in the machine's directories that a writable layer has something in.

    To be called by a process that may read both (`Reader.call`), before the writable layer goes: it tells where.

    Args:
        cross: as for `Ground`.
    """
    (lower,) = trees.below.layers.values()
    ground = Ground(lower.root, draft, cross=cross)
    waiting: list[tuple[bytes, ...]] = [()]
    while waiting:
        names = waiting.pop()
        fd = descend(trees.upper.root, names)
        try:
            with os.scandir(fd) as entries:
                inner = [(*names, os.fsencode(e.name)) for e in entries if e.is_dir(follow_symlinks=False)]
        finally:
            os.close(fd)
        if _sweep_one(ground, names):
            waiting += inner


def _sweep_one(ground: Ground, names: Iterable[bytes]) -> bool:
    """Whether the machine has this directory."""
    fd = os.dup(ground.root)
    try:
        for name in names:
            below = ground.enter(fd, name)
            os.close(fd)
            fd = below
        ground.sweep(fd)
    except OSError as problem:
        if problem.errno not in _NOT_THERE:
            raise
        return False
    finally:
        os.close(fd)
    return True
