"""`owned` layers: every inode belongs to the user who made it, and what the container sees stands beside it.

Owner, mode and type of a regular file or directory stand in an extended attribute (`metadata`), a fifo, socket or
device is a regular file whose attribute says so, and so is a symlink of another owner than root in a writable layer,
whose target is its contents. What could not hold an attribute in an image's layer has a line in `owners.jsonl` beside
the layer's
directory: symlinks, and everything on a file system without extended attributes.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from . import metadata
from .layer import DIRECTORY, FILE, Layer, LayerSpec
from .metadata import at, changed, format_override, parse_override
from .node import UPPER
from .work import Work

RECORDS = "../owners.jsonl"
_LARGEST = 1 << 28

Inode = tuple[int, int]


class OwnedLayer(Layer):
    """A layer that belongs wholly to one user."""

    owned = True

    def __init__(self, index: int, spec: LayerSpec) -> None:
        super().__init__(index, spec)
        self._real = self.identity
        self.identity = (0, 0)
        self._records: dict[Inode, bytes] | None = {} if index == UPPER else None
        self._work: Work | None = None

    def begin(self, work: Work) -> None:
        """Get ready for changes; the root says what it is, or fuse-overlayfs would take no override for true."""
        self._work = work
        with suppress(FileExistsError):
            text = format_override(self.descriptor_status(self.root))
            os.setxattr(self.root, metadata.OVERRIDE, text, os.XATTR_CREATE)

    def status(self, directory: int, name: bytes) -> os.stat_result:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        return self._true(status, at(directory, name))

    def descriptor_status(self, fd: int) -> os.stat_result:
        return self._true(os.fstat(fd), fd)

    def entry_status(self, entry: os.DirEntry[str], directory: int) -> os.stat_result:
        return self._true(entry.stat(follow_symlinks=False), at(directory, os.fsencode(entry.name)))

    def readlink(self, directory: int, name: bytes) -> bytes:
        try:
            return os.readlink(name, dir_fd=directory)
        except OSError as problem:
            if problem.errno != errno.EINVAL:
                raise
        fd = os.open(name, FILE | os.O_RDONLY, dir_fd=directory)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)

    def is_plain(self, uid: int, gid: int, mode: int) -> bool:
        needed = 0o700 if stat.S_ISDIR(mode) else 0o600
        return (uid, gid) == (0, 0) and not mode & 0o7000 and (mode & needed == needed or stat.S_ISLNK(mode))

    def make_special(self, directory: int, name: bytes, mode: int, device: int) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            status = changed(os.fstat(fd), uid=0, gid=0, mode=mode, rdev=device)
            os.setxattr(fd, metadata.OVERRIDE, format_override(status))
            os.fchmod(fd, mode & 0o777 | 0o600)
        except BaseException:
            os.unlink(name, dir_fd=directory)
            raise
        finally:
            os.close(fd)

    def set_owner(self, target: int | str, uid: int, gid: int) -> None:
        status = self._status_of(target)
        uid = status.st_uid if uid == -1 else uid
        gid = status.st_gid if gid == -1 else gid
        if stat.S_ISLNK(status.st_mode) and isinstance(target, str) and os.path.islink(target):
            if (uid, gid) != (0, 0):
                self._replace_link(target, changed(status, uid=uid, gid=gid))
            return
        mode = status.st_mode
        if stat.S_ISREG(mode):
            mode = without_privileges(mode)
            self._drop_capabilities(target)
        self._restate(target, changed(status, uid=uid, gid=gid, mode=mode))

    def set_mode(self, target: int | str, mode: int) -> None:
        status = self._status_of(target)
        self._restate(target, changed(status, mode=stat.S_IFMT(status.st_mode) | stat.S_IMODE(mode)))

    def get_attribute(self, target: int | str, name: str) -> bytes:
        if name == metadata.CAPABILITY:
            return os.getxattr(target, metadata.SAVED + name, follow_symlinks=isinstance(target, int))
        return super().get_attribute(target, name)

    def set_attribute(self, target: int | str, name: str, value: bytes) -> None:
        if name == metadata.CAPABILITY:
            os.setxattr(target, metadata.SAVED + name, value, follow_symlinks=isinstance(target, int))
        else:
            super().set_attribute(target, name, value)

    def remove_attribute(self, target: int | str, name: str) -> None:
        if name == metadata.CAPABILITY:
            os.removexattr(target, metadata.SAVED + name, follow_symlinks=isinstance(target, int))
        else:
            super().remove_attribute(target, name)

    def attributes(self, target: int | str) -> list[str]:
        names = super().attributes(target)
        saved = metadata.SAVED + metadata.CAPABILITY
        if saved in os.listxattr(target, follow_symlinks=isinstance(target, int)):
            names.append(metadata.CAPABILITY)
        return names

    def drop_privileges(self, fd: int) -> None:
        """What write(2) does to a file of this layer: set-id bits and file capabilities go."""
        status = self.descriptor_status(fd)
        mode = without_privileges(status.st_mode)
        if mode != status.st_mode:
            self._restate(fd, changed(status, mode=mode))
        self._drop_capabilities(fd)

    @staticmethod
    def _drop_capabilities(target: int | str) -> None:
        with suppress(OSError):  # it has none
            os.removexattr(target, metadata.SAVED + metadata.CAPABILITY)

    def _true(self, status: os.stat_result, target: int | str) -> os.stat_result:
        """The attributes that an inode of this layer stands for."""
        raw = self._override(status, target)
        if raw is None:
            uid = 0 if status.st_uid == self._real[0] else metadata.NOBODY
            gid = 0 if status.st_gid == self._real[1] else metadata.NOBODY
            return changed(status, uid=uid, gid=gid)
        found = parse_override(raw)
        if found is None:
            raise OSError(errno.EIO, f"malformed {metadata.OVERRIDE}")
        uid, gid, mode, kind, device = found
        if kind == 0 or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
            kind = stat.S_IFMT(status.st_mode)
        return changed(status, uid=uid, gid=gid, mode=mode | kind, rdev=device)

    def _override(self, status: os.stat_result, target: int | str) -> bytes | None:
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):  # the kernel grants user.* to these (xattr(7))
            with suppress(OSError):
                return os.getxattr(target, metadata.OVERRIDE)
        if self._records is None:
            self._records = dict(self._read_records())
        return self._records.get((status.st_dev, status.st_ino)) if self._records else None

    def _read_records(self) -> Iterator[tuple[Inode, bytes]]:
        """The lines of `owners.jsonl`, by inode: a lookup here knows no path."""
        try:
            fd = os.open(RECORDS, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.root)
        except FileNotFoundError:
            return
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode) or os.fstat(fd).st_size > _LARGEST:
                raise OSError(errno.EIO, "owners.jsonl is no regular file of a sensible size")
            for line in file:
                path, text = record(line)
                with suppress(FileNotFoundError, NotADirectoryError):
                    status = self._locate(path)
                    yield (status.st_dev, status.st_ino), text

    def _locate(self, path: bytes) -> os.stat_result:
        """lstat(2) of a path below the layer's root that passes through no symlink."""
        parts = [part for part in path.split(b"/") if part]
        if b".." in parts:
            raise OSError(errno.EIO, "owners.jsonl names a path outside the layer")
        if not parts:
            return os.fstat(self.root)
        fd = os.dup(self.root)
        try:
            for part in parts[:-1]:
                below = os.open(part, DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            return os.stat(parts[-1], dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)

    def _status_of(self, target: int | str) -> os.stat_result:
        if isinstance(target, int):
            return self.descriptor_status(target)
        return self._true(os.stat(target, follow_symlinks=False), target)

    def _restate(self, target: int | str, status: os.stat_result) -> None:
        """Write down what an inode stands for. Its real mode lets its owner in, and has no set-id bits."""
        usable = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
        os.chmod(target, status.st_mode & 0o777 | usable)
        os.setxattr(target, metadata.OVERRIDE, format_override(status))

    def _replace_link(self, path: str, status: os.stat_result) -> None:
        """Put a regular file that stands for the symlink at `path` in its place, in one rename."""
        assert self._work is not None
        name = self._work.fresh()
        work = self._work.fd
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=work)
        try:
            os.write(fd, os.fsencode(os.readlink(path)))
            os.setxattr(fd, metadata.OVERRIDE, format_override(status))
            metadata.set_times(fd, status)
            os.rename(name, path, src_dir_fd=work)
        except BaseException:
            self._work.discard(name)
            raise
        finally:
            os.close(fd)


def without_privileges(mode: int) -> int:
    """The mode after a write: without set-user-id, and without set-group-id where the group may execute (inode(7))."""
    mode &= ~stat.S_ISUID
    return mode & ~stat.S_ISGID if mode & stat.S_IXGRP else mode


def record(line: bytes) -> tuple[bytes, bytes]:
    """(path, override) of a line of `owners.jsonl`. OSError when it is malformed."""
    try:
        fields = json.loads(line)
        raw = fields.get("raw")
        path = base64.b64decode(raw, validate=True) if raw is not None else os.fsencode(fields.get("path") or "")
        text = fields["stat"].encode()
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise OSError(errno.EIO, f"owners.jsonl: {problem}") from problem
    return path, text
