"""The two ways in which a layer's files have their owners: `mapped` and `owned`.

mapped   Real ids. The work is done inside the room, where the container's ids are real ones, and the kernel's
         overlayfs shows them as they are.
owned    Every file belongs to the caller. Owner, mode and type stand in an extended attribute, as containers/storage
         and fuse-overlayfs write it, and for what can't carry one (a symbolic link; anything on a file system without
         extended attributes) in `owners.jsonl` beside the layer.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from ..errors import InvalidError, StoreError, UnavailableError
from ..idmap import IdMap
from ..kernel import fs
from . import tarheader as th
from .ownerfile import OVERRIDE, OwnerRecord
from .tarheader import Attributes, Entry

SAVED = "user.rootless."
"""Before the name of an attribute that only a privileged process may set, such as security.capability."""

_RESERVED = (b"user.overlay.", b"user.containers.", b"user.fuseoverlayfs.", SAVED.encode())
_LARGEST_ID = 2**32 - 2  # -1 means "leave it" to chown(2)


class UnmappedIdError(UnavailableError):
    """A file of the image belongs to an id that the caller's map has not: the layer can't be unpacked as `mapped`.

    Attributes:
        path: the file's path in the layer.
        uid, gid: what the image wants.
    """

    def __init__(self, path: str, uid: int, gid: int) -> None:
        super().__init__(
            f"{path} belongs to {uid}:{gid}, which is outside your subordinate ids",
            hint="an administrator can enlarge your range in /etc/subuid and /etc/subgid, "
            "or use --storage-driver cow, which needs none",
        )
        self.path = path
        self.uid = uid
        self.gid = gid


class Place(NamedTuple):
    """Where a file is: `name` in the directory behind `parent`, and `path` below the layer's root."""

    parent: int
    name: bytes
    path: bytes


class Owners(Protocol):
    """How one kind of layer stores attributes. A `path` is relative to the layer's root, which is b""."""

    def admit(self, entry: Entry, path: bytes) -> None:
        """Raise an error when no file may have this owner."""

    def file(self, fd: int, path: bytes, wanted: Attributes) -> None:
        """Set everything but times on a complete regular file, open for writing and made with mode & 0o777."""

    def directory(self, fd: int, path: bytes, wanted: Attributes) -> None:
        """Set everything but times on a complete directory."""

    def symlink(self, place: Place, wanted: Attributes) -> None:
        """Set the owner of a symbolic link."""

    def special(self, place: Place, entry: Entry) -> bool:
        """Make a fifo or device; False when there can be none here, and nothing was made."""

    def opaque(self, fd: int) -> None:
        """Let nothing of lower layers show in this directory (overlayfs.rst)."""

    def whiteout(self, parent: int, name: bytes) -> None:
        """Let `name` of lower layers disappear. FileExistsError when this layer has it."""

    def recall(self, fd: int, path: bytes, layer: int) -> Attributes:
        """The attributes of an open directory at `path` in a lower layer (counted from the top) of this kind."""

    def copied(self, place: Place, status: os.stat_result, layer: int) -> None:
        """Give a file that was copied from the same path in a lower layer the owner it has there (`status`)."""

    def linked(self, path: bytes, target: bytes) -> None:
        """`path` is a new hard link to `target`."""


