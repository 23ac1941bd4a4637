"""inotify(7): being told what happens in a directory."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from .libc import check, encode, libc

IN_MODIFY = 0x00000002
IN_MOVED_TO = 0x00000080
IN_CREATE = 0x00000100
IN_DELETE_SELF = 0x00000400
IN_MOVE_SELF = 0x00000800
IN_ONLYDIR = 0x01000000

_EVENT = struct.Struct("iIII")
_BUFFER = 65536


def init() -> int:
    """inotify_init1(2): a descriptor that is readable when something happened. Non-blocking, close-on-exec.

    Raises:
        OSError: EMFILE when the user has fs.inotify.max_user_instances of them already.
    """
    return check(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))


def add_watch(fd: int, path: str | bytes, mask: int) -> int:
    """inotify_add_watch(2)."""
    return check(libc.inotify_add_watch(fd, encode(path), mask), path)


def events(fd: int) -> Iterator[tuple[int, str]]:
    """What happened since the last call: masks, and the names in the watched directory (empty for itself)."""
    try:
        data = os.read(fd, _BUFFER)
    except BlockingIOError:
        return
    position = 0
    while position < len(data):
        _, mask, _, length = _EVENT.unpack_from(data, position)
        position += _EVENT.size + length
        yield mask, os.fsdecode(data[position - length : position].rstrip(b"\0"))
