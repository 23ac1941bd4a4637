"""What the store holds that nothing needs: all but what images refer to and running operations have pinned.

Whoever removes something here holds the index's lock: no pin appears between the look and the removal (pins.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from ..errors import InvalidError, NotFoundError
from . import documents, pins, spec
from .pins import Pin
from .spec import Descriptor, Index, Manifest
from .store import ImageStore

GRACE = 3600
"""Seconds that a blob stays which nothing refers to: another tool that copies an image into the layout writes the index
last, and knows nothing of our pins."""


def referenced(store: ImageStore, contents: Index) -> set[str]:
    """Digests of all blobs that the index leads to, at any depth."""
    marked: set[str] = set()
    for entry in contents.manifests:
        _mark(store, entry, marked)
        # `name@digest` may name an original manifest that the listed one was made from.
        _, at, original = entry.ref_name.rpartition("@")
        if at and original not in marked:
            _mark_original(store, original, marked)
    return marked


def _mark(store: ImageStore, entry: Descriptor, marked: set[str]) -> None:
    if entry.digest in marked:
        return
    marked.add(entry.digest)
    with suppress(InvalidError, NotFoundError):  # what can't be read leads to nothing that could be known
        if entry.media_type in (spec.OCI_MANIFEST, spec.DOCKER_MANIFEST):
            data = store.blobs.read(entry.digest, spec.MANIFEST_LIMIT)
            manifest = documents.read(data, Manifest, "manifest")
            marked.update(blob.digest for blob in (manifest.config, *manifest.layers))
        elif entry.media_type in (spec.OCI_INDEX, spec.DOCKER_INDEX):
            data = store.blobs.read(entry.digest, spec.MANIFEST_LIMIT)
            for child in documents.read(data, Index, "index").manifests:
                _mark(store, child, marked)


def _mark_original(store: ImageStore, digest: str, marked: set[str]) -> None:
    with suppress(InvalidError, NotFoundError):
        size = store.blobs.size(digest)
        _mark(store, Descriptor(media_type=spec.OCI_INDEX, digest=digest, size=size), marked)


@contextmanager
def transaction(store: ImageStore) -> Iterator[Pin]:
    """Pins for the block. When it fails, the blobs that it pinned and nobody else needs are removed again."""
    pin: Pin | None = None
    try:
        with pins.hold(store.paths) as pin:
            yield pin
    except BaseException:
        if pin is not None:
            discard(store, pin.digests)
        raise


def discard(store: ImageStore, digests: Iterable[str]) -> None:
    """Remove those of these blobs that neither an image nor a running operation needs."""
    with store.locked():
        needed = referenced(store, store.read_index()) | pins.pinned(store.paths)
        for digest in set(digests) - needed:
            store.blobs.remove(digest)
