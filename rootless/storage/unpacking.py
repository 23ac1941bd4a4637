"""From a blob to a layer's directory: decompress, hash and unpack in one pass, as either kind of layer.

Everything comes as descriptors, opened by the caller: inside the room, root's container root may not walk root's paths.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..idmap import IdMap
from . import compression, ownerfile, untar
from . import digest as digests
from .lower import DIRECTORY, Lower
from .ownerfile import OwnerRecord
from .owners import MappedOwners, OwnedOwners, Owners
from .pipeline import ReadAhead
from .tarstream import TarStream


@dataclass(frozen=True)
class Job:
    """What is unpacked, where, and on what.

    Attributes:
        blob: open at its beginning.
        root: the empty directory that becomes the layer (O_PATH suffices).
        lower: the unpacked layers below, top first (likewise).
        algorithm: of the diff id.
    """

    blob: BinaryIO
    root: int
    lower: Sequence[int]
    algorithm: str


def mapped(job: Job, idmap: IdMap) -> str:
    """Unpack with real ids and give back the diff id. Runs in a child inside the room.

    Raises:
        UnmappedIdError: a file belongs to an id outside the map.
        InvalidError, StoreError: as `untar.unpack`.
    """
    os.umask(0)
    os.chown(f"/proc/self/fd/{job.root}", 0, 0)  # a set-group-id directory above may have given it another group
    return _unpack(job, MappedOwners(idmap))


def owned(job: Job, owner_files: Sequence[Path]) -> tuple[str, bytes]:
    """Unpack as the caller's own files: (the diff id, the content of `owners.jsonl`).

    Args:
        owner_files: the `owners.jsonl` of each layer in `job.lower`.

    Raises:
        InvalidError, StoreError: as `untar.unpack`.
    """
    below = _OwnerFiles(owner_files)
    owners = OwnedOwners(below.record)
    diff_id = _unpack(job, owners)
    with ExitStack() as opened:
        layer = Lower([_reopened(job.root, opened)])
        records = {path: record for path, record in owners.records.items() if _stands(layer, path)}
    return diff_id, ownerfile.dump(records)


def _unpack(job: Job, owners: Owners) -> str:
    hasher = digests.hasher(job.algorithm)
    with ExitStack() as opened:
        root, *lower = (_reopened(fd, opened) for fd in (job.root, *job.lower))
        _drop_default_acl(root)
        with ReadAhead(compression.decompressor(job.blob), hasher.update) as chunks:
            untar.unpack(TarStream(chunks), root, owners, Lower(lower))
    return f"{job.algorithm}:{hasher.hexdigest()}"


def _stands(layer: Lower, path: bytes) -> bool:
    with layer.find(path) as found:
        return found is not None


def _reopened(fd: int, opened: ExitStack) -> int:
    reading = os.open(".", DIRECTORY, dir_fd=fd)
    opened.callback(os.close, reading)
    return reading


def _drop_default_acl(directory: int) -> None:
    """A default ACL on the store's directories would change the mode of every file (acl(5), "OBJECT CREATION")."""
    try:
        os.removexattr(directory, "system.posix_acl_default")
    except OSError as problem:
        if problem.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise


class _OwnerFiles:
    """The `owners.jsonl` of the layers below; each is read when first asked, which is rare."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._loaded: dict[int, dict[bytes, OwnerRecord]] = {}

    def record(self, layer: int, path: bytes) -> OwnerRecord | None:
        if layer not in self._loaded:
            self._loaded[layer] = ownerfile.load(self._files[layer])
        return self._loaded[layer].get(path)