def kept(xattrs: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The attributes that an archive may set: user.* and security.capability.

    Without those that mean something to overlayfs, to fuse-overlayfs or to us: an archive that could set them would
    forge whiteouts, redirects and owners.
    """
    return {
        name: value
        for name, value in xattrs.items()
        if name == b"security.capability" or (name.startswith(b"user.") and not name.startswith(_RESERVED))
    }


def set_xattr(fd: int, name: bytes | str, value: bytes, path: bytes) -> None:
    """fsetxattr(2). StoreError when the file system has no room for the value, OSError for the rest."""
    try:
        os.setxattr(fd, name, value)
    except OSError as problem:
        if problem.errno not in (errno.E2BIG, errno.ENOSPC, errno.ERANGE):
            raise
        raise StoreError(
            f"the store's file system can't keep the extended attribute {os.fsdecode(name)} ({len(value)} bytes) of "
            f"{os.fsdecode(path)}: {problem.strerror}"
        ) from problem


class MappedOwners:
    """Real ids, set from inside the room."""

    def __init__(self, idmap: IdMap) -> None:
        self._idmap = idmap
        self._known: set[tuple[int, int]] = set()

    def admit(self, entry: Entry, path: bytes) -> None:
        pair = entry.uid, entry.gid
        if pair in self._known:
            return
        if not self._idmap.holds(*pair):
            raise UnmappedIdError(os.fsdecode(path), *pair)
        self._known.add(pair)

    def file(self, fd: int, path: bytes, wanted: Attributes) -> None:
        # chown first: it clears the set-id bits, for root too, and takes security.capability away (chown(2)).
        if wanted.uid or wanted.gid:
            os.fchown(fd, wanted.uid, wanted.gid)
        if wanted.mode & 0o7000:
            os.fchmod(fd, wanted.mode)
        if wanted.xattrs:
            _set_all(fd, path, wanted)

    def directory(self, fd: int, path: bytes, wanted: Attributes) -> None:
        os.fchown(fd, wanted.uid, wanted.gid)
        os.fchmod(fd, wanted.mode)
        if wanted.xattrs:
            _set_all(fd, path, wanted)

    def symlink(self, place: Place, wanted: Attributes) -> None:
        if wanted.uid or wanted.gid:
            os.chown(place.name, wanted.uid, wanted.gid, dir_fd=place.parent, follow_symlinks=False)

    def special(self, place: Place, entry: Entry) -> bool:
        if entry.type != th.FIFO:
            return False  # no user namespace may make a device, but for the whiteout, which would hide a file
        os.mkfifo(place.name, entry.mode & 0o777, dir_fd=place.parent)
        os.chown(place.name, entry.uid, entry.gid, dir_fd=place.parent, follow_symlinks=False)
        if entry.mode & 0o7000:
            os.chmod(place.name, entry.mode, dir_fd=place.parent)  # it can't be a link: it was made a moment ago
        return True

    def opaque(self, fd: int) -> None:
        os.setxattr(fd, "user.overlay.opaque", b"y")

    def whiteout(self, parent: int, name: bytes) -> None:
        fs.whiteout(name, parent)

    def recall(self, fd: int, path: bytes, layer: int) -> Attributes:
        status = os.fstat(fd)
        xattrs = kept({os.fsencode(name): os.getxattr(fd, name) for name in os.listxattr(fd)})
        return Attributes(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, xattrs)

    def copied(self, place: Place, status: os.stat_result, layer: int) -> None:
        os.chown(place.name, status.st_uid, status.st_gid, dir_fd=place.parent, follow_symlinks=False)

    def linked(self, path: bytes, target: bytes) -> None:
        pass


def _set_all(fd: int, path: bytes, wanted: Attributes) -> None:
    for name, value in kept(wanted.xattrs).items():
        try:
            set_xattr(fd, name, value, path)
        except OSError as problem:
            if problem.errno != errno.EOPNOTSUPP:
                raise


class OwnedOwners:
    """Everything belongs to the caller; what the image wants is written beside it.

    Attributes:
        records: what no extended attribute could hold, by path: to be written to `owners.jsonl`. Some may be of files
            that were removed with a directory.
    """

    def __init__(self, earlier: Callable[[int, bytes], OwnerRecord | None]) -> None:
        """`earlier` finds the record of a path in one of the layers below, counted from the top."""
        self.records: dict[bytes, OwnerRecord] = {}
        self._earlier = earlier

    def admit(self, entry: Entry, path: bytes) -> None:
        if entry.uid > _LARGEST_ID or entry.gid > _LARGEST_ID:
            raise InvalidError(f"{os.fsdecode(path)} belongs to {entry.uid}:{entry.gid}, which are no ids")

    def file(self, fd: int, path: bytes, wanted: Attributes) -> None:
        os.fchmod(fd, wanted.mode & 0o777 | 0o600)
        self._write(fd, path, wanted, "file")

    def directory(self, fd: int, path: bytes, wanted: Attributes) -> None:
        os.fchmod(fd, wanted.mode & 0o777 | 0o700)
        self._write(fd, path, wanted, "dir")

    def symlink(self, place: Place, wanted: Attributes) -> None:
        # The kernel refuses user.* attributes on links (xattr(7)).
        self._note(
            place.path, OwnerRecord(wanted.uid, wanted.gid, 0o777, "symlink") if wanted.uid or wanted.gid else None
        )

    def special(self, place: Place, entry: Entry) -> bool:
        """A regular file stands for it, whose attribute says what it is."""
        kind = "pipe"
        if entry.type != th.FIFO:
            if entry.device == (0, 0):
                return False  # whoever shows it as a device shows a whiteout
            kind = f"{'char' if entry.type == th.CHARACTER else 'block'}-{entry.device[0]}-{entry.device[1]}"
        fd = os.open(place.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=place.parent)
        try:
            os.fchmod(fd, entry.mode & 0o777 | 0o600)
            self._write(fd, place.path, entry, kind)
        finally:
            os.close(fd)
        return True

    def opaque(self, fd: int) -> None:
        try:
            os.setxattr(fd, "user.overlay.opaque", b"y")
        except OSError as problem:
            if problem.errno != errno.EOPNOTSUPP:
                raise
            os.close(os.open(".wh..wh..opq", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=fd))

    def whiteout(self, parent: int, name: bytes) -> None:
        try:
            fs.whiteout(name, parent)
        except PermissionError:  # before Linux 5.8, and on NFS
            _whiteout_without_device(parent, name)

    def recall(self, fd: int, path: bytes, layer: int) -> Attributes:
        status = os.fstat(fd)
        found = self._earlier(layer, path) or OwnerRecord(0, 0, stat.S_IMODE(status.st_mode), "dir")
        xattrs = dict(found.xattrs)
        for name in _names(fd):
            value = os.getxattr(fd, name)
            if name == OVERRIDE:
                found = OwnerRecord.parse(value)
            else:
                xattrs[os.fsencode(name.removeprefix(SAVED))] = value
        return Attributes(found.mode, found.uid, found.gid, status.st_mtime_ns, kept(xattrs))

    def copied(self, place: Place, status: os.stat_result, layer: int) -> None:
        self._note(place.path, self._earlier(layer, place.path))

    def linked(self, path: bytes, target: bytes) -> None:
        self._note(path, self.records.get(target))

    def _write(self, fd: int, path: bytes, wanted: Attributes, kind: str) -> None:
        record = OwnerRecord(wanted.uid, wanted.gid, wanted.mode, kind)
        self._note(path, None)
        xattrs = kept(wanted.xattrs)
        capability = xattrs.pop(b"security.capability", None)
        if capability is not None:
            xattrs[f"{SAVED}security.capability".encode()] = capability
        try:
            set_xattr(fd, OVERRIDE, record.text().encode(), path)
            for name, value in xattrs.items():
                set_xattr(fd, name, value, path)
        except OSError as problem:
            if problem.errno != errno.EOPNOTSUPP:
                raise
            self._note(path, record._replace(xattrs=xattrs))

    def _note(self, path: bytes, record: OwnerRecord | None) -> None:
        """Remember what could not be said on the file; without a record, forget what was there before it."""
        if record is not None:
            self.records[path] = record
        else:
            self.records.pop(path, None)


def _whiteout_without_device(parent: int, name: bytes) -> None:
    """An empty file that an attribute makes a whiteout (overlayfs.rst), in a directory that announces such files.

    Where no attribute can be set, the mark stays what it was in the archive.
    """
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        os.setxattr(fd, "user.overlay.whiteout", b"y")
        with suppress(FileExistsError):  # an opaque one needs no announcement: below it there is nothing to hide
            os.setxattr(parent, "user.overlay.opaque", b"x", os.XATTR_CREATE)
    except OSError as problem:
        if problem.errno != errno.EOPNOTSUPP:
            raise
        os.rename(name, b".wh." + name, src_dir_fd=parent, dst_dir_fd=parent)
    finally:
        os.close(fd)


def _names(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as problem:
        if problem.errno != errno.EOPNOTSUPP:
            raise
        return []
