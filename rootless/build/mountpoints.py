"""What a RUN leaves of its mounts in the layer that it makes: nothing.

A mount needs something to stand on, which is made where the image has none. It must not become part of the image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from ..kernel import fs
from ..storage.trees import Trees
from .trees import MergedTree


def remove_made(trees: Trees, targets: Sequence[str]) -> None:
    """Remove empty mount points that no layer below has, and the directories that were made for them.

    Args:
        trees: the step's writable layer, and what is below it.
        targets: where something was mounted, absolute paths of the container.
    """
    below = MergedTree(trees.below)
    for target in targets:
        path = target.strip("/")
        while path and below.entry(path) is None:
            try:
                remove_empty(trees.upper.root, path)
            except OSError:
                break  # something is in it, or it lies elsewhere by way of a link
            path = path.rpartition("/")[0]


def remove_empty(root: int, path: str) -> None:
    """Remove an empty file or directory below `root`.

    Raises:
        OSError: there is none, it is not empty, or a link is on the way.
    """
    above, _, name = path.rpartition("/")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    parent = fs.openat2(root, above or ".", flags, resolve=fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS)
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):  # of any size: on btrfs an empty one has 0 bytes
            os.rmdir(name, dir_fd=parent)
        elif stat.S_ISREG(status.st_mode) and not status.st_size:
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(parent)
