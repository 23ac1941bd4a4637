"""Files as entries of an archive."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from ..fuse.layer import Layer
from ..fuse.metadata import at
from . import tarheader as th
from .owners import kept
from .tarheader import Entry
from .tarwriter import TarWriter

_SECOND = 10**9
_TYPES = {
    stat.S_IFREG: th.REGULAR,
    stat.S_IFDIR: th.DIRECTORY,
    stat.S_IFLNK: th.SYMLINK,
    stat.S_IFIFO: th.FIFO,
    stat.S_IFCHR: th.CHARACTER,
    stat.S_IFBLK: th.BLOCK_DEVICE,
}


class FileWriter:
    """Writes files as entries; the further names of a file as links to its first."""

    def __init__(self, archive: TarWriter, latest: int | None = None) -> None:
        """
        Args:
            latest: seconds since 1970; what is younger gets this time.
        """
        self._archive = archive
        self._latest = latest
        self._linked: dict[tuple[int, int], bytes] = {}

    def add(
        self, layer: Layer, directory: int, name: bytes, path: bytes, status: os.stat_result, opened: int = -1
    ) -> None:
        """Write what `directory` has under `name`. Nothing for a socket, and for what has just been removed.

        Args:
            path: the name in the archive; empty for its root.
            opened: a descriptor of the directory that it is, where there is one.
        """
        kind = _TYPES.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return
        entry = Entry(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, self._time(status), name=path)
        entry.type = kind
        with suppress(FileNotFoundError, NotADirectoryError):
            if kind == th.REGULAR:
                self._regular(entry, layer, directory, name, status)
            elif kind == th.DIRECTORY:
                entry.name = b"./" if path == b"" else path + b"/"
                entry.xattrs = _xattrs(layer, opened if opened >= 0 else at(directory, name))
                self._archive.add(entry)
            elif not self._link(entry, status):
                self._special(entry, layer, directory, name, status)

    def _regular(self, entry: Entry, layer: Layer, directory: int, name: bytes, status: os.stat_result) -> None:
        if self._link(entry, status):
            return
        fd = layer.open_file(directory, name, os.O_RDONLY)
        try:
            if (real := os.fstat(fd)).st_ino != status.st_ino or not stat.S_ISREG(real.st_mode):
                return  # the container runs, and has just put another file in its place
            entry.size = real.st_size
            entry.xattrs = _xattrs(layer, fd)
            self._archive.add(entry, fd)
        finally:
            os.close(fd)

    def _special(self, entry: Entry, layer: Layer, directory: int, name: bytes, status: os.stat_result) -> None:
        if entry.type == th.SYMLINK:
            entry.link = layer.readlink(directory, name)
            entry.mode = 0o777
        elif entry.type != th.FIFO:
            entry.device = os.major(status.st_rdev), os.minor(status.st_rdev)
        self._archive.add(entry)

    def _link(self, entry: Entry, status: os.stat_result) -> bool:
        """Write a further name of a file that is in the archive already; False when it is not."""
        if status.st_nlink < 2:
            return False
        key = status.st_dev, status.st_ino
        first = self._linked.setdefault(key, entry.name)
        if first == entry.name:
            return False
        entry.type, entry.link = th.HARD_LINK, first
        self._archive.add(entry)
        return True

    def _time(self, status: os.stat_result) -> int:
        seconds = status.st_mtime_ns // _SECOND
        return (seconds if self._latest is None else min(seconds, self._latest)) * _SECOND


def _xattrs(layer: Layer, target: int | str) -> dict[bytes, bytes]:
    """Those that a layer can hold."""
    try:
        names = layer.attributes(target)
    except OSError:  # a file system that has none
        return {}
    return kept({os.fsencode(name): layer.get_attribute(target, name) for name in names})
