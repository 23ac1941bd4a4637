"""Rename: the one operation that moves things, and so the one with most ways to go wrong.

What moves is first made to lie in the writable layer, whole (`CopyUp.whole`): redirects are never written. Then
one rename(2) with RENAME_WHITEOUT or RENAME_EXCHANGE changes both names at once, so no kill finds the file under
both or under neither.
"""

from __future__ import annotations

import errno
import os

from rootless.kernel import fs

from .copyup import CopyUp
from .metadata import at
from .node import UPPER, Directory, File, Node
from .tree import Tree, error
from .whiteout import Whiteouts, announce_whiteout, set_opaque
from .work import NO_FLAGS


class Renames:
    """rename(2), with RENAME_NOREPLACE and RENAME_EXCHANGE."""

    def __init__(self, tree: Tree, copyup: CopyUp, whiteouts: Whiteouts) -> None:
        self._tree = tree
        self._copyup = copyup
        self._whiteouts = whiteouts

    def rename(self, old: Directory, old_name: bytes, new: Directory, new_name: bytes, flags: int) -> None:
        """Move an entry, as renameat2(2) says.

        Raises:
            OSError: ENOENT, EEXIST, ENOTEMPTY, EISDIR and ENOTDIR as there; EINVAL for other flags; never EXDEV.
        """
        if flags & ~(fs.RENAME_NOREPLACE | fs.RENAME_EXCHANGE):
            raise error(errno.EINVAL)
        node = self._tree.require(old, old_name)
        target = self._tree.child(new, new_name)
        if flags & fs.RENAME_NOREPLACE and target is not None:
            raise error(errno.EEXIST)
        if node is target:
            return  # two links of one file: nothing happens (rename(2))
        if flags & fs.RENAME_EXCHANGE:
            if target is None:
                raise error(errno.ENOENT)
            self._exchange(old, old_name, node, new, new_name, target)
            return
        self._check_types(node, target)
        self._move(old, old_name, node, new, new_name, target)

    def _move(
        self, old: Directory, old_name: bytes, node: Node, new: Directory, new_name: bytes, target: Node | None
    ) -> None:
        tree = self._tree
        self._settle(node)
        source = self._copyup.directory(old)
        destination = self._copyup.directory(new)
        if target is not None:
            self._give_way(new, new_name, target)
        if isinstance(node, Directory) and len(new.layers) > 1:
            # Without this, what lies below the new name would show through.
            set_opaque(at(source, old_name))
        hidden = tree.lower_has(old, old_name)
        self._rename(source, old_name, destination, new_name, node, leave_whiteout=hidden)
        if target is not None:
            tree.detach(new, new_name, target)
        self._relink(old, old_name, new, new_name, node)
        if tree.quota is not None:
            tree.quota.update(source)
            tree.quota.update(destination)

    def _rename(
        self, source: int, old_name: bytes, destination: int, new_name: bytes, node: Node, *, leave_whiteout: bool
    ) -> None:
        """One rename, in which a whiteout appears at the old name when one is needed."""
        if isinstance(node, Directory) and self._has_whiteout(destination, new_name):
            # A directory can't replace a file: the whiteout that stands there changes places with it.
            self._rename_over_whiteout(source, old_name, destination, new_name, leave_whiteout=leave_whiteout)
        elif not leave_whiteout:
            os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=destination)
        elif not self._whiteouts.devices:
            os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=destination)
            self._whiteouts.create(source, old_name)
        else:
            self._rename_whiteout(source, old_name, destination, new_name)

    def _rename_over_whiteout(
        self, source: int, old_name: bytes, destination: int, new_name: bytes, *, leave_whiteout: bool
    ) -> None:
        if not leave_whiteout:
            announce_whiteout(source)  # there it stands until it is removed below
        try:
            fs.renameat2(source, old_name, destination, new_name, fs.RENAME_EXCHANGE)
        except OSError as problem:
            if problem.errno not in NO_FLAGS:
                raise
            os.unlink(new_name, dir_fd=destination)
            os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=destination)
            if leave_whiteout:
                self._whiteouts.create(source, old_name)
            return
        if not leave_whiteout:
            os.unlink(old_name, dir_fd=source)

    def _rename_whiteout(self, source: int, old_name: bytes, destination: int, new_name: bytes) -> None:
        try:
            fs.renameat2(source, old_name, destination, new_name, fs.RENAME_WHITEOUT)
        except OSError as problem:
            if problem.errno not in NO_FLAGS:
                raise
            # No RENAME_WHITEOUT here (NFS): for a moment a kill would leave the file under both names, never under
            # neither.
            os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=destination)
            self._whiteouts.create(source, old_name)

    def _exchange(
        self, old: Directory, old_name: bytes, node: Node, new: Directory, new_name: bytes, target: Node
    ) -> None:
        self._settle(node)
        self._settle(target)
        source = self._copyup.directory(old)
        destination = self._copyup.directory(new)
        if isinstance(node, Directory) and len(new.layers) > 1:
            set_opaque(at(source, old_name))
        if isinstance(target, Directory) and len(old.layers) > 1:
            set_opaque(at(destination, new_name))
        fs.renameat2(source, old_name, destination, new_name, fs.RENAME_EXCHANGE)
        self._unlink_name(old, old_name, node)
        self._unlink_name(new, new_name, target)
        self._link_name(new, new_name, node)
        self._link_name(old, old_name, target)

    def _settle(self, node: Node) -> None:
        if isinstance(node, Directory):
            self._copyup.whole(node)
        elif isinstance(node, File):
            self._copyup.file(node)

    def _give_way(self, parent: Directory, name: bytes, target: Node) -> None:
        """What is about to be replaced: an open file keeps its descriptor, a directory loses its whiteouts."""
        self._tree.note_base(target)
        self._tree.status(target)  # it can't be asked for later
        if isinstance(target, File):
            if target.opens:
                self._tree.handles.reading(target)
            return
        assert isinstance(target, Directory)
        if target.layer == UPPER:
            self._clear(parent, name, target)

    def _clear(self, parent: Directory, name: bytes, target: Directory) -> None:
        """The directory is empty but for whiteouts: an opaque one without any takes its place."""
        directory = self._tree.handles.directory(target, UPPER)
        if not os.listdir(directory):
            return
        self._tree.handles.forget_layers(target)
        work = self._copyup.work
        empty = work.fresh()
        os.mkdir(empty, 0o755, dir_fd=work.fd)
        try:
            path = at(work.fd, empty)
            status = self._tree.status(target)
            upper = self._tree.layers[UPPER]
            upper.set_owner(path, status.st_uid, status.st_gid)
            upper.set_mode(path, status.st_mode)
            set_opaque(path)
            work.exchange(empty, self._tree.handles.directory(parent, UPPER), name)
        finally:
            work.discard(empty)

    def _check_types(self, node: Node, target: Node | None) -> None:
        if target is None:
            return
        if isinstance(target, Directory):
            if not isinstance(node, Directory):
                raise error(errno.EISDIR)
            self._tree.load(target)
            if target.children:
                raise error(errno.ENOTEMPTY)
        elif isinstance(node, Directory):
            raise error(errno.ENOTDIR)

    def _has_whiteout(self, directory: int, name: bytes) -> bool:
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return self._tree.layers[UPPER].is_whiteout(directory, name, status)

    def _relink(self, old: Directory, old_name: bytes, new: Directory, new_name: bytes, node: Node) -> None:
        self._unlink_name(old, old_name, node)
        self._link_name(new, new_name, node)

    @staticmethod
    def _unlink_name(parent: Directory, name: bytes, node: Node) -> None:
        parent.alter()
        node.touch()
        if parent.children.get(name) is node:
            del parent.children[name]
        if isinstance(node, File) and (node.parent, node.name) != (parent, name):
            node.links = tuple(link for link in node.links if link != (parent, name))
            return
        node.parent = None

    @staticmethod
    def _link_name(parent: Directory, name: bytes, node: Node) -> None:
        parent.alter()
        parent.children[name] = node
        if isinstance(node, Directory):
            node.order = None  # it has another ".."
        if node.parent is None:
            node.parent, node.name = parent, name
        elif isinstance(node, File):
            node.links += ((parent, name),)
