"""Whether there is room for an image, asked before the first byte of it is fetched."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..errors import StoreError
from ..storage import digest as digests
from ..storage.layers import Layers
from . import partial
from .spec import Manifest
from .store import ImageStore


def needed(store: ImageStore, layers: Layers, manifest: Manifest, diff_ids: Sequence[str]) -> int:
    """Bytes that are missing at least. What a layer takes when it is unpacked is not known before; it is no less than
    its blob."""
    sizes = zip(digests.chain_ids(diff_ids), (layer.size for layer in manifest.layers), strict=True)
    unpacked = sum(size for chain_id, size in sizes if layers.size(chain_id) is None)
    missing = {layer.digest: layer.size for layer in manifest.layers if not store.blobs.exists(layer.digest)}
    blobs = sum(max(0, size - partial.size(store.paths, digest)) for digest, size in missing.items())
    return unpacked + blobs


def check(store: ImageStore, layers: Layers, manifest: Manifest, diff_ids: Sequence[str], what: str) -> None:
    """Refuse an image that can't fit.

    Raises:
        StoreError: says how much is needed and how much there is.
    """
    wanted = needed(store, layers, manifest, diff_ids)
    status = os.statvfs(store.paths.store)
    free = status.f_bavail * status.f_frsize
    if wanted > free:
        raise StoreError(
            f"{what} needs at least {wanted} bytes in {store.paths.store}, where {free} are free",
            hint="make room there, or name another store with --root",
        )
