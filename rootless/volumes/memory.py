"""Volumes of `--opt type=tmpfs`: in memory, from the first container's start that has one to the last one's end.

No daemon mounts them. Each is a mount namespace of the room's with nothing in it but the tmpfs, which lives as the room
does: every monitor of a container that has the volume holds a descriptor on it (holders.py), by which the next one
finds it. What is mounted in a container is a copy of that mount, so that all of them have the same files.
"""

from __future__ import annotations

import os
from functools import partial

from .. import child, holders, room
from ..errors import RootlessError
from ..hashes import sha256
from ..idmap import IdMap
from ..kernel import fs
from ..kernel import mount as m
from ..kernel import namespaces as ns
from ..paths import Paths
from .options import parse_tmpfs
from .store import Volume

_WHAT = "a process in the user namespace"


def take(paths: Paths, ids: IdMap, room_fd: int, volume: Volume) -> int:
    """A descriptor on the volume's mount namespace, found or made; the calling process keeps it until `leave`.

    Raises:
        RootlessError: the kernel refuses these options.
    """
    tag, make = _tag(ids, volume), partial(_make, room_fd, volume)
    return holders.find_or_make(paths.rooms, tag, make, hold=True, fits=partial(_is_of, room_fd))


def find(paths: Paths, ids: IdMap, room_fd: int, volume: Volume) -> int | None:
    """The same, if a container has the volume; without keeping it."""
    return holders.find(paths.rooms, _tag(ids, volume), partial(_is_of, room_fd))


def leave(paths: Paths, ids: IdMap, volume: Volume) -> None:
    """The calling process keeps it no more. Its descriptor has to be closed as well."""
    holders.forget(paths.rooms, _tag(ids, volume))


def copy(namespace: int, subpath: str = "") -> int:
    """A detached copy of the tmpfs, or of a directory in it. To be called in the room.

    Raises:
        OSError: there is no such directory, or it leads out of the volume (EXDEV).
    """

    def work() -> list[int]:
        ns.setns(namespace, ns.CLONE_NEWNS)  # no way leads back: it would take powers over the caller's own
        top = os.open("/", os.O_PATH | os.O_DIRECTORY)
        if subpath:
            top = fs.openat2(top, subpath, os.O_PATH, resolve=fs.RESOLVE_BENEATH | fs.RESOLVE_NO_MAGICLINKS)
        return [m.open_tree(top, "", m.AT_EMPTY_PATH | m.OPEN_TREE_CLONE)]

    return child.descriptors(work, _WHAT)[0]


def _tag(ids: IdMap, volume: Volume) -> str:
    """The list of its holders. A volume that was removed and made again is another one."""
    directory = os.stat(volume.directory)
    which = sha256(f"{volume.name} {directory.st_dev} {directory.st_ino} {volume.document.created}".encode())
    return f"{ids.tag}-tmpfs-{which.hexdigest()[:16]}"


def _is_of(room_fd: int, namespace: int) -> bool:
    """Whether it belongs to this room, and not to one before it, whose last process is about to end."""
    owner = ns.owner(namespace)
    try:
        return ns.same_namespace(owner, room_fd)
    finally:
        os.close(owner)


def _make(room_fd: int, volume: Volume) -> int:
    def work() -> list[int]:
        room.inhabit(room_fd)
        ns.unshare(ns.CLONE_NEWNS)
        namespace = ns.open_namespace("self", ns.CLONE_NEWNS)
        m.mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
        flags, data = parse_tmpfs(volume.document.options.get("o", ""))
        try:
            m.mount("tmpfs", "/proc", "tmpfs", flags, ",".join(data) or None)
        except OSError as problem:
            raise RootlessError(
                f"error while mounting volume '{volume.data}': failed to mount local volume: mount "
                f"{volume.document.options['device']}:{volume.data}, data: {','.join(data)}: "
                f"{(problem.strerror or '').lower()}",
                hint="see tmpfs(5) for what its options may be",
            ) from problem
        os.chdir("/proc")
        m.pivot_root(".", ".")
        m.umount(".", m.MNT_DETACH)  # and with it everything of the machine's, which would stay busy otherwise
        return [namespace]

    return child.descriptors(work, _WHAT)[0]
