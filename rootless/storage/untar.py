"""Unpack one layer: the entries of its archive become files of a directory that overlayfs can stack.

OCI image-spec/layer.md says what an archive means, its whiteouts included; overlayfs.rst how a layer says the same.
Archives are hostile: whatever one holds, nothing outside the directory is opened, made or changed. What each trick gets
stands in a table in tests/storage/test_storage_hostile.py.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from ..errors import InvalidError, RootlessError, StoreError
from . import tarheader as th
from .directories import Directories, Directory
from .lower import DIRECTORY, Lower, copy_up, is_whiteout
from .owners import Owners, Place
from .remove import remove_below
from .tarheader import Attributes, Entry
from .tarstream import TarStream

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_MAX = 4096 - 2  # the container's "/" before it and the NUL behind it
_WHITEOUT, _RESERVED, _OPAQUE = b".wh.", b".wh..wh.", b".wh..wh..opq"

_STORE_FAULTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)


def unpack(archive: TarStream, root: int, owners: Owners, lower: Lower) -> None:
    """Unpack all of `archive` into the empty directory behind the descriptor `root`.

    Args:
        owners: the kind of layer. For `mapped` the caller is in the room, with umask 0.
        lower: the layers that this one lies on.

    Raises:
        InvalidError: the archive is damaged, or can't be a layer; names the entry.
        UnmappedIdError: from `owners`.
        StoreError: the store's disk is full or broken.
    """
    _Unpacker(archive, root, owners, lower).run()


def inner_path(name: bytes) -> bytes:
    """A name or hard link's target from an archive as a path below the layer's root; b"" is the root itself.

    Leading slashes, "." and empty parts fall away. InvalidError when ".." leads above the root, or when no container
    could ever reach so long a path.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise InvalidError(f"the archive's entry {_shown(name)} leads out of the layer")
            parts.pop()
        elif part and part != b".":
            parts.append(part)
    path = b"/".join(parts)
    if len(path) > _PATH_MAX:
        raise InvalidError(f"the archive's entry {_shown(name)} has a path of {len(path)} bytes: {_PATH_MAX} will do")
    return path


def write_data(fd: int, entry: Entry, archive: TarStream) -> None:
    """Write the data of the current entry into its new file. Of a sparse one only what is data: its holes stay holes.

    Raises:
        InvalidError: the archive is truncated.
        OSError: from ftruncate(2), write(2) or pwrite(2).
    """
    if entry.sparse is None:
        for piece in archive.data():
            while piece:
                piece = piece[os.write(fd, piece) :]
        return
    os.ftruncate(fd, entry.length)
    remaining = iter(entry.sparse)
    offset = left = 0
    for data in archive.data():
        while data:
            if not left:
                offset, left = next(remaining)
            count = os.pwrite(fd, data[:left], offset)
            offset, left, data = offset + count, left - count, data[count:]


