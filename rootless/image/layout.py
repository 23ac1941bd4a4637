"""The store as a directory: made when it is missing, refused when a newer version of the engine made it otherwise.

The whole tree is described, field by field, in docs/decisions/0004-store-format.md.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from .. import atomic, locks
from ..errors import StoreError
from ..paths import FORMAT, Paths, check_format
from . import spec
from .documents import Document, write

MIN_READER = 1
"""The oldest format whose readers understand what this version writes."""


class Version(Document, rename=None):
    """version.json: `format` is what the store was made as, `min_reader` the least format a reader must know."""

    format: int
    min_reader: int


def prepare(paths: Paths) -> None:
    """Make the store where there is none, and check that this version can read the one that is there.

    A store that is there is only read, so that it may be mounted read-only.

    Raises:
        StoreError: a newer version made it, or it can't be made here.
    """
    if not check_format(paths):
        _make(paths)


def _make(paths: Paths) -> None:
    try:
        # Files in it belong to ids of containers: nobody else on the machine may reach a set-user-id program in it.
        paths.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_directories(paths)
        with locks.lock(paths.index_lock):
            _write_documents(paths)
    except OSError as problem:
        raise StoreError(
            f"the store {paths.store} can't be made: {problem.strerror}", hint="name another place with --root"
        ) from problem


def make_directories(paths: Paths) -> None:
    """Make what is missing: programs that copy a store may leave out directories that are empty."""
    images = [paths.tmp, paths.blobs / "sha256", paths.layers, paths.links, paths.pins, paths.cache]
    for directory in [*images, paths.containers, paths.names, paths.volumes]:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def writing(paths: Paths) -> Iterator[None]:
    """Turns what the kernel refuses while the store is written into an error that says which store and what to do.

    Raises:
        StoreError: no room, no permission, a broken disk.
    """
    try:
        yield
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "make room there, or name another store with --root" if full else ""
        raise StoreError(f"the store {paths.store} can't be written: {problem.strerror}", hint=hint) from problem


def _write_documents(paths: Paths) -> None:
    """The three documents of an empty store, `version.json` last: where it stands, everything else does.

    The caller holds the index's lock. An index that is there stays: a kill may have come between it and the version.
    """
    if not paths.oci_layout.exists():
        atomic.write(paths.oci_layout, write(spec.Layout(image_layout_version="1.0.0")), tmp=paths.tmp)
    if not paths.index.exists():
        empty = spec.Index(schema_version=2, media_type=spec.OCI_INDEX, manifests=[])
        atomic.write(paths.index, write(empty), tmp=paths.tmp)
    atomic.write(paths.version, write(Version(format=FORMAT, min_reader=MIN_READER)), tmp=paths.tmp)
