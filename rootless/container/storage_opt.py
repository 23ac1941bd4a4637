"""`--storage-opt NAME=VALUE`: what a container wants of its storage."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import UsageError
from ..storage.driver import Owners
from ..storage.drivers import Wish
from . import sizes

_OWNERSHIP: Mapping[str, Owners] = {"owned": "owned", "mapped": "mapped"}


def parse(options: Mapping[str, str], *, host: bool = False, keep_id: bool = False) -> Wish:
    """What the options ask for.

    `size` is Docker's: how much the container may change, in bytes; 0 is no limit. `ownership` is ours: `owned`, where
    all of the writable layer belongs to the caller, or `mapped`, where it has real ids.

    Args:
        host: for a container of the image `host`.
        keep_id: for one in which the caller has other ids than its root's.

    Raises:
        UsageError: an unknown option or a value that makes no sense; in Docker's words.
    """
    size, owners = 0, None
    for name, value in options.items():
        match name.lower():
            case "size":
                size = sizes.parse(value)
            case "ownership":
                owners = _owners(value)
            case other:
                raise UsageError(f"Unknown option {other}", hint="--storage-opt has size and ownership")
    return Wish(size, owners, host, keep_id)


def _owners(value: str) -> Owners:
    if value not in _OWNERSHIP:
        raise UsageError(f"invalid ownership: '{value}'", hint="it is owned or mapped")
    return _OWNERSHIP[value]
