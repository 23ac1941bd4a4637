"""What is done to one file: its data, its attributes, its extended attributes."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from .copyup import CopyUp
from .metadata import at
from .node import UPPER, Directory, File, Node
from .owned import OwnedLayer
from .quota import Quota
from .tree import Tree, error


@dataclass(slots=True)
class Change:
    """What setattr is to change; None leaves a thing as it is. Times are in nanoseconds."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None


class Files:
    """The operations on a node, once it was found."""

    def __init__(self, tree: Tree, copyup: CopyUp) -> None:
        self._tree = tree
        self._handles = tree.handles
        self._copyup = copyup
        self._quota = tree.quota
        self._owned = UPPER in tree.layers and tree.layers[UPPER].owned

    def open(self, node: File, flags: int) -> None:
        """Get ready to serve one more handle; opening for writing is what copies a file up, as in overlayfs."""
        if flags & os.O_TRUNC:
            self._copyup.file(node, data=False)
            self._truncate(node, 0)
            node.touch()
            if self._owned:
                self._unsettle(node)
        elif flags & os.O_ACCMODE:
            self._copyup.file(node)
            self._handles.writing(node)
        elif self._tree.layers[node.layer].live:
            self._handles.reading(node)
        # Else the file is opened by the first read that the kernel can't serve from its own pages.
        node.opens += 1

    def release(self, node: File) -> None:
        """One handle less."""
        node.opens -= 1
        if not node.opens:
            self._tree.released(node)

    def read(self, node: File, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; fewer only at the end of the file."""
        fd = node.fd
        return os.pread(fd if fd >= 0 else self._handles.reading(node), size, offset)

    def write(self, node: File, offset: int, data: bytes) -> int:
        """Write at `offset` and give the number of bytes written.

        Set-id bits and file capabilities go, as for every writer without CAP_FSETID in the initial user namespace: the
        file system below takes them from us as it would take them from the container's process.
        """
        node.status = node.reply = None
        if self._owned and not node.settled:
            self._unsettle(node)
        if self._quota is not None:
            return self._write_within(self._quota, node, offset, data)
        return os.pwrite(node.fd if node.writable else self._writing(node), data, offset)

    def fsync(self, node: File, *, data_only: bool) -> None:
        """Put the file's data on the disk, and what is needed to find it unless `data_only`."""
        fd = self._handles.reading(node)
        if data_only:
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def fsync_directory(self, node: Directory) -> None:
        """Put a directory's entries on the disk; what lies in an image is there already."""
        if node.layer == UPPER and not node.orphan:
            os.fsync(self._handles.directory(node, UPPER))

    def readlink(self, node: Node) -> bytes:
        """The target of a symlink."""
        if node.kind != stat.S_IFLNK:
            raise error(errno.EINVAL)
        directory, name = self._place(node)
        return self._tree.layers[node.layer].readlink(directory, name)

    def setattr(self, node: Node, change: Change) -> os.stat_result:
        """Change attributes and give all of them back. EOPNOTSUPP for a link's mode: chmod(2) would follow it (below,
        until Linux 6.6), out of the container and as the caller."""
        if change.mode is not None and node.kind == stat.S_IFLNK:
            raise error(errno.EOPNOTSUPP)
        if isinstance(node, File):
            self._copyup.file(node, data=change.size != 0)
            if change.size is not None:
                self._truncate(node, change.size)
                if self._owned:
                    self._unsettle(node)
        else:
            self._copyup.any(node)
        node.touch()
        before = self._tree.status(node)
        target = self._target(node)
        upper = self._tree.layers[UPPER]
        if change.uid is not None or change.gid is not None:
            uid = -1 if change.uid is None else change.uid
            upper.set_owner(target, uid, -1 if change.gid is None else change.gid)
        if change.mode is not None:
            upper.set_mode(target, change.mode)
            self._changed(node)
        if change.atime is not None or change.mtime is not None:
            self._set_times(node, target, change)
        node.touch()
        status = self._tree.status(node)
        if self._quota is not None:
            if status.st_ino != before.st_ino and before.st_nlink <= 1:  # an owned symlink, replaced by a file
                self._quota.drop(before.st_ino)
            self._quota.update(target)
        return status

    def getxattr(self, node: Node, name: bytes) -> bytes:
        """The value of an extended attribute. ENODATA when it has none of this name."""
        if node.bare:
            raise error(errno.ENODATA)
        layer = self._tree.layers[node.layer]
        target = self._target(node)
        if not layer.live and not layer.attributes(target):
            node.bare = True
        return layer.get_attribute(target, os.fsdecode(name))

    def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        if self._quota is not None:
            self._quota.reserve(len(name) + len(value))
        self._copyup.any(node)
        target = self._target(node)
        self._tree.layers[UPPER].set_attribute(target, os.fsdecode(name), value)
        self._attributes_changed(node, target)

    def removexattr(self, node: Node, name: bytes) -> None:
        """Remove an extended attribute; one that is not there copies nothing up."""
        self.getxattr(node, name)
        self._copyup.any(node)
        target = self._target(node)
        self._tree.layers[UPPER].remove_attribute(target, os.fsdecode(name))
        self._attributes_changed(node, target)

    def listxattr(self, node: Node) -> list[bytes]:
        """The names of the extended attributes, but for the union's own."""
        names = self._tree.layers[node.layer].attributes(self._target(node))
        return [os.fsencode(name) for name in names]

    def _attributes_changed(self, node: Node, target: int | str) -> None:
        self._changed(node)
        if self._quota is not None:
            self._quota.update(target, attributes=True)

    @staticmethod
    def _changed(node: Node) -> None:
        node.touch()
        node.bare = False
        if isinstance(node, File):
            node.settled = False

    def _unsettle(self, node: File) -> None:
        """What the file system does for a `mapped` layer: a change of contents takes privileges away."""
        if not node.settled and node.kind == stat.S_IFREG:
            upper = self._tree.layers[UPPER]
            assert isinstance(upper, OwnedLayer)
            upper.drop_privileges(self._handles.writing(node))
            node.settled = True

    def _write_within(self, quota: Quota, node: File, offset: int, data: bytes) -> int:
        fd = self._writing(node)
        written = os.pwrite(fd, quota.admit(fd, offset, data), offset)
        quota.update(fd)
        return written

    def _truncate(self, node: File, size: int) -> None:
        fd = self._writing(node)
        if self._quota is None:
            os.ftruncate(fd, size)
            return
        os.ftruncate(fd, size)
        self._quota.update(fd)

    def _writing(self, node: File) -> int:
        if node.layer != UPPER:  # a handle opened for reading whose file was opened again through /proc/self/fd
            self._copyup.file(node)
        return self._handles.writing(node)

    def _set_times(self, node: Node, target: int | str, change: Change) -> None:
        atime, mtime = change.atime, change.mtime
        if atime is None or mtime is None:
            now = self._tree.status(node)
            atime = now.st_atime_ns if atime is None else atime
            mtime = now.st_mtime_ns if mtime is None else mtime
        os.utime(target, ns=(atime, mtime), follow_symlinks=isinstance(target, int))

    def _place(self, node: Node) -> tuple[int, bytes]:
        """A directory descriptor and a name that lead to a node that is not the root."""
        if node.parent is None:
            raise error(errno.ENOENT)
        return self._handles.directory(node.parent, node.layer), node.name

    def _target(self, node: Node) -> int | str:
        """What to name a node by: a descriptor where one is at hand or may be opened, else a short path."""
        if isinstance(node, Directory):
            if not node.orphan:
                return self._handles.directory(node, node.layer)
        elif isinstance(node, File) and node.fd >= 0:
            return node.fd
        directory, name = self._place(node)
        return at(directory, name)
