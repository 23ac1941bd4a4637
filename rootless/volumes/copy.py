"""A faithful copy of a tree: data with its holes, owners, modes, times, hard links, extended attributes.

The system calls are those of `cp -a`, fewer where less will do: ten thousand files are filled into a volume while
somebody waits for a container. The source must not change meanwhile; a name that is exchanged for a link is not
followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ..storage.usage import open_below

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 30
_SMALL = 1 << 16
"""Up to so many bytes are copied by one read(2) and one write(2)."""
_NO_SUCH_OWNER = frozenset({errno.EINVAL, errno.EPERM})
"""chown(2): an id that the namespace has not, or a file system that gives nothing away. The file stays root's."""
_NO_SUCH_ATTRIBUTE = frozenset({errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL})
"""setxattr(2): a file system without it, or a name of a security module's."""

Place = tuple[str, ...]


def copy_tree(source: int, target: int) -> None:
    """Copy everything in the directory behind `source`, and its own attributes, to the empty one behind `target`.

    Devices are left out: no user namespace may make one (mknod(2)).

    Raises:
        OSError: of the first file that can't be read or written.
    """
    before = os.umask(0)
    try:
        _Copy(source, target).run()
    finally:
        os.umask(before)


def copy_attributes(source: int, target: int) -> None:
    """Give the file behind `target` the owner, mode, extended attributes and times of the one behind `source`."""
    status = os.fstat(source)
    _give(target, status)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    _copy_xattrs(source, target)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


class _Copy:
    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self._waiting: list[Place] = [()]
        self._directories: list[Place] = []
        self._linked: dict[tuple[int, int], Place] = {}
        """Files of several names, by their inode: the name under which each was copied."""

    def run(self) -> None:
        while self._waiting:
            place = self._waiting.pop()
            self._directories.append(place)
            with _pair(self._source, self._target, place) as (source, target):
                self._entries(source, target, place)
        # Last, and from below: what is made in a directory changes its times, and its mode may forbid to make anything.
        for place in reversed(self._directories):
            with _pair(self._source, self._target, place) as (source, target):
                copy_attributes(source, target)

    def _entries(self, source: int, target: int, place: Place) -> None:
        with os.scandir(source) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                kind = stat.S_IFMT(status.st_mode)
                if kind == stat.S_IFDIR:
                    os.mkdir(entry.name, 0o700, dir_fd=target)
                    self._waiting.append((*place, entry.name))
                elif status.st_nlink > 1 and self._link(target, place, entry.name, status):
                    continue
                elif kind == stat.S_IFREG:
                    _copy_file(source, target, entry.name, status)
                elif kind == stat.S_IFLNK:
                    os.symlink(os.readlink(entry.name, dir_fd=source), entry.name, dir_fd=target)
                    _finish_special(target, entry.name, status)
                elif kind in (stat.S_IFIFO, stat.S_IFSOCK):
                    os.mknod(entry.name, kind | stat.S_IMODE(status.st_mode), dir_fd=target)
                    _finish_special(target, entry.name, status)

    def _link(self, target: int, place: Place, name: str, status: os.stat_result) -> bool:
        """Make `name` another name of what was copied already; False when it is the first."""
        key = status.st_dev, status.st_ino
        first = self._linked.setdefault(key, (*place, name))
        if first == (*place, name):
            return False
        above = open_below(self._target, first[:-1])
        try:
            os.link(first[-1], name, src_dir_fd=above, dst_dir_fd=target, follow_symlinks=False)
        finally:
            os.close(above)
        return True


@contextmanager
def _pair(source: int, target: int, place: Place) -> Iterator[tuple[int, int]]:
    """The directory at `place` in both trees."""
    first = open_below(source, place)
    try:
        second = open_below(target, place)
    except BaseException:
        os.close(first)
        raise
    try:
        yield first, second
    finally:
        os.close(first)
        os.close(second)


def _copy_file(source: int, target: int, name: str, status: os.stat_result) -> None:
    read = os.open(name, _READ, dir_fd=source)
    try:
        write = os.open(name, _CREATE, status.st_mode & 0o777, dir_fd=target)
        try:
            if status.st_size:
                _copy_data(read, write, status)
            # chown first: it clears the set-id bits and takes security.capability away (chown(2)).
            if _give(write, status) or status.st_mode & 0o7000:
                os.fchmod(write, stat.S_IMODE(status.st_mode))
            _copy_xattrs(read, write)
            os.utime(write, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(write)
    finally:
        os.close(read)


def _copy_data(read: int, write: int, status: os.stat_result) -> None:
    if status.st_size <= _SMALL:
        data = os.read(read, _SMALL)
        if os.write(write, data) == len(data) == status.st_size:
            return
        os.lseek(write, 0, os.SEEK_SET)
    if status.st_blocks * 512 < status.st_size:
        _copy_sparse(read, write, status.st_size)
    else:
        _copy_range(read, write, 0, status.st_size)


def _copy_sparse(read: int, write: int, size: int) -> None:
    os.ftruncate(write, size)
    end = 0
    while end < size:
        try:
            start = os.lseek(read, end, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        end = os.lseek(read, start, os.SEEK_HOLE)
        os.lseek(write, start, os.SEEK_SET)
        _copy_range(read, write, start, end)


def _copy_range(read: int, write: int, start: int, end: int) -> None:
    while start < end:
        count = os.sendfile(write, read, start, min(end - start, _CHUNK))
        if not count:
            return
        start += count


def _give(target: int, status: os.stat_result) -> bool:
    """chown(2), where there is something to give; whether it was called."""
    if not (status.st_uid or status.st_gid):
        return False
    try:
        os.fchown(target, status.st_uid, status.st_gid)
    except OSError as problem:
        if problem.errno not in _NO_SUCH_OWNER:
            raise
    return True


def _copy_xattrs(read: int, write: int) -> None:
    for name in _xattrs(read):
        _set_xattr(write, name, os.getxattr(read, name))


def _xattrs(file: int) -> list[str]:
    try:
        return os.listxattr(file)
    except OSError as problem:
        if problem.errno != errno.EOPNOTSUPP:
            raise
        return []


def _set_xattr(file: int, name: str, value: bytes) -> None:
    try:
        os.setxattr(file, name, value)
    except OSError as problem:
        if name.startswith("user.") or problem.errno not in _NO_SUCH_ATTRIBUTE:
            raise


def _finish_special(target: int, name: str, status: os.stat_result) -> None:
    """Owner, mode and times of what can't be opened. It was made a moment ago, so it is what it was made as."""
    if status.st_uid or status.st_gid:
        try:
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        except OSError as problem:
            if problem.errno not in _NO_SUCH_OWNER:
                raise
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)
