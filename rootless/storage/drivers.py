"""Which storage driver a container gets, and why."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..kernel.mount import mountinfo
from .cow import Cow
from .driver import StorageDriver
from .fuse_overlayfs import FuseOverlayfs
from .overlay import Overlay

REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "gpfs", "afs", "beegfs", "vboxsf"})
"""File systems without what an upper directory needs: whiteout devices, extended attributes, RENAME_EXCHANGE."""

DRIVERS: dict[str, type[StorageDriver]] = {"overlay": Overlay, "cow": Cow, "fuse-overlayfs": FuseOverlayfs}


def get(name: str) -> StorageDriver:
    """The driver of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in DRIVERS:
        raise UsageError(f"unknown storage driver {name!r}", hint=f"there are: auto, {', '.join(DRIVERS)}")
    return DRIVERS[name]()


@dataclass(frozen=True)
class Choice:
    """A driver, and why it was taken; `rootless info` shows both."""

    driver: StorageDriver
    reason: str


def choose(name: str, store: Path) -> Choice:
    """The driver for a new container: the named one, or by `auto` the kernel's overlayfs where it can serve, else ours.

    Raises:
        UsageError: there is no driver of this name.
    """
    if name != "auto":
        return Choice(get(name), "it was asked for")
    against = _against_overlay(store)
    if not against:
        return Choice(Overlay(), "the kernel's overlayfs can serve here")
    cow = Cow()
    if lacking := cow.unavailable():
        return Choice(Overlay(), f"{against}, but the driver cow can't serve either: {lacking}")
    return Choice(cow, against)


def unavailable(name: str, store: Path) -> str:
    """Why a driver can't serve in this store; empty when nothing is known against it."""
    if name == Overlay.name:
        return _against_overlay(store)
    return Cow().unavailable() if name == Cow.name else FuseOverlayfs().unavailable()


def _against_overlay(store: Path) -> str:
    """Why overlayfs could not have its writable layer in this store; empty when nothing is known against it."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release and (int(release[1]), int(release[2])) < (5, 11):
        return f"Linux {os.uname().release} mounts no overlayfs in a user namespace"
    kind = file_system(store)
    if kind in REMOTE or kind.startswith("fuse."):
        return f"the store lies on {kind}, where overlayfs can't write"
    return ""


def file_system(path: Path) -> str:
    """The type of the file system that `path`, or what exists of it, lies on."""
    text = os.path.realpath(path)
    best, kind = "", ""
    for point, fstype, _ in mountinfo():
        inside = text == point or text.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fstype
    return kind
