"""Files that COPY and ADD take: a directory of the caller's, read so that nothing outside of it is ever opened.

A Tree is asked by path, relative and without links in it: `resolve` follows those, inside the tree, as in a changed
root. Every descriptor is opened with openat2(2) under RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, so that whoever writes
to the directory meanwhile can lead nobody out of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from ..errors import InvalidError
from ..kernel import fs

CHUNK = 1 << 20
LINKS = 40
"""Symbolic links followed on the way to one file, as the kernel does (path_resolution(7))."""

_BENEATH = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_NO_MAGICLINKS
_KEPT = ("user.", "security.capability")
"""Extended attributes that mean the same elsewhere; labels and access lists are the machine's own."""
_OURS = "user.containers."


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it was seen.

    Attributes:
        path: in its tree, without a slash before or behind; empty for the root.
        mode: type and permissions (inode(7)).
        mtime: nanoseconds since the epoch.
        link: where a symbolic link leads.
        device: of a device file, as st_rdev.
        inode: the same for the names of one file that has several; None for one that has no other.
        stamp: differs once the file is changed.
    """

    path: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: str = ""
    device: int = 0
    inode: tuple[int, int] | None = None
    stamp: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


class Content(Protocol):
    """An open file or directory."""

    def chunks(self) -> Iterator[bytes]:
        """A file's bytes. InvalidError when it is no longer what its entry says, or changes meanwhile."""

    def xattrs(self) -> dict[str, bytes]:
        """The extended attributes that are to be kept."""


class Tree(Protocol):
    """Files under one root."""

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, not following a link there or on the way; None when there is none."""

    def children(self, path: str) -> list[Entry]:
        """What is in the directory at `path`, by name. Sockets are left out: no archive can hold one."""

    def open(self, entry: Entry) -> AbstractContextManager[Content]:
        """Open a regular file or a directory. InvalidError when it may not be read, or is not what it was."""

    def hint(self, path: str) -> str:
        """Why there may be no file at `path`; empty when there is nothing to be said."""


def join(path: str, name: str) -> str:
    """The path of a directory's member."""
    return f"{path}/{name}" if path else name


def resolve(tree: Tree, path: str) -> Entry | None:
    """The file at `path` with all links followed, the last one too; `..` and absolute links stay in the tree.

    Raises:
        InvalidError: links lead in a circle, or on and on.
    """
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    entry = tree.entry("")
    links = 0
    while pending and entry is not None:
        part = pending.pop()
        if part == "..":
            entry = tree.entry(entry.path.rpartition("/")[0])
            continue
        if not entry.is_directory:
            return None
        base, entry = entry.path, tree.entry(join(entry.path, part))
        if entry is not None and entry.is_link:
            links += 1
            if links > LINKS:
                raise InvalidError(f'"/{path}": too many levels of symbolic links', hint="do they lead in a circle?")
            pending += [part for part in reversed(entry.link.split("/")) if part not in ("", ".")]
            entry = tree.entry("" if entry.link.startswith("/") else base)
    return entry


class DirectoryTree:
    """The files below a directory.

    Args:
        directory: a path, or a descriptor, of which a copy is kept.

    Raises:
        OSError: it can't be opened.
    """

    def __init__(self, directory: str | os.PathLike[str] | int) -> None:
        if isinstance(directory, int):
            self._root = fs.openat2(directory, ".", os.O_RDONLY | os.O_DIRECTORY)
        else:
            self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)

    def __enter__(self) -> DirectoryTree:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._root)

    def hint(self, path: str) -> str:
        return ""

    def entry(self, path: str) -> Entry | None:
        try:
            fd = self._open(path, os.O_PATH | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as problem:
            # A link or a file on the way, or a name that is too long: nothing is there.
            if problem.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV):
                return None
            raise self._failure(path, problem) from problem
        try:
            status = os.fstat(fd)
            # readlinkat(2) with an empty path reads the link that O_PATH opened.
            link = os.readlink("", dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
        finally:
            os.close(fd)
        return seen(path, status, link, _stamp(status))

    def children(self, path: str) -> list[Entry]:
        try:
            fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as problem:
            raise self._failure(path, problem) from problem
        try:
            found = [_child(fd, path, item) for item in os.scandir(fd)]
        finally:
            os.close(fd)
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.path)

    @contextmanager
    def open(self, entry: Entry) -> Iterator[Content]:
        kind = os.O_DIRECTORY if entry.is_directory else os.O_NONBLOCK | os.O_NOCTTY
        try:
            fd = self._open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | kind)
        except OSError as problem:
            raise self._failure(entry.path, problem) from problem
        try:
            yield _OpenFile(fd, entry)
        finally:
            os.close(fd)

    def _open(self, path: str, flags: int) -> int:
        while True:
            try:
                return fs.openat2(self._root, path or ".", flags, resolve=_BENEATH)
            except BlockingIOError:
                continue  # EAGAIN: something was renamed while the kernel looked (openat2(2))

    def _failure(self, path: str, problem: OSError) -> InvalidError:
        if problem.errno in (errno.EACCES, errno.EPERM):
            hint = "make it readable, or name it in .dockerignore"
            return InvalidError(f"no permission to read from '/{path}'", hint=hint)
        if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
            return _changed(path)
        return InvalidError(f"'/{path}' can't be read: {problem.strerror}")


