"""A limit on what the writable layer may hold (`--storage-opt size=`).

Counted are the blocks that regular files have on the disk, each file once however many names it has, and a block for
each directory. What is removed while it is still open counts until it is closed, as on any file system. Holes cost
nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from .layer import descend

BLOCK = 4096
_UNIT = 512  # of st_blocks (inode(7))


def full() -> OSError:
    """The error of a full file system."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Quota:
    """The account of the writable layer.

    Attributes:
        limit: bytes that it may hold.
        used: bytes that it holds.
    """

    def __init__(self, limit: int, root: int) -> None:
        self.limit = limit
        self.used = 0
        self._root = root
        self._charged: dict[int, int] = {}
        self.recount()

    def recount(self, removed: Iterable[int] = ()) -> None:
        """Count everything anew: at the start, and after many files were copied or dropped at once.

        Args:
            removed: descriptors of files without a name that are still open.
        """
        self._charged.clear()
        self.used = 0
        pending: list[tuple[bytes, ...]] = [()]
        seen: set[int] = set()
        while pending:
            path = pending.pop()
            directory = descend(self._root, path)
            try:
                with os.scandir(directory) as entries:
                    below = [e.name for e in entries if self._count(e.stat(follow_symlinks=False), seen)]
                pending += [(*path, os.fsencode(name)) for name in below]
            finally:
                os.close(directory)
        for fd in removed:
            self.update(fd)

    def admit(self, fd: int, offset: int, data: bytes) -> bytes:
        """As much of `data` as there is room for at `offset`, to be written with a call of `update` after it.

        Raises:
            OSError: ENOSPC when there is room for nothing.
        """
        self._know(fd)
        if self.used + len(data) + BLOCK <= self.limit or self._allocated(fd, offset, len(data)):
            return data
        free = max(0, self.limit - self.used) // BLOCK * BLOCK
        inside = offset % BLOCK
        paid = inside and offset < -(-os.fstat(fd).st_size // BLOCK) * BLOCK  # the rest of the file's last block
        room = free + BLOCK - inside if paid else free - inside
        if room <= 0:
            raise full()
        return data[:room]

    def reserve(self, count: int) -> None:
        """Make sure that there is room for `count` more bytes. ENOSPC when there is not."""
        if self.used + count > self.limit:
            raise full()

    def update(self, fd: int) -> None:
        """A file has changed, or is new."""
        status = os.fstat(fd)
        now = status.st_blocks * _UNIT
        self.used += now - self._charged.get(status.st_ino, 0)
        self._charged[status.st_ino] = now

    def before(self, fd: int) -> None:
        """A file that is counted already is about to change."""
        self._know(fd)

    def drop(self, status: os.stat_result) -> None:
        """The last name and the last handle of an inode are gone."""
        if stat.S_ISREG(status.st_mode):
            self.used -= self._charged.pop(status.st_ino, status.st_blocks * _UNIT)

    def add_directory(self) -> None:
        """A directory is new."""
        self.used += BLOCK

    def drop_directory(self) -> None:
        """A directory is gone."""
        self.used -= BLOCK

    def limited(self, space: os.statvfs_result) -> tuple[int, int, int]:
        """(total, free, available) blocks as statvfs(3) shall show them, in units of its f_frsize."""
        total = self.limit // space.f_frsize
        free = max(0, self.limit - self.used) // space.f_frsize
        return total, min(free, space.f_bfree), min(free, space.f_bavail)

    def _know(self, fd: int) -> None:
        status = os.fstat(fd)
        self._charged.setdefault(status.st_ino, status.st_blocks * _UNIT)

    @staticmethod
    def _allocated(fd: int, offset: int, count: int) -> bool:
        """Whether the whole range lies in blocks that the file has, so that writing there costs nothing."""
        try:
            return os.lseek(fd, offset, os.SEEK_HOLE) >= offset + count
        except OSError:
            return False  # beyond the end

    def _count(self, status: os.stat_result, seen: set[int]) -> bool:
        """Count one inode; True for a directory, whose entries are to be counted too."""
        if stat.S_ISDIR(status.st_mode):
            self.used += BLOCK
            return True
        if stat.S_ISREG(status.st_mode) and status.st_ino not in seen:
            if status.st_nlink > 1:
                seen.add(status.st_ino)
            self.used += status.st_blocks * _UNIT
        return False
