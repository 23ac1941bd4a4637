"""The layers below the one that is being unpacked: what their stack shows at a path.

Looked up as overlayfs does (overlayfs.rst): from the top down, a whiteout or a file in a directory's place ends the
search, and so does an opaque directory after its own layer. No symbolic link is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, NamedTuple

from ..kernel import fs
from .owners import Owners, Place

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found(NamedTuple):
    """A file of a lower layer.

    Attributes:
        parent, name: where it is: a name in an open directory.
        layer: which one of the layers has it, counted from the top.
    """

    parent: int
    name: bytes
    status: os.stat_result
    layer: int


class _Hidden(Exception):
    """The search ends here without a result."""


class Lower:
    """Already unpacked layers, as descriptors of their roots, top first. They stay the caller's to close."""

    def __init__(self, roots: Sequence[int] = ()) -> None:
        self._roots = roots

    @contextmanager
    def find(self, path: bytes) -> Iterator[Found | None]:
        """What stands at `path`, valid inside the block. The root itself is "." of the topmost layer."""
        with ExitStack() as opened:
            try:
                yield self._search(path.split(b"/") if path else [], opened)
            except _Hidden:
                yield None

    @contextmanager
    def directory(self, path: bytes) -> Iterator[tuple[int, int] | None]:
        """(descriptor, layer) of the directory at `path`, or None when there is none."""
        with self.find(path) as found:
            if found is None or not stat.S_ISDIR(found.status.st_mode):
                yield None
                return
            fd = os.open(found.name, DIRECTORY, dir_fd=found.parent)
            try:
                yield fd, found.layer
            finally:
                os.close(fd)

    def names(self) -> set[bytes]:
        """What the roots of all these layers hold, hidden or not."""
        return {os.fsencode(name) for root in self._roots for name in os.listdir(root)}

    def _search(self, parts: list[bytes], opened: ExitStack) -> Found | None:
        for layer, root in enumerate(self._roots):
            with ExitStack() as walked:
                found, opaque = _walk(layer, root, parts, walked)
                if found is not None:
                    opened.push(walked.pop_all())
                    return found
                if opaque:
                    return None
        return None


def _walk(layer: int, root: int, parts: list[bytes], walked: ExitStack) -> tuple[Found | None, bool]:
    """Look in one layer: what was found, and whether an opaque directory on the way hides the layers below."""
    if not parts:
        return Found(root, b".", os.fstat(root), layer), True
    here, opaque = root, False
    for depth, name in enumerate(parts):
        status = _status(here, name)
        if status is None:
            return None, opaque
        if depth == len(parts) - 1:
            return Found(here, name, status, layer), opaque
        if not stat.S_ISDIR(status.st_mode):
            raise _Hidden
        here = os.open(name, DIRECTORY, dir_fd=here)
        walked.callback(os.close, here)
        opaque = opaque or is_opaque(here)
    raise AssertionError("unreachable")


def _status(directory: int, name: bytes) -> os.stat_result | None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        if _exists(directory, b".wh." + name):
            raise _Hidden from None
        return None
    if is_whiteout(directory, name, status):
        raise _Hidden
    return status


def is_whiteout(directory: int, name: bytes, status: os.stat_result) -> bool:
    """Whether a file of an unpacked layer says that lower layers' files of this name are gone."""
    if fs.is_whiteout(status):
        return True
    if status.st_size or not stat.S_ISREG(status.st_mode):
        return False
    try:
        # getxattr(2) knows no directory descriptor. The file is no link, so following one can't happen.
        os.getxattr(b"/proc/self/fd/%d/%s" % (directory, name), "user.overlay.whiteout", follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return False
    return True


def _exists(directory: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise
        return False
    return True


def is_opaque(directory: int) -> bool:
    """Whether an unpacked layer's directory hides what lower layers have there."""
    try:
        return os.getxattr(directory, "user.overlay.opaque") == b"y"
    except OSError as problem:
        if problem.errno == errno.ENODATA:
            return False
        if problem.errno != errno.EOPNOTSUPP:
            raise
    return _exists(directory, b".wh..wh..opq")  # how `owned` layers mark it where attributes can't be had


def copy_up(found: Found, place: Place, owners: Owners) -> None:
    """Copy a file that is no directory from a lower layer into one of the same kind, just as it is on the disk."""
    status = found.status
    if stat.S_ISREG(status.st_mode):
        _copy_file(found, place, owners)
        return
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(found.name, dir_fd=found.parent), place.name, dir_fd=place.parent)
    else:
        os.mkfifo(place.name, stat.S_IMODE(status.st_mode), dir_fd=place.parent)
    owners.copied(place, status, found.layer)
    times = status.st_mtime_ns, status.st_mtime_ns
    os.utime(place.name, ns=times, dir_fd=place.parent, follow_symlinks=False)


def _copy_file(found: Found, place: Place, owners: Owners) -> None:
    create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    reading = os.open(found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found.parent)
    with open(reading, "rb", buffering=0) as source, _create(place, create) as copy:
        import shutil  # not on the path of a start

        shutil.copyfileobj(source, copy, 1 << 20)
        owners.copied(place, found.status, found.layer)
        os.fchmod(copy.fileno(), stat.S_IMODE(found.status.st_mode))
        for attribute in os.listxattr(reading):
            if attribute.startswith("user.") or attribute == "security.capability":
                os.setxattr(copy.fileno(), attribute, os.getxattr(reading, attribute))
        os.utime(copy.fileno(), ns=(found.status.st_mtime_ns, found.status.st_mtime_ns))


def _create(place: Place, flags: int) -> BinaryIO:
    return open(os.open(place.name, flags, 0o600, dir_fd=place.parent), "wb", buffering=0)
