"""The work directory: where everything is made ready before one rename puts it in its place.

It lies on the writable layer's file system. What a killed server has left there was never part of the tree and is
removed at the next start. The kernel's overlayfs keeps a `work` of its own beside ours; the two don't see each other.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from rootless.kernel import fs

from .layer import DIRECTORY

NAME = b"cow"
NO_FLAGS = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
"""What renameat2(2) says where the file system knows no flags, or the kernel not this one."""


class Work:
    """The open work directory.

    Attributes:
        fd: a descriptor of it.
        root: a descriptor of the directory that it lies in, and the kernel's beside it.
    """

    def __init__(self, root: int) -> None:
        self.root = root
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

    def exchange(self, name: bytes, directory: int, other: bytes) -> None:
        """Let what was made ready and what stands in its place change places, in one moment where that can be.

        Without RENAME_EXCHANGE (NFS) it takes three, and a kill between the first two leaves nothing in that place.
        """
        try:
            fs.renameat2(self.fd, name, directory, other, fs.RENAME_EXCHANGE)
        except OSError as problem:
            if problem.errno not in NO_FLAGS:
                raise
            aside = self.fresh()
            os.rename(other, aside, src_dir_fd=directory, dst_dir_fd=self.fd)
            os.rename(name, other, src_dir_fd=self.fd, dst_dir_fd=directory)
            os.rename(aside, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

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
