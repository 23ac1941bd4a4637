"""How much a tree holds: what `ps --size` and the prunes tell of writable layers."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ..kernel import fs
from ..room import call

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RESOLVE = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_NO_XDEV
_CHANGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})
_STEPS = 12
"""Names in one system call: twelve of 255 bytes fit into PATH_MAX, and a container may nest directories without end."""


def tree_size(path: Path, room: Callable[[], int]) -> int:
    """The bytes of all files below `path`, as their sizes say: of each inode once, and none of directories; Docker's
    numbers. A tree that changes meanwhile is measured as well as that can be done; one that is not there has none.

    Args:
        room: gives a descriptor on the room (closed here); only called when the caller may not read everything.

    Raises:
        OSError: not even the room's root may read it.
    """
    try:
        return _measure(path)
    except FileNotFoundError:
        return 0
    except PermissionError:
        fd = room()
        try:
            return call(fd, lambda: _measure(path))
        finally:
            os.close(fd)


def _measure(path: Path) -> int:
    top = os.open(path, _DIRECTORY | os.O_NOFOLLOW)
    try:
        return sum(_sizes(top))
    finally:
        os.close(top)


def _sizes(top: int) -> Iterator[int]:
    """The size of each file below an open directory."""
    linked: set[tuple[int, int]] = set()
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        place = waiting.pop()
        try:
            directory = open_below(top, place)
        except OSError as problem:
            if problem.errno in _CHANGED:
                continue  # removed or replaced since its parent was read
            raise
        try:
            for name, status in _entries(directory):
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((*place, name))
                elif status.st_nlink == 1 or _is_new(status, linked):
                    yield status.st_size
        finally:
            os.close(directory)


def _is_new(status: os.stat_result, linked: set[tuple[int, int]]) -> bool:
    """Whether a file of several names is met for the first time."""
    count = len(linked)
    linked.add((status.st_dev, status.st_ino))
    return len(linked) > count


def _entries(directory: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield entry.name, entry.stat(follow_symlinks=False)


def open_below(top: int, place: tuple[str, ...]) -> int:
    """Open the directory `place` names below `top`. No link is followed: the tree may change under our eyes."""
    current = os.dup(top)
    for start in range(0, len(place), _STEPS):
        try:
            step = fs.openat2(current, "/".join(place[start : start + _STEPS]), _DIRECTORY, resolve=_RESOLVE)
        finally:
            os.close(current)
        current = step
    return current
