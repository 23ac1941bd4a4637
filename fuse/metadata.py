"""Owners, modes, times and names of extended attributes: how they are written down, and carried over.

In an `owned` layer every inode belongs to the user who made it, and the truth stands in
`user.containers.override_stat` as `uid:gid:mode:type` (mode octal without the type; type one of file, dir, symlink,
pipe, socket, block-MAJOR-MINOR, char-MAJOR-MINOR), the format of containers/storage and fuse-overlayfs. An inode
without it is root's, with its real mode.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import Protocol

OVERRIDE = "user.containers.override_stat"
SAVED = "user.rootless."
"""Before the name of an attribute that only a privileged process may set: security.capability in an `owned` layer."""
CAPABILITY = "security.capability"
NOBODY = 65534

_OVERRIDE_FORM = re.compile(
    rb"(\d{1,10}):(\d{1,10}):([0-7]{1,7})(?::(file|dir|symlink|pipe|socket|(?:block|char)-\d{1,10}-\d{1,10}))?\0?"
)
_TYPES = {
    b"file": stat.S_IFREG,
    b"dir": stat.S_IFDIR,
    b"symlink": stat.S_IFLNK,
    b"pipe": stat.S_IFIFO,
    b"socket": stat.S_IFSOCK,
    b"block": stat.S_IFBLK,
    b"char": stat.S_IFCHR,
}
_NAMES = {kind: name.decode() for name, kind in _TYPES.items()}


class Caller(Protocol):
    """Who asks: ids as the container sees them."""

    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...


def at(directory: int, name: bytes) -> str:
    """A path for the system calls that take no directory descriptor: one component below an open directory.

    It is as short as the name is, however deep the directory lies.
    """
    return f"/proc/self/fd/{directory}/{os.fsdecode(name)}"


def owner_of_new(parent: os.stat_result, caller: Caller, mode: int) -> tuple[int, int, int]:
    """(uid, gid, mode) of a new inode: in a set-gid directory it takes the group, a directory the bit too."""
    if not parent.st_mode & stat.S_ISGID:
        return caller.uid, caller.gid, mode
    if stat.S_ISDIR(mode):
        mode |= stat.S_ISGID
    return caller.uid, parent.st_gid, mode


def changed(status: os.stat_result, **fields: int) -> os.stat_result:
    """A copy of `status` with some of uid, gid, mode, nlink, size and rdev replaced."""
    extra = {
        name: getattr(status, name)
        for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_blksize", "st_blocks", "st_rdev")
    }
    extra.update((f"st_{name}", value) for name, value in fields.items() if f"st_{name}" in extra)
    plain = (
        fields.get("mode", status.st_mode),
        status.st_ino,
        status.st_dev,
        fields.get("nlink", status.st_nlink),
        fields.get("uid", status.st_uid),
        fields.get("gid", status.st_gid),
        fields.get("size", status.st_size),
        status.st_atime_ns // 10**9,
        status.st_mtime_ns // 10**9,
        status.st_ctime_ns // 10**9,
    )
    return os.stat_result(plain, extra)


def parse_override(raw: bytes) -> tuple[int, int, int, int, int] | None:
    """(uid, gid, mode, type bits or 0, device) of an override; None when it is malformed and must not be believed."""
    match = _OVERRIDE_FORM.fullmatch(raw)
    if match is None:
        return None
    uid, gid, mode = int(match[1]), int(match[2]), int(match[3], 8)
    if uid >= 2**32 - 1 or gid >= 2**32 - 1:
        return None
    name, _, numbers = (match[4] or b"").partition(b"-")
    major, _, minor = numbers.partition(b"-")
    device = os.makedev(int(major), int(minor)) if numbers else 0
    return uid, gid, mode & 0o7777, _TYPES.get(name, 0), device


def format_override(status: os.stat_result) -> bytes:
    """The override that stands for these attributes."""
    kind = stat.S_IFMT(status.st_mode)
    name = _NAMES[kind]
    if kind in (stat.S_IFBLK, stat.S_IFCHR):
        name += f"-{os.major(status.st_rdev)}-{os.minor(status.st_rdev)}"
    return f"{status.st_uid}:{status.st_gid}:{stat.S_IMODE(status.st_mode):o}:{name}".encode()


_PRIVATE = "user.overlay."
_ESCAPE = "user.overlay.overlay."


def is_private(name: str) -> bool:
    """Whether this attribute is the union's own; those of a nested overlayfs are escaped and are not."""
    return name.startswith(_PRIVATE) and not name.startswith(_ESCAPE)


def escape(name: str) -> str:
    """The name on disk of an attribute the container calls `name` (overlayfs.rst, "nesting overlayfs mounts")."""
    return _ESCAPE + name[len(_PRIVATE) :] if name.startswith(_PRIVATE) else name


def unescape(name: str) -> str:
    """The container's name for an attribute on disk that is not private."""
    return _PRIVATE + name[len(_ESCAPE) :] if name.startswith(_ESCAPE) else name


def set_times(target: int | str, status: os.stat_result) -> None:
    """Access and modification time of `status`, to the nanosecond."""
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=isinstance(target, int))


def restore_times(fd: int, status: os.stat_result) -> None:
    """The times of a directory whose entries were only moved between layers; what may not be restored is left."""
    with suppress(OSError):
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
