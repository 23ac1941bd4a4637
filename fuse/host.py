"""A layer that is somebody's living file system, read by its caller without any privilege: the image named `host`.

The server is the caller in the initial user namespace. Its own files and root's show as the container's root's, all
others as nobody's; what the caller may not read can't be read inside either, whatever the mode says there.
"""

from __future__ import annotations

import os

from . import metadata
from .layer import Layer, LayerSpec


class HostLayer(Layer):
    """A tree with the ids of the initial user namespace."""

    def __init__(self, index: int, spec: LayerSpec) -> None:
        super().__init__(index, spec)
        self._roots = {0, os.geteuid()}
        self._root_groups = {0, os.getegid()}

    def status(self, directory: int, name: bytes) -> os.stat_result:
        return self._translated(os.stat(name, dir_fd=directory, follow_symlinks=False))

    def descriptor_status(self, fd: int) -> os.stat_result:
        return self._translated(os.fstat(fd))

    def entry_status(self, entry: os.DirEntry[str], directory: int) -> os.stat_result:
        return self._translated(entry.stat(follow_symlinks=False))

    def is_whiteout(self, directory: int, name: bytes, status: os.stat_result) -> bool:
        return False  # this is no layer of an overlay, whatever lies in it

    def _translated(self, status: os.stat_result) -> os.stat_result:
        uid = 0 if status.st_uid in self._roots else metadata.NOBODY
        gid = 0 if status.st_gid in self._root_groups else metadata.NOBODY
        return metadata.changed(status, uid=uid, gid=gid)
