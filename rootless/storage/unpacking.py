"""From a blob to a layer's directory: decompress, hash and unpack in one pass, as either kind of layer.

Everything comes as descriptors, opened by the caller: inside the room, root's container root may not walk root's paths.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidError
from ..idmap import IdMap
from . import compression, ownerfile, untar
from . import digest as digests
from .lower import DIRECTORY, Lower
from .ownerfile import OwnerRecord
from .owners import MappedOwners, OwnedOwners, Owners
from .pipeline import ReadAhead
from .tarheader import FILES, Entry
from .tarstream import TarStream


@dataclass(frozen=True)
class Job:
    """What is unpacked, where, and on what.

    Attributes:
        blob: open at its beginning.
        root: the empty directory that becomes the layer (O_PATH suffices).
        lower: the unpacked layers below, top first (likewise).
        algorithm: of the diff id.
        blob_size: bytes of the whole blob.
    """

    blob: BinaryIO
    root: int
    lower: Sequence[int]
    algorithm: str
    blob_size: int = 0


@dataclass(frozen=True)
class Unpacked:
    """What came of it.

    Attributes:
        diff_id: the digest of the plain archive.
        size: bytes of its regular files, added up.
    """

    diff_id: str
    size: int


EXPANSION = 200
"""How many times its own size a compressed layer may have once it is plain. Text reaches 10, logs 50, gzip's limit is
1032: what is above this, beyond the first `EXPANSION_FREE` bytes, is made to fill a disk."""
EXPANSION_FREE = 1 << 30


def mapped(job: Job, idmap: IdMap) -> Unpacked:
    """Unpack with real ids. Runs in a child inside the room.

    Raises:
        UnmappedIdError: a file belongs to an id outside the map.
        InvalidError, StoreError: as `untar.unpack`.
    """
    os.umask(0)
    os.chown(f"/proc/self/fd/{job.root}", 0, 0)  # a set-group-id directory above may have given it another group
    return _unpack(job, MappedOwners(idmap))


def owned(job: Job, owner_files: Sequence[Path]) -> tuple[Unpacked, bytes]:
    """Unpack as the caller's own files: (what came of it, the content of `owners.jsonl`).

    Args:
        owner_files: the `owners.jsonl` of each layer in `job.lower`.

    Raises:
        InvalidError, StoreError: as `untar.unpack`.
    """
    below = _OwnerFiles(owner_files)
    owners = OwnedOwners(below.record)
    unpacked = _unpack(job, owners)
    with ExitStack() as opened:
        layer = Lower([_reopened(job.root, opened)])
        records = {path: record for path, record in owners.records.items() if _stands(layer, path)}
    return unpacked, ownerfile.dump(records)


def _unpack(job: Job, owners: Owners) -> Unpacked:
    hasher = digests.hasher(job.algorithm)
    bound = _Bound(max(EXPANSION_FREE, EXPANSION * job.blob_size))

    def seen(chunk: bytes) -> None:
        bound.pass_through(len(chunk))
        hasher.update(chunk)

    with ExitStack() as opened:
        root, *lower = (_reopened(fd, opened) for fd in (job.root, *job.lower))
        _drop_default_acl(root)
        with ReadAhead(compression.decompressor(job.blob), seen) as chunks:
            archive = _Measured(chunks)
            untar.unpack(archive, root, owners, Lower(lower))
    return Unpacked(f"{job.algorithm}:{hasher.hexdigest()}", archive.size)


class _Bound:
    """Lets so many bytes pass."""

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit

    def pass_through(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise InvalidError(
                f"the layer expands to more than {self._limit} bytes, {EXPANSION} times what it has compressed",
                hint="it looks as if it were made to fill the disk",
            )


class _Measured(TarStream):
    """Adds up the sizes of the regular files on the way."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__(chunks)
        self.size = 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in super().__iter__():
            if entry.type in FILES:
                self.size += entry.size if entry.sparse is None else entry.length
            yield entry


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
