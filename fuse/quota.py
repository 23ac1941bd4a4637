"""A limit on what the writable layer may hold (`--storage-opt size=`).

Counted is what each inode takes, once however many names it has: a regular file the blocks that it has on the disk, so
holes cost nothing; a directory its blocks, which grow with its names; every other kind, and an empty directory, one
block; and the bytes of its `user.*` attributes as the container sees them, which not every file system tells. What is
removed while it is still open counts until it is closed, as on any file system. Whiteouts are free: one inode stands
for all.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from .layer import Layer, descend
from .metadata import at

BLOCK = 4096
_UNIT = 512  # of st_blocks (inode(7))


def full() -> OSError:
    """The error of a full file system."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Quota:
    """The account of the writable layer.

    Attributes:
        limit: bytes that it may hold.
        used: bytes that it holds: always the sum of what each inode is charged with.
    """

    def __init__(self, limit: int, layer: Layer) -> None:
        self.limit = limit
        self.used = 0
        self._layer = layer
        self._root = os.fstat(layer.root).st_ino
        self._charged: dict[int, int] = {}
        self._attributes: dict[int, int] = {}
        self.recount()

    def recount(self, removed: Iterable[int] = ()) -> None:
        """Count everything anew: at the start, and after many files were copied or dropped at once.

        Args:
            removed: descriptors of files without a name that are still open.
        """
        before = self._charged, self._attributes, self.used
        self._charged, self._attributes, self.used = {}, {}, 0
        try:
            pending: list[tuple[bytes, ...]] = [()]
            while pending:
                path = pending.pop()
                pending += [(*path, name) for name in self._count_directory(path)]
            for fd in removed:
                self.update(fd, attributes=True)
        except OSError:
            self._charged, self._attributes, self.used = before
            raise

    def admit(self, fd: int, offset: int, data: bytes) -> bytes:
        """As much of `data` as there is room for at `offset`, to be written with a call of `update` after it.

        Raises:
            OSError: ENOSPC when there is room for nothing.
        """
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
        """Make sure that there is room for `count` more bytes. ENOSPC when there is not.

        With 0 this asks whether names may still be made: one that lets its directory grow may go beyond the limit by a
        block, the next may not.
        """
        if self.used + count > self.limit:
            raise full()

    def update(self, target: int | str, *, attributes: bool = False) -> None:
        """An inode, open as a descriptor or under a short path, has changed or is new; perhaps its `attributes` too."""
        follow = isinstance(target, int)
        status = os.stat(target, follow_symlinks=follow)
        if attributes and stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFDIR):  # others have none (xattr(7))
            self._attributes[status.st_ino] = self._measure(target)
        self._charge(status)

    def drop(self, ino: int) -> None:
        """The last name and the last handle of an inode are gone."""
        self.used -= self._charged.pop(ino, 0)
        self._attributes.pop(ino, None)

    def limited(self, space: os.statvfs_result) -> tuple[int, int, int]:
        """(total, free, available) blocks as statvfs(3) shall show them, in units of its f_frsize."""
        total = self.limit // space.f_frsize
        free = max(0, self.limit - self.used) // space.f_frsize
        return total, min(free, space.f_bfree), min(free, space.f_bavail)

    @staticmethod
    def _allocated(fd: int, offset: int, count: int) -> bool:
        """Whether the whole range lies in blocks that the file has, so that writing there costs nothing."""
        try:
            return os.lseek(fd, offset, os.SEEK_HOLE) >= offset + count
        except OSError:
            return False  # beyond the end

    def _count_directory(self, path: tuple[bytes, ...]) -> list[bytes]:
        """Count a directory and its entries, and give the names of those that are directories."""
        directory = descend(self._layer.root, path)
        try:
            self.update(directory, attributes=True)
            with os.scandir(directory) as entries:
                return [name for entry in entries if (name := self._count(entry, directory))]
        finally:
            os.close(directory)

    def _count(self, entry: os.DirEntry[str], directory: int) -> bytes:
        """Count an entry of a directory, or give the name of one that is a directory itself."""
        name = os.fsencode(entry.name)
        if entry.is_dir(follow_symlinks=False):
            return name
        if entry.inode() not in self._charged:
            self.update(at(directory, name), attributes=True)
        return b""

    def _charge(self, status: os.stat_result) -> None:
        now = status.st_blocks * _UNIT
        if stat.S_ISCHR(status.st_mode) and not status.st_rdev:
            now = 0
        elif not stat.S_ISREG(status.st_mode):
            now = max(now, BLOCK)
        if status.st_ino == self._root:  # what every mount has
            now -= BLOCK
        now += self._attributes.get(status.st_ino, 0)
        self.used += now - self._charged.get(status.st_ino, 0)
        self._charged[status.st_ino] = now

    def _measure(self, target: int | str) -> int:
        names = [name for name in self._layer.attributes(target) if name.startswith("user.")]
        return sum(len(os.fsencode(name)) + len(self._layer.get_attribute(target, name)) for name in names)
