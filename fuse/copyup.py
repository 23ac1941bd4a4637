"""Copy-up: giving a file of an image a copy in the writable layer, before the first change of it.

The copy is made whole in the work directory (data, owner, mode, extended attributes, times), its data is written to
the disk, and one rename puts it in its place: whenever the server is killed or the power fails, the upper directory
holds the whole copy or nothing. The parent's times are put back, because for the container nothing has happened.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from rootless.kernel import fs

from . import metadata
from .layer import DIRECTORY, copy_attributes, descend
from .metadata import at
from .node import UPPER, Directory, File, Node
from .quota import BLOCK
from .tree import Tree, error
from .whiteout import set_opaque
from .work import Work

FICLONE = 0x40049409
CHUNK = 1 << 23
_NO_FAST_COPY = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EPERM)


class CopyUp:
    """Moves nodes into the writable layer."""

    def __init__(self, tree: Tree, work: Work | None, *, sync: bool) -> None:
        self._tree = tree
        self._quota = tree.quota
        self._work_or_none = work
        self._sync = sync

    @property
    def work(self) -> Work:
        """The work directory. EROFS when the mount has no writable layer."""
        if self._work_or_none is None:
            raise error(errno.EROFS)
        return self._work_or_none

    def directory(self, node: Directory) -> int:
        """See to it that `node` has a part in the writable layer, and give a descriptor of that.

        Raises:
            OSError: ENOENT when it was removed, EROFS, and what the copying meets.
        """
        if node.layer != UPPER:
            chain: list[Directory] = []
            step: Directory | None = node
            while step is not None and step.layer != UPPER:
                chain.append(step)
                step = step.parent
            if step is None:
                raise error(errno.EROFS if chain[-1].ino == self._tree.root.ino else errno.ENOENT)
            for each in reversed(chain):
                self._copy_directory(each)
        elif node.orphan:
            raise error(errno.ENOENT)
        return self._tree.handles.directory(node, UPPER)

    def any(self, node: Node) -> None:
        """See to it that `node` lies in the writable layer."""
        if isinstance(node, Directory):
            self.directory(node)
        elif isinstance(node, File):
            self.file(node)

    def file(self, node: File, *, data: bool = True) -> None:
        """See to it that `node` lies in the writable layer; without its data when it is about to be truncated."""
        if node.layer == UPPER:
            return
        work = self.work
        if node.parent is None:
            self._copy_orphan(node, work)
            return
        target = self.directory(node.parent)
        self._tree.expire(node)
        status = self._tree.status(node)
        self._tree.note_base(node)
        name = work.fresh()
        fd = -1
        try:
            fd = self._make_copy(node, status, name, data=data)
            before = os.fstat(target)
            os.rename(name, node.name, src_dir_fd=work.fd, dst_dir_fd=target)
        except BaseException:
            self._give_up(fd, name)
            raise
        self._published(target, before)
        real = os.fstat(fd) if fd >= 0 else os.stat(node.name, dir_fd=target, follow_symlinks=False)
        self._moved(node, real, fd)

    def whole(self, node: Directory) -> None:
        """Make a directory pure: everything below it is copied up, and nothing of a lower layer shows through any
        more.

        This is what a rename of it needs, for redirects are never written. The copy is built in the work directory and
        takes the place of what the writable layer has of it in one rename (an exchange when it has something).

        Raises:
            OSError: what the copying meets; then nothing has changed.
        """
        if node.pure:
            return
        if node.parent is None:
            raise error(errno.ENOENT if node.orphan else errno.EBUSY)
        name = self.work.fresh()
        moved: list[tuple[Node, os.stat_result]] = []
        try:
            self._build(node, name, moved)
            target = self.directory(node.parent)
            before = os.fstat(target)
            if node.layer == UPPER:
                self.work.exchange(name, target, node.name)
            else:
                os.rename(name, node.name, src_dir_fd=self.work.fd, dst_dir_fd=target)
            for each, real in moved:  # at once: this is how things are now, whatever else fails
                self._now_pure(each, real)
            metadata.restore_times(target, before)
        finally:
            self.work.discard(name)  # what stood in its place, or what was not finished
            if self._quota is not None:
                self._quota.recount(self._tree.removed_files())

    def _build(self, top: Directory, name: bytes, moved: list[tuple[Node, os.stat_result]]) -> None:
        """Copy the merged tree below `top` to `name` in the work directory."""
        tree = self._tree
        pending: list[tuple[Directory, tuple[bytes, ...]]] = [(top, (name,))]
        while pending:
            node, path = pending.pop()
            parent = descend(self.work.fd, path[:-1])
            try:
                fd = self._build_directory(node, parent, path[-1], moved)
                if node is top:
                    set_opaque(fd)  # what is below it merges with nothing then
            finally:
                os.close(parent)
            try:
                tree.load(node)
                for kid_name, kid in node.children.items():
                    if isinstance(kid, Directory):
                        pending.append((kid, (*path, kid_name)))
                    elif isinstance(kid, File):
                        moved.append((kid, self._build_file(kid, fd, kid_name)))
            finally:
                os.close(fd)
            if tree.handles.excess:
                tree.handles.trim()
        for each, path in self._directories(top, (name,)):
            fd = descend(self.work.fd, path)
            try:
                metadata.set_times(fd, tree.status(each))  # once nothing is put into it any more
            finally:
                os.close(fd)

    @staticmethod
    def _directories(top: Directory, path: tuple[bytes, ...]) -> Iterator[tuple[Directory, tuple[bytes, ...]]]:
        pending = [(top, path)]
        while pending:
            node, path = pending.pop()
            yield node, path
            pending += [(kid, (*path, name)) for name, kid in node.children.items() if isinstance(kid, Directory)]

    def _build_directory(
        self, node: Directory, parent: int, name: bytes, moved: list[tuple[Node, os.stat_result]]
    ) -> int:
        if self._quota is not None:
            self._quota.reserve(BLOCK)
        self._tree.note_base(node)
        os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            self._dress(node, self._tree.handles.directory(node, node.layer), fd)
            self._charge(fd)
        except BaseException:
            os.close(fd)
            raise
        moved.append((node, os.fstat(fd)))
        return fd

    def _build_file(self, node: File, directory: int, name: bytes) -> os.stat_result:
        """A copy of a lower file, or another link of a file that the writable layer has already."""
        if node.layer == UPPER:
            parent = node.parent
            assert parent is not None
            source = self._tree.handles.directory(parent, UPPER)
            os.link(node.name, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        else:
            self._tree.note_base(node)
            fd = self._make_copy(node, self._tree.status(node), name, data=True, directory=directory)
            if fd >= 0:
                os.close(fd)
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def _now_pure(self, node: Node, real: os.stat_result) -> None:
        if isinstance(node, Directory):
            self._tree.handles.forget_layers(node)
            node.layers = (UPPER,)
            node.layer = UPPER
            node.complete = True
            node.touch()
            self._tree.table.keep(node, real)
        elif isinstance(node, File) and node.layer != UPPER:
            self._moved(node, real, -1)
        node.touch()

    def _moved(self, node: File, real: os.stat_result, fd: int) -> None:
        """`node` lies in the writable layer from now on; open handles see the copy."""
        if fd >= 0:
            self._tree.handles.adopt(node, fd, writable=True)
        else:
            self._tree.handles.close(node)
        node.layer = UPPER
        node.touch()
        self._tree.table.keep(node, real)
        self._tree.announce(node)  # it has changed its inode, and been separated from an image's hard links

    def _copy_directory(self, node: Directory) -> None:
        assert node.parent is not None
        tree, work = self._tree, self.work
        target = tree.handles.directory(node.parent, UPPER)
        tree.expire(node)
        status = tree.status(node)
        if self._quota is not None:
            self._quota.reserve(BLOCK)
        tree.note_base(node)
        name = work.fresh()
        fd = -1
        try:
            os.mkdir(name, 0o700, dir_fd=work.fd)
            fd = os.open(name, DIRECTORY, dir_fd=work.fd)
            self._dress(node, tree.handles.directory(node, node.layer), fd)
            self._charge(fd)
            metadata.set_times(fd, status)
            before = os.fstat(target)
            os.rename(name, node.name, src_dir_fd=work.fd, dst_dir_fd=target)
        except BaseException:
            self._give_up(fd, name)
            raise
        self._published(target, before)
        node.layers = (UPPER, *node.layers)
        node.layer = UPPER
        node.touch()
        tree.handles.adopt_directory(node, UPPER, fd)
        tree.table.keep(node, os.fstat(fd))

    def _copy_orphan(self, node: File, work: Work) -> None:
        """A removed file of the image that is still open, and now changed: its copy never has a name."""
        if node.kind != stat.S_IFREG:
            raise error(errno.ENOENT)
        name = work.fresh()
        try:
            fd = self._make_copy(node, self._tree.status(node), name, data=True)
        finally:
            work.discard(name)
        self._tree.handles.adopt(node, fd, writable=True)
        node.layer = UPPER
        node.touch()

    def _make_copy(
        self, node: File, status: os.stat_result, name: bytes, *, data: bool, directory: int | None = None
    ) -> int:
        """Copy `node` to `name` in `directory` (the work directory). The copy's descriptor, or -1 for what has none."""
        into = self.work.fd if directory is None else directory
        if node.kind == stat.S_IFREG:
            return self._copy_regular(node, status, into, name, data=data)
        assert node.parent is not None
        if self._quota is not None:
            self._quota.reserve(BLOCK)
        source = self._tree.handles.directory(node.parent, node.layer)
        if node.kind == stat.S_IFLNK:
            target = self._tree.layers[node.layer].readlink(source, node.name)
            os.symlink(target, name, dir_fd=into)
        else:
            self._tree.layers[UPPER].make_special(into, name, status.st_mode, status.st_rdev)
        path = at(into, name)
        self._dress(node, at(source, node.name), path)
        self._charge(path)
        metadata.set_times(path, status)
        return -1

    def _copy_regular(self, node: File, status: os.stat_result, into: int, name: bytes, *, data: bool) -> int:
        source = self._tree.handles.reading(node)
        if self._quota is not None and data:
            self._quota.reserve(status.st_blocks * 512)
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=into)
        try:
            if data and status.st_size:
                copy_data(source, fd, status.st_size, sync=self._sync)
            self._dress(node, source, fd)
            metadata.set_times(fd, status)
            if self._sync and data and status.st_size:
                # A rename may reach the disk before the data does: after a power failure an empty file would hide a
                # good one.
                os.fdatasync(fd)
            self._charge(fd)
        except BaseException:
            if self._quota is not None:
                self._quota.drop(os.fstat(fd).st_ino)
            os.close(fd)
            with suppress(OSError):
                os.unlink(name, dir_fd=into)
            raise
        return fd

    def _charge(self, target: int | str) -> None:
        """Count what was copied. ENOSPC when its attributes or blocks were too many."""
        if self._quota is not None:
            self._quota.update(target, attributes=True)
            self._quota.reserve(0)

    def _published(self, directory: int, before: os.stat_result) -> None:
        """A copy has taken its place in `directory`."""
        metadata.restore_times(directory, before)
        if self._quota is not None:
            self._quota.update(directory)

    def _give_up(self, fd: int, name: bytes) -> None:
        """A copy is not wanted: remove it, and what was counted for it."""
        if fd >= 0:
            os.close(fd)
        if self._quota is not None:
            with suppress(FileNotFoundError):
                self._quota.drop(os.stat(name, dir_fd=self.work.fd, follow_symlinks=False).st_ino)
        self.work.discard(name)

    def _dress(self, node: Node, source: int | str, target: int | str) -> None:
        """Owner, mode and extended attributes. The owner first: chown(2) takes set-id bits and capabilities away."""
        upper = self._tree.layers[UPPER]
        status = self._tree.status(node)
        if upper.owned or (status.st_uid, status.st_gid) != upper.identity:
            upper.set_owner(target, status.st_uid, status.st_gid)
        if node.kind != stat.S_IFLNK:
            upper.set_mode(target, status.st_mode)
        copy_attributes(source, self._tree.layers[node.layer], target, upper)


