"""Taking out of a writable layer what is real below by now: a kill in between changes nothing of what is seen."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ..fuse.layer import Layer, descend
from ..fuse.metadata import at
from ..fuse.whiteout import OPAQUE


def settle(
    upper: Layer, done: Sequence[bytes], left: Sequence[bytes], opaque: Sequence[bytes]
) -> tuple[list[bytes], bool]:
    """Take out what is `done`; (what was taken out, whether nothing is in the layer any more).

    An opaque directory of which something is left stays whole: what was taken out of it would not show from below.

    Args:
        done: a directory after what is in it.
        opaque: directories that hide what is below, the outer ones first.
    """
    whole = [path for path in opaque if any(_is_in(each, path) for each in left)]
    for path in opaque:
        if not any(_is_in(path, each) for each in whole):
            _unhide(upper.root, path)
    settled = [path for path in done if not any(_is_in(path, each) for each in whole)]
    for path in settled:
        _take_out(upper.root, path)
    if not left:
        _remove_rest(upper)
    return settled, not os.listdir(upper.root)


def _is_in(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory + b"/")


def _unhide(root: int, path: bytes) -> None:
    """Both sides hold the same now, so that it makes no difference. With the mark, a kill halfway through would leave a
    directory that hides what was taken out of it, as if the container had deleted that."""
    above, name = _opened(root, path)
    try:
        with suppress(OSError):
            os.removexattr(at(above, name), OPAQUE, follow_symlinks=False)
    finally:
        os.close(above)


def _take_out(root: int, path: bytes) -> None:
    try:
        above, name = _opened(root, path)
    except (FileNotFoundError, NotADirectoryError):  # hidden by a directory that is not there any more
        return
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        with suppress(OSError):  # not empty: something in it is left
            os.rmdir(name, dir_fd=above)
    finally:
        os.close(above)


def _opened(root: int, path: bytes) -> tuple[int, bytes]:
    above, name = posixpath.split(path)
    return descend(root, _parts(above)), name


def _parts(path: bytes) -> Iterable[bytes]:
    return [part for part in path.split(b"/") if part]


def _remove_rest(upper: Layer) -> None:
    """What is no change by itself: directories that were copied up on the way to something, and marks of deletions that
    an `apply` which was killed has made real."""
    found: list[tuple[bytes, ...]] = [()]
    for place in found:
        fd = descend(upper.root, place)
        try:
            for name in map(os.fsencode, os.listdir(fd)):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    found.append((*place, name))
                elif upper.is_whiteout(fd, name, status):
                    os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)
    for *above, name in reversed(found[1:]):
        fd = descend(upper.root, above)
        try:
            with suppress(OSError):
                os.rmdir(name, dir_fd=fd)
        finally:
            os.close(fd)
