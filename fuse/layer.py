"""One layer of the union: a directory tree as it lies on disk, and how its attributes are to be read.

`mapped` layers carry real ids: the server runs in the container's user namespace and reads what it says. `owned`
layers belong wholly to the user who made them; owner, mode and type stand in an extended attribute (`metadata`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from . import metadata, whiteout
from .node import UPPER

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def descend(directory: int, names: Iterable[bytes]) -> int:
    """A new descriptor of a directory below `directory`, reached with one open descriptor at a time and no symlink."""
    fd = os.dup(directory)
    try:
        for name in names:
            below = os.open(name, DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd


@dataclass(frozen=True)
class LayerSpec:
    """What the caller says about a layer.

    Attributes:
        root: a path, or a descriptor of the directory.
        kind: `mapped` (ids on disk are what they are), `owned` (they stand in user.containers.override_stat) or `host`
            (the machine's own file system, seen by a caller in the initial user namespace).
        live: a directory that others may change while it is mounted: nothing of it is remembered for long.
    """

    root: str | int
    kind: Literal["mapped", "owned", "host"] = "mapped"
    live: bool = False


class Layer:
    """A layer whose inodes are what they seem (`mapped`).

    Attributes:
        root: a descriptor of its directory.
        identity: the (uid, gid) that new inodes have without a chown.
        file_whiteouts: whether the writable layer has whiteouts by attribute, for want of devices.
        owned: whether attributes stand beside the inodes (`owned.OwnedLayer`).
    """

    owned = False
    file_whiteouts = False

    def __init__(self, index: int, spec: LayerSpec) -> None:
        self.index = index
        self.identity = (os.geteuid(), os.getegid())
        self.live = spec.live
        self.root = os.open(spec.root, DIRECTORY) if isinstance(spec.root, str) else os.dup(spec.root)
        # Reading an image must not write access times into it; O_NOATIME is for a file's owner only (open(2)).
        self._noatime = os.O_NOATIME if index != UPPER else 0

    def status(self, directory: int, name: bytes) -> os.stat_result:
        """lstat(2) of an entry of the directory open as `directory`."""
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def descriptor_status(self, fd: int) -> os.stat_result:
        """fstat(2)."""
        return os.fstat(fd)

    def entry_status(self, entry: os.DirEntry[str], directory: int) -> os.stat_result:
        """The attributes of an entry of a scan of `directory`."""
        return entry.stat(follow_symlinks=False)

    def open_directory(self, directory: int, name: bytes) -> int:
        """A descriptor to look up and list entries with; where listing is not allowed, one to look up with (O_PATH)."""
        try:
            return os.open(name, DIRECTORY, dir_fd=directory)
        except PermissionError:
            return os.open(name, DIRECTORY | os.O_PATH, dir_fd=directory)

    def open_file(self, directory: int, name: bytes, flags: int) -> int:
        """A descriptor of a regular file."""
        if self._noatime and not flags & os.O_ACCMODE:
            try:
                return os.open(name, FILE | flags | self._noatime, dir_fd=directory)
            except PermissionError:
                self._noatime = 0
        return os.open(name, FILE | flags, dir_fd=directory)

    def is_whiteout(self, directory: int, name: bytes, status: os.stat_result) -> bool:
        """Whether this entry says that what lies below it is deleted."""
        mode = status.st_mode
        if stat.S_ISCHR(mode):
            return status.st_rdev == 0
        if (self.index == UPPER and not self.file_whiteouts) or status.st_size or not stat.S_ISREG(mode):
            return False
        return whiteout.has_whiteout_attribute(directory, name)

    def is_opaque(self, target: int | str) -> bool:
        """Whether a directory of this layer hides what lies below it."""
        return whiteout.is_opaque(target)

    def readlink(self, directory: int, name: bytes) -> bytes:
        """readlink(2)."""
        return os.readlink(name, dir_fd=directory)

    def is_plain(self, uid: int, gid: int, mode: int) -> bool:
        """Whether an inode is whole as the kernel makes it: owner and mode need no further step."""
        return (uid, gid) == self.identity

    def make_special(self, directory: int, name: bytes, mode: int, device: int) -> None:
        """Make a fifo, a socket, an empty file, or a device as far as the kernel lets us."""
        os.mknod(name, mode, device, dir_fd=directory)

    def set_owner(self, target: int | str, uid: int, gid: int) -> None:
        """chown(2) of what `target` (a descriptor or a path, never followed) is; -1 leaves an id as it is.

        As there it takes the set-id bits away, so the mode is set after it.
        """
        os.chown(target, uid, gid, follow_symlinks=isinstance(target, int))

    def set_mode(self, target: int | str, mode: int) -> None:
        """chmod(2); not for symlinks."""
        os.chmod(target, stat.S_IMODE(mode))

    def get_attribute(self, target: int | str, name: str) -> bytes:
        """getxattr(2) by the container's name. ENODATA when there is none."""
        return os.getxattr(target, self._on_disk(name, errno.ENODATA), follow_symlinks=isinstance(target, int))

    def set_attribute(self, target: int | str, name: str, value: bytes) -> None:
        """setxattr(2) by the container's name. EPERM for what belongs to the union or the store."""
        os.setxattr(target, self._on_disk(name, errno.EPERM), value, follow_symlinks=isinstance(target, int))

    def remove_attribute(self, target: int | str, name: str) -> None:
        """removexattr(2) by the container's name."""
        os.removexattr(target, self._on_disk(name, errno.ENODATA), follow_symlinks=isinstance(target, int))

    def attributes(self, target: int | str) -> list[str]:
        """listxattr(2): the container's names, without those of the union and the store."""
        names = os.listxattr(target, follow_symlinks=isinstance(target, int))
        return [
            metadata.unescape(name)
            for name in names
            if not metadata.is_private(name) and not name.startswith(("system.", *HIDDEN))
        ]

    def _on_disk(self, name: str, refusal: int) -> str:
        if name.startswith("system."):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        if name.startswith(HIDDEN):
            raise OSError(refusal, os.strerror(refusal))
        return metadata.escape(name)


HIDDEN = (metadata.OVERRIDE, metadata.SAVED)


def copy_attributes(source: int | str, above: Layer, target: int | str, into: Layer) -> None:
    """Copy the extended attributes that a copy-up keeps: those the container sees.

    What the file system or the kernel refuses (a security module's label, an attribute of another namespace) is left
    out, as the kernel's overlayfs does; no space is an error.
    """
    for name in above.attributes(source):
        try:
            into.set_attribute(target, name, above.get_attribute(source, name))
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
