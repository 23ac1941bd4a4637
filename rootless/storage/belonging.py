"""Whose a file of the machine's is, and whose one becomes that a container has made."""

from __future__ import annotations

import os
from typing import Protocol

from ..fuse.metadata import NOBODY

Looks = tuple[os.stat_result, os.stat_result]
"""Attributes as they are, and as the container sees them."""

OTHERS = "it belongs to another user of the machine"


class LeftError(Exception):
    """A change is not made on the machine; the text says why."""


class Owners(Protocol):
    """Who works on the machine, and as whom."""

    def mine(self, status: os.stat_result) -> bool:
        """Whether the caller may do as he likes with what has these attributes."""

    def of(self, wanted: os.stat_result, now: Looks | None, above: Looks | None) -> tuple[int, int]:
        """(uid, gid) on the machine of what has the attributes `wanted` in the container.

        Args:
            now: what is there already.
            above: the directory that it is in.

        Raises:
            LeftError: it would belong to somebody that the caller can't give files to.
        """


class Caller:
    """The caller, outside of all namespaces: for the image `host`, in which his files and root's are root's."""

    def mine(self, status: os.stat_result) -> bool:
        return status.st_uid == os.geteuid()

    def of(self, wanted: os.stat_result, now: Looks | None, above: Looks | None) -> tuple[int, int]:
        uid = now[0].st_uid if now is not None and now[1].st_uid == wanted.st_uid else os.geteuid()
        if wanted.st_uid and (now is None or now[1].st_uid != wanted.st_uid):
            raise LeftError(f"it belongs to user {wanted.st_uid} of the container")
        for place in now, above:  # a file keeps the group that it has, and takes its directory's (inode(7), S_ISGID)
            if place is not None and place[1].st_gid == wanted.st_gid and (wanted.st_gid or place is now):
                return uid, place[0].st_gid
        if wanted.st_gid:
            raise LeftError(f"it belongs to group {wanted.st_gid} of the container")
        return uid, os.getegid()


class Room:
    """The root of the caller's room, which owns all of its ids; what belongs to others shows as nobody's."""

    def mine(self, status: os.stat_result) -> bool:
        return status.st_uid != NOBODY

    def of(self, wanted: os.stat_result, now: Looks | None, above: Looks | None) -> tuple[int, int]:
        return wanted.st_uid, wanted.st_gid
