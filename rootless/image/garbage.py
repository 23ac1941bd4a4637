"""What the store holds that nothing needs: all but what images refer to and running operations have pinned.

Whoever removes something here holds the index's lock: no pin appears between the look and the removal (pins.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConflictError, InvalidError, NotFoundError, RootlessError, StoreError
from ..storage import digest as digests
from ..storage.layers import Layers
from . import documents, layout, partial, pins, reference, spec
from .pins import Pin
from .spec import Descriptor, Index, Manifest
from .steps import Kept, Steps
from .store import Image, ImageStore

GRACE = 3600
"""Seconds that a blob stays which nothing refers to: another tool that copies an image into the layout writes the index
last, and knows nothing of our pins."""


def referenced(store: ImageStore, contents: Index) -> set[str]:
    """Digests of all blobs that the index leads to, at any depth, and of the layers that builds may use again."""
    marked = {kept.step.layer.digest for kept in Steps(store.paths).all()}
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


def originals(store: ImageStore, image: Image) -> list[str]:
    """Digests of the manifests that are here as they were pulled, of this image or of an index that led to it."""
    found: set[str] = set()
    for name in image.digests:
        _mark_original(store, name.digest, found)
    known = {entry.digest for entry in (*image.manifests, image.manifest.config, *image.manifest.layers)}
    return sorted(digest for digest in found - known if store.blobs.exists(digest))


@contextmanager
def transaction(store: ImageStore, layers: Layers | None = None) -> Iterator[Pin]:
    """Pins for the block. When it fails, what it pinned and nobody else needs is removed again: blobs and, where
    `layers` is given, unpacked layers, too.

    Raises:
        StoreError: the store can't be written.
    """
    pin: Pin | None = None
    try:
        clean_up(store, layers)
        with layout.writing(store.paths), pins.hold(store.paths, made=True) as pin:
            yield pin
    except BaseException:
        if pin is not None:
            discard(store, layers, pin.digests)
        raise


def absent(store: ImageStore, layers: Layers, wanted: Iterable[str]) -> list[str]:
    """Those of these blobs and layers that are not here: what may be discarded when they have come for nothing."""
    present = set(layers.present())
    return [digest for digest in wanted if digest not in present and not store.blobs.exists(digest)]


def discard(store: ImageStore, layers: Layers | None, pinned: Iterable[str]) -> None:
    """Remove those of these blobs (and, where `layers` is given, unpacked layers) that nothing needs."""
    with store.locked():
        _discard(store, layers, set(pinned))


def _discard(store: ImageStore, layers: Layers | None, digests: set[str]) -> None:
    contents = store.read_index()
    needed = referenced(store, contents) | _chains(store, contents) | pins.pinned(store.paths)
    for digest in digests - needed:
        store.blobs.remove(digest)
        if layers is not None:
            layers.remove(digest)


def clean_up(store: ImageStore, layers: Layers | None) -> None:
    """Take away what killed commands have made for nobody, and what they had begun to take away."""
    if layers is None:
        return
    with suppress(ConflictError, StoreError):  # what can't be removed from here, `image prune` tells
        layers.sweep()
    if not pins.may_be_left(store.paths):
        return
    with store.locked():
        for note, noted in pins.left(store.paths).items():
            with suppress(StoreError):
                _discard(store, layers, {digest for digest in noted if reference.is_digest(digest)})
            if not noted & pins.pinned(store.paths):
                note.unlink(missing_ok=True)


@dataclass
class Freed:
    """What a removal took away.

    Attributes:
        chains: chain ids of layers, top first.
        size: bytes of blobs.
        problem: why a layer could not be removed, after all the others were.
    """

    chains: list[str] = field(default_factory=list)
    size: int = 0
    problem: RootlessError | None = None


def owned(store: ImageStore, image: Image) -> set[str]:
    """Digests of all blobs that an image leads to; others may need them as well."""
    found: set[str] = set()
    for manifest in image.manifests:
        _mark(store, manifest, found)
    for name in image.digests:
        _mark_original(store, name.digest, found)
    return found


def release(store: ImageStore, contents: Index, image: Image, used: set[str], layers: Layers, freed: Freed) -> None:
    """Take away what an image alone needed.

    The caller holds the index's lock and has written `contents`, which the image is no longer in.

    Args:
        used: chain ids of layers that containers stand on.
    """
    pinned = pins.pinned(store.paths)
    needed_chains = _chains(store, contents) | pinned | used
    for chain_id in reversed(image.chain_ids):
        if chain_id not in needed_chains:
            _drop_layer(layers, chain_id, freed)
    for digest in owned(store, image) - referenced(store, contents) - pinned:
        _drop_blob(store, digest, freed)


def sweep(store: ImageStore, contents: Index, used: set[str], layers: Layers, freed: Freed) -> None:
    """Take away all blobs and layers that nothing needs. The caller holds the index's lock."""
    pinned = pins.pinned(store.paths)
    needed = referenced(store, contents) | pinned
    needed_chains = _chains(store, contents) | pinned | used
    for digest in _old_blobs(store):
        if digest not in needed:
            _drop_blob(store, digest, freed)
    for chain_id in layers.present():
        if chain_id not in needed_chains:
            _drop_layer(layers, chain_id, freed)
    freed.size += partial.sweep(store.paths, GRACE)


def forget_steps(
    store: ImageStore, contents: Index, forgotten: Iterable[Kept], used: set[str], layers: Layers, freed: Freed
) -> None:
    """Forget what steps of builds came to, and take away what they alone needed. The caller holds the index's lock."""
    steps, gone = Steps(store.paths), list(forgotten)
    for kept in gone:
        steps.forget(kept.key)
    pinned = pins.pinned(store.paths)
    needed, needed_chains = referenced(store, contents) | pinned, _chains(store, contents) | pinned | used
    for kept in gone:
        if kept.step.chain_id not in needed_chains:
            _drop_layer(layers, kept.step.chain_id, freed)
        if kept.step.layer.digest not in needed:
            _drop_blob(store, kept.step.layer.digest, freed)


def _drop_layer(layers: Layers, chain_id: str, freed: Freed) -> None:
    try:
        layers.remove(chain_id)
    except RootlessError as problem:
        freed.problem = problem
    else:
        freed.chains.append(chain_id)


def _drop_blob(store: ImageStore, digest: str, freed: Freed) -> None:
    with suppress(NotFoundError):
        freed.size += store.blobs.size(digest)
        store.blobs.remove(digest)


def _chains(store: ImageStore, contents: Index) -> set[str]:
    found = {chain_id for image in store.images_in(contents) for chain_id in image.chain_ids}
    return found | {kept.step.chain_id for kept in Steps(store.paths).all()}


def blobs(store: ImageStore) -> Iterator[str]:
    """Digests of all blobs."""
    for algorithm in listed(store.paths.blobs):
        for name in listed(store.paths.blobs / algorithm):
            with suppress(InvalidError):
                yield digests.check(f"{algorithm}:{name}")


def _old_blobs(store: ImageStore) -> Iterator[str]:
    """Digests of the blobs that have been there for a while."""
    for digest in blobs(store):
        with suppress(FileNotFoundError):
            if store.blobs.path(digest).stat().st_mtime < time.time() - GRACE:
                yield digest


def listed(directory: Path) -> list[str]:
    """The names in a directory; none where there is no such directory."""
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
