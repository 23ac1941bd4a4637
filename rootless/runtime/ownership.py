"""`:U`: a directory and everything in it are given to the container's user, before that user starts."""

from __future__ import annotations

import os

import msgspec

from .. import child
from ..errors import RootlessError
from ..idmap import IdMap
from ..storage.usage import open_below
from . import users
from .mountpoint import Root


class Giver(msgspec.Struct, frozen=True):
    """Who gets it: `user[:group]` as the container's own files have it."""

    user: str
    group_add: tuple[str, ...]
    idmap: IdMap

    def give(self, source: int, root: Root, shown: str) -> None:
        """chown(2) what is behind the descriptor `source`, and what lies below it. Links are not followed, and what is
        mounted below is left alone.

        Args:
            shown: how the user calls it.

        Raises:
            RootlessError: something belongs to an id that the container has not, and so is not the caller's to give.
        """

        def look_up() -> tuple[int, int]:
            os.fchdir(root.fd)
            os.chroot(".")
            user = users.look_up(self.user, self.group_add, self.idmap)
            return user.uid, user.gid

        # In a child: the way back out of a chroot(2) would be longer than this.
        uid, gid = child.call(look_up, "a look at the container's users")
        try:
            _give(source, uid, gid)
        except PermissionError as problem:
            name = os.path.basename(problem.filename or "")
            what = shown if name == str(source) else f"{name} in {shown}"
            raise RootlessError(f"{what} can't be given to {uid}:{gid}: it is not yours") from problem


def _give(source: int, uid: int, gid: int) -> None:
    path = f"/proc/self/fd/{source}"
    status = os.stat(path)
    _change(path, status, uid, gid)
    if not os.path.isdir(path):
        return
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    waiting: list[tuple[str, ...]] = [()]
    try:
        while waiting:
            place = waiting.pop()
            waiting += _give_entries(top, place, uid, gid)
    finally:
        os.close(top)


def _give_entries(top: int, place: tuple[str, ...], uid: int, gid: int) -> list[tuple[str, ...]]:
    """The entries of one directory; the directories among them are given back. One that was exchanged for a link or is
    a mount point is passed over."""
    try:
        directory = open_below(top, place)
    except OSError:
        return []
    try:
        found = []
        with os.scandir(directory) as entries:
            for entry in entries:
                _change(entry.name, entry.stat(follow_symlinks=False), uid, gid, directory)
                if entry.is_dir(follow_symlinks=False):
                    found.append((*place, entry.name))
        return found
    finally:
        os.close(directory)


def _change(name: str, status: os.stat_result, uid: int, gid: int, directory: int | None = None) -> None:
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=directory is None)
