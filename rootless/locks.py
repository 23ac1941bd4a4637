"""Advisory locks (flock(2)): the kernel releases them when their holder dies; NFS carries them as byte-range locks."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock(path: Path, *, shared: bool = False) -> Iterator[int]:
    """Hold the lock file `path` (made when missing) while the block runs, waiting for it as long as it takes.

    Yields the descriptor. It is close-on-exec; a child that was forked inside the block holds the lock on, too.
    """
    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def try_lock(path: Path) -> int | None:
    """Take the lock file `path` without waiting: its descriptor (close it to release), or None when it is held."""
    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open(path: Path) -> int:
    # NFS turns flock into a lock that needs a descriptor open for writing when it is exclusive.
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        if problem.errno != errno.EROFS:
            raise
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a store that is mounted read-only
