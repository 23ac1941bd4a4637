"""An archive's files in a directory that is in use: what `cp` does at its destination.

The rules are Docker's (moby, pkg/archive, Untar with NoOverwriteDirNonDir): a file replaces a file, a directory joins a
directory, and neither takes the other's place. Files are made anew under their name, never written through a link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..errors import ConflictError, InvalidError
from . import tarheader as th
from .owners import kept
from .tarheader import Entry
from .tarstream import TarStream
from .untar import impossible, inner_path, write_data

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Policy:
    """What becomes of the attributes.

    Attributes:
        owner: (uid, gid) of all files; None for whom the archive says; (-1, -1) for the caller.
        mode: the bits of a mode that are kept.
        follow: a link in the way to an entry leads on; only where it can't lead out of a container.
        top: what the archive says of the directory itself is done to it.
    """

    owner: tuple[int, int] | None
    mode: int = 0o7777
    follow: bool = False
    top: bool = False


@dataclass(frozen=True)
class Rename:
    """The first part of each name, `old`, becomes `new`: `cp a b` makes `b` of `a`. `old` may be "."."""

    old: bytes
    new: bytes

    def __call__(self, path: bytes) -> bytes:
        if self.old == b".":
            return self.new + b"/" + path if path else self.new
        head, slash, rest = path.partition(b"/")
        return self.new + slash + rest if head == self.old else path


class Extractor:
    """Extracts into one directory."""

    def __init__(self, root: int, policy: Policy, rename: Rename | None = None) -> None:
        self._root = root
        self._policy = policy
        self._rename = rename or (lambda path: path)
        self._chain: list[tuple[bytes, int]] = []
        self._directories: list[tuple[bytes, Entry]] = []
        self._make: dict[bytes, Callable[[int, bytes, Entry, TarStream], None]] = {
            **dict.fromkeys(th.FILES, self._file),
            th.HARD_LINK: self._hard_link,
            th.SYMLINK: self._symlink,
            th.DIRECTORY: self._directory,
            **dict.fromkeys((th.FIFO, th.CHARACTER, th.BLOCK_DEVICE), self._special),
        }

    def run(self, archive: TarStream) -> None:
        """Extract all of `archive`.

        Raises:
            InvalidError: it is damaged, or an entry leads out of the directory.
            ConflictError: a file would take a directory's place or the other way round; in Docker's words.
            OSError: no room, no permission.
        """
        try:
            for entry in archive:
                self._entry(entry, archive)
            # A directory's mode may forbid what is still to be made in it, and each new entry changes its time.
            for path, entry in reversed(self._directories):
                self._finish_directory(path, entry)
        finally:
            self._leave(0)

    def _entry(self, entry: Entry, archive: TarStream) -> None:
        path = self._rename(inner_path(entry.name))
        if not path:  # the directory itself, which is there
            if self._policy.top and entry.type == th.DIRECTORY:
                self._directories.append((path, entry))
            return
        make = self._make.get(entry.type)
        if make is None:
            raise InvalidError(f"{os.fsdecode(path)} is of a type that is not known ({entry.type!r})")
        above, _, name = path.rpartition(b"/")
        parent = self._open(above)
        try:
            self._clear(parent, name, path, entry)
            if entry.type == th.DIRECTORY:
                self._directories.append((path, entry))
            make(parent, name, entry, archive)
        except OSError as problem:
            raise OSError(problem.errno, problem.strerror, os.fsdecode(path)) from problem
        except (ValueError, OverflowError) as problem:  # a value that no system call takes
            raise impossible(path, str(problem)) from problem

    def _open(self, path: bytes) -> int:
        """The directory at `path`, made where it is missing. The descriptor is good until the next call."""
        parts = path.split(b"/") if path else []
        same = 0
        for part, (known, _) in zip(parts, self._chain, strict=False):
            if part != known:
                break
            same += 1
        self._leave(same)
        for part in parts[same:]:
            self._chain.append((part, self._step(self._chain[-1][1] if self._chain else self._root, part)))
        return self._chain[-1][1] if self._chain else self._root

    def _step(self, parent: int, name: bytes) -> int:
        flags = _DIRECTORY if self._policy.follow else _DIRECTORY | os.O_NOFOLLOW
        try:
            return os.open(name, flags, dir_fd=parent)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=parent)
            return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)

    def _leave(self, depth: int) -> None:
        while len(self._chain) > depth:
            os.close(self._chain.pop()[1])

    def _clear(self, parent: int, name: bytes, path: bytes, entry: Entry) -> None:
        """Make way for an entry."""
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        there, comes = stat.S_ISDIR(status.st_mode), entry.type == th.DIRECTORY
        if there and not comes:
            raise ConflictError(f'cannot overwrite directory "{_shown(path)}" with non-directory')
        if comes and not there:
            raise ConflictError(f'cannot overwrite non-directory "{_shown(path)}" with directory')
        if not there:
            with suppress(FileNotFoundError):
                self._unlink(parent, name, entry)

    @staticmethod
    def _unlink(parent: int, name: bytes, entry: Entry) -> None:
        try:
            os.unlink(name, dir_fd=parent)
        except OSError as problem:
            # Something is mounted there, as on /etc/hosts: what can be done is to write into it.
            if problem.errno != errno.EBUSY or entry.type not in th.FILES:
                raise

    def _file(self, parent: int, name: bytes, entry: Entry, archive: TarStream) -> None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        except FileExistsError:  # a mount point
            fd = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent)
        try:
            write_data(fd, entry, archive)
            self._dress(fd, entry)
        finally:
            os.close(fd)

    def _dress(self, fd: int, entry: Entry) -> None:
        """Owner, mode, attributes and times; the owner first, because chown(2) takes set-id bits away."""
        uid, gid = self._owner(entry)
        if (uid, gid) != (-1, -1):
            os.fchown(fd, uid, gid)
        os.fchmod(fd, entry.mode & self._policy.mode)
        for name, value in kept(entry.xattrs).items():
            with suppress(OSError):  # not every file system has them, and not everybody may set every one
                os.setxattr(fd, name, value)
        os.utime(fd, ns=(entry.mtime, entry.mtime))

    def _owner(self, entry: Entry) -> tuple[int, int]:
        return (entry.uid, entry.gid) if self._policy.owner is None else self._policy.owner

    def _hard_link(self, parent: int, name: bytes, entry: Entry, archive: TarStream) -> None:
        target = self._rename(inner_path(entry.link))
        above, _, last = target.rpartition(b"/")
        held = os.dup(parent)
        try:
            source = self._open(above)
            os.link(last, name, src_dir_fd=source, dst_dir_fd=held, follow_symlinks=False)
        finally:
            os.close(held)

    def _symlink(self, parent: int, name: bytes, entry: Entry, archive: TarStream) -> None:
        os.symlink(entry.link, name, dir_fd=parent)
        uid, gid = self._owner(entry)
        if (uid, gid) != (-1, -1):
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _special(self, parent: int, name: bytes, entry: Entry, archive: TarStream) -> None:
        if entry.type != th.FIFO:
            return  # a user namespace may not make devices, and a device of a container's is none of the host's
        os.mkfifo(name, entry.mode & 0o777, dir_fd=parent)
        uid, gid = self._owner(entry)
        if (uid, gid) != (-1, -1):
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)

    def _directory(self, parent: int, name: bytes, entry: Entry, archive: TarStream) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)

    def _finish_directory(self, path: bytes, entry: Entry) -> None:
        if not path:
            self._dress(self._root, entry)
            return
        above, _, name = path.rpartition(b"/")
        with suppress(FileNotFoundError, NotADirectoryError):  # somebody has removed it meanwhile
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._open(above))
            try:
                self._dress(fd, entry)
            finally:
                os.close(fd)


def _shown(path: bytes) -> str:
    return os.fsdecode(path)
