"""Open directories of a layer that is being unpacked, found by path without ever leaving it.

Every step is one name below an open directory, with O_NOFOLLOW: neither ".." nor a symbolic link can lead out. A link
that the archive itself has put in the way is followed as the container would follow it, with the layer as its root
(openat2(2), RESOLVE_IN_ROOT): Docker unpacks in a chroot, and some images count on it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple, Protocol

from ..errors import InvalidError
from ..kernel import fs
from .lower import DIRECTORY, is_whiteout
from .owners import Place

_MOST = 128
"""Directories that stay open. Entries come in the order of a walk, so few are asked for again once it has gone on."""


class Directory(NamedTuple):
    """An open directory.

    Attributes:
        path: where it really is, links on the way resolved; b"" for the root.
    """

    fd: int
    path: bytes


class Maker(Protocol):
    """Who makes the directories that an archive only implies."""

    def make(self, place: Place) -> None:
        """Make a directory where nothing is, or a whiteout. No call back into the cache is allowed."""


class Directories:
    """The cache. A descriptor that it gave out is good until the next call."""

    def __init__(self, root: int, maker: Maker) -> None:
        self._root = Directory(root, b"")
        self._maker = maker
        self._open: dict[bytes, Directory] = {}
        self._closing: list[int] = []

    def get(self, path: bytes) -> Directory:
        """The directory at `path`; it and those above it are made when they are missing.

        Raises:
            InvalidError: something on the way is no directory, or a link that leads nowhere.
        """
        found = self._open.get(path)
        if found is not None or not path:
            return found or self._root
        return self._walk(path, make=True)

    def find(self, path: bytes) -> Directory | None:
        """The directory at `path` when all of it is there."""
        found = self._open.get(path)
        if found is not None or not path:
            return found or self._root
        try:
            return self._walk(path, make=False)
        except (FileNotFoundError, InvalidError):
            return None

    def forget(self, path: bytes, *, link: bool = False) -> None:
        """What stood at `path` was removed; `link` says that it was a symbolic link.

        The directories are closed later only: one of them may be the parent that the caller works in.
        """
        below = path + b"/"
        for known, directory in list(self._open.items()):
            if (link and known != directory.path) or directory.path == path or directory.path.startswith(below):
                self._closing.append(self._open.pop(known).fd)

    def close(self) -> None:
        for fd in (*self._closing, *(directory.fd for directory in self._open.values())):
            os.close(fd)
        self._closing.clear()
        self._open.clear()

    def _walk(self, path: bytes, *, make: bool) -> Directory:
        """Go down from the nearest directory above that is open."""
        while self._closing:
            os.close(self._closing.pop())
        known = path
        while known and known not in self._open:
            known = known.rpartition(b"/")[0]
        here = self._open[known] if known else self._root
        for name in path[len(known) :].strip(b"/").split(b"/"):
            known = known + b"/" + name if known else name
            here = self._keep(known, self._step(here, name, make=make))
        return here

    def _step(self, parent: Directory, name: bytes, *, make: bool) -> Directory:
        path = parent.path + b"/" + name if parent.path else name
        try:
            return Directory(os.open(name, DIRECTORY, dir_fd=parent.fd), path)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as problem:
            if problem.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            status = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                return self._through_link(path)
            if not (make and is_whiteout(parent.fd, name, status)):
                raise InvalidError(f"the archive has files below {os.fsdecode(path)}, no directory") from None
        self._maker.make(Place(parent.fd, name, path))
        return Directory(os.open(name, DIRECTORY, dir_fd=parent.fd), path)

    def _through_link(self, path: bytes) -> Directory:
        flags = os.O_RDONLY | os.O_DIRECTORY
        try:
            fd = fs.openat2(self._root.fd, path, flags, resolve=fs.RESOLVE_IN_ROOT | fs.RESOLVE_NO_MAGICLINKS)
        except OSError as problem:
            raise InvalidError(
                f"the archive has files below {os.fsdecode(path)}, a link that leads to no directory of the layer"
            ) from problem
        top, real = (os.readlink(b"/proc/self/fd/%d" % number) for number in (self._root.fd, fd))
        return Directory(fd, real[len(top) :].strip(b"/"))

    def _keep(self, path: bytes, directory: Directory) -> Directory:
        if len(self._open) >= _MOST:
            os.close(self._open.pop(next(iter(self._open))).fd)
        self._open[path] = directory
        return directory
