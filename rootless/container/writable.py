"""The directories that a container's changes go to, as they are made."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UnavailableError
from ..idmap import IdMap
from ..storage import drivers
from ..storage.ownerfile import OVERRIDE


def make(place: Path, top: Path, idmap: IdMap, *, owned: bool) -> None:
    """Make `upper` and `work` in `place`, an empty writable layer over the directory `top`.

    Args:
        owned: owners are written down (fuse/metadata.py).

    Raises:
        UnavailableError: the store's file system keeps no attributes for that.
    """
    owner = (idmap.uids[0].outside, idmap.gids[0].outside)
    mode = top.stat().st_mode & 0o7777
    for directory, bits in ("upper", mode), ("work", 0o700):
        (place / directory).mkdir()
        (place / directory).chmod(bits)
    if owned:
        _note_owner(place / "upper", top, mode)
    if os.geteuid() != owner[0]:  # real root's containers belong to a subordinate id
        for directory in "upper", "work":
            os.chown(place / directory, *owner)


def _note_owner(upper: Path, top: Path, mode: int) -> None:
    """Give the root of an owned writable layer the owner and mode that the layer below says of its own."""
    try:
        text = os.getxattr(top, OVERRIDE)
    except OSError:  # the machine's root says nothing, nor does a layer without attributes: it is root's
        text = f"0:0:{mode:04o}:dir".encode()
    try:
        os.setxattr(upper, OVERRIDE, text)
    except OSError as problem:
        kind = drivers.file_system(upper)
        raise UnavailableError(
            f"the store lies on {kind}, where owners can't be written down: {(problem.strerror or '').lower()}",
            hint="name another place for the store with --root",
        ) from problem