def copy_data(source: int, target: int, size: int, *, sync: bool) -> None:
    """Copy `size` bytes into an empty file: shared blocks where the file system can, and holes stay holes.

    With `sync` the disk is set to work on each piece while the next one is copied; the caller waits for it in the end.
    """
    try:
        fcntl.ioctl(target, FICLONE, source)
        return
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
    offset = 0
    while offset < size:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                break  # nothing but a hole up to the end
            start, end = offset, size
        else:
            end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        _copy_range(source, target, start, end, sync=sync)
        offset = end
    os.ftruncate(target, size)


def _copy_range(source: int, target: int, offset: int, end: int, *, sync: bool) -> None:
    while offset < end:
        try:
            done = os.copy_file_range(source, target, min(CHUNK, end - offset), offset, offset)
        except OSError as problem:
            if problem.errno not in _NO_FAST_COPY:
                raise
            done = _copy_by_hand(source, target, offset, min(1 << 20, end - offset))
        if done == 0:
            return  # shorter than it was: somebody truncates a live layer
        if sync and done == CHUNK:
            with suppress(OSError):  # not every file system can
                fs.start_writeback(target, offset, done)
        offset += done


def _copy_by_hand(source: int, target: int, offset: int, count: int) -> int:
    data = os.pread(source, count, offset)
    view = memoryview(data)
    while view:
        written = os.pwrite(target, view, offset)
        view = view[written:]
        offset += written
    return len(data)
