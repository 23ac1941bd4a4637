"""Take trees away whoever owns what is in them: layers, writable layers, drafts that a killed writer left.

A layer holds files of subordinate ids and directories without any permission (overlayfs makes `work/work` with mode
000). What the caller may remove is removed as the caller; only where that is refused, the same walk runs inside the
room, whose root owns all of the map's ids. Every step is relative to a directory's descriptor: no symbolic link is
followed, no mount is entered, and a rename in the middle of it leads nowhere else.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .. import atomic
from ..errors import ConflictError, RootlessError, StoreError
from ..kernel import fs
from ..room import call

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 64
"""So many directories are open at once; what lies deeper is moved up first. A container may nest them without end."""

_STILL_OPEN = (".nfs", ".fuse_hidden")
"""How the clients of NFS and libfuse name a file that was removed while somebody has it open. It can't be removed under
that name (EBUSY), and its directory neither; it goes with the last descriptor. A monitor has its own log open."""


def remove_tree(path: Path, room: Callable[[], int], *, tmp: Path | None = None) -> None:
    """Remove `path` and all that is below it. Nothing happens when it is not there.

    Args:
        room: gives a descriptor on the room (closed here); only called when the caller's own permissions don't do.
        tmp: a directory of the same file system; the tree is renamed into it first, so that from then on `path` is
            free and a kill leaves garbage in `tmp` only, which `sweep` takes; so does a file that is open, on a file
            system that keeps the names of such.

    Raises:
        ConflictError: something is mounted below `path`; the tree is then incomplete.
        StoreError: even the room's root may not remove a file.
    """
    try:
        with suppress(FileNotFoundError):
            is_directory = stat.S_ISDIR(path.lstat().st_mode)
            if tmp is not None:
                path = move_away(path, tmp, room)
            if is_directory:
                _remove_directory(path, room)
            else:
                path.unlink()
    except OSError as problem:
        if problem.errno != errno.EBUSY:
            raise
        raise _mounted(problem.filename) from problem


def remove_below(parent: int, name: str | bytes) -> None:
    """Remove the directory `name` in the open directory `parent`, with the permissions of whoever calls.

    Raises:
        PermissionError: they don't suffice.
        ConflictError: something is mounted below it.
    """
    _Remover(parent, os.fsdecode(name)).run()


def sweep(tmp: Path, room: Callable[[], int]) -> list[str]:
    """Remove what dead writers left in `tmp` (names of `atomic.new_name`), and give back the names.

    A name of another form is nobody's draft and stays. So does a tree that can't be removed (its files belong to ids
    that are no longer the caller's): it hinders nobody, and `system check` names it.
    """
    swept = []
    with suppress(FileNotFoundError):
        for name in os.listdir(tmp):
            if atomic.is_abandoned(name):
                with suppress(OSError, RootlessError):
                    # The rename inside gives the draft to this process: of two sweepers one removes it.
                    remove_tree(tmp / name, room, tmp=tmp)
                    swept.append(name)
    return swept


def move_away(path: Path, tmp: Path, room: Callable[[], int]) -> Path:
    """Rename `path` into `tmp`, as a draft of the calling process, which that is to remove; where it is now."""
    tmp.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = atomic.new_name(tmp, path.name)
    if stat.S_ISDIR(path.lstat().st_mode):
        with suppress(PermissionError):  # of its owner; `rename` tells why
            path.chmod(0o700)
    rename(path, draft, room)
    return draft


def rename(old: Path, new: Path, room: Callable[[], int]) -> None:
    """rename(2), from inside the room when the caller is refused.

    A directory that changes its parent must be writable for the one who moves it, because its ".." is rewritten
    (rename(2), EACCES): a layer's root of mode 0555, or one that belongs to another id, is not.
    """
    try:
        os.rename(old, new)
    except PermissionError:
        _inside(room, lambda: os.rename(old, new))


def exchange(old: Path, new: Path, room: Callable[[], int]) -> None:
    """Put the directory `new` in the place of `old`, and `old` in that of `new`, in one step.

    Where the file system can't (NFS), a kill may leave neither at `old`. When nothing is at `old`, `new` goes there.
    """

    def swap() -> None:
        try:
            fs.renameat2(fs.AT_FDCWD, os.fsencode(old), fs.AT_FDCWD, os.fsencode(new), fs.RENAME_EXCHANGE)
        except FileNotFoundError:
            os.rename(new, old)
        except OSError as problem:
            if problem.errno != errno.EINVAL:
                raise
            aside = new.with_name(f"{new.name}.old")
            os.rename(old, aside)
            os.rename(new, old)
            os.rename(aside, new)

    try:
        swap()
    except PermissionError:
        _inside(room, swap)


def _remove_directory(path: Path, room: Callable[[], int]) -> None:
    parent = os.open(path.parent, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        try:
            _Remover(parent, path.name).run()
        except PermissionError:
            _inside(room, _Remover(parent, path.name).run)
    except PermissionError as problem:
        raise StoreError(
            f"{path} can't be removed: {problem}", hint="its files belong to ids that are not yours"
        ) from problem
    finally:
        os.close(parent)


def _inside(room: Callable[[], int], work: Callable[[], None]) -> None:
    fd = room()
    try:
        call(fd, work)
    finally:
        os.close(fd)


class _Remover:
    """Removes one directory, named relative to the descriptor `parent`."""

    def __init__(self, parent: int, name: str) -> None:
        self._parent = parent
        self._name = name
        self._moved: list[str] = []
        self._kept = False  # whether files are left that somebody has open

    def run(self) -> None:
        top = self._enter(self._parent, self._name)
        if top is None:
            return
        try:
            self._empty(top, top, 1)
            while self._moved:
                self._remove(top, self._moved.pop(), top, 1)
        finally:
            os.close(top)
        self._remove_empty(self._parent, self._name)

    def _empty(self, directory: int, top: int, depth: int) -> None:
        with os.scandir(directory) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in names:
            if is_directory:
                self._remove(directory, name, top, depth)
            elif not name.startswith(_STILL_OPEN):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
            else:
                self._try_to_unlink(directory, name)

    def _try_to_unlink(self, directory: int, name: str) -> None:
        """A container may have given a file such a name as well."""
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as problem:
            if problem.errno != errno.EBUSY:
                raise
            self._kept = True

    def _remove(self, directory: int, name: str, top: int, depth: int) -> None:
        """Remove a subdirectory, or when it lies too deep, move it up for later."""
        fd = self._enter(directory, name)
        if fd is None:
            return
        try:
            if depth >= _DEEPEST:
                self._lift(directory, name, top)
                return
            self._empty(fd, top, depth + 1)
        finally:
            os.close(fd)
        self._remove_empty(directory, name)

    def _remove_empty(self, directory: int, name: str) -> None:
        try:
            os.rmdir(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as problem:
            self._kept = self._kept or _has_open_files(directory, name)
            if problem.errno != errno.ENOTEMPTY or not self._kept:
                raise

    def _lift(self, directory: int, name: str, top: int) -> None:
        lifted = f"{len(self._moved)}.{os.urandom(8).hex()}"
        os.rename(name, lifted, src_dir_fd=directory, dst_dir_fd=top)
        self._moved.append(lifted)

    def _enter(self, directory: int, name: str) -> int | None:
        """Open a subdirectory with every permission for its owner; None when it is gone."""
        try:
            fd = _open_below(directory, name)
        except FileNotFoundError:
            return None
        except PermissionError:
            _unlock(directory, name)
            fd = _open_below(directory, name)
        mode = os.fstat(fd).st_mode
        if mode & 0o700 != 0o700:
            try:
                os.fchmod(fd, 0o700)
            except BaseException:
                os.close(fd)
                raise
        return fd


def _has_open_files(directory: int, name: str) -> bool:
    fd = _open_below(directory, name)
    try:
        return any(entry.startswith(_STILL_OPEN) for entry in os.listdir(fd))
    finally:
        os.close(fd)


def _open_below(directory: int, name: str) -> int:
    """A directory that is no link and no mount point, for reading."""
    try:
        return fs.openat2(directory, name, _DIRECTORY, resolve=fs.RESOLVE_NO_XDEV | fs.RESOLVE_NO_SYMLINKS)
    except OSError as problem:
        if problem.errno == errno.EXDEV:
            raise _mounted(name) from problem
        if problem.errno != errno.ENOSYS:
            raise
    fd = os.open(name, _DIRECTORY, dir_fd=directory)  # before Linux 5.6
    if os.fstat(fd).st_dev != os.fstat(directory).st_dev:
        os.close(fd)
        raise _mounted(name)
    return fd


def _mounted(name: str | bytes) -> ConflictError:
    return ConflictError(f"something is mounted at {os.fsdecode(name)}", hint="stop the container that uses it first")


def _unlock(directory: int, name: str) -> None:
    """chmod u+rwx without following a link: through a descriptor that needs no permission on what it stands for."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{fd}", 0o700)
    finally:
        os.close(fd)
