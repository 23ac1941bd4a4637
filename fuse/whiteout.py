"""Deletions on disk, as the kernel's overlayfs writes them (overlayfs.rst, "whiteouts and opaque directories").

A whiteout is a character device 0:0, which every user may make (Linux 5.8); an opaque directory, whose namesakes below
are not merged, has `user.overlay.opaque` set to y (the `userxattr` mount option). In an image's layer a whiteout may
also be an empty regular file with `user.overlay.whiteout`; in an upper, where the kernel does not honour those, only
where no device can be made.
"""

from __future__ import annotations

import os
from contextlib import suppress

from rootless.kernel import fs

from .metadata import at

OPAQUE = "user.overlay.opaque"
ORIGIN = "user.overlay.origin"
WHITEOUT = "user.overlay.whiteout"


def is_opaque(target: int | str) -> bool:
    """Whether a directory hides what lies below it. An `x` only announces xattr whiteouts among its entries."""
    try:
        return os.getxattr(target, OPAQUE, follow_symlinks=isinstance(target, int)) == b"y"
    except OSError:
        return False


def set_opaque(target: int | str) -> None:
    """Make a directory of the writable layer opaque."""
    os.setxattr(target, OPAQUE, b"y")


def announce_whiteout(directory: int) -> None:
    """Have overlayfs look for whiteouts in a directory that merges with nothing, in which one is about to stand.

    It lists such a directory as it is on disk, a whiteout as a device that can't be opened, unless the directory has an
    origin; an empty one says that this is not known (ovl_path_check_origin_xattr() in fs/overlayfs/util.c).
    """
    with suppress(FileExistsError):
        os.setxattr(directory, ORIGIN, b"", os.XATTR_CREATE)


def has_whiteout_attribute(directory: int, name: bytes) -> bool:
    """Whether an empty regular file is a whiteout by its extended attribute."""
    try:
        os.getxattr(at(directory, name), WHITEOUT, follow_symlinks=False)
    except OSError:
        return False
    return True


class Whiteouts:
    """The making of whiteouts through the work directory.

    One is made and every whiteout is a hard link of it, as in the kernel: an inode each would be wasted. A link or a
    rename puts it in its place at once, so there is no moment in which a deleted file is visible again. Where no device
    can be made (NFS, before Linux 5.8) an attribute says it: overlayfs can't use such an upper directory anyway.

    Attributes:
        devices: whether whiteouts are devices here.
    """

    def __init__(self, work: int | None) -> None:
        self._work = -1 if work is None else work
        self._shared: bytes | None = None
        self._count = 0
        self.devices = work is None or self._can_make_devices()

    def create(self, directory: int, name: bytes) -> None:
        """Put a whiteout at a name that is free."""
        if self._shared is not None:
            try:
                os.link(self._shared, name, src_dir_fd=self._work, dst_dir_fd=directory, follow_symlinks=False)
                return
            except FileExistsError:
                raise
            except OSError:  # EMLINK: full; EPERM, EOPNOTSUPP: no hard links here
                self._discard()
        if self.devices:
            fs.whiteout(name, directory)
        else:
            self._create_file(directory, name)
        with suppress(OSError):
            shared = self._fresh_name()
            os.link(name, shared, src_dir_fd=directory, dst_dir_fd=self._work, follow_symlinks=False)
            self._shared = shared

    def prepare(self) -> bytes:
        """A whiteout in the work directory, under the name returned, to be renamed into its place."""
        name = self._fresh_name()
        self.create(self._work, name)
        return name

    def _can_make_devices(self) -> bool:
        """Whether this kernel and file system let us make a whiteout as the kernel's overlayfs would."""
        name = self._fresh_name()
        try:
            fs.whiteout(name, self._work)
        except PermissionError:
            return False
        os.unlink(name, dir_fd=self._work)
        return True

    def _create_file(self, directory: int, name: bytes) -> None:
        """A whiteout by attribute, whole from its first moment in its place."""
        made = self._fresh_name()
        os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._work))
        os.setxattr(at(self._work, made), WHITEOUT, b"y")
        os.rename(made, name, src_dir_fd=self._work, dst_dir_fd=directory)

    def _fresh_name(self) -> bytes:
        self._count += 1
        return b"w%d" % self._count

    def _discard(self) -> None:
        if self._shared is not None:
            os.unlink(self._shared, dir_fd=self._work)
            self._shared = None
