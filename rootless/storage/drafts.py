"""What an `apply` that was killed has left on the machine, taken away when no other `apply` is to follow."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from ..fuse.layer import descend
from .ground import Ground
from .trees import Trees

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EACCES)


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
