"""Blobs that are arriving: what a download has so far stays, so that it goes on where it stopped, also in a later run.

    partial/<algorithm>-<hex>     the first bytes of the blob; flocked by the one who downloads it

The file is only appended to, so others may read what is there while the rest comes (unpacker.py). When the digest is
right it becomes the blob, by rename. Nothing is flushed before that: after a power cut its bytes may be wrong, which
the digest finds out, and then it is begun anew.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .. import atomic
from ..errors import InvalidError
from ..paths import Paths
from ..storage import digest as digests
from ..storage.blobs import Blobs

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK = 1 << 20


def path(paths: Paths, digest: str) -> Path:
    """Where a blob stands while it is arriving. InvalidError when `digest` is none."""
    return paths.partial / "-".join(digests.parse(digest))


def size(paths: Paths, digest: str) -> int:
    """How many of its bytes are here."""
    try:
        return path(paths, digest).stat().st_size
    except FileNotFoundError:
        return 0


class Partial:
    """The one download of a blob. Made by `take`; `close` gives it up and leaves what is there.

    Attributes:
        position: bytes that are here.
    """

    def __init__(self, paths: Paths, digest: str, fd: int) -> None:
        self.digest = digest
        self.position = os.fstat(fd).st_size
        self._path = path(paths, digest)
        self._fd = fd
        self._hasher: _Hash = digests.hasher(digests.parse(digest)[0])

    @classmethod
    def take(cls, paths: Paths, digest: str) -> Partial | None:
        """Become the one who downloads this blob; None when somebody else is."""
        place = path(paths, digest)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_ino == place.stat().st_ino:
                return cls(paths, digest, fd)
        except (BlockingIOError, FileNotFoundError):
            pass  # at work, or just published or given up by the one who was
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def recall(self) -> None:
        """Hash what is here already. Takes a second for each gigabyte or so."""
        at = 0
        while at < self.position and (data := os.pread(self._fd, min(_CHUNK, self.position - at), at)):
            self._hasher.update(data)
            at += len(data)

    def restart(self) -> None:
        """Begin anew, with a file that nobody reads yet."""
        os.ftruncate(self._fd, 0)
        self.position = 0
        self._hasher = digests.hasher(digests.parse(self.digest)[0])

    def write(self, data: bytes) -> None:
        """Append. OSError: ENOSPC, EDQUOT."""
        self._hasher.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self.position += len(data)

    def verify(self, size: int) -> None:
        """InvalidError when this is not the blob, whole; it is then of no use and goes."""
        found = f"{digests.parse(self.digest)[0]}:{self._hasher.hexdigest()}"
        if self.position != size or found != self.digest:
            self.discard()
            raise InvalidError(f"layer {self.digest}: what arrived is something else ({found}, {self.position} bytes)")

    def publish(self, blobs: Blobs) -> None:
        """Flush what was verified to the disk, and let it be the blob. The caller has pinned it."""
        target = blobs.path(self.digest)
        os.fsync(self._fd)
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.rename(self._path, target)
        atomic.sync_directory(target.parent)

    def discard(self) -> None:
        """Remove what is there."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def every(paths: Paths) -> Iterator[tuple[str, Path]]:
    """(digest, file) of all that has arrived in part."""
    with suppress(FileNotFoundError):
        for entry in sorted(paths.partial.iterdir()):
            with suppress(InvalidError):
                digest = entry.name.replace("-", ":", 1)
                digests.check(digest)
                yield digest, entry


def forget(paths: Paths, digest: str) -> int:
    """Remove what has arrived of a blob, unless somebody is downloading it; bytes that are free now."""
    if not path(paths, digest).exists():
        return 0
    taken = Partial.take(paths, digest)
    if taken is None:
        return 0
    taken.discard()
    taken.close()
    return taken.position


def sweep(paths: Paths, older: float) -> int:
    """Remove what nobody has gone on with for `older` seconds; bytes that are free now."""
    freed = 0
    for digest, file in every(paths):
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < time.time() - older:
                freed += forget(paths, digest)
    return freed
