"""A layer that is somebody's living file system, read by its caller without any privilege: the image named `host`.

The server is the caller in the initial user namespace. Its own files and root's show as the container's root's, all
others as nobody's; what the caller may not read can't be read inside either, whatever the mode says there.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from . import metadata
from .layer import DIRECTORY, Layer, LayerSpec

OWN = ("proc", "sys", "dev", "run")
"""Directories at the top of the machine's root of which every container has its own. What the machine has there is seen
as empty: whoever may unmount the container's shall not find the caller's processes, devices and sockets below."""


class HostLayer(Layer):
    """A tree with the ids of the initial user namespace."""

    def __init__(self, index: int, spec: LayerSpec) -> None:
        super().__init__(index, spec)
        self._roots = {0, os.geteuid()}
        self._root_groups = {0, os.getegid()}
        self._hidden = set(self._identities()) if spec.root == "/" else set()

    def hide(self, fds: Iterable[int]) -> None:
        """Show these directories as empty ones wherever they lie: what the union itself writes must not be below it.

        A directory that holds the writable layer could else be copied into that, which would grow while it is read.
        """
        for status in map(os.fstat, fds):
            self._hidden.add((status.st_dev, status.st_ino))

    def _identities(self) -> Iterator[tuple[int, int]]:
        for name in OWN:
            with suppress(OSError):
                status = os.stat(name, dir_fd=self.root, follow_symlinks=False)
                yield status.st_dev, status.st_ino

    def open_directory(self, directory: int, name: bytes) -> int:
        fd = super().open_directory(directory, name)
        status = os.fstat(fd) if self._hidden else None
        if status is None or (status.st_dev, status.st_ino) not in self._hidden:
            return fd
        os.close(fd)
        return _open_nothing()

    def status(self, directory: int, name: bytes) -> os.stat_result:
        return self._translated(os.stat(name, dir_fd=directory, follow_symlinks=False))

    def descriptor_status(self, fd: int) -> os.stat_result:
        return self._translated(os.fstat(fd))

    def entry_status(self, entry: os.DirEntry[str], directory: int) -> os.stat_result:
        return self._translated(entry.stat(follow_symlinks=False))

    def attributes(self, target: int | str) -> list[str]:
        return super().attributes(_readable(target))

    def get_attribute(self, target: int | str, name: str) -> bytes:
        return super().get_attribute(_readable(target), name)

    def is_whiteout(self, directory: int, name: bytes, status: os.stat_result) -> bool:
        return False  # this is no layer of an overlay, whatever lies in it

    def _translated(self, status: os.stat_result) -> os.stat_result:
        uid = 0 if status.st_uid in self._roots else metadata.NOBODY
        gid = 0 if status.st_gid in self._root_groups else metadata.NOBODY
        return metadata.changed(status, uid=uid, gid=gid)


def _open_nothing() -> int:
    """A descriptor of a directory that is empty and has no name any more, so that nothing can be made in it."""
    import tempfile  # not before it is needed: it brings much along

    path = tempfile.mkdtemp(prefix="rootless-")
    try:
        return os.open(path, DIRECTORY)
    finally:
        os.rmdir(path)


def _readable(target: int | str) -> int | str:
    """A directory that may not be listed is open with O_PATH, which flistxattr(2) refuses (EBADF): by its name then."""
    return f"/proc/self/fd/{target}/." if isinstance(target, int) and _is_path_only(target) else target


def _is_path_only(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH)
