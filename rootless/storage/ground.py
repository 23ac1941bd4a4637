"""The machine's side of `apply`: how one change is made real, whole or not at all.

Everything is a name in an open directory, and no link is followed. What is new is made under a name of its own beside
its place and renamed into it, what goes is renamed away first: whenever the process is killed, each file is the old one
or the new one. A draft that a killed process has left is taken by the next one that comes by.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from ..fuse.copyup import copy_data
from ..fuse.layer import DIRECTORY, Layer
from ..fuse.metadata import at
from ..kernel import fs
from .belonging import LeftError
from .remove import remove_below

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_NO_MAGICLINKS
_CHUNK = 1 << 20
_ACL = "system.posix_acl_access"
_IN_THE_WAY = "something else was put in its way meanwhile"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class Source(NamedTuple):
    """A file of the writable layer, as the container sees it.

    Attributes:
        directory, name: where it is.
        owner: whose it becomes on the machine, (uid, gid).
        mode: the permission bits that it gets.
    """

    layer: Layer
    directory: int
    name: bytes
    status: os.stat_result
    owner: tuple[int, int]
    mode: int


class Ground:
    """A directory of the machine's that changes are made in.

    Attributes:
        root: a descriptor of it.
        draft: the name that what is not finished has, in whichever directory.
    """

    def __init__(self, root: int, draft: bytes, *, cross: bool) -> None:
        """
        Args:
            cross: whether what is mounted below belongs to it.
        """
        self.root = root
        self.draft = draft
        self._resolve = _RESOLVE if cross else _RESOLVE | fs.RESOLVE_NO_XDEV
        self._devices: dict[int, int] = {}

    def enter(self, directory: int, name: bytes) -> int:
        """A descriptor of a directory; one that may not be listed is open with O_PATH.

        Raises:
            OSError: EXDEV for what is mounted there and does not belong to the ground, ENOTDIR for no directory.
        """
        try:
            return fs.openat2(directory, name, DIRECTORY, resolve=self._resolve)
        except PermissionError:
            return fs.openat2(directory, name, DIRECTORY | os.O_PATH, resolve=self._resolve)

    def sweep(self, directory: int) -> None:
        """Take away the draft that a killed process has left there."""
        try:
            os.unlink(self.draft, dir_fd=directory)
        except IsADirectoryError:
            remove_below(directory, self.draft)
        except OSError as problem:
            if problem.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS):
                raise

    def put(self, directory: int, name: bytes, source: Source, before: os.stat_result | None) -> None:
        """Put a copy of `source` in the place of what is there, `before`.

        Raises:
            LeftError: somebody put something else in the draft's place.
        """
        self._drafted(directory, lambda: self._copy(directory, name, source, before))
        self._publish(directory, name, before)

    def link(self, directory: int, name: bytes, first: bytes, before: os.stat_result | None) -> None:
        """Make another name of the file that was put at the path `first`."""
        *above, last = [part for part in first.split(b"/") if part]
        found = self._descend(above)
        try:
            self._drafted(
                directory,
                lambda: os.link(last, self.draft, src_dir_fd=found, dst_dir_fd=directory, follow_symlinks=False),
            )
        finally:
            os.close(found)
        self._publish(directory, name, before)
        self.sweep(directory)  # rename(2) does nothing where both are names of one file already

    def _descend(self, names: Iterable[bytes]) -> int:
        """A descriptor of the directory that these names lead to. Those above it may be there to be searched only."""
        found = os.dup(self.root)
        for name in names:
            try:
                below = self.enter(found, name)
            finally:
                os.close(found)
            found = below
        return found

    def make_directory(
        self,
        directory: int,
        name: bytes,
        before: os.stat_result | None,
        tell: Callable[[os.stat_result], None],
    ) -> int:
        """Make a directory that only its owner may enter yet; a descriptor of it.

        Args:
            tell: is given its attributes before it has its place.

        Raises:
            LeftError: somebody put something else in the draft's place.
        """
        opened = []

        def make() -> None:
            os.mkdir(self.draft, 0o700, dir_fd=directory)
            opened.append(self.enter(directory, self.draft))
            made = os.fstat(opened[0])
            # Nobody else could have moved another one of this mode here: it takes writing to its ".." (rename(2)).
            if made.st_uid != os.geteuid() or made.st_mode & 0o777 != 0o700:
                raise LeftError(_IN_THE_WAY)
            tell(made)

        try:
            self._drafted(directory, make)
            self._publish(directory, name, before)
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        return opened[0]

    def remove(self, directory: int, name: bytes, before: os.stat_result) -> None:
        """Remove a file, or a directory with all that is in it."""
        if not stat.S_ISDIR(before.st_mode):
            os.unlink(name, dir_fd=directory)
            return
        os.rename(name, self.draft, src_dir_fd=directory, dst_dir_fd=directory)
        remove_below(directory, self.draft)

    def finish_directory(self, fd: int, source: Source, attributes: dict[str, bytes], names: Iterable[str]) -> None:
        """Give a directory its owner, mode, extended attributes and times, once nothing is put into it any more.

        Args:
            names: of the extended attributes that it has.
        """
        here = f"/proc/self/fd/{fd}/."
        status = os.fstat(fd)
        if (status.st_uid, status.st_gid) != source.owner:
            os.chown(here, *source.owner)
        _set_attributes(here, attributes)
        for name in set(names) - attributes.keys():
            with suppress(OSError):
                os.removexattr(here, name)
        os.chmod(here, source.mode)
        os.utime(here, ns=(source.status.st_atime_ns, source.status.st_mtime_ns))

    def flush(self) -> None:
        """See to it that what was put is on the disk, before the only other copy of it goes."""
        for fd in self._devices.values():
            fs.syncfs(fd)

    def _drafted(self, directory: int, make: Callable[[], None]) -> None:
        device = os.fstat(directory).st_dev
        if device not in self._devices:
            with suppress(PermissionError):  # it may not be listed
                self._devices[device] = os.open(".", DIRECTORY, dir_fd=directory)
        try:
            make()
        except BaseException:
            with suppress(OSError):
                self.sweep(directory)
            raise

    def _publish(self, directory: int, name: bytes, before: os.stat_result | None) -> None:
        """The one step at which the new takes the old one's place."""
        draft_is_directory = stat.S_ISDIR(os.stat(self.draft, dir_fd=directory, follow_symlinks=False).st_mode)
        try:
            if before is None:
                _rename_new(directory, self.draft, name)
            elif draft_is_directory or stat.S_ISDIR(before.st_mode):
                fs.renameat2(directory, self.draft, directory, name, fs.RENAME_EXCHANGE)
                self.sweep(directory)
            else:
                os.rename(self.draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            with suppress(OSError):
                self.sweep(directory)
            raise

    def _copy(self, directory: int, name: bytes, source: Source, before: os.stat_result | None) -> None:
        kind = stat.S_IFMT(source.status.st_mode)
        if kind == stat.S_IFREG:
            self._copy_regular(directory, name, source, before)
            return
        if kind == stat.S_IFLNK:
            os.symlink(source.layer.readlink(source.directory, source.name), self.draft, dir_fd=directory)
        else:
            os.mkfifo(self.draft, 0o600, dir_fd=directory)
        fd = os.open(self.draft, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            _dress_special(fd, kind, source)
        finally:
            os.close(fd)

    def _copy_regular(self, directory: int, name: bytes, source: Source, before: os.stat_result | None) -> None:
        read = source.layer.open_file(source.directory, source.name, os.O_RDONLY)
        try:
            write = os.open(self.draft, _CREATE, 0o600, dir_fd=directory)
            try:
                copy_data(read, write, source.status.st_size, sync=False)
                made = os.fstat(write)
                if (made.st_uid, made.st_gid) != source.owner:
                    os.fchown(write, *source.owner)
                _set_attributes(
                    write, {key: source.layer.get_attribute(read, key) for key in source.layer.attributes(read)}
                )
                if before is not None and stat.S_ISREG(before.st_mode):
                    _keep_acl(at(directory, name), write)
                os.fchmod(write, source.mode)
                os.utime(write, ns=(source.status.st_atime_ns, source.status.st_mtime_ns))
                if before is not None:
                    os.fdatasync(write)  # a rename may reach the disk before the data does
            finally:
                os.close(write)
        finally:
            os.close(read)


def same_content(source: Source, directory: int, name: bytes) -> bool:
    """Whether a file of the machine's, of the same kind and size, holds what `source` does."""
    kind = stat.S_IFMT(source.status.st_mode)
    if kind == stat.S_IFLNK:
        return source.layer.readlink(source.directory, source.name) == os.readlink(os.fsencode(name), dir_fd=directory)
    if kind != stat.S_IFREG:
        return True
    one = source.layer.open_file(source.directory, source.name, os.O_RDONLY)
    try:
        other = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            while (chunk := os.read(one, _CHUNK)) == os.read(other, _CHUNK):
                if not chunk:
                    return True
            return False
        finally:
            os.close(other)
    finally:
        os.close(one)


def _dress_special(fd: int, kind: int, source: Source) -> None:
    """Give a link or FIFO that was just made its owner, mode and times.

    Neither can be opened as what was made, as a regular file can: whoever may write in the directory may have put
    another file there before `fd` was opened. By the descriptor a link is no longer followed (proc_pid_fd(5), O_PATH).

    Raises:
        LeftError: it is not what was made.
    """
    made = os.fstat(fd)
    if stat.S_IFMT(made.st_mode) != kind or made.st_uid != os.geteuid() or made.st_nlink != 1:
        raise LeftError(_IN_THE_WAY)
    here = f"/proc/self/fd/{fd}"
    if (made.st_uid, made.st_gid) != source.owner:
        os.chown(here, *source.owner)
    if kind != stat.S_IFLNK:
        os.chmod(here, source.mode)
    os.utime(here, ns=(source.status.st_atime_ns, source.status.st_mtime_ns))


def _rename_new(directory: int, old: bytes, new: bytes) -> None:
    try:
        fs.renameat2(directory, old, directory, new, fs.RENAME_NOREPLACE)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
        # NFS knows no flags: a moment remains in which somebody could make a file of this name.
        with suppress(FileNotFoundError):
            os.stat(new, dir_fd=directory, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)


def _set_attributes(target: int | str, attributes: dict[str, bytes]) -> None:
    """What the file system or the kernel refuses is left out, as `cp -a` does; no space is an error."""
    for name, value in attributes.items():
        try:
            os.setxattr(target, name, value)
        except OSError as problem:
            if problem.errno in _FULL:
                raise


def _keep_acl(old: str, new: int) -> None:
    """The access control list stays with a file that is replaced: the container has not seen it."""
    with suppress(OSError):
        os.setxattr(new, _ACL, os.getxattr(old, _ACL, follow_symlinks=False))
