"""An empty volume takes over what the image holds where it is mounted: whole, or not at all.

This runs as PID 1 of a starting container, root of the ids that the files belong to, with the container's root file
system mounted and the store as working directory. Two flocks of the volume's directory stand for what goes on:

    lock    shared: somebody mounts _data; exclusive: somebody fills it. PID 1 holds it until execve(2) closes it.
    users   shared: a monitor whose container has _data mounted. It takes it while PID 1 still holds `lock`, so who
            has `lock` alone and finds `users` free knows that _data is mounted nowhere.

A copy is made beside _data and renamed over it, which is atomic as long as _data is empty (rename(2)). A directory that
somebody has mounted must not be exchanged, though: there the finished copy is named `filled`, and its entries are moved
into _data, by whoever comes next if this process is killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..kernel import fs
from ..storage.remove import remove_below
from .copy import copy_attributes, copy_tree
from .store import DATA

FILLED = "filled"
FILLING = "filling."

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Source = Callable[[], int]
"""Opens a directory of the image's; FileNotFoundError or NotADirectoryError when there is none."""


def settle(volume: str, sources: Sequence[Source] = ()) -> int:
    """Get a volume ready to be mounted, and fill it if it is empty from the first of `sources` that is a directory.

    Args:
        volume: its directory.

    Returns the descriptor of its `lock`, shared. It must stay open until the monitor has taken `users`.

    Raises:
        OSError: the copy failed (no space, mostly); the volume is then as it was.
    """
    lock = os.open(f"{volume}/lock", os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_SH)
    directory = os.open(volume, _DIRECTORY)
    try:
        if _is_filled_in_part(directory) or (sources and _is_empty(directory)):
            # A conversion may let others in between (flock(2)): what was seen is looked at again.
            fcntl.flock(lock, fcntl.LOCK_EX)
            _Filler(directory).run(sources)
            fcntl.flock(lock, fcntl.LOCK_SH)
    finally:
        os.close(directory)
    return lock


def _is_filled_in_part(directory: int) -> bool:
    return FILLED in os.listdir(directory)


def _is_empty(directory: int) -> bool:
    fd = os.open(DATA, _DIRECTORY, dir_fd=directory)
    try:
        with os.scandir(fd) as entries:
            return next(entries, None) is None
    finally:
        os.close(fd)


class _Filler:
    """One filling, alone with the volume."""

    def __init__(self, directory: int) -> None:
        self._directory = directory

    def run(self, sources: Sequence[Source]) -> None:
        for name in os.listdir(self._directory):
            if name.startswith(FILLING):  # of a process that was killed, or it would hold the lock
                remove_below(self._directory, os.fsencode(name))
        if _is_filled_in_part(self._directory):
            self._move_in()
        for source in sources:
            if not _is_empty(self._directory):
                return
            with suppress(FileNotFoundError, NotADirectoryError):
                fd = source()
                try:
                    self._fill(fd)
                finally:
                    os.close(fd)
                return

    def _fill(self, source: int) -> None:
        draft = f"{FILLING}{os.urandom(8).hex()}"
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
            os.rename(draft, FILLED, src_dir_fd=self._directory, dst_dir_fd=self._directory)
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
        filled = os.open(FILLED, _DIRECTORY, dir_fd=self._directory)
        data = os.open(DATA, _DIRECTORY, dir_fd=self._directory)
        try:
            for name in os.listdir(filled):
                with suppress(FileExistsError):
                    fs.renameat2(filled, name, data, name, fs.RENAME_NOREPLACE)
            copy_attributes(filled, data)
        finally:
            os.close(filled)
            os.close(data)
        remove_below(self._directory, os.fsencode(FILLED))