class _Unpacker:
    def __init__(self, archive: TarStream, root: int, owners: Owners, lower: Lower) -> None:
        self._archive = archive
        self._root = root
        self._owners = owners
        self._lower = lower
        self._directories = Directories(root, self)
        self._pending: dict[bytes, Attributes] = {}
        """Directories get their attributes last: files made in one change its mtime, and its mode may forbid them."""
        self._opaque: set[bytes] = set()
        self._left_out: set[bytes] = set()
        self._now = 0
        self._make: dict[bytes, Callable[[Entry, Place], None]] = {
            **dict.fromkeys(th.FILES, self._file),
            th.HARD_LINK: self._hard_link,
            th.SYMLINK: self._symlink,
            th.DIRECTORY: self._directory,
            **dict.fromkeys((th.FIFO, th.CHARACTER, th.BLOCK_DEVICE), self._special),
        }

    def run(self) -> None:
        try:
            for entry in self._archive:
                try:
                    self._entry(entry)
                except OSError as problem:
                    raise _explained(problem, entry.name) from problem
                except (ValueError, OverflowError) as problem:  # a value that no system call takes
                    raise impossible(entry.name, str(problem)) from problem
            self._finish()
            self._archive.drain()
        finally:
            self._directories.close()

    def _entry(self, entry: Entry) -> None:
        path = inner_path(entry.name)
        self._now = entry.mtime
        if _WHITEOUT in path and self._mark(path):
            return
        make = self._make.get(entry.type)
        if make is None:
            raise InvalidError(f"{_shown(entry.name)} is of a type that a layer can't have ({entry.type!r})")
        self._owners.admit(entry, path)
        if not path:
            self._root_entry(entry)
            return
        above, _, name = path.rpartition(b"/")
        parent = self._directories.get(above)
        if parent.path != above:
            path = _below(parent.path, name)
        make(entry, Place(parent.fd, name, path))

    def _root_entry(self, entry: Entry) -> None:
        if entry.type != th.DIRECTORY:
            raise InvalidError(f"the archive's entry {_shown(entry.name)} would replace the layer's root directory")
        self._pending[b""] = entry

    def _file(self, entry: Entry, place: Place) -> None:
        try:
            fd = os.open(place.name, _CREATE, entry.mode & 0o777, dir_fd=place.parent)
        except FileExistsError:
            self._clear(place)
            fd = os.open(place.name, _CREATE, entry.mode & 0o777, dir_fd=place.parent)
        try:
            write_data(fd, entry, self._archive)
            self._owners.file(fd, place.path, entry)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _hard_link(self, entry: Entry, place: Place) -> None:
        # To find the target may close the directory that is open for `place`.
        held = os.dup(place.parent)
        try:
            self._link(entry, place._replace(parent=held))
        finally:
            os.close(held)

    def _link(self, entry: Entry, place: Place) -> None:
        target = self._target(entry)
        if target is None:
            self._left_out.add(place.path)
            return
        if target == place.path or target.startswith(place.path + b"/"):
            raise InvalidError(f"{_shown(entry.name)} is a hard link to itself")
        above, _, name = target.rpartition(b"/")

        def make() -> None:
            source = self._directories.get(above)
            os.link(name, place.name, src_dir_fd=source.fd, dst_dir_fd=place.parent, follow_symlinks=False)

        self._replacing(make, place)
        self._owners.linked(place.path, target)

    def _target(self, entry: Entry) -> bytes | None:
        """Where the file is that a hard link wants, links on the way resolved. It is in this layer afterwards.

        None for a device that was left out, and for what was linked to it.
        """
        path = inner_path(entry.link)
        above, _, name = path.rpartition(b"/")
        parent = self._directories.find(above)
        if parent is not None:
            path = _below(parent.path, name)
            status = _status(parent.fd, name)
            if status is not None and not is_whiteout(parent.fd, name, status):
                return path
        if path in self._left_out:
            return None
        if not path or self._is_hidden(path) or (parent is not None and status is not None):
            raise InvalidError(_no_file(entry))
        self._copy_up(path, entry)
        return path

    def _symlink(self, entry: Entry, place: Place) -> None:
        if not entry.link:
            raise InvalidError(f"{_shown(entry.name)} is a symbolic link to nothing")
        self._replacing(lambda: os.symlink(entry.link, place.name, dir_fd=place.parent), place)
        self._owners.symlink(place, entry)
        os.utime(place.name, ns=(entry.mtime, entry.mtime), dir_fd=place.parent, follow_symlinks=False)

    def _special(self, entry: Entry, place: Place) -> None:
        self._clear(place)
        if self._owners.special(place, entry):
            os.utime(place.name, ns=(entry.mtime, entry.mtime), dir_fd=place.parent, follow_symlinks=False)
        else:
            self._left_out.add(place.path)

    def _directory(self, entry: Entry, place: Place) -> None:
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.parent)
            self._opaque.discard(place.path)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(place.name, dir_fd=place.parent, follow_symlinks=False).st_mode):
                self._new_directory(place)
        self._pending[place.path] = entry

    def make(self, place: Place) -> None:
        """A directory that the archive only implies has the attributes that it has in the layers below."""
        self._new_directory(place)
        self._pending[place.path] = self._inherited(place.path)

    def _new_directory(self, place: Place) -> None:
        """In the place of nothing, of a file, or of a whiteout: then what lower layers have must not show in it."""
        hidden = self._clear(place)
        os.mkdir(place.name, 0o700, dir_fd=place.parent)
        self._opaque.discard(place.path)  # said of one that stood here before
        if hidden:
            fd = os.open(place.name, DIRECTORY, dir_fd=place.parent)
            try:
                self._hide_lower(Directory(fd, place.path))
            finally:
                os.close(fd)

    def _inherited(self, path: bytes) -> Attributes:
        default = Attributes(0o755, 0, 0, self._now)
        if path in self._opaque or self._is_hidden(path):
            return default
        with self._lower.directory(path) as found:
            return default if found is None else self._owners.recall(found[0], path, found[1])

    def _is_hidden(self, path: bytes) -> bool:
        """Whether `path` is below a directory in which this layer hides what lower layers have."""
        while path and self._opaque:
            path = path.rpartition(b"/")[0]
            if path in self._opaque:
                return True
        return False

    def _mark(self, path: bytes) -> bool:
        """Carry out a whiteout or an opaque mark (layer.md, "Whiteouts"). False when `path` is neither."""
        above, _, name = path.rpartition(b"/")
        marks = [part for part in path.split(b"/") if part.startswith(_WHITEOUT)]
        if not marks:
            return False
        if any(part.startswith(_RESERVED) and part != _OPAQUE for part in marks):
            return True  # the book-keeping of aufs, which Docker passes over, too
        hidden = name.removeprefix(_WHITEOUT)
        if marks != [name] or hidden in (b"", b".", b".."):
            raise InvalidError(f"the archive's entry {_shown(path)} is a whiteout of nothing")
        parent = self._directories.get(above)
        if name == _OPAQUE:
            self._hide_lower(parent)
            return True
        try:
            self._owners.whiteout(parent.fd, hidden)
        except FileExistsError:
            # A whiteout is about lower layers only. A file of this one hides what they have anyway; a directory merges.
            if stat.S_ISDIR(os.stat(hidden, dir_fd=parent.fd, follow_symlinks=False).st_mode):
                self._hide_lower(self._directories.get(_below(above, hidden)))
        return True

    def _hide_lower(self, directory: Directory) -> None:
        self._opaque.add(directory.path)
        if directory.path:
            self._owners.opaque(directory.fd)

    def _replacing(self, make: Callable[[], None], place: Place) -> None:
        try:
            make()
        except FileExistsError:
            self._clear(place)
            make()

    def _clear(self, place: Place) -> bool:
        """Remove what an earlier entry put there: the last one wins. True when it was a whiteout."""
        status = _status(place.parent, place.name)
        if status is None:
            return False
        hidden = is_whiteout(place.parent, place.name, status)
        self._directories.forget(place.path, link=stat.S_ISLNK(status.st_mode))
        if stat.S_ISDIR(status.st_mode):
            remove_below(place.parent, place.name)
        else:
            os.unlink(place.name, dir_fd=place.parent)
        return hidden

    def _copy_up(self, path: bytes, entry: Entry) -> None:
        """Take the file that a hard link wants from the layers below into this one, as overlayfs would on link(2)."""
        above, _, name = path.rpartition(b"/")
        with self._lower.find(path) as found:
            if found is None or stat.S_ISDIR(found.status.st_mode):
                raise InvalidError(_no_file(entry))
            parent = self._directories.get(above)
            copy_up(found, Place(parent.fd, name, path), self._owners)

    def _hide_roots(self) -> None:
        """An opaque mark in the layer's root. overlayfs asks no root whether it is opaque, so each name is hidden."""
        root = Directory(self._root, b"")
        for name in self._lower.names():
            try:
                self._owners.whiteout(root.fd, name)
            except FileExistsError:
                if stat.S_ISDIR(os.stat(name, dir_fd=root.fd, follow_symlinks=False).st_mode):
                    self._hide_lower(self._directories.get(name))

    def _finish(self) -> None:
        if b"" in self._opaque:
            self._hide_roots()
        if b"" not in self._pending:
            self._pending[b""] = self._inherited(b"")
        for path, attributes in self._pending.items():
            directory = self._directories.find(path)
            if directory is None or directory.path != path:
                continue  # a later entry removed it; a link may stand there now
            try:
                self._owners.directory(directory.fd, path, attributes)
                os.utime(directory.fd, ns=(attributes.mtime, attributes.mtime))
            except OSError as problem:
                raise _explained(problem, path) from problem


def _status(parent: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _no_file(entry: Entry) -> str:
    return f"{_shown(entry.name)} is a hard link to {_shown(entry.link)}, which is no file"


def _below(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def _shown(name: bytes) -> str:
    text = os.fsdecode(name)
    return text if len(text) <= 100 else text[:100] + "..."


def _explained(problem: OSError, name: bytes) -> RootlessError:
    if problem.errno in _STORE_FAULTS:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "make room in the store's file system, or name another store with --root" if full else ""
        return StoreError(f"{_shown(name)} can't be unpacked: {problem.strerror}", hint=hint)
    return impossible(name, problem.strerror or str(problem))


def impossible(name: bytes, reason: str) -> InvalidError:
    """The error for an entry that makes sense but can't be had."""
    return InvalidError(f"the archive's entry {_shown(name)} can't be a file here: {reason}")
