"""The work directory: where everything is made ready before one rename puts it in its place.

It lies on the writable layer's file system. What a killed server has left there was never part of the tree and is
removed at the next start. The kernel's overlayfs keeps a `work` of its own beside ours; the two don't see each other.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from .layer import DIRECTORY

NAME = b"cow"


class Work:
    """The open work directory.

    Attributes:
        fd: a descriptor of it.
    """

    def __init__(self, root: int) -> None:
        with suppress(FileExistsError):
            os.mkdir(NAME, 0o700, dir_fd=root)
        self.fd = os.open(NAME, DIRECTORY, dir_fd=root)
        for name in os.listdir(self.fd):
            remove_tree(self.fd, os.fsencode(name))
        self._count = 0

    def fresh(self) -> bytes:
        """A name that is free."""
        self._count += 1
        return b"t%d" % self._count

    def discard(self, name: bytes) -> None:
        """Remove what was made under a name, whatever it is. Failures wait for the next start."""
        with suppress(OSError):
            remove_tree(self.fd, name)


def remove_tree(directory: int, name: bytes) -> None:
    """Remove an entry and everything below it, relative to `directory` and without following symlinks.

    The descent holds one descriptor however deep it goes: a directory is emptied by moving its directories up.
    """
    try:
        os.unlink(name, dir_fd=directory)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):  # unlink(2) of a directory: EISDIR on Linux, EPERM by POSIX
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise
    waiting = [name]
    moved = 0
    while waiting:
        current = waiting.pop()
        with suppress(OSError):
            os.chmod(current, 0o700, dir_fd=directory)
        fd = os.open(current, DIRECTORY, dir_fd=directory)
        try:
            for entry in os.listdir(fd):
                try:
                    os.unlink(entry, dir_fd=fd)
                except (IsADirectoryError, PermissionError):
                    if not stat.S_ISDIR(os.stat(entry, dir_fd=fd, follow_symlinks=False).st_mode):
                        raise
                    os.chmod(entry, 0o700, dir_fd=fd)  # to move a directory is to write its ".."
                    moved += 1
                    lifted = b"%b-%d" % (name, moved)
                    os.rename(entry, lifted, src_dir_fd=fd, dst_dir_fd=directory)
                    waiting.append(lifted)
        finally:
            os.close(fd)
        os.rmdir(current, dir_fd=directory)
