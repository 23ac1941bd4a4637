"""Mount points: paths inside a container's root, opened so that nothing can lead out of it, made when missing."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from ..errors import RootlessError
from ..kernel import fs
from ..kernel import mount as m


class Root(msgspec.Struct, frozen=True):
    """The mounted root of the container, by a descriptor (O_PATH) below which everything is looked up.

    `borrowed`: descriptors on detached mounts of other containers, by their path there.
    """

    fd: int
    borrowed: Mapping[str, int] = msgspec.field(default_factory=dict)


ATTEMPTS = 100
"""How often a lookup is tried that somebody's renames disturb."""


def open_inside(root_fd: int, path: str, flags: int) -> int:
    """Open `path` as the container itself would find it: `..` and links end at its root, and no magic link is followed.

    Raises:
        OSError: EAGAIN when renames have disturbed every attempt (openat2(2), RESOLVE_IN_ROOT).
    """
    for _ in range(ATTEMPTS):
        with suppress(BlockingIOError):
            return fs.openat2(root_fd, path, flags, resolve=fs.RESOLVE_IN_ROOT | fs.RESOLVE_NO_MAGICLINKS)
    raise BlockingIOError(errno.EAGAIN, "directories on the way are being renamed", path)


class MountPoint:
    """A path inside the container's root, opened so that it can't lead out of it, and made when it is missing."""

    def __init__(self, root: Root, target: str, *, directory: bool = True, missing_ok: bool = False) -> None:
        self.root, self.target = root, target
        self.directory, self.missing_ok = directory, missing_ok
        self.fd = -1

    def __enter__(self) -> MountPoint:
        try:
            self.fd = self._open()
        except FileNotFoundError:
            if not self.missing_ok:
                make_missing(self.root.fd, self.target, directory=self.directory)
                self.fd = self._open()
        return self

    def _open(self) -> int:
        return open_inside(self.root.fd, self.target, os.O_PATH)

    @property
    def path(self) -> str:
        """The magic link of the descriptor: the one path that no rename or link can turn elsewhere."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def is_directory(self) -> bool:
        return _is_directory(self.fd)

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)


MAX_LINKS = 40
"""How many symbolic links one path may lead through (path_resolution(7))."""


def make_missing(root_fd: int, target: str, *, directory: bool, mode: int = 0o755, links: int = MAX_LINKS) -> None:
    """Make the missing part of `target` inside the root: directories, and at its end a directory or an empty file.

    Existing parts are followed as the container itself would follow them, symbolic links inside the root. Where one
    leads to nowhere, what is missing there is made: /etc/resolv.conf may be a link into /run, which is empty.

    Raises:
        RootlessError: a part of the way is a file, or the links have no end.
    """
    parts = [p for p in target.split("/") if p and p != "."]
    where = fs.openat2(root_fd, ".", os.O_PATH | os.O_DIRECTORY)
    try:
        for depth, part in enumerate(parts):
            last = depth == len(parts) - 1
            so_far = "/" + "/".join(parts[: depth + 1])
            try:
                step = open_inside(root_fd, so_far, os.O_PATH)
            except FileNotFoundError:
                try:
                    _make(where, part, mode, directory=directory or not last)
                except FileExistsError:
                    if not links:
                        raise RootlessError(f"{so_far} in the container is a link without an end") from None
                    rest = (posixpath.dirname(so_far), os.readlink(part, dir_fd=where), *parts[depth + 1 :])
                    make_missing(root_fd, posixpath.join(*rest), directory=directory, mode=mode, links=links - 1)
                    return
                step = fs.openat2(where, part, os.O_PATH, resolve=fs.RESOLVE_NO_SYMLINKS)
            os.close(where)
            where = step
    except NotADirectoryError:
        raise RootlessError(f"{target} in the container leads through a file", hint="name another path") from None
    finally:
        os.close(where)


def _make(where: int, name: str, mode: int, *, directory: bool) -> None:
    if directory:
        os.mkdir(name, mode, dir_fd=where)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=where))


_ATTRIBUTES = {
    m.MS_RDONLY: m.MOUNT_ATTR_RDONLY,
    m.MS_NOSUID: m.MOUNT_ATTR_NOSUID,
    m.MS_NODEV: m.MOUNT_ATTR_NODEV,
    m.MS_NOEXEC: m.MOUNT_ATTR_NOEXEC,
}


def attributes(flags: int) -> int:
    """mount(2)'s flags as mount_setattr(2) has them."""
    found = 0
    for bit, attribute in _ATTRIBUTES.items():
        found |= attribute if flags & bit else 0
    return found


def attach(
    source: int,
    root: Root,
    target: str,
    *,
    attributes: int = 0,
    recursive: bool = False,
    deep: bool = True,
    propagation: int = 0,
) -> None:
    """Mount what is behind the descriptor `source` at `target` as well. See `attach_tree`.

    Args:
        recursive: bring the submounts along; with `deep` the attributes reach them, too.

    Raises:
        OSError: EINVAL when submounts are left behind that an outer namespace has locked to their parent.
    """
    tree = m.open_tree(source, "", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH | (m.AT_RECURSIVE if recursive else 0))
    try:
        attach_tree(tree, root, target, attributes=attributes, deep=deep, propagation=propagation)
    finally:
        os.close(tree)


def attach_tree(
    tree: int, root: Root, target: str, *, attributes: int = 0, deep: bool = True, propagation: int = 0
) -> None:
    """Mount a detached tree at `target`.

    It gets its attributes while no path leads to it yet, and `target` is looked up once: whoever exchanges something
    there meanwhile has no mount without attributes, and none that belongs elsewhere. Attributes that an outer namespace
    has locked are only ever added to (mount_namespaces(7)).

    Args:
        deep: the attributes reach its submounts, too.
        propagation: MS_PRIVATE, MS_SLAVE or MS_SHARED; 0 leaves it.

    Raises:
        NotADirectoryError: a directory on a file, or a file on a directory.
    """
    with MountPoint(root, target, directory=_is_directory(tree)) as point:
        if point.is_directory != _is_directory(tree):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", target)
        if attributes:
            m.mount_setattr(tree, "", m.AT_EMPTY_PATH | (m.AT_RECURSIVE if deep else 0), attributes)
        if propagation:
            m.mount_setattr(tree, "", m.AT_EMPTY_PATH | m.AT_RECURSIVE, 0, 0, propagation)
        m.move_mount(tree, point.fd)


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)
