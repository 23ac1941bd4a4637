"""The copy-on-write filesystem, without a protocol: a writable layer over read-only ones, as one tree.

Everything here raises OSError and nothing else. A kill at any point leaves the upper directory with the old state or
the new
one: what takes more than one step is made ready in the work directory and put in its place by one rename.
docs/internals/cow.md has the order of the steps for each operation.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from . import metadata
from .base import Base
from .copyup import CopyUp
from .files import Files
from .handles import Handles, capacity
from .host import HostLayer
from .layer import Layer, LayerSpec
from .listing import Listing
from .metadata import Caller, at
from .node import UPPER, Directory, File, Node
from .owned import OwnedLayer
from .quota import BLOCK, Quota
from .rename import Renames
from .tree import Tree, error
from .whiteout import Whiteouts, set_opaque
from .work import Work, remove_tree

Make = Callable[[int, bytes, int], None]
"""Makes an inode: (directory descriptor, name, mode)."""


@dataclass(frozen=True)
class Config:
    """What a mount is made of.

    Attributes:
        lowers: the image's layers, top first.
        upper: the writable layer; None makes the mount read-only.
        work: a directory on the file system of `upper`, needed with it.
        volatile: nobody needs the writable layer after a crash of the machine: nothing is written to the disk for its
            sake, neither a copy's data before that takes its place nor what is asked for by fsync(2).
        size: how many bytes the writable layer may hold; None sets no limit.
        base: the path of base.jsonl, where first changes of what lies in a live layer are noted; needed with one.
        descriptors: how many descriptors the cache may hold; None takes it from the limit of the process.
        hidden: directories of which a `host` layer shows nothing, besides `upper` and `work`.
        ids: how many user and group ids the mount's user namespace has, from 0 on: what belongs to another id shows as
            root's, and stays the other's on the disk. The kernel lets nobody write to a file of an id without a
            mapping (user_namespaces(7)). None shows every id as it is.
    """

    lowers: tuple[LayerSpec, ...]
    upper: LayerSpec | None = None
    work: str | int | None = None
    volatile: bool = False
    size: int | None = None
    base: str | None = None
    descriptors: int | None = None
    hidden: tuple[str, ...] = ()
    ids: tuple[int, int] | None = None


KINDS: dict[str, type[Layer]] = {"mapped": Layer, "owned": OwnedLayer, "host": HostLayer}


def open_layer(index: int, spec: LayerSpec) -> Layer:
    """The layer that `spec` describes. OSError when its root is not a directory that can be opened."""
    return KINDS[spec.kind](index, spec)


class Union:
    """The filesystem. Namespace operations are here, those on one file in `files`, rename in `renames`."""

    def __init__(self, config: Config) -> None:
        self.volatile = config.volatile
        self.ids = config.ids or (1 << 32, 1 << 32)
        layers: dict[int, Layer] = {}
        work: Work | None = None
        if config.upper is not None:
            upper = layers[UPPER] = open_layer(UPPER, config.upper)
            assert config.work is not None
            root = os.open(config.work, os.O_RDONLY | os.O_CLOEXEC) if isinstance(config.work, str) else config.work
            work = Work(root)
            if isinstance(upper, OwnedLayer):
                upper.begin(work)
        for index, spec in enumerate(config.lowers, start=UPPER + 1):
            layers[index] = open_layer(index, spec)
        self._hide(layers, config, work)
        self.handles = Handles(layers, capacity() if config.descriptors is None else config.descriptors)
        quota = Quota(config.size, layers[UPPER]) if config.size is not None and UPPER in layers else None
        base = Base(config.base, sync=not config.volatile) if config.base is not None else None
        self.tree = Tree(layers, self.handles, quota, base)
        self.nodes = self.tree.table.nodes
        self.copyup = CopyUp(self.tree, work, sync=not config.volatile)
        self.whiteouts = Whiteouts(work.fd if work is not None else None)
        if work is not None:
            layers[UPPER].file_whiteouts = not self.whiteouts.devices
        self.files = Files(self.tree, self.copyup)
        self.renames = Renames(self.tree, self.copyup, self.whiteouts)

    @staticmethod
    def _hide(layers: dict[int, Layer], config: Config, work: Work | None) -> None:
        hosts = [layer for layer in layers.values() if isinstance(layer, HostLayer)]
        fds = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in config.hidden if hosts]
        own = [layers[UPPER].root, work.root] if work is not None else []
        for layer in hosts:
            layer.hide([*own, *fds])
        for fd in fds:
            os.close(fd)

    def directory(self, ino: int) -> Directory:
        """The node of a directory. ESTALE for an unknown number, ENOTDIR for another kind."""
        node = self.node(ino)
        if not isinstance(node, Directory):
            raise error(errno.ENOTDIR)
        return node

    def file(self, ino: int) -> File:
        """The node of something else than a directory."""
        node = self.node(ino)
        if not isinstance(node, File):
            raise error(errno.EISDIR)
        return node

    def node(self, ino: int) -> Node:
        """The node of an inode number that the kernel was told of."""
        try:
            return self.nodes[ino]
        except KeyError:
            raise error(errno.ESTALE) from None

    def create(self, parent: Directory, name: bytes, mode: int, caller: Caller) -> File:
        """Create a regular file and open it; EEXIST when the name is taken."""
        opened = -1

        def make(directory: int, name: bytes, mode: int) -> None:
            nonlocal opened
            opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=directory)

        try:
            node = self._make(parent, name, stat.S_IMODE(mode) | stat.S_IFREG, caller, make)
        except BaseException:
            if opened >= 0:
                os.close(opened)
            raise
        assert isinstance(node, File)
        self.handles.adopt(node, opened, writable=True)
        node.opens = 1
        node.bare = True
        return node

    def mknod(self, parent: Directory, name: bytes, mode: int, device: int, caller: Caller) -> Node:
        """Create a file, fifo or socket, or a device where the kernel lets the caller (in a user namespace: nowhere).

        Raises:
            OSError: EPERM for the device 0:0 as well, which is a whiteout on disk.
        """
        if stat.S_IFMT(mode) == stat.S_IFCHR and device == 0:
            raise error(errno.EPERM)

        def make(directory: int, name: bytes, mode: int) -> None:
            self.tree.layers[UPPER].make_special(directory, name, mode, device)

        return self._make(parent, name, mode, caller, make)

    def mkdir(self, parent: Directory, name: bytes, mode: int, caller: Caller) -> Directory:
        """Create a directory. Over a whiteout it is opaque: what that hid must not show through."""

        def make(directory: int, name: bytes, mode: int) -> None:
            os.mkdir(name, stat.S_IMODE(mode), dir_fd=directory)

        node = self._make(parent, name, stat.S_IMODE(mode) | stat.S_IFDIR, caller, make)
        assert isinstance(node, Directory)
        node.complete = True
        return node

    def symlink(self, parent: Directory, name: bytes, target: bytes, caller: Caller) -> Node:
        """Create a symbolic link."""

        def make(directory: int, name: bytes, mode: int) -> None:  # noqa: ARG001
            os.symlink(target, name, dir_fd=directory)

        return self._make(parent, name, stat.S_IFLNK | 0o777, caller, make)

    def link(self, node: File, parent: Directory, name: bytes) -> File:
        """Give a file one more name, after it was copied up with its first."""
        if node.orphan:
            raise error(errno.ENOENT)
        if name in parent.children:
            raise error(errno.EEXIST)
        if self.tree.quota is not None:
            self.tree.quota.reserve(0)
        self.copyup.file(node)
        directory = self.copyup.directory(parent)
        assert node.parent is not None
        source = self.handles.directory(node.parent, UPPER)
        try:
            os.link(node.name, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            self._require_whiteout(directory, name)
            work = self.copyup.work
            temporary = work.fresh()
            os.link(node.name, temporary, src_dir_fd=source, dst_dir_fd=work.fd, follow_symlinks=False)
            os.rename(temporary, name, src_dir_fd=work.fd, dst_dir_fd=directory)
        node.touch()
        parent.alter()
        self._names_changed(directory)
        self.tree.table.share(node, self.tree.status(node))
        return self.tree.add_link(node, parent, name)

    def unlink(self, parent: Directory, name: bytes) -> None:
        """Remove a name. Where it would come to light below, a whiteout takes its place in the same moment."""
        node = self.tree.require(parent, name)
        if not isinstance(node, File):
            raise error(errno.EISDIR)
        if node.opens:
            self.handles.reading(node)  # the last chance: a removed file can't be opened
        status = self.tree.status(node)  # the last chance for this too
        below = self._has_lower(parent, name, node)
        directory = self.copyup.directory(parent)
        self.tree.note_base(node)
        if node.layer != UPPER:
            self.whiteouts.create(directory, name)
        elif below:
            os.rename(self.whiteouts.prepare(), name, src_dir_fd=self.copyup.work.fd, dst_dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
        node.status = status
        self.tree.detach(parent, name, node)
        self._names_changed(directory)

    def rmdir(self, parent: Directory, name: bytes) -> None:
        """Remove an empty directory, along with the whiteouts that it holds in the writable layer."""
        node = self.tree.require(parent, name)
        if not isinstance(node, Directory):
            raise error(errno.ENOTDIR)
        self.tree.load(node)
        if node.children:
            raise error(errno.ENOTEMPTY)
        self.tree.status(node)
        below = self._has_lower(parent, name, node)
        directory = self.copyup.directory(parent)
        self.tree.note_base(node)
        if node.layer != UPPER:
            self.whiteouts.create(directory, name)
        else:
            self._remove_directory(directory, name, node, leave_whiteout=below)
        self.tree.detach(parent, name, node)
        self._names_changed(directory)

    def opendir(self, node: Directory) -> Listing:
        """A listing of `node`, not read yet."""
        return Listing(node, live=self.tree.live)

    def entries(self, listing: Listing, offset: int) -> list[bytes]:
        """The names of a listing (but for . and ..) by place, which begins anew when it is read from 0 (rewinddir(3)).

        What the directory no longer has under its name is the reader's to leave out.
        """
        names = listing.names
        if names is None or offset == 0:
            node = listing.node
            self.tree.load(node)
            if node.order is None or self.tree.live:
                node.order = list(node.children)
            names = listing.names = node.order
        return names

    def statfs(self) -> os.statvfs_result:
        """The space of the file system that the topmost layer lies on, as far as the limit allows."""
        space = os.fstatvfs(next(iter(self.tree.layers.values())).root)
        if self.tree.quota is None:
            return space
        total, free, available = self.tree.quota.limited(space)
        return os.statvfs_result((*space[:2], total, free, available, *space[5:10], space.f_fsid))

    def _make(self, parent: Directory, name: bytes, mode: int, caller: Caller, make: Make) -> Node:
        """Create an inode: at once where it is whole from the first moment, else through the work directory."""
        if name in parent.children:
            raise error(errno.EEXIST)
        if self.tree.quota is not None:
            self.tree.quota.reserve(0 if stat.S_ISREG(mode) else BLOCK)
        directory = self.copyup.directory(parent)
        status = self.tree.status(parent)
        uid, gid, mode = metadata.owner_of_new(status, caller, mode)
        upper = self.tree.layers[UPPER]
        if upper.is_plain(uid, gid, mode) and not status.st_mode & stat.S_ISGID:
            try:
                make(directory, name, mode)
                return self._made(parent, name, directory)
            except FileExistsError:
                self._require_whiteout(directory, name)
        self._make_in_work(directory, name, (uid, gid, mode), make)
        return self._made(parent, name, directory)

    def _make_in_work(self, directory: int, name: bytes, owner: tuple[int, int, int], make: Make) -> None:
        uid, gid, mode = owner
        work = self.copyup.work
        temporary = work.fresh()
        try:
            make(work.fd, temporary, mode)
            path = at(work.fd, temporary)
            upper = self.tree.layers[UPPER]
            upper.set_owner(path, uid, gid)
            if not stat.S_ISLNK(mode):
                upper.set_mode(path, mode)
            self._publish(work, temporary, directory, name, is_directory=stat.S_ISDIR(mode))
        except BaseException:
            work.discard(temporary)
            raise

    def _publish(self, work: Work, temporary: bytes, directory: int, name: bytes, *, is_directory: bool) -> None:
        """Put what was made in the work directory in its place, over a whiteout if there is one."""
        try:
            self._require_whiteout(directory, name)
        except FileNotFoundError:
            os.rename(temporary, name, src_dir_fd=work.fd, dst_dir_fd=directory)
            return
        if is_directory:
            set_opaque(at(work.fd, temporary))
            work.exchange(temporary, directory, name)
            os.unlink(temporary, dir_fd=work.fd)
        else:
            os.rename(temporary, name, src_dir_fd=work.fd, dst_dir_fd=directory)

    def _made(self, parent: Directory, name: bytes, directory: int) -> Node:
        parent.alter()
        if self.tree.quota is not None:
            self.tree.quota.update(at(directory, name))
        self._names_changed(directory)
        status = self.tree.layers[UPPER].status(directory, name)
        return self.tree.add(parent, name, UPPER, (UPPER,) if stat.S_ISDIR(status.st_mode) else (), status)

    def _names_changed(self, directory: int) -> None:
        if self.tree.quota is not None:
            self.tree.quota.update(directory)

    def _require_whiteout(self, directory: int, name: bytes) -> None:
        """EEXIST unless the writable layer has a whiteout under this name; ENOENT when it has nothing."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not self.tree.layers[UPPER].is_whiteout(directory, name, status):
            raise error(errno.EEXIST)

    def _has_lower(self, parent: Directory, name: bytes, node: Node) -> bool:
        if node.layer != UPPER:
            return True
        return not parent.pure and self.tree.lower_has(parent, name)

    def _remove_directory(self, directory: int, name: bytes, node: Directory, *, leave_whiteout: bool) -> None:
        self.handles.close(node)
        work = self.copyup.work
        if leave_whiteout:
            removed = self.whiteouts.prepare()
            work.exchange(removed, directory, name)
            work.discard(removed)
            return
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError as problem:
            if problem.errno != errno.ENOTEMPTY:
                raise
            removed = work.fresh()
            os.rename(name, removed, src_dir_fd=directory, dst_dir_fd=work.fd)
            with suppress(OSError):
                remove_tree(work.fd, removed)
