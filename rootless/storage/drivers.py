"""Which storage driver a container gets, and why."""

from __future__ import annotations

from ..errors import UsageError
from .cow import Cow
from .driver import StorageDriver
from .fuse_overlayfs import FuseOverlayfs
from .overlay import Overlay

DRIVERS: dict[str, type[StorageDriver]] = {"overlay": Overlay, "cow": Cow, "fuse-overlayfs": FuseOverlayfs}


def get(name: str) -> StorageDriver:
    """The driver of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in DRIVERS:
        raise UsageError(f"unknown storage driver {name!r}", hint=f"there are: auto, {', '.join(DRIVERS)}")
    return DRIVERS[name]()


def choose(name: str = "auto") -> StorageDriver:
    """The driver for a new container: the named one, or by `auto` the best that serves here."""
    return get("overlay" if name == "auto" else name)
