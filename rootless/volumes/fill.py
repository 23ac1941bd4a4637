"""An empty volume takes over what the image holds where it is mounted: whole, or not at all.

This runs as PID 1 of a starting container, root of the ids that the files belong to, with the container's root file
system mounted and the store as working directory. Two flocks of the volume's directory stand for what goes on:

    lock    shared: somebody mounts _data; exclusive: somebody fills it. PID 1 holds it until execve(2) closes it.
    users   shared: a monitor whose container has _data mounted. It takes it while PID 1 still holds `lock`, so who
            has `lock` alone and finds `users` free knows that _data is mounted nowhere.

A copy is made beside _data and renamed over it, which is atomic as long as _data is empty (rename(2)). A directory that
somebody has mounted must not be exchanged, though: there the finished copy is named `filled`, and its entries are moved
into _data, by whoever comes next if this process is killed. So it goes with a directory of the machine's that a volume
stands for: what is beside it is not ours, so the copies are made in it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress

from ..kernel import fs
from ..storage.remove import remove_below
from .copy import copy_attributes, copy_tree
from .store import DATA

FILLED = "filled"
FILLING = "filling."
HIDDEN = ".rootless-"
"""What these names begin with in a directory of the machine's."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Source = Callable[[], int]
"""Opens a directory of the image's; FileNotFoundError or NotADirectoryError when there is none."""


def settle(volume: str, sources: Sequence[Source] = (), device: str = "") -> int:
    """Get a volume ready to be mounted, and fill it if it is empty from the first of `sources` that is a directory.

    Args:
        volume: its directory.
        device: the directory of the machine's that it stands for. It stays as it is where the container's root may not
            write to it.

    Returns the descriptor of its `lock`, shared. It must stay open until the monitor has taken `users`.

    Raises:
        OSError: the copy failed (no space, mostly); the volume is then as it was.
    """
    lock = os.open(f"{volume}/lock", os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_SH)
    # What can't be mounted at all is told when it shall be.
    with suppress(PermissionError, FileNotFoundError, NotADirectoryError) if device else nullcontext():
        directory = os.open(device or volume, _DIRECTORY)
        try:
            _settle(_Borrowed(directory) if device else _Filler(directory), lock, sources)
        finally:
            os.close(directory)
    return lock


def _settle(filler: _Filler, lock: int, sources: Sequence[Source]) -> None:
    if filler.is_filled_in_part() or (sources and filler.is_empty()):
        # A conversion may let others in between (flock(2)): what was seen is looked at again.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            filler.run(sources)
        finally:
            fcntl.flock(lock, fcntl.LOCK_SH)


class _Filler:
    """One filling of a volume's own `_data`.

    Attributes:
        data: how what is filled is called in the directory that copies are made in.
        prefix: what the names of these copies begin with.
    """

    data = DATA
    prefix = ""

    def __init__(self, directory: int) -> None:
        self._directory = directory

    def is_filled_in_part(self) -> bool:
        """Whether a finished copy waits to be moved in."""
        return self.prefix + FILLED in os.listdir(self._directory)

    def is_empty(self) -> bool:
        """Whether nothing is in it but copies that are not finished."""
        fd = os.open(self.data, _DIRECTORY, dir_fd=self._directory)
        try:
            with os.scandir(fd) as entries:
                return all(self._is_copy(entry.name) for entry in entries)
        finally:
            os.close(fd)

    def _is_copy(self, _: str) -> bool:
        return False  # they lie beside it

    def run(self, sources: Sequence[Source]) -> None:
        """Fill it, alone with the volume."""
        for name in os.listdir(self._directory):
            if name.startswith(self.prefix + FILLING):  # of a process that was killed, or it would hold the lock
                remove_below(self._directory, os.fsencode(name))
        if self.is_filled_in_part():
            self._move_in()
        for source in sources:
            if not self.is_empty():
                return
            with suppress(FileNotFoundError, NotADirectoryError):
                fd = source()
                try:
                    self._fill(fd)
                finally:
                    os.close(fd)
                return

    def _fill(self, source: int) -> None:
        draft = f"{self.prefix}{FILLING}{os.urandom(8).hex()}"
        os.mkdir(draft, 0o700, dir_fd=self._directory)
        try:
            target = os.open(draft, _DIRECTORY, dir_fd=self._directory)
            try:
                copy_tree(source, target)
            finally:
                os.close(target)
            self._publish(draft)
        except BaseException:
            with suppress(OSError):
                remove_below(self._directory, os.fsencode(draft))
            raise

    def _publish(self, draft: str) -> None:
        if self._is_mounted():
            os.rename(draft, self.prefix + FILLED, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            self._move_in()
            return
        try:
            os.rename(draft, DATA, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Somebody has just put a file into it from outside: it is filled, and not by us.
            remove_below(self._directory, os.fsencode(draft))

    def _is_mounted(self) -> bool:
        users = os.open("users", os.O_RDWR | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(users)
        return False

    def _move_in(self) -> None:
        """Move what `filled` holds into _data; what is there by now stays."""
        filled = os.open(self.prefix + FILLED, _DIRECTORY, dir_fd=self._directory)
        data = os.open(self.data, _DIRECTORY, dir_fd=self._directory)
        try:
            for name in os.listdir(filled):
                with suppress(FileExistsError):
                    fs.renameat2(filled, name, data, name, fs.RENAME_NOREPLACE)
            copy_attributes(filled, data)
        finally:
            os.close(filled)
            os.close(data)
        remove_below(self._directory, os.fsencode(self.prefix + FILLED))


class _Borrowed(_Filler):
    """One filling of a directory of the machine's."""

    data = "."
    prefix = HIDDEN

    def _is_copy(self, name: str) -> bool:
        return name.startswith((self.prefix + FILLING, self.prefix + FILLED))

    def _is_mounted(self) -> bool:
        return True
