"""Which storage driver a container gets."""

from __future__ import annotations

from ..errors import UsageError
from .driver import StorageDriver
from .overlay import Overlay

NAMES = ("overlay",)


def get(name: str) -> StorageDriver:
    """The driver of this name.

    Raises:
        UsageError: there is none.
    """
    if name == "overlay":
        return Overlay()
    raise UsageError(f"unknown storage driver {name!r}", hint=f"there are: {', '.join(NAMES)}")


def choose(name: str = "auto") -> StorageDriver:
    """The driver for a new container: the named one, or by `auto` the best that serves here."""
    return get("overlay" if name == "auto" else name)
