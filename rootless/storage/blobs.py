"""Blobs: immutable files named by the digest of what is in them, the part of the store that can't be made again.

    blobs/<algorithm>/<hex>     complete, verified and on the disk: nothing else ever stands here
    tmp/<name>                  being written; published by rename(2), or swept when its writer is dead

The directory is part of an OCI image layout (image-spec/image-layout.md), so other tools read it while we write to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .. import atomic
from ..errors import InvalidError, NotFoundError
from ..paths import Paths
from . import digest as digests

if TYPE_CHECKING:
    from hashlib import _Hash


def make_store(paths: Paths) -> None:
    """The store's own directory and its tmp/, for nobody but the caller; those above as the umask has it."""
    paths.store.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.tmp.mkdir(mode=0o700, exist_ok=True)


class Blobs:
    """The blobs of one store. Safe for any number of processes at once: equal names have equal content."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def path(self, digest: str) -> Path:
        """Where the blob lies or would lie. InvalidError when `digest` is none."""
        algorithm, digits = digests.parse(digest)
        return self._paths.blobs / algorithm / digits

    def exists(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def size(self, digest: str) -> int:
        """In bytes. NotFoundError when it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def open(self, digest: str) -> BinaryIO:
        """The blob for reading, unbuffered. NotFoundError when it is not here."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: str, limit: int) -> bytes:
        """The whole of a small blob (a manifest, a config), verified once more against its name.

        Raises:
            NotFoundError: it is not here.
            InvalidError: it has more than `limit` bytes, or is not what its name says (a damaged disk).
        """
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidError(f"{digest} is larger than the {limit} bytes that such a document may have")
        if digests.of(data, digests.parse(digest)[0]) != digest:
            raise InvalidError(
                f"{digest} is damaged in the store", hint=f"remove {self.path(digest)} and pull the image again"
            )
        return data

    def add(self, data: bytes) -> tuple[str, int]:
        """Store these bytes: (digest, size)."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    @contextmanager
    def writer(self, *, algorithm: str = "sha256", limit: int | None = None) -> Iterator[BlobWriter]:
        """A blob in the making. Leaving the block without `commit` removes what was written.

        Args:
            algorithm: of the digest that the blob is going to have.
            limit: InvalidError as soon as more bytes than that are written.
        """
        hasher = digests.hasher(algorithm)
        make_store(self._paths)
        draft = atomic.new_name(self._paths.tmp, "blob")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(fd, "wb", buffering=0) as file:
            writer = BlobWriter(self, file, draft, algorithm, hasher, limit)
            try:
                yield writer
            finally:
                writer.discard()

    def remove(self, digest: str) -> None:
        """Take the blob away, if it is here. Only for the one who knows that nothing refers to it."""
        self.path(digest).unlink(missing_ok=True)


class BlobWriter:
    """A blob in the making: hashed while it is written. Made by `Blobs.writer`.

    Attributes:
        size: bytes written so far.
    """

    def __init__(
        self, blobs: Blobs, file: BinaryIO, draft: Path, algorithm: str, hasher: _Hash, limit: int | None
    ) -> None:
        self._blobs = blobs
        self._file = file
        self._draft: Path | None = draft
        self._algorithm = algorithm
        self._hasher = hasher
        self._limit = limit
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of `data`.

        Raises:
            InvalidError: the blob would become larger than it was said to be.
            OSError: ENOSPC, EDQUOT.
        """
        view = memoryview(data).cast("B")
        if self._limit is not None and self.size + len(view) > self._limit:
            raise InvalidError(f"more than the {self._limit} bytes arrived that were announced")
        self._hasher.update(view)
        self.size += len(view)
        rest = view
        while rest:
            rest = rest[self._file.write(rest) :]
        return len(view)

    @property
    def digest(self) -> str:
        """Of what was written so far: the name that `commit` will give it, for who has to pin it before it is there."""
        return f"{self._algorithm}:{self._hasher.hexdigest()}"

    def commit(self, digest: str | None = None, size: int | None = None) -> tuple[str, int]:
        """Verify, flush to the disk and publish under its digest: (digest, size). Nothing may be written afterwards.

        Raises:
            InvalidError: the content has not this digest or size; nothing is published.
        """
        if self._draft is None:
            raise ValueError("this blob was committed or discarded already")
        found = self.digest
        if size is not None and size != self.size:
            raise InvalidError(f"{digest or found}: {self.size} bytes arrived where {size} were announced")
        if digest is not None and digests.check(digest) != found:
            raise InvalidError(f"{digest}: what arrived is something else ({found})")
        self._publish(self._blobs.path(found))
        return found, self.size

    def _publish(self, target: Path) -> None:
        assert self._draft is not None
        if target.is_file():
            self.discard()
            return
        os.fsync(self._file.fileno())
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.rename(self._draft, target)
        self._draft = None
        atomic.sync_directory(target.parent)

    def discard(self) -> None:
        """Remove what was written, unless it was committed."""
        if self._draft is not None:
            self._draft.unlink(missing_ok=True)
            self._draft = None


def _missing(digest: str) -> NotFoundError:
    return NotFoundError(f"blob {digest} is not in the store", hint="pull the image again")