def _changed(path: str) -> InvalidError:
    hint = "build again when nothing writes to it, or name it in .dockerignore"
    return InvalidError(f"'/{path}' changed while it was read", hint=hint)


def _child(fd: int, path: str, item: os.DirEntry[str]) -> Entry | None:
    """A member of an open directory; None when it has gone meanwhile, or is a socket."""
    try:
        status = item.stat(follow_symlinks=False)
        link = os.readlink(item.name, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
    except FileNotFoundError:
        return None
    return None if stat.S_ISSOCK(status.st_mode) else seen(join(path, item.name), status, link, _stamp(status))


def seen(path: str, status: os.stat_result, link: str, stamp: tuple[int, ...] = ()) -> Entry:
    """The entry of a file with these attributes (stat(2)); `link` is where it leads, if it is a symbolic link."""
    several = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
    return Entry(
        path=path,
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if stat.S_ISREG(status.st_mode) else 0,
        mtime=status.st_mtime_ns,
        link=link,
        device=status.st_rdev,
        inode=(status.st_dev, status.st_ino) if several else None,
        stamp=stamp,
    )


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def copy(content: Content, sink: int) -> None:
    """Write a file's bytes to an empty file; as a reflink where both lie on one file system that has them.

    Raises:
        InvalidError: as `Content.chunks`.
        OSError: it can't be written.
    """
    if isinstance(content, _OpenFile):
        content.copy(sink)
        return
    for chunk in content.chunks():
        _write(sink, chunk)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


class _OpenFile:
    """The content of a file of a DirectoryTree."""

    def __init__(self, fd: int, entry: Entry) -> None:
        self._fd = fd
        self._entry = entry
        self._check()

    def _check(self) -> None:
        if not self._entry.is_directory and _stamp(os.fstat(self._fd)) != self._entry.stamp:
            raise _changed(self._entry.path)

    def chunks(self) -> Iterator[bytes]:
        left = self._entry.size
        while left:
            chunk = os.read(self._fd, min(left, CHUNK))
            if not chunk:
                raise _changed(self._entry.path)
            left -= len(chunk)
            yield chunk
        self._check()

    def copy(self, sink: int) -> None:
        """See the function of this name."""
        left = self._entry.size
        try:
            while left:
                copied = os.copy_file_range(self._fd, sink, left)
                if not copied:
                    raise _changed(self._entry.path)
                left -= copied
        except OSError as problem:
            # EXDEV, EOPNOTSUPP, EINVAL: not between these two file systems (copy_file_range(2)); each before any byte.
            if left != self._entry.size or problem.errno not in (errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            for chunk in self.chunks():
                _write(sink, chunk)
        self._check()

    def xattrs(self) -> dict[str, bytes]:
        try:
            names = os.listxattr(self._fd)
        except OSError:
            return {}  # the file system has none
        wanted = [name for name in names if name.startswith(_KEPT) and not name.startswith(_OURS)]
        return {name: os.getxattr(self._fd, name) for name in sorted(wanted)}


class EmptyTree:
    """No files at all: the context of a Dockerfile that comes alone."""

    def entry(self, path: str) -> Entry | None:
        return None if path else Entry("", stat.S_IFDIR | 0o755, 0, 0, 0, 0)

    def children(self, path: str) -> list[Entry]:
        return []

    def open(self, entry: Entry) -> AbstractContextManager[Content]:
        raise _changed(entry.path)

    def hint(self, path: str) -> str:
        return "the context is empty when the Dockerfile comes from standard input alone"
