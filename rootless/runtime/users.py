"""Who a container's process is: `user[:group]` looked up in the passwd(5) and group(5) of its own root file system.

The files are the image's and may hold anything; what does not parse is passed over, as the C library passes it over.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from ..errors import NotFoundError, UnavailableError
from ..idmap import IdMap

MAX_FILE = 16 << 20
MAX_ID = (1 << 32) - 2


class User(msgspec.Struct, frozen=True):
    """The ids a process runs with, and the home directory that HOME is set to when nothing else sets it."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


Opened = Callable[[str], int]
"""Gives a descriptor on the file of an absolute path. OSError when there is none."""


def _open(path: str) -> int:
    # Without O_NONBLOCK a fifo of this name would stop the start for ever.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def look_up(user: str, group_add: Sequence[str], idmap: IdMap, opened: Opened = _open) -> User:
    """The user named by `--user` (empty: root) and `--group-add`, by the rules of Docker's engine.

    A name must be found; a number need not be. With a group named, the user's supplementary groups are left out.

    Args:
        opened: how the image's files are opened, where `/` is not its root.

    Raises:
        NotFoundError: no such user or group in the image.
        UnavailableError: the id exists but the id map has no place for it.
    """
    name, _, group = user.partition(":")
    found = _user(name or "0", opened)
    # With one id setgroups(2) has been given up: what the image's group file adds for root has to be left out.
    groups = list(_supplementary(found, opened)) if not group and not idmap.single else []
    gid = _group(group, opened) if group else found.gid
    groups += [_group(text, opened) for text in group_add]
    # The primary group among them: it is kept when a set-group-id program changes the other (CVE-2022-36109).
    result = User(found.uid, gid, tuple(dict.fromkeys([gid, *groups])), found.home)
    _require(result, user or "0", idmap)
    return result


def add(accounts: tuple[str, str], root: str = "/") -> None:
    """Add lines to passwd(5) and group(5), where those are and nothing in them has the line's id yet.

    An image that can't be written to goes without: then the user has no name.
    """
    for name, line in zip(("passwd", "group"), accounts, strict=True):
        path = f"{root}/etc/{name}"
        if line and all(fields[2:3] != [line.split(":")[2]] for fields in _lines(_open, path)):
            with suppress(OSError):
                # Not O_CREAT, and no fifo or link of the image's: see `_open`.
                fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
                with open(fd, "r+b") as file:
                    if stat.S_ISREG(os.fstat(fd).st_mode):
                        begun = os.fstat(fd).st_size and os.pread(fd, 1, os.fstat(fd).st_size - 1) != b"\n"
                        file.write(b"\n" * bool(begun) + line.encode() + b"\n")


def _require(user: User, text: str, idmap: IdMap) -> None:
    if all(idmap.holds(user.uid, gid) for gid in (user.gid, *user.groups)):
        return
    ids = f"{user.uid}:{user.gid}"
    if idmap.single:
        raise UnavailableError(f"user {text} ({ids}) needs more ids than the one there is", hint=idmap.reason)
    uid, gid = (end - 1 for end in idmap.ends)
    held = f"0 to {uid}" if uid == gid else f"user ids 0 to {uid} and group ids 0 to {gid}"
    raise UnavailableError(f"user {text} ({ids}) lies outside the container's ids", hint=f"the map holds {held}")


class _Account(msgspec.Struct, frozen=True):
    name: str
    uid: int
    gid: int
    home: str


def _user(text: str, opened: Opened) -> _Account:
    number = _number(text)
    for fields in _lines(opened, "/etc/passwd"):
        if len(fields) < 6:
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None and (fields[0] == text or uid == number):
            return _Account(fields[0], uid, gid, fields[5] or "/")
    if number is None:
        raise NotFoundError(f"unable to find user {text}: no matching entries in passwd file")
    return _Account("", number, 0, "/")


def _group(text: str, opened: Opened) -> int:
    number = _number(text)
    for fields in _lines(opened, "/etc/group"):
        gid = _number(fields[2]) if len(fields) > 2 else None
        if gid is not None and (fields[0] == text or gid == number):
            return gid
    if number is None:
        raise NotFoundError(f"unable to find group {text}: no matching entries in group file")
    return number


def _supplementary(user: _Account, opened: Opened) -> Iterator[int]:
    for fields in _lines(opened, "/etc/group"):
        gid = _number(fields[2]) if len(fields) > 3 else None
        if gid is not None and user.name and user.name in fields[3].split(","):
            yield gid


def _number(text: str) -> int | None:
    if text.isascii() and text.isdecimal() and int(text) <= MAX_ID:
        return int(text)
    return None


def _lines(opened: Opened, path: str) -> Iterator[list[str]]:
    """The colon-separated lines of a file that may be missing, huge, or no file at all."""
    try:
        fd = opened(path)
    except OSError:
        return
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return
        for line in file.read(MAX_FILE).decode(errors="replace").splitlines():
            if line and not line.startswith("#"):
                yield line.strip().split(":")
