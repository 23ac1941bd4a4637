"""A copy of a part of the context: what a RUN binds of it.

The context itself is never mounted. A socket or a FIFO in it would lead out of the container, and what somebody writes
to it while the command runs would end in a layer whose key was made of something else. What is copied is what the key
was made of: a file that is no longer that is refused (tree.py).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidError
from ..storage.owners import kept
from . import tree as trees
from .sources import Item, Source
from .tree import Entry, Tree, join

Attributes = dict[str, dict[str, bytes]]
"""Extended attributes by path below the copy."""

_PRIVILEGED = "security."


def copy(tree: Tree, sources: Sequence[Source], place: Path, owner: tuple[int, int] | None) -> Attributes:
    """Copy regular files, directories, symbolic links and FIFOs (new ones) into an empty directory of the caller's.

    Args:
        owner: (uid, gid) that all of it gets, and the directory; None for the caller's own.

    Returns:
        The extended attributes that only a process in the container's user namespace may set.

    Raises:
        InvalidError: a file is not what it was when it was selected, or is a device.
        OSError: the copy can't be written.
    """
    left: Attributes = {}
    directories: list[tuple[Path, Item]] = []
    names: dict[tuple[int, int], Path] = {}
    if owner is not None:
        os.chown(place, *owner)
    for source in sources:
        root = "" if source.is_directory else source.name
        for item in source.items:
            path = join(root, item.target) if item.target else root
            where = place / path
            if item.entry.is_directory:
                where.mkdir(mode=0o700, exist_ok=not path)
                directories.append((where, item))
            elif not _linked(item.entry, where, names):
                _make(tree, item.entry, where)
            else:
                continue  # its first name has had all of what follows
            if owner is not None:
                os.lchown(where, *owner)
            if not (item.entry.is_directory or item.entry.is_link):
                os.chmod(where, item.entry.mode & 0o7777)  # after chown(2), which clears bits of it
            if attributes := _set_own(item, where):
                left[path] = attributes
            if not item.entry.is_directory:
                os.utime(where, ns=(item.entry.mtime, item.entry.mtime), follow_symlinks=False)
    for where, item in reversed(directories):  # only now: one that nobody may write to could not have been filled
        os.chmod(where, item.entry.mode & 0o7777)
        os.utime(where, ns=(item.entry.mtime, item.entry.mtime))
    return left


def _linked(entry: Entry, where: Path, names: dict[tuple[int, int], Path]) -> bool:
    """Whether a file is another name of one that was copied already; then it is made."""
    if entry.inode is None or (first := names.setdefault(entry.inode, where)) == where:
        return False
    os.link(first, where, follow_symlinks=False)
    return True


def _make(tree: Tree, entry: Entry, where: Path) -> None:
    if entry.is_file:
        fd = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with tree.open(entry) as content:
                trees.copy(content, fd)
        finally:
            os.close(fd)
    elif entry.is_link:
        os.symlink(entry.link, where)
    elif stat.S_ISFIFO(entry.mode):
        os.mkfifo(where)
    else:
        raise InvalidError(f"/{entry.path} is a device, and none is given to a RUN", hint="name it in .dockerignore")


def _set_own(item: Item, where: Path) -> dict[str, bytes]:
    """Set those of a file that its owner may set; the others."""
    wanted = {os.fsdecode(n): v for n, v in kept({os.fsencode(n): v for n, v in item.xattrs}).items()}
    for name, value in wanted.items():
        if not name.startswith(_PRIVILEGED):
            os.setxattr(where, name, value, follow_symlinks=False)
    return {name: value for name, value in wanted.items() if name.startswith(_PRIVILEGED)}


def set_attributes(directory: int, attributes: Attributes) -> None:
    """Set what `copy` has left, inside the container's user namespace; `directory` is a descriptor on the copy."""
    os.fchdir(directory)
    for path, values in attributes.items():
        for name, value in values.items():
            os.setxattr(path or ".", name, value, follow_symlinks=False)
